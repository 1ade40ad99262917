"""What a run would make of its depth, as HTML: masks on the photo, depth, histogram, paintings."""

import base64
import hashlib
import html
import io
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src import masks
from src.core.images import open_picture, resize, save_png, to_uint8
from src.inputs import Scene
from src.pipeline.config import compose
from src.pipeline.masks import is_refined, mask_nodes, style_masks, term_masks
from src.pipeline.networks import NetworkLoader
from src.pipeline.pictures import content_scene, style_image
from src.pipeline.schema import Config

SIDE = 512  # px, long side of the photo
PAINTING = 160  # px, of a painting
BINS, POINTS = 80, 121  # of the histogram and of a mask's curve
WIDTH, HEIGHT = 320, 90  # of their drawing
TINT = 0.6  # share of the colour that says where a painting goes
COLORS = ((0.93, 0.42, 0.10), (0.10, 0.45, 0.95))  # sRGB: of the last painting, and the one before


@lru_cache(maxsize=8)
def preview(*words: str) -> "Preview":
    """The preview of a command line; an InputError says in one line why there is none."""
    config = compose(*words)
    config = replace(
        config,
        size=SIDE,
        short_side=None,
        style_size=PAINTING,
        style_short_side=None,
        loss=replace(config.loss, normalize_masks=False),  # as shares that sum to 1
    )
    paintings = {
        name: _address(style_image(config, name, style.path, 1.0))
        for name, style in config.styles.items()
        if style.path is None or isinstance(style.path, str)
    }
    return Preview(config, content_scene(config, NetworkLoader.of(config), True), paintings)


@dataclass(frozen=True)
class Mask:
    """What the mask of depth is changed by on the page; see `masks.sigmoid`."""

    center: float  # depth in [0, 1]
    slope: float
    strokes: np.ndarray | None = None  # (h, w, 4) uint8 over it: white where paint goes, or black


