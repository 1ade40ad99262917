"""Depth files of every common encoding: `read` gives their values, validity and meaning.

Sources: Open3D's RGB-D readers, KITTI's development kit, the NYU toolbox (`get_projected_depth`).
"""

import math
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np
from PIL.ExifTags import Base

from src.core.errors import InputError
from src.core.files import check_decoded_size
from src.core.images import open_picture
from src.inputs.depth_maps import BEYOND, Kind, RawDepth
from src.inputs.pictures import (
    NUMPY,
    apply_orientation,
    as_input_error,
    first_bytes,
    read_tiff,
)

KEY = "depth.path"
EXPECTED = "a depth file: PNG, TIFF, PGM, PFM, EXR, NPY or NPZ"
FORMATS = ("PNG", "JPEG", "TIFF", "PPM", "BMP", "WEBP")
KINECT_LARGEST = 2047  # of its 11-bit readings: no reading
GREY_TOLERANCE = 8  # of 255: what JPEG does to three equal channels


class Preset(NamedTuple):
    """A known encoding."""

    scale: float | None  # stored units per metre; None is relative depth
    decode: Callable[[np.ndarray], np.ndarray] = np.asarray  # to units, 0 for missing
    zero_is_valid: bool = False  # 0 is a depth, not a missing one


def rotate_bits(stored: np.ndarray) -> np.ndarray:
    """SUN3D and SUN RGB-D: 16-bit millimetres, rotated left by three bits."""
    if stored.dtype != np.uint16:
        raise ValueError(f"{stored.dtype} values, where SUN's encoding has 16 bits")
    return (stored >> 3) | (stored << 13)


def metric(stored: np.ndarray) -> np.ndarray:
    """Scaled units of length, for which 8 bits are too few: those are greys."""
    if stored.dtype == np.uint8:
        raise ValueError("8 bits: near_black or near_white, perhaps")
    return stored


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


SCALES = {"mm": 1000, "tum": 5000, "icl": 5000, "kitti": 256, "redwood": 1000, "scannet": 1000}
PRESETS = {name: Preset(per_metre, metric) for name, per_metre in SCALES.items()} | {
    "sun_rgbd": Preset(1000, decode=rotate_bits),
    "kinect_raw": Preset(1, decode=raw_kinect),
    "near_black": Preset(None, zero_is_valid=True),
    "near_white": Preset(None, decode=flip, zero_is_valid=True),
}


def read(
    path: Path, *, kind: str = "auto", scale: str | float = "auto", preset: str | None = None
) -> RawDepth:
    """Read a depth file; an InputError has the key depth.path, .kind, .scale or .preset.

    `kind` is `depth`, `disparity` or `auto`: what the file says (an array called `disparity` in an
    NPZ), else depth; an 8-bit map is an error, because they come in both directions. `scale` is in
    units per metre; `auto` is 1 for floats. It changes what is logged, not the normalised depth.
    `preset` is a name in `PRESETS`, over which both win; without it, rotated bits (SUN) and swapped
    bytes (raw Kinect) are recognised.

    Integers are missing where 0 or 65535, floats where not positive; floats that are infinite or
    past 1e9 are +inf in the result, for "beyond what was measured".
    """
    encoding, known_kind, per_metre = _preset(preset), _kind(kind), _scale(scale)
    with as_input_error(path, KEY, EXPECTED):
        stored, file_kind = _decode(path)
    known_kind = known_kind or file_kind
    note = f"{preset} encoding"
    if encoding is None:
        encoding, note = _recognise(stored, known_kind)
    raw_kind: Kind = known_kind or "depth"
    per_metre = per_metre or encoding.scale
    try:
        decoded = encoding.decode(stored)
    except ValueError as error:
        got = f"{preset}, but '{path}' has {error}"
        raise InputError("depth.preset", got, "the file's encoding") from error
    with np.errstate(invalid="ignore", over="ignore"):  # files hold every kind of NaN
        values = decoded.astype(np.float32)
        beyond = values >= BEYOND
        valid = np.isfinite(values) & ~beyond
        if not encoding.zero_is_valid:
            valid &= values > 0
            if decoded.dtype == np.uint16:
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
    plain = re.sub(r"[^a-z0-9]", "", str(name).lower())
    by_plain_name = {known.replace("_", ""): preset for known, preset in PRESETS.items()}
    if plain not in by_plain_name:
        raise InputError("depth.preset", repr(name), f"one of {', '.join(PRESETS)}")
    return by_plain_name[plain]


def _kind(kind: str) -> Kind | None:
    if kind not in ("auto", *get_args(Kind)):
        raise InputError("depth.kind", repr(kind), f"auto, {' or '.join(get_args(Kind))}")
    return None if kind == "auto" else cast(Kind, kind)


def _scale(scale: str | float) -> float | None:
    if scale == "auto":
        return None
    with suppress(TypeError, ValueError):
        if 0 < float(scale) < math.inf:
            return float(scale)
    raise InputError("depth.scale", repr(scale), "auto or units per metre, more than 0")


