"""Short ways to compose a configuration and to run the program in this process."""

import csv
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig
from torch import nn

from src.backbones.chain import Backbone
from src.backbones.preprocessing import Preprocessing
from src.depth_nets import DepthNet
from src.objective import GramDistance, Inputs, Objective, Style, StyleTerm, Term
from src.pipeline.config import CONF
from src.pipeline.stylize import stylize

# The smallest real run: VGG-19, the built-in photo and painting, three steps.
SMALL = ("size=48", "steps=3", "tracking=off", "trainer.accelerator=cpu")
# A depth network of no weight, instead of the one that the configuration names.
TINY_DEPTH = (
    "trusted_modules=[tests.running]",
    "depth_net._target_=tests.running.TinyDepthNet",
)


def compose(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        return hydra_compose("config", list(overrides))


def run(folder: Path, *overrides: str) -> Path:
    stylize(compose(*SMALL, *overrides), folder, time.time())
    return folder


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def the_sweep(folder: Path) -> Path:
    """The one sweep in an output folder."""
    (sweep,) = folder.glob("*/sweeps/*")
    return sweep


def terms(folder: Path) -> list[dict[str, float]]:
    with (folder / "terms.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def pastiche(folder: Path) -> torch.Tensor:
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]["pastiche"]


def picture(seed: int, height: int = 12, width: int = 16) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


class Intruder:
    """What a file of somebody else's may hold: it makes a folder where it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.victim),)


def half(height: int = 12, width: int = 16) -> torch.Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


def tiny_backbone() -> Backbone:
    """Two random convolutions: features to differentiate in no time."""
    generator = torch.Generator().manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
    for module in (first, second):
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4
    layers = [
        ("conv1", first),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2, stride=2)),
        ("conv2", second),
        ("relu2", nn.ReLU()),
    ]
    return Backbone(layers, Preprocessing((0.5,) * 3, (0.25,) * 3), "tiny")


class TinyDepthNet(DepthNet):
    """Bright is near: the blurred brightness of a picture, or of features where it shares them.

    Args:
        layer: of the style network whose features it reads; None for the picture.
        weights: it has none.
    """

    smallest_side = 8

    def __init__(self, layer: str | None = None, weights: None = None) -> None:
        super().__init__(nn.AvgPool2d(5, stride=1, padding=2), "tiny")
        self._layer = layer
        self.looked = 0

    def attach_backbone(self, backbone: Backbone) -> None:
        if self._layer is not None:
            self.layers = [self._layer]

    def disparity(self, image: torch.Tensor, features: Mapping[str, torch.Tensor]) -> torch.Tensor:
        self.looked += 1
        source = features.get(self._layer or "", image)
        bright = self.module(source.mean(1, keepdim=True))
        return nn.functional.interpolate(bright, image.shape[-2:], mode="bilinear")


TINY_LAYERS = ("relu1", "relu2")


def style_term(weight: float = 1.0, layer_weights: Sequence[float] | None = None) -> StyleTerm:
    return StyleTerm(TINY_LAYERS, weight, GramDistance(), layer_weights)


def tiny_objective(
    terms: Sequence[Term],
    content: torch.Tensor,
    styles: dict[str, Style] | None = None,
    mask: torch.Tensor | None = None,
    tile_size: int = 10**4,
    backbone: Backbone | None = None,
    net: DepthNet | None = None,
) -> Objective:
    masks = {} if mask is None else {"content": mask}
    backbone, net = backbone or tiny_backbone(), net or TinyDepthNet()
    return Objective(terms, Inputs(backbone, content, styles or {}, masks, tile_size, lambda: net))
