"""Depth files of every common encoding: `read` gives their values, validity and meaning.

What the files of the known data sets hold, and where that is said: Open3D's RGB-D readers (TUM,
Redwood, SUN, NYU), KITTI's depth development kit, the NYU Depth v2 toolbox
(`get_projected_depth`: 351.3 / (1092.5 - raw)).
"""

import math
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from src.errors import InputError
from src.inputs.depth_maps import BEYOND, Kind, RawDepth
from src.inputs.pictures import ORIENTATION_TAG, as_input_error, check_file, read_tiff, turn

KEY = "depth.path"
EXPECTED = "a depth file: PNG, TIFF, PGM, PFM, EXR, NPY or NPZ"
FORMATS = ("PNG", "JPEG", "TIFF", "PPM", "BMP", "WEBP")
MOST_POINTS = 200_000_000
KINECT_LARGEST = 2047  # of its 11-bit readings: no reading
GREY_TOLERANCE = 8  # of 255: what JPEG does to three equal channels


@dataclass(frozen=True)
class Preset:
    """A known encoding.

    Attributes:
        scale: stored units per metre; None is relative depth.
        kind: `depth` or `disparity`.
        decode: stored integers to integers in units, 0 for missing.
        every_value_counts: 0 is a depth, not a missing one.
    """

    scale: float | None
    kind: Kind = "depth"
    decode: Callable[[np.ndarray], np.ndarray] | None = None
    every_value_counts: bool = False


def rotate_bits(stored: np.ndarray) -> np.ndarray:
    """SUN3D and SUN RGB-D: 16-bit millimetres, rotated left by three bits."""
    if stored.dtype != np.uint16:
        raise ValueError(f"{stored.dtype} values, where SUN's encoding has 16 bits")
    return (stored >> 3) | (stored << 13)


def raw_kinect(stored: np.ndarray) -> np.ndarray:
    """NYU's raw Kinect dumps: 11-bit readings, bytes swapped where needed, to metres in 0 to 10."""
    if stored.dtype != np.uint16:
        raise ValueError(f"{stored.dtype} values, where raw Kinect readings have 16 bits")
    if stored.max() > KINECT_LARGEST:
        stored = stored.byteswap()
    if stored.max() > KINECT_LARGEST:
        raise ValueError(f"{stored.max()}, where raw Kinect readings end at {KINECT_LARGEST}")
    away = 1092.5 - stored.astype(np.float32)
    return np.where((away > 0) & (stored > 0), np.minimum(351.3 / np.maximum(away, 1), 10), 0)


def flip(stored: np.ndarray) -> np.ndarray:
    """White is near: what grows with the distance is white minus the value."""
    if stored.dtype.kind == "u":
        return np.iinfo(stored.dtype).max - stored
    finite = stored[np.isfinite(stored)]
    return (finite.max() if finite.size else 0) - stored


PRESETS = {
    "mm": Preset(1000),
    "tum": Preset(5000),
    "icl": Preset(5000),
    "kitti": Preset(256),
    "redwood": Preset(1000),
    "scannet": Preset(1000),
    "sun_rgbd": Preset(1000, decode=rotate_bits),
    "kinect_raw": Preset(1, decode=raw_kinect),
    "near_black": Preset(None, every_value_counts=True),
    "near_white": Preset(None, decode=flip, every_value_counts=True),
}


