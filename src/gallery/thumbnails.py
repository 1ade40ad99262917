"""Small copies of pictures, kept until the picture changes."""

import base64
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

SIDE = 384  # px, long side: sharp at twice the density of a usual cell
ICON = 64  # px, both sides: a point of a scatter plot


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of a picture.

    Attributes:
        path: the file.
        icon: a smaller one, cut square, as a data URI.
        width: of the picture itself, px.
        height: of the picture itself, px.
    """

    path: Path
    icon: str
    width: int
    height: int


def make_thumbnails(pictures: Sequence[Path], folder: Path, root: Path) -> list[Thumbnail | None]:
    """Small copies of pictures, on all cores; None for what cannot be read as a picture.

    Args:
        pictures: files below `root`.
        folder: where the copies are written; others in it are removed.
        root: what the copies' names do not depend on, so that all can be moved together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        made = list(threads.map(lambda picture: _make(picture, folder, root), pictures))
    kept = {name for thumb in made if thumb for name in (thumb.path, _icon(thumb.path))}
    for file in folder.glob("*.webp"):
        if file not in kept:
            file.unlink()
    return made


def _make(picture: Path, folder: Path, root: Path) -> Thumbnail | None:
    try:
        facts = picture.stat()
        name = f"{picture.relative_to(root).as_posix()} {facts.st_mtime_ns} {facts.st_size}"
        path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:20]}.webp"
        with Image.open(picture) as image:
            width, height = image.size
            if not (path.exists() and _icon(path).exists()):
                small = image.convert("RGBA" if "A" in image.getbands() else "RGB")
                small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                _save(ImageOps.fit(small, (ICON, ICON)), _icon(path), quality=60)
                _save(small, path, quality=82)
    except (OSError, ValueError, SyntaxError):  # Pillow's ways of saying that a PNG is broken
        return None
    icon = base64.b64encode(_icon(path).read_bytes()).decode()
    return Thumbnail(path, f"data:image/webp;base64,{icon}", width, height)


def _icon(path: Path) -> Path:
    return path.with_suffix(".icon.webp")


def _save(image: Image.Image, path: Path, quality: int) -> None:
    part = path.with_suffix(".part")
    image.save(part, "WEBP", quality=quality, method=2)
    os.replace(part, path)
