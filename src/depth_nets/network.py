"""What every depth network is to the rest of the program."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from src.backbones import Backbone

KEY = "depth_net.weights"

PERCENTILES = (0.01, 0.99)  # of disparity, that become the farthest and the nearest depth
FAR_OVER_NEAR = 4.0  # how much farther than the nearest point the farthest is taken to be


class DepthNet(ABC):
    """A frozen network from an image to disparity, differentiable with respect to the image.

    Disparity is inverse depth, larger is nearer, up to scale and shift: that is what networks
    trained on images of many cameras can know (Ranftl et al. 2020, MiDaS).

    No nn.Module: its weights are in no checkpoint, and nothing can put it in training mode.
    """

    layers: Sequence[str] = ()  # of the style network, whose features `disparity` takes
    differentiable = True  # whether a gradient goes through it, so that it can be in the loss
    smallest_side: int = 1  # px, of an image that it can be applied to

    def __init__(self, module: nn.Module, name: str) -> None:
        self.name = name
        self.module = module.eval().requires_grad_(False)

    @abstractmethod
    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Disparity (B, 1, H, W) of an image (B, 3, H, W) in [0, 1], in the network's own scale.

        `features` are {layer: (B, C, h, w)} of that image for `layers`, from the attached backbone.
        """

    def attach_backbone(self, backbone: Backbone) -> None:  # noqa: B027  most networks share nothing
        """Use the features of this style network from now on, if they are what is needed."""

    def predict(self, image: Tensor) -> Tensor:
        """Disparity without features and gradients: (B, 3, H, W) to (B, 1, H, W)."""
        with torch.no_grad():
            return self.disparity(image, {})

    def to(self, device: torch.device) -> "DepthNet":
        """Move the weights to a device."""
        self.module.to(device)
        return self

    def fingerprint(self) -> str:
        """A name that changes with the weights: twelve hexadecimal digits."""
        digest = hashlib.sha256(self.name.encode())
        for key, tensor in self.module.state_dict().items():
            digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


def estimate_depth(net: DepthNet, image: Tensor) -> Tensor:
    """The program's depth of an image (1, 3, H, W) in [0, 1]: see `depth_from_disparity`."""
    return depth_from_disparity(net.predict(image))


def depth_from_disparity(disparity: Tensor) -> Tensor:
    """The program's depth, (B, 1, H, W) in [0, 1], from disparity up to scale and shift.

    That takes a guess: the farthest point is `FAR_OVER_NEAR` times as far away as the nearest.
    Where all disparity is the same, depth is 0.5.
    """
    flat = disparity.float().flatten(1)
    low, high = torch.quantile(flat, flat.new_tensor(PERCENTILES), dim=1).view(2, -1, 1, 1, 1)
    constant = ~(high - low > 1e-6 * high.abs())
    nearness = ((disparity - low) / (high - low).masked_fill(constant, 1)).clamp(0, 1)
    depth = invert_depth(nearness)
    return torch.where(constant, torch.full_like(depth, 0.5), depth)


def invert_depth(x: Tensor) -> Tensor:
    """Depth in [0, 1], 0 near, to disparity in [0, 1], 1 near; and back, by the same formula.

    1 / depth runs evenly from 1 / far to 1 / near, with far / near = `FAR_OVER_NEAR`, a guess.
    """
    inverse = 1 / (1 + (FAR_OVER_NEAR - 1) * x)
    return (inverse - 1 / FAR_OVER_NEAR) / (1 - 1 / FAR_OVER_NEAR)