def read(
    path: Path,
    *,
    kind: str = "auto",
    scale: str | float = "auto",
    preset: str | None = None,
) -> RawDepth:
    """Read a depth file.

    `auto` decides where the file does: an array called `disparity` in an NPZ, rotated bits (SUN)
    and swapped bytes (raw Kinect) in 16-bit files. Numbers of more than 8 bits are depth by
    convention, floats are metres. 8-bit maps come in both directions, so there it asks.

    Args:
        path: the file.
        kind: `depth`, `disparity`, or `auto`.
        scale: units per metre, or `auto`; it changes what is logged, not the normalised depth.
        preset: a name in `PRESETS`; `kind` and `scale`, where given, win over it.

    Returns:
        Values and validity. Integers are missing where 0 or 65535, floats where not positive;
        floats that are infinite or past 1e9 stay as +inf, for "beyond what was measured".

    Raises:
        InputError: with key `depth.path`, `depth.kind`, `depth.scale` or `depth.preset`.
    """
    known = _preset(preset)
    asked = _kind(kind)
    per_metre = _scale(scale)
    check_file(path, KEY, EXPECTED)
    with as_input_error(path, KEY, EXPECTED):
        stored, said = _decode(path)
    if known is None:
        known, note = _recognise(stored, asked or said)
    else:
        note = f"{preset} encoding"
    raw_kind = asked or said or known.kind
    per_metre = per_metre or known.scale

    decoded = stored
    if known.decode is not None:
        try:
            decoded = known.decode(stored)
        except ValueError as error:
            got = f"{preset}, but '{path}' has {error}"
            raise InputError("depth.preset", got, "the file's encoding") from error
    with np.errstate(invalid="ignore", over="ignore"):  # files hold every kind of NaN
        values = decoded.astype(np.float32)
        beyond = values >= BEYOND
        valid = np.isfinite(values) & ~beyond
        if not known.every_value_counts:
            valid &= values > 0
    if decoded.dtype == np.uint16 and not known.every_value_counts:
        valid &= decoded != np.iinfo(np.uint16).max
    values[~valid] = 0
    values /= np.float32(per_metre or 1)
    if raw_kind == "depth":
        values[beyond] = np.inf
    unit = "relative" if per_metre is None else {"depth": "m", "disparity": "1/m"}[raw_kind]
    return RawDepth(values, valid, raw_kind, unit, f"'{path}' ({note}, {raw_kind})")


def _preset(name: str | None) -> Preset | None:
    if name is None:
        return None

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    for known, preset in PRESETS.items():
        if plain(known) == plain(str(name)):
            return preset
    raise InputError("depth.preset", repr(name), f"one of {', '.join(PRESETS)}")


def _kind(kind: str) -> Kind | None:
    for known in get_args(Kind):
        if kind == known:
            return known
    if kind == "auto":
        return None
    raise InputError("depth.kind", repr(kind), f"auto, {' or '.join(get_args(Kind))}")


def _scale(scale: str | float) -> float | None:
    if scale == "auto":
        return None
    try:
        number = float(scale)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InputError("depth.scale", repr(scale), "auto or units per metre, more than 0")
    return number


def _recognise(stored: np.ndarray, kind: Kind | None) -> tuple[Preset, str]:
    """What the numbers themselves say about their encoding."""
    if stored.dtype == np.uint8:
        if kind is None:
            raise InputError(
                "depth.kind",
                "auto and an 8-bit map, which does not say whether near is dark or bright",
                "depth.preset=near_black or near_white, or depth.kind=depth or disparity",
            )
        return Preset(None, every_value_counts=kind == "depth"), "8-bit"
    if stored.dtype != np.uint16:
        return Preset(1.0 if kind != "disparity" else None), str(stored.dtype)
    if stored.max() > KINECT_LARGEST >= stored.byteswap().max():
        return PRESETS["kinect_raw"], "16-bit, raw Kinect readings with swapped bytes"
    # Rotated millimetres end in three zero bits up to 8 m, and in others beyond; of plain numbers
    # one in eight ends so.
    low = (stored[stored > 0] & 7) == 0
    if low.size and 0.9 <= low.mean() < 1:
        return PRESETS["sun_rgbd"], "16-bit, bits rotated as in SUN RGB-D"
    return Preset(None), "16-bit"


def _decode(path: Path) -> tuple[np.ndarray, Kind | None]:
    """The stored numbers, (H, W), and the kind, where the file's format says it."""
    with path.open("rb") as file:
        head = file.read(8)
    kind: Kind | None = None
    if head.startswith(b"\x93NUMPY"):
        numbers = np.load(path, mmap_mode="r", allow_pickle=False)
    elif head.startswith(b"PK"):
        numbers, kind = _npz(path)
    elif re.match(rb"P[fF]\s", head):
        numbers = _pfm(path)
    elif head.startswith(b"\x76\x2f\x31\x01"):
        numbers = _exr(path)
    else:
        numbers = _image(path)
    return plain_numbers(numbers), kind


