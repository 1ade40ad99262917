"""NYU Depth v2: one image of the labelled set, without reading the other 1,448.

Silberman, Hoiem, Kohli, Fergus, "Indoor segmentation and support inference from RGBD images",
2012. The file is MATLAB v7.3, which is HDF5 with the axes reversed: MATLAB's H x W x 3 x N is
(N, 3, W, H) here.

`python -m src.inputs.nyu prepare --out FOLDER` fetches it and cuts it into a file of half the
size, whose images are then named `content=nyu:0123`.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, track

from src.errors import InputError
from src.inputs import downloads
from src.inputs.depth_maps import RawDepth
from src.inputs.pictures import as_input_error, check_file

EXPECTED = "NYU Depth v2's labelled .mat file (MATLAB v7.3, which is HDF5)"
PREFIX = "nyu:"

MAT = "nyu_depth_v2_labeled.mat"
MAT_URL = f"http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/{MAT}"
MAT_BYTES = 2_972_037_809
MAT_MD5 = "520609c519fba3ba5ac58c8fefcc3530"
SPLITS_URL = "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat"
SPLITS_MD5 = "08e3c3aea27130ac7c01ffd739a4535f"
PREPARED = "nyu_depth_v2.h5"
PREPARED_BYTES = 2_000_000_000  # room to ask for

# The labelled pictures have a frame of near-white pixels, 5 to 8 wide: what undistorting left.
FRAME_WIDEST = 16
FRAME_DARKEST = 220  # of 255, in every channel of 95 of 100 of its pixels
FRAME_PICTURE = 64  # in smaller pictures none is looked for


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
    inside = without_frame(rgb)
    valid = np.isfinite(measured) & (measured > 0) & np.isfinite(filled)
    depth = RawDepth(
        values=np.ascontiguousarray(filled[inside]),
        valid=np.ascontiguousarray(valid[inside]),
        kind="depth",
        unit="m",
        origin=f"'{path}', image {index}",
        complete=True,
    )
    return Frame(np.ascontiguousarray(rgb[inside]), depth, f"nyu{index:04d}")


def read_prepared(name: str) -> Frame:
    """Read one image, `nyu:0123`, of the set that `prepare` made.

    Raises:
        InputError: with key `content`: nothing prepared, or no such image.
    """
    number = name.removeprefix(PREFIX)
    path = prepared_file()
    if path is None:
        raise InputError(
            "content",
            f"'{name}', but NYU Depth v2 is not on this machine",
            "python -m src.inputs.nyu prepare --out FOLDER first, or NYU_DEPTH_V2=FOLDER in the "
            "environment",
        )
    with as_input_error(path, "content", "the file that prepare made"), h5py.File(path) as file:
        count = len(file["images"])
        if not number.isdecimal() or int(number) >= count:
            raise InputError("content", f"'{name}'", f"nyu:0000 to nyu:{count - 1:04d}")
        index = int(number)
        rgb = file["images"][index]
        filled, raw = (file[key][index] / np.float32(1000) for key in ("depth", "raw_depth"))
        scene = file["scenes"].asstr()[index]
    depth = RawDepth(filled, raw > 0, "depth", "m", f"NYU Depth v2, {name}, {scene}", complete=True)
    return Frame(rgb, depth, f"nyu{index:04d}")


def training_part() -> list[str]:
    """The names, `nyu:0123`, of the official training pictures of the set that `prepare` made.

    Raises:
        InputError: with key `content`: nothing prepared.
    """
    path = prepared_file()
    if path is None:
        raise InputError(
            "content", PREFIX, "NYU Depth v2: python -m src.inputs.nyu prepare --out FOLDER first"
        )
    with as_input_error(path, "content", "the file that prepare made"), h5py.File(path) as file:
        split = file["split"].asstr()[:]
    return [f"{PREFIX}{index:04d}" for index, part in enumerate(split) if part == "train"]


def prepared_file() -> Path | None:
    """The prepared set: in $NYU_DEPTH_V2, or where `prepare` last put it."""
    named = os.environ.get("NYU_DEPTH_V2")
    note = _note()
    if named is None and note.is_file():
        named = note.read_text().strip()
    path = Path(named) / PREPARED if named else None
    return path if path is not None and path.is_file() else None


def _note() -> Path:
    import pooch

    return Path(pooch.os_cache("depth-style-transfer")) / "nyu_depth_v2.txt"


def prepare(out: Path, mat: Path | None = None, splits: Path | None = None) -> Path:
    """Fetch the labelled set, and cut it into one compact file.

    The file holds, one chunk per image: `images` (N, H, W, 3) uint8, `depth` (as filled by the
    authors) and `raw_depth` (as measured, 0 for missing), (N, H, W) uint16 millimetres, `scenes`
    and `split` (the official `train` and `test`), (N,) strings. The white frame is cropped.

    Args:
        out: the folder; made if need be.
        mat: `nyu_depth_v2_labeled.mat`, where it is on this machine already.
        splits: `splits.mat`, likewise.

    Returns:
        The prepared file.

    Raises:
        InputError: no network, a damaged file, no room.
    """
    for key, file in (("mat", mat), ("splits", splits)):
        if file is not None:
            check_file(file, key, "a file of the data set, or nothing: then it is fetched")
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
    there = sum(file.stat().st_size for file in (out / MAT, out / f"{MAT}.part") if file.exists())
    needed = PREPARED_BYTES + (0 if mat else MAT_BYTES - there)
    if free < needed:
        raise InputError("out", f"{free / 1e9:.1f} GB free in '{out}'", f"{needed / 1e9:.1f} GB")
    with Progress(
        "{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn()
    ) as bar:
        mat = mat or _fetch(MAT_URL, out / MAT, MAT_MD5, bar)
        splits = splits or _fetch(SPLITS_URL, out / "splits.mat", SPLITS_MD5, bar)
    with _writing(out):
        path = _cut(mat, splits, out / PREPARED)
        note = _note()
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(out.resolve()))
    return path


def _fetch(url: str, path: Path, md5: str, bar: Progress) -> Path:
    task = bar.add_task(path.name, total=None)
    return downloads.fetch(
        url,
        path,
        key="out",
        md5=md5,
        progress=lambda done, total: bar.update(task, completed=done, total=total),
    )


def _cut(mat: Path, splits: Path, path: Path) -> Path:
    """Write the compact file; under another name until it is whole."""
    part = path.with_name(path.name + ".part")
    with as_input_error(mat, "mat", EXPECTED), h5py.File(mat) as source:
        images = source["images"]
        count, _, width, height = images.shape
        sample = [without_frame(images[i].transpose(2, 1, 0)) for i in range(min(count, 50))]
        rows, columns = _common([s[0] for s in sample]), _common([s[1] for s in sample])
        inside = (rows.stop - rows.start, columns.stop - columns.start)
        split = _official_split(splits, count)
        with h5py.File(part, "w") as file:
            rgb = _per_image(file, "images", (count, *inside, 3), "u1")
            filled = _per_image(file, "depth", (count, *inside), "u2")
            raw = _per_image(file, "raw_depth", (count, *inside), "u2")
            file["scenes"] = [_string(source, ref) for ref in source["scenes"][0]]
            file["split"] = split
            file.attrs["source"] = MAT_URL
            file.attrs["cropped_rows"] = (rows.start, height - rows.stop)
            file.attrs["cropped_columns"] = (columns.start, width - columns.stop)
            for index in track(range(count), description=path.name):
                rgb[index] = images[index].transpose(2, 1, 0)[rows, columns]
                filled[index] = _millimetres(source["depths"][index].T[rows, columns])
                raw[index] = _millimetres(source["rawDepths"][index].T[rows, columns])
    os.replace(part, path)
    return path


def _per_image(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> h5py.Dataset:
    """A data set of which one image can be read alone."""
    return file.create_dataset(
        name, shape, dtype, chunks=(1, *shape[1:]), compression="gzip", shuffle=True
    )


def _official_split(path: Path, count: int) -> list[str]:
    """`train` or `test` per image, from the authors' splits.mat, which counts from 1."""
    from scipy.io import loadmat

    with as_input_error(path, "splits", "the authors' splits.mat"):
        arrays = loadmat(path)
        split = ["none"] * count
        for name, key in (("train", "trainNdxs"), ("test", "testNdxs")):
            for index in arrays[key].ravel():
                split[int(index) - 1] = name
    return split


