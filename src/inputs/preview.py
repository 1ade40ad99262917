"""Sheets to choose by looking: what is built in, and what a picture's depth gives."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from src import masks
from src.errors import InputError
from src.images import to_uint8
from src.inputs import classics, pictures, samples
from src.inputs.scenes import Scene

TILE = 320  # pixels, width of a tile
GAP = 12
CAPTION = 22  # pixels, height of a line of text
PAPER, INK, RULE, ACCENT = (250, 249, 246), (40, 40, 40), (205, 203, 196), (196, 60, 40)
BINS = 80

MASKS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": masks.linear,
    "sigmoid": masks.sigmoid,
    "step": masks.step,
    "band": masks.band,
}

Tile = tuple[str, Image.Image]


def preview(scene: Scene) -> Image.Image:
    """The photo, its depth, where it was measured, its histogram, and each mask at its defaults.

    Every mask is shown twice: as it is (white is 1), and as what it selects of the photo.

    Args:
        scene: with depth.
    """
    depth, valid = scene.depth, scene.valid
    assert depth is not None
    assert valid is not None
    threshold = masks.auto_threshold(depth, valid)
    measured = f"measured: {valid.float().mean().item():.0%}"
    if scene.depth_from.startswith("estimated"):
        measured = scene.depth_from
    rows: list[list[Tile]] = [
        [
            (f"{scene.name}: content", _picture(scene.image)),
            ("depth: black 0 is near, white 1 is far", _picture(depth)),
            (measured, _picture(valid.float())),
            (f"histogram of depth; auto = {threshold:.2f}", _histogram(scene, threshold)),
        ]
    ]
    named = {f"mask={name} {_defaults(make)}": make(depth) for name, make in MASKS.items()}
    named[f"mask=sigmoid center=auto ({threshold:.2f})"] = masks.sigmoid(depth, threshold)
    tiles = [(name, _picture(mask)) for name, mask in named.items()]
    selected = [("", _picture(_select(scene.image, mask))) for mask in named.values()]
    return _sheet([*rows, tiles, selected])


def builtins() -> Image.Image:
    """Every built-in name with its picture; a classic that was not fetched yet has a blank one."""
    photos = [(f"content={name}", _file(photo.photo())) for name, photo in samples.PHOTOS.items()]
    paintings = [(f"style={name}", _file(path)) for name, path in samples.paintings().items()]
    known = []
    for name, classic in classics.CLASSICS.items():
        path = classics.cached(name)
        thumbnail = _file(path) if path.is_file() else _card(classic.title)
        known.append((f"style={name}", thumbnail))
    half = (len(known) + 1) // 2
    return _sheet([photos + paintings, known[:half], known[half:]])


def write(sheet: Image.Image, path: Path) -> None:
    """Write a sheet, whole or not at all.

    Raises:
        InputError: with key `out`, where that is impossible.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(part, format="PNG")
        os.replace(part, path)
    except OSError as error:
        got = f"'{path}' ({error.strerror or error})"
        raise InputError("out", got, "a file that can be written") from error
    finally:
        part.unlink(missing_ok=True)


def _defaults(function: Callable[..., Tensor]) -> str:
    parameters = inspect.signature(function).parameters.values()
    return " ".join(
        f"{p.name}={p.default:g}"
        for p in parameters
        if p.default is not p.empty and p.name != "invert"
    )


def _select(image: Tensor, mask: Tensor) -> Tensor:
    """The photo where the mask is 1, paper where it is 0."""
    paper = torch.tensor(PAPER).view(1, 3, 1, 1) / 255
    return torch.lerp(paper, image, mask)


def _picture(tensor: Tensor) -> Image.Image:
    picture = Image.fromarray(to_uint8(tensor)).convert("RGB")
    return picture.resize((TILE, max(1, round(TILE * picture.height / picture.width))))


def _file(path: Path) -> Image.Image:
    return _picture(pictures.read(path, key="style", size=2 * TILE).image)


def _card(title: str) -> Image.Image:
    card = Image.new("RGB", (TILE, TILE * 2 // 3), (225, 222, 214))
    painter, *rest = title.split(", ")
    draw = ImageDraw.Draw(card)
    for line, text in enumerate((painter, ", ".join(rest), "(fetched when first used)")):
        draw.text((GAP, GAP + CAPTION * line), text, INK, _font())
    return card


def _histogram(scene: Scene, threshold: float) -> Image.Image:
    """How much of the measured picture lies at each depth; the line is the automatic threshold."""
    assert scene.depth is not None
    assert scene.valid is not None
    height = max(120, round(TILE * scene.image.shape[-2] / scene.image.shape[-1]))
    counts, _ = np.histogram(scene.depth[scene.valid].numpy(), BINS, (0, 1))
    # Roots, so that a wall that is most of the picture leaves the rest to be seen.
    bars = np.sqrt(counts / max(1, counts.max())) * (height - 2 * CAPTION)
    chart = Image.new("RGB", (TILE, height), (255, 255, 255))
    draw = ImageDraw.Draw(chart)
    base = height - CAPTION
    for index, bar in enumerate(bars):
        left, right = index * TILE // BINS, (index + 1) * TILE // BINS - 1
        draw.rectangle((left, base - bar, right, base), (120, 130, 150))
    draw.line((threshold * TILE, CAPTION // 2, threshold * TILE, base), ACCENT, 2)
    low, high = scene.depth_span or (0.0, 1.0)
    unit = " m" if scene.depth_unit == "m" else ""
    draw.text((2, base + 2), f"0: {low:.3g}{unit}", INK, _font())
    draw.text((TILE - 2, base + 2), f"1: {high:.3g}{unit}", INK, _font(), anchor="ra")
    return chart


def _sheet(rows: list[list[Tile]]) -> Image.Image:
    rows = [row for row in rows if row]
    heights = [max(tile.height for _, tile in row) + CAPTION + GAP for row in rows]
    width = max(len(row) for row in rows) * (TILE + GAP) + GAP
    sheet = Image.new("RGB", (width, sum(heights) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, (caption, tile) in enumerate(row):
            left = GAP + column * (TILE + GAP)
            draw.text((left, top), caption, INK, _font())
            sheet.paste(tile, (left, top + CAPTION))
            box = (left - 1, top + CAPTION - 1, left + tile.width, top + CAPTION + tile.height)
            draw.rectangle(box, outline=RULE)
        top += height
    return sheet


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(14)
