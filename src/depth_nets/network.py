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
    """A frozen network from a picture to disparity, differentiable with respect to the picture.

    Disparity is inverse depth, larger is nearer, known up to a positive factor and an offset: that
    is what networks trained on pictures of many cameras can know (Ranftl et al. 2020, MiDaS), and
    near things, which make a picture, have most of its range.

    A plain object, not a module of the trained one: its weights are in no checkpoint, and nothing
    can put it in training mode.

    Args:
        module: the network; it is frozen and put in evaluation mode.
        name: for messages and captions.

    Attributes:
        layers: of the style network, whose features `disparity` wants; empty for a network that
            looks at the picture itself.
        smallest_side: the shortest side in pixels of a picture that it can look at.
    """

    layers: Sequence[str] = ()
    smallest_side: int = 1

    def __init__(self, module: nn.Module, name: str) -> None:
        self.name = name
        self.module = module.eval().requires_grad_(False)

    @abstractmethod
    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Disparity of a picture.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            features: {layer: (B, C, h, w)} of that picture for `layers`, from the network that
                `share` was given.

        Returns:
            (B, 1, H, W), larger is nearer, in the network's own scale.
        """

    def share(self, backbone: Backbone) -> None:  # noqa: B027  most networks share nothing
        """Read the features of this style network from now on, if they are what is needed."""

    def estimate(self, image: Tensor) -> Tensor:
        """Disparity of a picture, alone, without gradients: (B, 3, H, W) to (B, 1, H, W)."""
        with torch.no_grad():
            return self.disparity(image, {})

    def to(self, device: torch.device) -> "DepthNet":
        """Move the weights to a device."""
        self.module.to(device)
        return self

    def fingerprint(self) -> str:
        """A name that changes with the weights: twelve hexadecimal digits."""
        found = hashlib.sha256(self.name.encode())
        for key, tensor in self.module.state_dict().items():
            found.update(key.encode())
            found.update(tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:12]


def depth_from_disparity(disparity: Tensor) -> Tensor:
    """The program's depth, 0 near and 1 far, from disparity of unknown scale and offset.

    Depth cannot be had from it without a guess: that the farthest point is `FAR_OVER_NEAR` times as
    far away as the nearest.

    Args:
        disparity: (B, 1, H, W), larger is nearer.

    Returns:
        (B, 1, H, W) float32 in [0, 1]; 0.5 everywhere where the disparity is the same everywhere.
    """
    flat = disparity.float().flatten(1)
    low, high = torch.quantile(flat, flat.new_tensor(PERCENTILES), dim=1).view(2, -1, 1, 1, 1)
    constant = ~(high - low > 1e-6 * high.abs())
    nearness = ((disparity - low) / (high - low).masked_fill(constant, 1)).clamp(0, 1)
    # 1 / depth runs evenly from 1 / far to 1 / near.
    depth = 1 / (1 + (FAR_OVER_NEAR - 1) * nearness)
    depth = (depth - 1 / FAR_OVER_NEAR) / (1 - 1 / FAR_OVER_NEAR)
    return torch.where(constant, torch.full_like(depth, 0.5), depth)
