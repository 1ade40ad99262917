"""Small copies of pictures, kept until the picture changes."""

import base64
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

from src.core.files import replace_whole
from src.core.images import open_picture

SIDE = 384  # px, long side: sharp at twice the density of a usual cell
ICON = 64  # px, both sides: a point of a scatter plot


class Thumbnail(NamedTuple):
    """A small copy of a picture, and the size in pixels of the picture itself."""

    path: Path
    icon: str  # a smaller one, cut square, as a data URI
    width: int
    height: int


Pictures = list[Thumbnail | None]


def make_thumbnails(pictures: Sequence[Path | None], folder: Path, root: Path) -> Pictures:
    """Small copies of pictures below `root`; None for none, and for what cannot be read.

    Others in `folder` are removed. Names do not depend on `root`, so that all can be moved.
    """
    if any(pictures):
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as threads:
        copies = list(threads.map(lambda picture: _thumbnail(picture, folder, root), pictures))
    current = {copy.path.stem for copy in copies if copy}
    for file in folder.glob("*.webp"):
        if file.name.partition(".")[0] not in current and not file.is_dir():
            file.unlink()
    return copies


def _thumbnail(picture: Path | None, folder: Path, root: Path) -> Thumbnail | None:
    if picture is None:
        return None
    try:
        facts = picture.stat()
        name = f"{picture.relative_to(root).as_posix()} {facts.st_mtime_ns} {facts.st_size}"
        path = folder / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:20]}.webp"
        icon = path.with_suffix(".icon.webp")
        with open_picture(picture, ("PNG",)) as image:
            width, height = image.size
            # A link could be to what the page is not to give away.
            if not all(os.path.isfile(f) and not os.path.islink(f) for f in (path, icon)):
                small = image.convert("RGBA" if "A" in image.getbands() else "RGB")
                small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                square = ImageOps.fit(small, (ICON, ICON))
                for copy, file, quality in ((square, icon, 60), (small, path, 82)):
                    with replace_whole(file) as part:
                        copy.save(part, "WEBP", quality=quality, method=2)
    except Exception:  # Pillow has many ways of saying that a PNG is broken, or too large
        return None
    code = base64.b64encode(icon.read_bytes()).decode()
    return Thumbnail(path, f"data:image/webp;base64,{code}", width, height)
