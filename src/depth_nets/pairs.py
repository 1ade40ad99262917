"""Pictures with their depth, found in folders and ZIP files, to train a depth network on."""

import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.errors import InputError
from src.images import resize
from src.inputs import depth_files, nyu, pictures
from src.inputs.depth_maps import RawDepth, resample

KEY = "data"
NYU = "nyu"  # the set that `python -m src.inputs.nyu prepare` made
PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".tif", ".tiff")
DEPTHS = (".png", ".npy", ".npz", ".exr", ".tif", ".tiff", ".pgm", ".pfm")
KINDS = ("depth", "disparity")
LONG_SIDE = 320  # px; larger pictures are kept no larger
EXPECTED = (
    "a folder or ZIP file with NAME.jpg beside NAME.png, or NAME.jpg beside NAME_depth.png, or "
    "rgb/NAME.jpg beside depth/NAME.png"
)


@dataclass(frozen=True)
class Pair:
    """A picture and its inverse depth.

    Attributes:
        image: (3, H, W) uint8.
        inverse: (h, w) float32 of the same view, in any unit, 0 for infinitely far; NaN where it
            was not measured.
    """

    image: Tensor
    inverse: Tensor


def load(source: str, unpacked: Path, limit: int | None = None) -> list[Pair]:
    """All pairs of a source, in the order of their names.

    Args:
        source: a folder, a ZIP file, or `nyu`, and behind a colon how the depth is encoded: `depth`
            or `disparity` or a preset of `depth_files`; without it what the files say (16 bits are
            depth). `nyu` is the official training part of the prepared set.
        unpacked: an empty folder for what a ZIP file holds.
        limit: take this many, evenly spread.

    Raises:
        InputError: with key `data`: nothing there, or something that cannot be read.
    """
    name, _, encoding = source.partition(":")
    try:
        if name == NYU:
            readers: list[Callable[[], Pair]] = [partial(_nyu, n) for n in nyu.training_part()]
        else:
            readers = _files(Path(name).expanduser(), encoding, unpacked)
        if limit is not None and limit < len(readers):
            readers = [readers[i * len(readers) // limit] for i in range(limit)]
        return [read() for read in readers]
    except InputError as error:
        if error.key == KEY:
            raise
        raise InputError(KEY, f"{source} ({error})", "pictures with their depth") from error


def _files(path: Path, encoding: str, unpacked: Path) -> list[Callable[[], Pair]]:
    folder = path
    if path.is_file():
        if not zipfile.is_zipfile(path):
            raise InputError(KEY, f"'{path}', which is no ZIP file", EXPECTED)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(unpacked)
        folder = unpacked
    elif not path.is_dir():
        raise InputError(KEY, f"'{path}', which does not exist", EXPECTED)
    found = couples(folder)
    if not found:
        raise InputError(KEY, f"'{path}', in which no picture has its depth", EXPECTED)
    kind, preset = (encoding, None) if encoding in KINDS else ("auto", encoding or None)
    return [partial(_read, photo, depth, kind, preset) for photo, depth in found]


def couples(folder: Path) -> list[tuple[Path, Path]]:
    """The pictures in a folder and below that have a depth file, with it, by name.

    A depth file has the picture's name without `_rgb`, `_image` or `_color`, alone, with `_depth`,
    `_disparity` or `_disp` behind it, or in a folder of that name beside the picture's.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    depths: dict[tuple[Path, str], Path] = {}
    marked = re.compile(r"[_.-]?(depth|disparity|disp)$", re.IGNORECASE)
    taken: set[Path] = set()
    for path in files:
        if path.suffix.lower() not in DEPTHS:
            continue
        place = path.parent
        if marked.fullmatch(place.name):
            depths[place.parent, path.stem] = path
            taken.add(path)
        elif marked.search(path.stem):
            depths[place, marked.sub("", path.stem)] = path
            taken.add(path)
        else:
            depths.setdefault((place, path.stem), path)
    found = []
    for path in files:
        if path.suffix.lower() not in PHOTOS or path in taken:
            continue
        stem = re.sub(r"[_.-](rgb|image|color|colour)$", "", path.stem, flags=re.IGNORECASE)
        for key in ((path.parent, stem), (path.parent.parent, path.stem)):
            depth = depths.get(key)
            if depth is not None and depth != path and (depth in taken or _lossy(path)):
                found.append((path, depth))
                break
    return found


def _lossy(path: Path) -> bool:
    """Beside a PNG of the same name, the picture is the one that is no PNG."""
    return path.suffix.lower() != ".png"


def _read(photo: Path, depth: Path, kind: str, preset: str | None) -> Pair:
    picture = pictures.read(photo, key=KEY)
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


def _nyu(name: str) -> Pair:
    frame = nyu.read_prepared(name)
    return pair(pictures.from_pixels(frame.rgb).image, frame.depth)


def held_out(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and the last `share` of them to validate on: a sequence stays apart."""
    count = len(pairs) - max(1, round(share * len(pairs)))
    return list(pairs[:count]), list(pairs[count:])