def _recognise(stored: np.ndarray, kind: Kind | None) -> tuple[Preset, str]:
    """The encoding that the numbers show, and its name."""
    if stored.dtype == np.uint8:
        if kind is None:
            got = "auto and an 8-bit map, which does not say whether near is dark or bright"
            expected = "depth.preset=near_black or near_white, or depth.kind=depth or disparity"
            raise InputError("depth.kind", got, expected)
        return Preset(None, zero_is_valid=kind == "depth"), "8-bit"
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
    head = first_bytes(path)
    if head.startswith(b"PK"):
        numbers, kind = _npz(path)
        return plain_numbers(numbers), kind
    if head.startswith(NUMPY):
        return plain_numbers(np.load(path, mmap_mode="r", allow_pickle=False)), None
    if re.match(rb"P[fF]\s", head):
        return plain_numbers(_pfm(path)), None
    is_exr = head.startswith(b"\x76\x2f\x31\x01")
    return plain_numbers(_exr(path) if is_exr else _image(path)), None


def plain_numbers(numbers: np.ndarray) -> np.ndarray:
    """Any array of one map as (H, W) uint8, uint16 or float32."""
    check_decoded_size(4 * numbers.size)
    shape = tuple(n for n in numbers.shape if n != 1)
    if len(shape) == 3 and shape[-1] in (3, 4):  # a grey picture; alpha says nothing about depth
        colours = numbers.reshape(shape)[..., :3]
        spread = np.ptp(colours, axis=-1)
        if np.percentile(spread, 99) > (GREY_TOLERANCE if numbers.dtype == np.uint8 else 0):
            raise ValueError("a map in colours, not in grey")
        numbers, shape = colours[..., 1], shape[:2]
    if len(shape) != 2:
        raise ValueError(f"an array of shape {numbers.shape}, not one map")
    if numbers.size == 0:
        raise ValueError("no points")
    numbers = np.array(numbers.reshape(shape))
    if numbers.dtype.kind not in "uif":
        raise ValueError(f"{numbers.dtype} values, not numbers")
    if numbers.dtype == np.uint8:
        return numbers
    if numbers.dtype.kind != "f" and numbers.min() >= 0 and numbers.max() <= 65535:
        return numbers.astype(np.uint16)
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _npz(path: Path) -> tuple[np.ndarray, Kind | None]:
    with zipfile.ZipFile(path) as archive:
        check_decoded_size(sum(entry.file_size for entry in archive.infolist()))
    with np.load(path, allow_pickle=False) as arrays:
        named = [n for n in arrays.files if re.search(r"depth|disp", n.lower())]
        choice = arrays.files if len(arrays.files) == 1 else named
        if len(choice) != 1:
            got = f"'{path}' with the arrays {', '.join(arrays.files)[:160] or 'none'}"
            raise InputError(KEY, got, "one array, or one called depth or disparity")
        kind: Kind = "disparity" if "disp" in choice[0].lower() else "depth"
        return arrays[choice[0]], kind if named else None


def _pfm(path: Path) -> np.ndarray:
    """Portable float map: rows from the bottom up, byte order by the sign of the scale."""
    data = path.read_bytes()
    header = re.match(rb"P([fF])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,32})\s", data)
    if header is None:
        raise ValueError("no PFM header")
    width, height, channels = int(header[2]), int(header[3]), 3 if header[1] == b"F" else 1
    count, length = width * height * channels, len(data) - header.end()
    if count == 0 or length < 4 * count:
        raise ValueError(f"{length} bytes of values, not {4 * count}")
    order = "<f4" if float(header[4]) < 0 else ">f4"
    values = np.frombuffer(data, order, count, header.end())
    return values.reshape(height, width, channels)[::-1].astype(np.float32)


def _exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError as error:
        expected = "the package OpenEXR installed, or another format"
        raise InputError(KEY, f"'{path}', an OpenEXR file", expected) from error
    with OpenEXR.File(str(path), header_only=True) as file:
        for header in (part.header for part in file.parts):
            low, high = header["dataWindow"]
            check_decoded_size(4 * len(header["channels"]) * int(np.prod(high - low + 1.0)))
            if header.get("type") in (OpenEXR.deepscanline, OpenEXR.deeptile):
                raise ValueError("deep data: many depths for one pixel")
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    by_name = {name.rsplit(".", 1)[-1].lower(): pixels for name, pixels in channels.items()}
    known = [name for name in ("z", "depth", "v", "y", "r") if name in by_name]
    if not known and len(channels) != 1:
        raise ValueError(f"channels {', '.join(channels)}, none called Z or depth")
    return by_name[known[0]] if known else next(iter(channels.values()))


def _image(path: Path) -> np.ndarray:
    try:
        with open_picture(path, FORMATS) as im:
            im.load()
            orientation = im.getexif().get(Base.Orientation, 1)
            is_plain = im.mode in ("L", "RGB", "RGBA", "I", "F") or im.mode.startswith("I;16")
            other_mode = "RGBA" if im.has_transparency_data else "RGB"
            numbers = np.asarray(im if is_plain else im.convert(other_mode))
    except Exception:
        if first_bytes(path)[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise
        return read_tiff(path)  # of the TIFF family Pillow lacks 64-bit and half floats
    return apply_orientation(numbers, orientation)
