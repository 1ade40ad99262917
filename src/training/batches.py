"""Batches to train the depth head on: features, and the inverse depth that belongs to them.

VGG-19 takes ten times as long as the head, so its features serve several passes of an epoch.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from src.backbones import Backbone
from src.depth_nets.vgg_head import LAYERS, normalized, pooled
from src.training import augment
from src.training.pairs import Pair

# Height and width of training images, most of them as small as a step can be quick on.
SIZES = ((192, 256),) * 6 + ((240, 320), (256, 192), (224, 224), (288, 384))
STYLED_SHARE = 0.4  # of batches, with the statistics of paintings


class Batch(NamedTuple):
    """The head's input, and the inverse depth that it should predict."""

    grids: list[Tensor]  # normalized features of `LAYERS`, half precision, finest first
    inverse: Tensor  # (B, 1, h, w)
    known: Tensor  # (B, 1, h, w), bool: where inverse depth was measured


@dataclass(frozen=True)
class BatchSource:
    """Makes batches as the command line's settings ask for; without styles no image is styled."""

    pairs: Sequence[Pair]
    backbone: Backbone
    styles: Sequence[augment.Statistics]
    settings: Namespace

    @property
    def steps_per_epoch(self) -> int:
        """Batches of all passes of an epoch."""
        images = min(self.settings.pictures, len(self.pairs))
        return int(self.settings.passes * -(-images // self.settings.batch))

    def epoch(self, number: int) -> list[Batch]:
        """The batches of an epoch in random order, each as often as there are passes."""
        settings = self.settings
        random = Generator().manual_seed(1_000_003 * settings.seed + number)
        order = torch.randperm(len(self.pairs), generator=random)[: settings.pictures]
        batches = []
        for chosen in order.split(settings.batch):
            size = SIZES[int(torch.randint(len(SIZES), (), generator=random))]
            crops = [augment.crop(self.pairs[i], *size, random) for i in chosen.tolist()]
            images = augment.color_jitter(torch.cat([image for image, _ in crops]), random)
            inverse = torch.cat([inverse for _, inverse in crops])
            styled = float(torch.rand((), generator=random)) < STYLED_SHARE
            batches.append(self._batch(images, inverse, random if styled else None))
        random = Generator().manual_seed(number)
        orders = [torch.randperm(len(batches), generator=random) for _ in range(settings.passes)]
        return [batches[i] for i in torch.cat(orders).tolist()]

    def validation(self, pairs: Sequence[Pair], random: Generator | None) -> list[Batch]:
        """Batches of whole pairs with no other augmentation than, with randomness, styles."""
        half = [side // 2 for side in SIZES[0]]
        images = [
            F.interpolate(pair.image[None].float() / 255, SIZES[0], mode="bilinear", antialias=True)
            for pair in pairs
        ]
        inverses = [F.interpolate(pair.inverse[None, None], half) for pair in pairs]
        parts = (torch.cat(maps).split(8) for maps in (images, inverses))
        return [self._batch(image, inverse, random) for image, inverse in zip(*parts, strict=True)]

    @torch.no_grad()
    def _batch(self, images: Tensor, inverse: Tensor, random: Generator | None) -> Batch:
        """Of images (B, 3, H, W) and inverse depth, NaN for unknown; randomness asks for styles."""
        change = None
        if random is not None and self.styles:
            change = augment.styled(len(images), self.styles, random)
        device = torch.device(self.settings.device)
        with torch.autocast(device.type, torch.bfloat16):
            features = self.backbone.to(device).features(images.to(device), list(LAYERS), change)
        long_side = max(images.shape[-2:])
        grids = [
            pooled(normalized(features[layer].float()), long_side).half().cpu() for layer in LAYERS
        ]
        rows, columns = grids[0].shape[-2:]
        values = torch.cat([inverse.nan_to_num(0), inverse.isfinite().float()], dim=1)
        total, share = F.adaptive_avg_pool2d(values, (rows, columns)).chunk(2, dim=1)
        return Batch(grids, total / share.clamp(min=1e-6), share > 0.9)