def _string(file: h5py.File, reference: h5py.Reference) -> str:
    """MATLAB's strings: an object reference to their UTF-16 codes."""
    return "".join(map(chr, file[reference][:].ravel()))


def _millimetres(metres: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(metres, nan=0.0, posinf=0.0, neginf=0.0)
    return (known * 1000).round().clip(0, 65535).astype(np.uint16)


def _common(slices: list[slice]) -> slice:
    """What to keep where a border is cut that all images have."""
    return slice(min(s.start for s in slices), max(s.stop for s in slices))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError("out", f"'{folder}' ({reason})", "a folder with room to write") from error


def without_frame(rgb: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of an (H, W, 3) uint8 picture inside its white frame, if it has one.

    A frame is on all four sides: a white wall at one edge is none.
    """
    whole = slice(0, rgb.shape[0]), slice(0, rgb.shape[1])
    if min(rgb.shape[:2]) < FRAME_PICTURE:
        return whole
    darkest = rgb.min(axis=-1)
    inside = []
    for axis in (1, 0):
        white = np.percentile(darkest, 5, axis=axis) >= FRAME_DARKEST
        widths = [int(np.argmin(lines[: FRAME_WIDEST + 1])) for lines in (white, white[::-1])]
        if not all(widths):  # 0: the outermost line is not white, or too many are
            return whole
        # One line more: between the frame and the picture lies one that is half of each.
        inside.append(slice(widths[0] + 1, len(white) - widths[1] - 1))
    return inside[0], inside[1]


def _without_colour(images: h5py.Dataset) -> tuple[int, ...]:
    return (images.shape[0], *images.shape[2:])


def _checked(index: int | None, count: int) -> int:
    if index is None:
        index = 0
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise InputError("content_index", repr(index), f"a whole number from 0 to {count - 1}")
    return index


def main(arguments: list[str]) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m src.inputs.nyu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="fetch the labelled set and cut it")
    command.add_argument("--out", type=Path, required=True, help="folder for it (5 GB)")
    command.add_argument("--mat", type=Path, help=f"{MAT}, if it is on this machine already")
    command.add_argument("--splits", type=Path, help="splits.mat, likewise")
    given = parser.parse_args(arguments)
    try:
        path = prepare(given.out, given.mat, given.splits)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{path}: content=nyu:0000 and on")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