@dataclass(frozen=True)
class Preview:
    """A photo with its depth at preview size, and what the configuration says of masks."""

    config: Config
    scene: Scene
    paintings: Mapping[str, str]  # data addresses by the style's name

    @cached_property
    def border(self) -> float:
        """The depth that `mask.center=auto` stands for."""
        return masks.otsu_threshold(*self._depth)

    def depth_at(self, x: float, y: float) -> float:
        """The depth in [0, 1] at a place, x and y in shares of the photo's width and height."""
        rows, columns = self._depth[0].shape[-2:]
        row, column = (min(max(int(v * n), 0), n - 1) for v, n in ((y, rows), (x, columns)))
        return float(self._depth[0][0, 0, row, column])

    def paint(self, mask: Mask, live: bool = False) -> dict[str, Tensor]:
        """Where each painting goes, (1, 1, H, W) in [0, 1], by its name; empty: everywhere.

        Args:
            mask: changes of the mask of depth.
            live: leave out what takes longer than a movement of the hand: silhouettes.
        """
        guide = self.scene.image if is_refined(self.config, self.scene) and not live else None
        found = self._masks(self._depth[0], mask, guide)
        if mask.strokes is None or not self._has_border:
            return found
        (last, paint), *before = reversed(found.items())
        layer = torch.from_numpy(mask.strokes.astype(np.float32) / 255).permute(2, 0, 1)[None]
        layer = resize(layer, *paint.shape[-2:])
        paint = torch.lerp(paint, layer[:, :3].mean(1, keepdim=True), layer[:, 3:]).clamp(0, 1)
        return {name: 1 - paint for name, _ in before} | {last: paint}

    def keep(self, mask: Mask, folder: Path) -> Path:
        """The mask with the strokes over it as a file of a folder, named by what is in it."""
        made = list(self.paint(mask).values())[-1]
        digest = hashlib.sha256(to_uint8(made).tobytes()).hexdigest()[:12]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"mask_{digest}.png"
        save_png(made, path)
        return path

    def html(self, mask: Mask, live: bool = False) -> str:
        """Photo with its masks, depth, histogram and paintings; arguments as of `paint`."""
        picture, caption = self.scene.image, "paint goes everywhere"
        found = self.paint(mask, live)
        for share, color in zip(reversed(found.values()), COLORS, strict=False):
            tint = torch.tensor(color).view(1, 3, 1, 1)
            picture = torch.lerp(picture, tint, TINT * share)
        if found:
            caption = ", ".join(f"{float(x.mean()):.0%} {name}" for name, x in found.items())
        drawn = "" if mask.strokes is None else ' data-drawn="1"'
        thumbnails = "".join(
            f'<img class="painting" alt="painting" title="{html.escape(name)}" src="{address}">'
            for name, address in self.paintings.items()
        )
        return (
            f'<div class="preview">{_figure("photo", picture, caption, drawn)}'
            f"{_figure('depth', self._depth[0], f'depth: {self.scene.depth_from}')}"
            f"<figure>{self._histogram(mask)}</figure><figure>{thumbnails}</figure></div>"
        )

    @property
    def _depth(self) -> tuple[Tensor, Tensor]:
        assert self.scene.depth is not None
        assert self.scene.valid is not None
        return self.scene.depth, self.scene.valid

    @property
    def _has_border(self) -> bool:
        return any("center" in node for node in mask_nodes(self.config))

    def _masks(self, depth: Tensor, mask: Mask, guide: Tensor | None) -> dict[str, Tensor]:
        config, auto = self.config, self.border
        if self._has_border:
            config = deepcopy(config)
            for node in mask_nodes(config):
                assert isinstance(node, dict)
                node |= {"center": mask.center, "slope": mask.slope}
        styles = style_masks(config, depth, auto, guide).items()
        found = {f"in the {name} painting": x for name, x in styles if x is not None}
        if not found:
            found = {x: 1 - y for x, y in term_masks(config, depth, auto, guide).items()}
        if len(found) == 1:
            found = dict(zip(["in paint"], found.values(), strict=True))
        return found

    def _histogram(self, mask: Mask) -> str:
        """How much of the photo lies at each depth, with the masks over it, as SVG."""
        counts = torch.histc(self._depth[0], BINS, 0, 1)
        heights = (counts / counts.max().clamp(min=1)).sqrt() * HEIGHT  # small shares seen, too
        width = WIDTH / BINS
        drawing = "".join(
            f'<rect x="{i * width:.1f}" y="{HEIGHT - h:.1f}" width="{width:.1f}" height="{h:.1f}"/>'
            for i, h in enumerate(heights.tolist())
        )
        if self._has_border:
            places = torch.linspace(0, 1, POINTS)
            curves = self._masks(places.view(1, 1, 1, -1), mask, None)
            for curve, color in zip(reversed(curves.values()), ("far", "near"), strict=False):
                points = " ".join(
                    f"{x * WIDTH:.1f},{(1 - y) * HEIGHT:.1f}"
                    for x, y in zip(places.tolist(), curve.flatten().tolist(), strict=True)
                )
                drawing += f'<polyline class="{color}" points="{points}"/>'
            drawing += f'<path class="tick" d="M{self.border * WIDTH:.1f} 0V{HEIGHT}"/>'
        low, high = self.scene.depth_span or (0.0, 1.0)
        ends = ["near", "far"]
        if self.scene.depth_unit == "m":
            ends = [f"near, {low:.3g} m", f"far, {high:.3g} m"]
        return (
            f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none"'
            f' role="img" aria-label="how much lies at each depth, and the mask">{drawing}</svg>'
            f'<figcaption class="ends"><span>{ends[0]}</span><span>{ends[1]}</span></figcaption>'
        )


def _figure(name: str, image: Tensor, caption: str, data: str = "") -> str:
    return (
        f'<figure{data}><img class="{name}" alt="{name}" decoding="sync" src="{_address(image)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _address(image: Tensor) -> str:
    """A picture as a data address, which a page shows at once."""
    file = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def from_address(address: str) -> np.ndarray | None:
    """The drawing of a data address, (h, w, 4) uint8; None for what no page of ours sends."""
    try:
        data = base64.b64decode(address.partition("base64,")[2])
        with open_picture(io.BytesIO(data), ("PNG",)) as picture:
            return np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError):
        return None