def plain_numbers(numbers: np.ndarray) -> np.ndarray:
    """Any array of one map as (H, W) uint8, uint16 or float32."""
    shape = tuple(n for n in numbers.shape if n != 1)
    if len(shape) == 3 and shape[-1] in (3, 4):  # (H, W, channels) of a grey picture
        return _one_channel(numbers.reshape(shape))
    if len(shape) != 2:
        raise ValueError(f"an array of shape {numbers.shape}, not one map")
    if numbers.size == 0:
        raise ValueError("no points")
    if numbers.size > MOST_POINTS:
        raise ValueError(f"{numbers.size:,} points, more than {MOST_POINTS:,}")
    numbers = np.array(numbers.reshape(shape))
    if numbers.dtype.kind == "b" or numbers.dtype.kind not in "uif":
        raise ValueError(f"{numbers.dtype} values, not numbers")
    if numbers.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return numbers.astype(np.float32)
    if numbers.dtype == np.uint8:
        return numbers
    if numbers.min() >= 0 and numbers.max() <= 65535:
        return numbers.astype(np.uint16)
    return numbers.astype(np.float32)


def _one_channel(numbers: np.ndarray) -> np.ndarray:
    """(H, W, 3 or 4) with equal colours to (H, W); alpha says nothing about depth."""
    colours = numbers[..., :3]
    spread = colours.max(axis=-1).astype(float) - colours.min(axis=-1)
    if np.percentile(spread, 99) > (GREY_TOLERANCE if numbers.dtype == np.uint8 else 0):
        raise ValueError("a map in colours, not in grey")
    return plain_numbers(np.array(colours[..., 1]))


def _npz(path: Path) -> tuple[np.ndarray, Kind | None]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > 8 * MOST_POINTS:
            raise ValueError(f"more than {MOST_POINTS:,} points")
    with np.load(path, allow_pickle=False) as arrays:
        names = arrays.files
        named = [n for n in names if re.search(r"depth|disp", n.lower())]
        if len(names) != 1 and len(named) != 1:
            raise InputError(
                KEY,
                f"'{path}' with the arrays {', '.join(names) or 'none'}",
                "one array, or one called depth or disparity",
            )
        name = names[0] if len(names) == 1 else named[0]
        said: Kind | None = None
        if named:
            said = "disparity" if "disp" in name.lower() else "depth"
        return arrays[name], said


def _pfm(path: Path) -> np.ndarray:
    """Portable float map: rows from the bottom up, byte order by the sign of the scale."""
    data = path.read_bytes()
    header = re.match(rb"P([fF])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,32})\s", data)
    if header is None:
        raise ValueError("no PFM header")
    channels = 3 if header[1] == b"F" else 1
    width, height, scale = int(header[2]), int(header[3]), float(header[4])
    wanted = 4 * width * height * channels
    if wanted == 0 or len(data) - header.end() < wanted:
        raise ValueError(f"{len(data) - header.end()} bytes of values, not {wanted}")
    order = "<f4" if scale < 0 else ">f4"
    values = np.frombuffer(data, order, wanted // 4, header.end()).reshape(height, width, channels)
    return values[::-1].astype(np.float32)


def _exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError as error:
        raise InputError(
            KEY, f"'{path}', an OpenEXR file", "the package OpenEXR installed, or another format"
        ) from error
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    by_name = {name.rsplit(".", 1)[-1].lower(): name for name in channels}
    for name in ("z", "depth", "v", "y", "r"):
        if name in by_name:
            return channels[by_name[name]]
    if len(channels) == 1:
        return next(iter(channels.values()))
    raise ValueError(f"channels {', '.join(channels)}, none called Z or depth")


def _image(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=FORMATS) as file:
            file.load()
            orientation = file.getexif().get(ORIENTATION_TAG, 1)
            im: Image.Image = file
            if im.mode not in ("L", "RGB", "RGBA", "I", "F") and not im.mode.startswith("I;16"):
                im = im.convert("RGBA" if im.has_transparency_data else "RGB")
            numbers = np.asarray(im)
    except Exception:
        with path.open("rb") as start:
            if start.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                raise
        return read_tiff(path)  # of the TIFF family Pillow lacks 64-bit and half floats
    return turn(numbers, orientation)
