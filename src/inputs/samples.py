"""What is built in: one photo with measured depth, and the paintings in `assets/`."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.errors import InputError
from src.inputs.depth_maps import RawDepth
from src.weights import in_package

ASSETS = Path(__file__).parent / "assets"

# Middlebury stereo 2014, "Motorcycle", at scikit-image's size: from its calibration file.
FOCAL_LENGTH = 994.978  # px
BASELINE = 0.193001  # m
PRINCIPAL_POINTS_APART = 31.086  # px


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


@dataclass(frozen=True)
class Photo:
    """A built-in photo with measured depth: where both are found."""

    photo: Callable[[], Path]
    depth: Callable[[], RawDepth]


PHOTOS = {"motorcycle": Photo(motorcycle_photo, motorcycle_depth)}


def paintings() -> dict[str, Path]:
    """The built-in paintings by name."""
    return {path.stem: path for path in sorted(ASSETS.glob("*.png"))}


def unknown_name(name: str, known: Iterable[str], key: str, kinds: str) -> InputError:
    """The error for what is neither a file nor a built-in name.

    Args:
        name: what was given.
        known: the built-in names.
        key: the configuration key.
        kinds: what else would do, in words.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f" (nearest: {nearest[0]})" if nearest else ""
    return InputError(
        key,
        f"'{name}', neither a file nor a built-in name",
        f"{kinds}, or one of {', '.join(names)}{hint}",
    )
