"""A small depth network on the features that the style term computes anyway.

The paper's second future work is "more efficient incorporation of depth prediction network": here a
step's one pass through VGG-19 serves content, style and depth, and depth costs the head alone.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src import weights as files
from src.backbones import Backbone, vgg19
from src.backbones.vgg import OXFORD
from src.depth_nets.network import KEY, DepthNet

NAME = "VGG head"
SHIPPED = Path(__file__).parent / "weights" / "vgg_head.safetensors"
LAYERS = {"relu3_1": 256, "relu4_2": 512, "relu5_1": 512}  # and their channels
CHANNELS = 64
FLOOR = 1e-3  # under the root, whose gradient at 0 is infinite
VARIANCE_FLOOR = 1e-4  # a picture of one colour is not blown up
GRID = 320  # px, the long side of a picture that the head's grids of positions are made for
ALONE = 256 * 192  # px, the size of the training pictures, at which it looks by itself


class Head(nn.Module):
    """From features of VGG-19 to disparity at a quarter of the picture's size or less.

    Top-down (Lin et al. 2017, feature pyramids): context at the deepest layer, and finer layers
    added on the way up.
    """

    def __init__(self) -> None:
        super().__init__()

        def convolution(
            before: int = CHANNELS, after: int = CHANNELS, dilation: int = 1
        ) -> nn.Conv2d:
            return nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation)

        self.lateral = nn.ModuleList(nn.Conv2d(c, CHANNELS, 1) for c in LAYERS.values())
        self.smooth = nn.ModuleList(
            nn.Sequential(convolution(), nn.GELU(), convolution()) for _ in LAYERS
        )
        self.place = nn.Conv2d(2, CHANNELS, 1)
        self.context = nn.Sequential(
            convolution(),
            nn.GELU(),
            convolution(dilation=2),
            nn.GELU(),
            convolution(dilation=4),
        )
        self.whole = nn.Linear(CHANNELS, CHANNELS)
        self.out = nn.Sequential(convolution(after=32), nn.GELU(), convolution(32, 1))

    def forward(self, features: Mapping[str, Tensor], long_side: int) -> Tensor:
        """Disparity of a picture.

        Args:
            features: {layer: (B, C, h, w)} for `LAYERS`, of VGG-19 in torchvision's units.
            long_side: of the picture, in pixels; of large ones the features are averaged first.

        Returns:
            (B, 1, h, w), larger is nearer, of the grid of relu3_1 or coarser.
        """
        return self.top_down([averaged(normalised(features[layer]), long_side) for layer in LAYERS])

    def top_down(self, grids: list[Tensor]) -> Tensor:
        """Disparity from normalised features, finest first."""
        deepest = self.lateral[-1](grids[-1]) + self.place(places(grids[-1]))
        x = deepest + self.context(F.gelu(deepest))
        x = x + self.whole(x.mean((2, 3)))[..., None, None]
        x = x + self.smooth[-1](F.gelu(x))
        for grid, lateral, smooth in list(zip(grids, self.lateral, self.smooth, strict=True))[
            -2::-1
        ]:
            x = lateral(grid) + F.interpolate(x, size=grid.shape[-2:], mode="bilinear")
            x = x + smooth(F.gelu(x))
        disparity: Tensor = self.out(F.gelu(x))
        return disparity


def normalised(features: Tensor) -> Tensor:
    """Roots of features, brought to mean 0 and deviation 1 over each whole picture.

    The root brings the few large values nearer to the many small ones.

    Args:
        features: (B, C, H, W), 0 or more.
    """
    roots = (features + FLOOR).sqrt()
    variance, mean = torch.var_mean(roots, (1, 2, 3), correction=0, keepdim=True)
    return (roots - mean) / (variance + VARIANCE_FLOOR).sqrt()


def averaged(grid: Tensor, long_side: int) -> Tensor:
    """Features of a large picture, averaged to about the grid of one of `GRID` pixels."""
    factor = max(1, round(long_side / GRID))
    if factor == 1:
        return grid
    return F.avg_pool2d(grid, factor, ceil_mode=True, count_include_pad=False)


def places(grid: Tensor) -> Tensor:
    """(1, 2, H, W): how far down and how far right, from -1 to 1."""
    down, right = (torch.linspace(-1, 1, side).to(grid) for side in grid.shape[-2:])
    return torch.stack(torch.meshgrid(down, right, indexing="ij"))[None]


class VGGHead(DepthNet):
    """The head with the network that it reads: the style term's, or one of its own.

    Args:
        head: with its weights.
    """

    smallest_side = 32

    def __init__(self, head: Head) -> None:
        super().__init__(head.to(memory_format=torch.channels_last), NAME)
        self._own: Backbone | None = None  # for pictures whose features it is not given

    def share(self, backbone: Backbone) -> None:
        """Read the features of this network if it is the one that the head was trained on.

        By itself the head looks in float32 alone: masks are made from what it sees then.
        """
        fits = backbone.name == OXFORD
        self.layers = list(LAYERS) if fits else []
        self._own = backbone if fits and backbone.precision == torch.float32 else None

    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Disparity of a picture.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            features: of that picture, for `layers`; where there are none the head's own network
                looks at the picture.

        Returns:
            (B, 1, H, W), larger is nearer, of no known scale.
        """
        if not all(layer in features for layer in LAYERS):
            features = self._backbone(image.device).features(image, list(LAYERS))
        features = {layer: features[layer].to(image.dtype) for layer in LAYERS}
        found = self.module(features, max(image.shape[-2:]))
        return F.interpolate(found, image.shape[-2:], mode="bilinear")

    def estimate(self, image: Tensor) -> Tensor:
        """Disparity of a picture, alone, at the size that suits the head; with its mirror image's.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
        """
        height, width = image.shape[-2:]
        scale = math.sqrt(ALONE / (height * width))
        size = [max(self.smallest_side, round(side * scale)) for side in (height, width)]
        with torch.no_grad():
            small = F.interpolate(image, size, mode="bilinear", antialias=True)
            both = self.disparity(torch.cat([small, small.flip(-1)]), {})
            one, mirrored = both.chunk(2)
            found = (one + mirrored.flip(-1)) / 2
            return F.interpolate(found, (height, width), mode="bilinear")

    def _backbone(self, device: torch.device) -> Backbone:
        if self._own is None:
            self._own = vgg19()
        return self._own.to(device)


def vgg_head(weights: str | None = None) -> VGGHead:
    """The depth head that ships with the program; see `weights/vgg_head.md` for what it can do.

    Args:
        weights: a safetensors file, as `python -m src.depth_nets.train` writes it.

    Raises:
        InputError: the file is not there, cannot be read, or is of another network.
    """
    head = Head()
    state = files.read(Path(weights) if weights else SHIPPED, KEY)
    head.load_state_dict(files.match(state, head.state_dict(), ignore=r"$^", key=KEY, network=NAME))
    return VGGHead(head)
