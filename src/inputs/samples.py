"""What has a name: a built-in photo with measured depth, built-in paintings, classic paintings.

The built-in paintings in `assets/` were drawn by `src/inputs/paintings.py` of release 0.4.0 and are
under this program's licence. The classics are public-domain works, fetched once and checked.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.core.errors import InputError
from src.core.files import DownloadError, download, user_cache
from src.core.weights import in_package
from src.inputs.depth_maps import RawDepth

ASSETS = Path(__file__).parent / "assets"
HOST = "https://raw.githubusercontent.com"
LARGEST_PAINTING = 50_000_000  # bytes
# Middlebury stereo 2014, "Motorcycle", at scikit-image's size: from its calibration file.
FOCAL_LENGTH, PRINCIPAL_POINTS_APART = 994.978, 31.086  # px
BASELINE = 0.193001  # m


class Classic(NamedTuple):
    """A painting and where a scan of it lies: a public repository at a fixed commit."""

    title: str  # painter, title, year; all of the painters died more than 70 years ago
    file: str  # owner/repository/commit/path; the commit, so that what is fetched never changes
    sha256: str


REGISTRY = json.loads((ASSETS / "classics.json").read_text())
CLASSICS = {name: Classic(**entry) for name, entry in REGISTRY.items()}


def motorcycle_photo() -> Path:
    """The photo's file in scikit-image's wheel (741 x 500)."""
    return in_package("skimage", "data/motorcycle_left.png")


def motorcycle_depth() -> RawDepth:
    """Its depth in metres: f B / (disparity + doffs); 93 % of it was measured."""
    with np.load(in_package("skimage", "data/motorcycle_disp.npz")) as arrays:
        disparity = arrays["arr_0"].astype(np.float32)
    valid = np.isfinite(disparity)
    depth = FOCAL_LENGTH * BASELINE / (np.where(valid, disparity, 0) + PRINCIPAL_POINTS_APART)
    return RawDepth(depth.astype(np.float32), valid, "depth", "m", "structured light")


PHOTOS = {"motorcycle": (motorcycle_photo, motorcycle_depth)}


def paintings() -> dict[str, Path]:
    """The built-in paintings by name."""
    return {path.stem: path for path in sorted(ASSETS.glob("*.png"))}


def cached(name: str) -> Path:
    """Where a classic is kept on this machine, once it was fetched."""
    return user_cache() / "paintings" / f"{name}.jpg"


def fetch_classic(name: str, key: str) -> Path:
    """The file of a classic, fetched on first use; an InputError has the `key` that named it."""
    url, path = f"{HOST}/{CLASSICS[name].file}", cached(name)
    try:
        download(url, f"sha256:{CLASSICS[name].sha256}", path, LARGEST_PAINTING)
    except DownloadError as error:
        built_in = ", ".join(paintings())
        expected = f"{error.expected}; or what is built in: {built_in}; or a file"
        raise InputError(key, f"'{name}', but {error.got}", expected) from error
    return path
