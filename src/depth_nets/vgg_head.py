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

from src.backbones import Backbone, vgg19
from src.backbones.vgg import OXFORD
from src.core import weights as files
from src.depth_nets.network import KEY, DepthNet

NAME = "VGG head"
SHIPPED = Path(__file__).parent / "weights" / "vgg_head.safetensors"
LAYERS = {"relu3_1": 256, "relu4_2": 512, "relu5_1": 512}  # and their channels
CHANNELS = 64
FLOOR = 1e-3  # under the root, whose gradient at 0 is infinite
VARIANCE_FLOOR = 1e-4  # a picture of one colour is not blown up
GRID = 320  # px, the long side of an image that the head's grids of positions are made for
PREDICT_AREA = 256 * 192  # px, of the training images


class Head(nn.Module):
    """From features of VGG-19 to disparity at a quarter of the image's size or less.

    Top-down (Lin et al. 2017, feature pyramids): context at the deepest layer, and finer layers
    added on the way up. The names of its parts are those of the weights files.
    """

    def __init__(self) -> None:
        super().__init__()

        def convolution(dilation: int = 1) -> nn.Conv2d:
            return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation)

        self.lateral = nn.ModuleList(nn.Conv2d(c, CHANNELS, 1) for c in LAYERS.values())
        pairs = [nn.Sequential(convolution(), nn.GELU(), convolution()) for _ in LAYERS]
        self.smooth = nn.ModuleList(pairs)
        self.place = nn.Conv2d(2, CHANNELS, 1)
        self.context = nn.Sequential(
            convolution(), nn.GELU(), convolution(2), nn.GELU(), convolution(4)
        )
        self.whole = nn.Linear(CHANNELS, CHANNELS)
        narrow, last = nn.Conv2d(CHANNELS, 32, 3, padding=1), nn.Conv2d(32, 1, 3, padding=1)
        self.out = nn.Sequential(narrow, nn.GELU(), last)

    def forward(self, features: Mapping[str, Tensor], long_side: int) -> Tensor:
        """Disparity (B, 1, h, w) of the features of `LAYERS` of an image with this long side."""
        return self.top_down([pooled(normalized(features[layer]), long_side) for layer in LAYERS])

    def top_down(self, grids: list[Tensor]) -> Tensor:
        """Disparity from normalised features, finest first."""
        deepest = self.lateral[-1](grids[-1]) + self.place(coordinates(grids[-1]))
        x = deepest + self.context(F.gelu(deepest))
        x = x + self.whole(x.mean((2, 3)))[..., None, None]
        x = x + self.smooth[-1](F.gelu(x))
        finer = list(zip(grids, self.lateral, self.smooth, strict=True))[:-1]
        for grid, lateral, smooth in reversed(finer):
            x = lateral(grid) + F.interpolate(x, size=grid.shape[-2:], mode="bilinear")
            x = x + smooth(F.gelu(x))
        disparity: Tensor = self.out(F.gelu(x))
        return disparity


def normalized(features: Tensor) -> Tensor:
    """Roots of features (B, C, H, W), which are 0 or more, at mean 0 and deviation 1 per image."""
    roots = (features + FLOOR).sqrt()
    variance, mean = torch.var_mean(roots, (1, 2, 3), correction=0, keepdim=True)
    return (roots - mean) / (variance + VARIANCE_FLOOR).sqrt()


def pooled(grid: Tensor, long_side: int) -> Tensor:
    """Features of a large image, averaged to about the grid of one of `GRID` pixels."""
    factor = max(1, round(long_side / GRID))
    if factor == 1:
        return grid
    return F.avg_pool2d(grid, factor, ceil_mode=True, count_include_pad=False)


def coordinates(grid: Tensor) -> Tensor:
    """(1, 2, H, W): how far down and how far right, from -1 to 1."""
    down, right = (torch.linspace(-1, 1, side).to(grid) for side in grid.shape[-2:])
    return torch.stack(torch.meshgrid(down, right, indexing="ij"))[None]


class VGGHead(DepthNet):
    """The head with the network whose features it takes: the style term's, or one of its own."""

    smallest_side = 32

    def __init__(self, head: Head) -> None:
        super().__init__(head.to(memory_format=torch.channels_last), NAME)
        self._own: Backbone | None = None  # for images that come without features

    def attach_backbone(self, backbone: Backbone) -> None:
        """Use the features of this network if it is the one that the head was trained on."""
        fits = backbone.family == OXFORD
        self.layers = list(LAYERS) if fits else []
        # Masks are made of what the head computes without features: in float32.
        self._own = backbone if fits and backbone.precision == torch.float32 else None

    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """(B, 3, H, W) to (B, 1, H, W), larger is nearer; features not given are computed."""
        if not all(layer in features for layer in LAYERS):
            self._own = (self._own or vgg19()).to(image.device)
            features = self._own.features(image, list(LAYERS))
        features = {layer: features[layer].to(image.dtype) for layer in LAYERS}
        disparity = self.module(features, max(image.shape[-2:]))
        return F.interpolate(disparity, image.shape[-2:], mode="bilinear")

    def predict(self, image: Tensor) -> Tensor:
        """Disparity at the size that suits the head, averaged with that of the mirror image."""
        height, width = image.shape[-2:]
        scale = math.sqrt(PREDICT_AREA / (height * width))
        size = [max(self.smallest_side, round(side * scale)) for side in (height, width)]
        with torch.no_grad():
            small = F.interpolate(image, size, mode="bilinear", antialias=True)
            plain, mirrored = self.disparity(torch.cat([small, small.flip(-1)]), {}).chunk(2)
            mean = (plain + mirrored.flip(-1)) / 2
            return F.interpolate(mean, (height, width), mode="bilinear")


def load_head(path: Path) -> Head:
    """The head with the weights of a safetensors file; an InputError if it holds anything else."""
    head = Head()
    state = files.read(path, KEY)
    head.load_state_dict(files.match(state, head.state_dict(), ignore=r"$^", key=KEY, network=NAME))
    return head


def vgg_head(weights: str | None = None) -> VGGHead:
    """The depth head that ships with the program (see `weights/vgg_head.md`), or that of a file."""
    return VGGHead(load_head(Path(weights) if weights else SHIPPED))
