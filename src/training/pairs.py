"""Pictures with their depth, of folders and ZIP files, to train a depth network on."""

import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.core.errors import InputError
from src.core.images import resize
from src.inputs import depth_files, pictures
from src.inputs.depth_maps import RawDepth, resample
from src.inputs.folders import find_rgbd_pairs

KEY = "data"
LONG_SIDE = 320  # px; larger images are reduced to it
EXPECTED = (
    "a folder or ZIP file with NAME.jpg beside NAME.png, or NAME.jpg beside NAME_depth.png, or "
    "rgb/NAME.jpg beside depth/NAME.png"
)


class Pair(NamedTuple):
    """An image and its inverse depth, of the same view."""

    image: Tensor  # (3, H, W) uint8
    inverse: Tensor  # (h, w) float32, any unit, 0 for infinitely far, NaN where not measured


def load(source: str) -> list[Pair]:
    """All pairs of `FOLDER_OR_ZIP[:ENCODING]`, by the images' paths."""
    name, _, encoding = source.partition(":")
    path = Path(name).expanduser()
    is_kind = encoding in ("depth", "disparity")
    kind, preset = (encoding, None) if is_kind else ("auto", encoding or None)
    with tempfile.TemporaryDirectory() as unpacked:
        folder = path
        if path.is_file():
            folder = Path(unpacked)
            if not zipfile.is_zipfile(path):
                raise InputError(KEY, f"'{path}', which is no ZIP file", EXPECTED)
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        elif not path.is_dir():
            raise InputError(KEY, f"'{path}', which does not exist", EXPECTED)
        files = find_rgbd_pairs(folder).values()
        if not files:
            raise InputError(KEY, f"'{path}', in which no picture has its depth", EXPECTED)
        try:
            return [_read(image, depth, kind, preset) for image, depth in files]
        except InputError as error:
            if error.key == KEY:
                raise
            raise InputError(KEY, f"{source} ({error})", "pictures with their depth") from error


def _read(image: Path, depth: Path, kind: str, preset: str | None) -> Pair:
    picture = pictures.read(image, key=KEY)
    raw = depth_files.read(depth, kind=kind, preset=preset)
    if not raw.valid.any():
        raise InputError(KEY, f"'{depth}', valid nowhere", "a depth file with depth in it")
    return pair(picture.image, raw)


def pair(image: Tensor, raw: RawDepth) -> Pair:
    """A pair of (1, 3, H, W) in [0, 1] and its depth, both no larger than they are needed."""
    scale = min(1.0, LONG_SIDE / max(image.shape[-2:]))
    size = [max(1, round(side * scale)) for side in image.shape[-2:]]
    beyond = np.isposinf(raw.values)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = raw.values if raw.kind == "disparity" else 1 / raw.values
    known = raw.valid | beyond
    inverse = np.where(known & ~beyond, inverse, 0).astype(np.float32)
    half = [max(1, side // 2) for side in size]  # that much the head gives
    if raw.values.shape[0] > half[0]:
        inverse, density = resample(inverse, known, *half)
        known = density > 0.5
    inverse = np.where(known, inverse, np.nan).astype(np.float32)
    pixels = (resize(image, *size)[0] * 255).round().to(torch.uint8)
    return Pair(pixels, torch.from_numpy(inverse))
