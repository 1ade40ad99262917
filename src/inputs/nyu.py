"""NYU Depth v2: one image of the labelled set, without reading the other 1,448.

Silberman, Hoiem, Kohli, Fergus, "Indoor segmentation and support inference from RGBD images",
2012. The file is MATLAB v7.3, which is HDF5 with the axes reversed: MATLAB's H x W x 3 x N is
(N, 3, W, H) here.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from src.errors import InputError
from src.inputs.depth_maps import RawDepth
from src.inputs.pictures import as_input_error, check_file

EXPECTED = "NYU Depth v2's labelled .mat file (MATLAB v7.3, which is HDF5)"
WHITE_BORDER = 16  # pixels: the labelled pictures have a white frame of about 8


@dataclass(frozen=True)
class Frame:
    """One image of the set.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: metres, complete: the holes are filled by the authors (Levin's colourisation).
        name: `nyu0123`.
    """

    rgb: np.ndarray
    depth: RawDepth
    name: str


def read_mat(path: Path, index: int | None = None) -> Frame:
    """Read one image of a `.mat`, its white border cropped.

    Args:
        path: the file.
        index: which image, from 0; None is the first.

    Raises:
        InputError: with key `content` or `content_index`.
    """
    check_file(path, "content", EXPECTED)
    if not h5py.is_hdf5(path):
        raise InputError("content", f"'{path}', which is not HDF5", EXPECTED)
    with as_input_error(path, "content", EXPECTED), h5py.File(path, "r") as file:
        missing = [name for name in ("images", "depths") if name not in file]
        if missing:
            raise InputError("content", f"'{path}' without {' and '.join(missing)}", EXPECTED)
        images, depths = file["images"], file["depths"]
        if images.ndim != 4 or images.shape[1] != 3 or depths.shape != _without_colour(images):
            raise InputError(
                "content",
                f"'{path}' with images {images.shape} and depths {depths.shape}",
                "images (N, 3, W, H) and depths (N, W, H)",
            )
        index = _checked(index, len(images))
        rgb = images[index].transpose(2, 1, 0)
        filled = depths[index].T.astype(np.float32)
        measured = file.get("rawDepths", depths)[index].T
        if rgb.dtype != np.uint8 or measured.shape != filled.shape:
            raise ValueError(f"images of {rgb.dtype}, rawDepths of {measured.shape}")
    inside = without_white_border(rgb)
    valid = np.isfinite(measured) & (measured > 0)
    depth = RawDepth(
        values=np.ascontiguousarray(filled[inside]),
        valid=np.ascontiguousarray(valid[inside]),
        kind="depth",
        unit="m",
        origin=f"'{path}', image {index}",
        complete=True,
    )
    return Frame(np.ascontiguousarray(rgb[inside]), depth, f"nyu{index:04d}")


def without_white_border(rgb: np.ndarray) -> tuple[slice, slice]:
    """The part of an (H, W, 3) uint8 picture inside its white frame, if it has one."""
    white = np.all(rgb >= 250, axis=-1)

    def inside(lines: np.ndarray) -> slice:
        cut = [0, 0]
        for side, from_edge in enumerate((lines, lines[::-1])):
            while cut[side] < min(WHITE_BORDER, len(lines) // 4) and from_edge[cut[side]]:
                cut[side] += 1
        return slice(cut[0], len(lines) - cut[1])

    return inside(np.all(white, axis=1)), inside(np.all(white, axis=0))


def _without_colour(images: h5py.Dataset) -> tuple[int, ...]:
    return (images.shape[0], *images.shape[2:])


def _checked(index: int | None, count: int) -> int:
    if index is None:
        index = 0
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise InputError("content_index", repr(index), f"a whole number from 0 to {count - 1}")
    return index
