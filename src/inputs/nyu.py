"""NYU Depth v2: one image of the labelled set, without reading the other 1,448.

Silberman, Hoiem, Kohli, Fergus, "Indoor segmentation and support inference from RGBD images",
2012. The file is MATLAB v7.3, HDF5 with the axes reversed: H x W x 3 x N is (N, 3, W, H) here.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.core import hdf5
from src.core.errors import InputError
from src.core.files import user_cache
from src.core.weights import fetch as fetch_file
from src.inputs.depth_maps import RawDepth
from src.inputs.pictures import as_input_error

EXPECTED = "NYU Depth v2's labelled .mat file (MATLAB v7.3, which is HDF5)"
VARIABLE = "NYU_DEPTH_V2"

MAT = "nyu_depth_v2_labeled.mat"
HOST = "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2"
MD5 = "520609c519fba3ba5ac58c8fefcc3530"

# The labelled pictures have a frame of near-white pixels, 5 to 8 wide: what undistorting left.
FRAME_WIDEST = 16
FRAME_DARKEST = 220  # of 255, in every channel of 95 of 100 of its pixels
FRAME_PICTURE = 64  # in smaller pictures none is looked for


class Frame(NamedTuple):
    """One image of the set."""

    rgb: np.ndarray  # (H, W, 3) uint8
    depth: RawDepth  # metres, dense: the authors filled the holes by Levin's colourisation
    name: str  # nyu0123


def read_mat(path: Path, index: int = 0, name: str | None = None) -> Frame:
    """One image of a `.mat` by its index from 0, or by `nyu:0123`, its white frame cropped."""
    if path.is_file() and not hdf5.is_hdf5(path):
        raise InputError("content", f"'{path}', which is not HDF5", EXPECTED)
    with as_input_error(path, "content", EXPECTED), hdf5.File(path, "r") as file:
        names = set(file)  # `in file` and `file[name]` would open what a link names
        missing = [key for key in ("images", "depths") if key not in names]
        if missing:
            raise InputError("content", f"'{path}' without {' and '.join(missing)}", EXPECTED)
        images, depths = hdf5.dataset(file, "images"), hdf5.dataset(file, "depths")
        one_per_pixel = (len(images), *images.shape[2:])
        if images.ndim != 4 or images.shape[1] != 3 or depths.shape != one_per_pixel:
            got = f"'{path}' with images {images.shape} and depths {depths.shape}"
            raise InputError("content", got, "images (N, 3, W, H) and depths (N, W, H)")
        index = _check_index(index, len(images), name)
        rgb = hdf5.read_values(file, "images", index).transpose(2, 1, 0)
        filled = hdf5.read_values(file, "depths", index).T.astype(np.float32)
        raw = "rawDepths" if "rawDepths" in names else "depths"
        measured = hdf5.read_values(file, raw, index).T
        if rgb.dtype != np.uint8 or measured.shape != filled.shape:
            raise ValueError(f"images of {rgb.dtype}, rawDepths of {measured.shape}")
    inside = without_frame(rgb)
    valid = np.isfinite(measured) & (measured > 0) & np.isfinite(filled)
    rgb, filled, valid = (np.ascontiguousarray(x[inside]) for x in (rgb, filled, valid))
    depth = RawDepth(filled, valid, "depth", "m", f"'{path}', image {index}", dense=True)
    return Frame(rgb, depth, f"nyu{index:04d}")


def _check_index(index: int, count: int, name: str | None) -> int:
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < count:
        return index
    if name is not None:
        raise InputError("content", f"'{name}'", f"nyu:0000 to nyu:{count - 1:04d}")
    raise InputError("content_index", repr(index), f"a whole number from 0 to {count - 1}")


def read_named(name: str) -> Frame:
    """One image of the set by its name, `nyu:0123`."""
    number = name.removeprefix("nyu:")
    path = find_file()
    if not path.is_file():
        got = f"'{name}', but {MAT} of NYU Depth v2 is not on this machine"
        expected = f"python -m src.inputs fetch nyu first, or {VARIABLE}=FOLDER in the environment"
        raise InputError("content", got, f"{expected}, with {MAT} in it")
    return read_mat(path, int(number) if number.isdecimal() else -1, name)


def fetch() -> Path:
    """Fetch the set, 2.8 GB, into $NYU_DEPTH_V2 or else this program's cache."""
    return fetch_file(f"{HOST}/{MAT}", f"md5:{MD5}", VARIABLE, cache=find_file().parent)


def find_file() -> Path:
    """Where the set's file is on this machine, or would be."""
    named = os.environ.get(VARIABLE)
    path = Path(named).expanduser() if named else user_cache() / "nyu_depth_v2"
    return path if path.is_file() else path / MAT


def without_frame(rgb: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of (H, W, 3) uint8 inside a white frame, which is on all four sides."""
    everything = slice(0, rgb.shape[0]), slice(0, rgb.shape[1])
    if min(rgb.shape[:2]) < FRAME_PICTURE:
        return everything
    darkest = rgb.min(axis=-1)
    inside = []
    for axis in (1, 0):
        white = np.percentile(darkest, 5, axis=axis) >= FRAME_DARKEST
        widths = [int(np.argmin(lines[: FRAME_WIDEST + 1])) for lines in (white, white[::-1])]
        if not all(widths):  # 0: the outermost line is not white, or too many are
            return everything
        # One line more: between the frame and the picture lies one that is half of each.
        inside.append(slice(widths[0] + 1, len(white) - widths[1] - 1))
    return inside[0], inside[1]
