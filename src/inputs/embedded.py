"""Depth that a picture carries in its own file: what phones write.

Three makers, three ways: Apple puts a small disparity picture into the HEIC, or behind the JPEG
(CIPA's multi-picture format); Google's Lens Blur puts a picture in base64 into the XMP (GDepth);
Android's Dynamic Depth puts it behind the JPEG and describes it in the XMP.
"""

import base64
import io
import math
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from src.inputs import xmp
from src.inputs.depth_files import plain_numbers
from src.inputs.depth_maps import RawDepth, check_aspect, same_aspect
from src.inputs.pictures import ORIENTATION_TAG, Picture, as_input_error, turn

EXPECTED = "depth that is whole, or depth.path=FILE"

GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"
DYNAMIC_DEPTH = "http://ns.google.com/photos/dd/1.0/depthmap/"
DYNAMIC_ITEMS = (
    "http://ns.google.com/photos/dd/1.0/item/",
    "http://ns.google.com/photos/1.0/container/item/",
)
APPLE_PIXELS = "http://ns.apple.com/pixeldatainfo/1.0/"
# Apple's names of pixel formats, four letters in a number: half and full float.
APPLE_DISPARITY = {int.from_bytes(name, "big") for name in (b"hdis", b"fdis")}
APPLE_DEPTH = {int.from_bytes(name, "big") for name in (b"hdep", b"fdep")}
APP2 = 0xE2
MP_ENTRIES = 0xB002
# libheif's depth representations (ITU-T H.265, annex G.14.2.2).
UNIFORM_INVERSE_DEPTH, UNIFORM_DISPARITY, UNIFORM_DEPTH = 0, 1, 2


def read(path: Path, picture: Picture) -> RawDepth | None:
    """The depth in a picture's file, upright, or None where it carries none.

    Args:
        path: the picture's file, which `pictures.read` could read.
        picture: what it gave.

    Raises:
        InputError: with key `content`: the file has depth, but it is broken.
    """
    with as_input_error(path, "content", EXPECTED, "whose depth"):
        with path.open("rb") as file:
            head = file.read(12)
        if head[4:8] == b"ftyp":
            depth, orientation = _heic(path, picture.file_size)
        elif head.startswith(b"\xff\xd8"):
            depth, orientation = _jpeg(path.read_bytes()), picture.orientation
        else:
            return None
    if depth is None:
        return None
    values, valid = (
        np.ascontiguousarray(turn(x, orientation)) for x in (depth.values, depth.valid)
    )
    depth = replace(depth, values=values, valid=valid)
    check_aspect(depth, picture.file_size, "content")
    return depth


def _heic(path: Path, photo: tuple[int, int]) -> tuple[RawDepth | None, int]:
    """The depth image of a HEIC, and by which EXIF orientation it is to be turned."""
    import pillow_heif

    if not pillow_heif.is_supported(path):
        return None, 1  # AVIF
    info = pillow_heif.open_heif(path).info
    found = [image for image in info["depth_images"] if image]
    if not found:
        return None, 1
    depth = _heic_depth(np.asarray(found[0].to_pillow()), found[0].info.get("metadata") or {})
    # libheif has turned the photo, and the depth too if that has a turn of its own. If it has
    # none it lies across, and the photo's EXIF says how.
    exif = Image.Exif()
    exif.load(info.get("exif") or b"")
    orientation = exif.get(ORIENTATION_TAG, 1)
    across = same_aspect(turn(depth.values, orientation).shape, photo)
    return depth, orientation if across and not same_aspect(depth.values.shape, photo) else 1


def _heic_depth(stored: np.ndarray, said: Mapping[str, float]) -> RawDepth:
    """What a depth image's numbers mean, by its representation information."""
    part = _fractions(stored)
    kind = said.get("representation_type")
    origin = "depth image in the HEIC"
    if kind == UNIFORM_INVERSE_DEPTH and said.keys() >= {"z_near", "z_far"}:
        near, far = _range(said["z_near"], said["z_far"])
        return _from_disparity(_mix(1 / far, 1 / near, part), "m", origin)
    if kind == UNIFORM_DEPTH and said.keys() >= {"z_near", "z_far"}:
        return _from_depth(_mix(*_range(said["z_near"], said["z_far"]), part), "m", origin)
    if kind != UNIFORM_DEPTH and said.keys() >= {"d_min", "d_max"}:
        low, high = _range(said["d_min"], said["d_max"])
        return _from_disparity(_mix(low, high, part), "relative", origin)
    # Nothing is said of the values. Those of phones are disparities: bright is near.
    return _from_depth(1 - part, "relative", origin)


def _jpeg(data: bytes) -> RawDepth | None:
    if b"/1.0/depthmap/" not in data:  # broken XMP without depth is nobody's business
        return _apple(data)
    packets = xmp.packets(data)
    google: dict[str, str] = {}
    for packet in packets:
        google.update(xmp.properties(packet, GDEPTH))
    if "Data" in google:
        payload = base64.b64decode(google["Data"], validate=False)
        return _google(payload, google, "GDepth in the JPEG")
    dynamic: dict[str, str] = {}
    for packet in packets:
        dynamic.update(xmp.properties(packet, DYNAMIC_DEPTH))
    appended = _item(data, packets, dynamic.get("DepthURI", "android/depthmap"))
    if appended is not None and dynamic.keys() >= {"Near", "Far"}:
        return _google(appended, dynamic, "Dynamic Depth in the JPEG")
    return _apple(data)


def _google(payload: bytes, said: Mapping[str, str], origin: str) -> RawDepth:
    """Google's two formats, the same in GDepth and Dynamic Depth.

    With n in [0, 1], RangeLinear: near + n (far - near); RangeInverse, finer where it is near:
    far near / (far - n (far - near)).
    """
    part = _fractions(_pixels(payload))
    near, far = _range(said["Near"], said["Far"])
    unit = said.get("Units", "").lower()
    if unit == "diopters":
        near, far = 1 / near, 1 / far
    metres = {"mm": 0.001}.get(unit, 1.0)
    form = said.get("Format", "RangeInverse").lower()
    if form == "rangelinear":
        depth = _mix(near, far, part)
    elif form == "rangeinverse":
        depth = 1 / _mix(1 / near, 1 / far, part)
    else:
        raise ValueError(f"depth in the format {said['Format']!r}, not RangeInverse or RangeLinear")
    known = unit in ("m", "mm", "meters", "diopters")
    return _from_depth(depth * np.float32(metres), "m" if known else "relative", origin)


def _item(data: bytes, packets: list[Element], uri: str) -> bytes | None:
    """A file appended to the JPEG, found in the XMP's directory by its URI or its meaning.

    The directory lists the appended files in order, without gaps, up to the end.
    """
    lengths: list[int] = []
    wanted = None
    for packet in packets:
        for element in packet.iter():
            for namespace in DYNAMIC_ITEMS:
                said = xmp.own_properties(element, namespace)
                if "Mime" not in said:
                    continue
                if said.get("DataURI") == uri or said.get("Semantic") == "Depth":
                    wanted = len(lengths)
                lengths.append(int(said.get("Length", 0)))
    if wanted is None:
        return None
    start = len(data) - sum(lengths[wanted:])
    if min(lengths) < 0 or not 0 < start < len(data):
        raise ValueError("a depth item outside the file")
    return data[start : start + lengths[wanted]]


def _apple(data: bytes) -> RawDepth | None:
    """A disparity picture behind the JPEG."""
    for part in _further_pictures(data):
        for packet in xmp.packets(part):
            said = xmp.properties(packet, APPLE_PIXELS)
            form = int(said.get("NativeFormat", 0))
            if form not in APPLE_DISPARITY | APPLE_DEPTH:
                continue  # a portrait matte, an HDR gain map
            stored = _pixels(part).astype(np.float32)
            low, high = (float(said[f"Int{end}Value"]) for end in ("Min", "Max"))
            ends = _range(said["FloatMinValue"], said["FloatMaxValue"])
            values = _mix(*ends, (stored - low) / (high - low))
            origin = "depth image in the JPEG"
            if form in APPLE_DEPTH:
                return _from_depth(values, "m", origin)
            return _from_disparity(values, "relative", origin)
    return None


def _further_pictures(data: bytes) -> list[bytes]:
    """The JPEG files behind the first, by the index of CIPA DC-007, "Multi-picture format"."""
    for marker, start, end in xmp.segments(data):
        if marker != APP2 or data[start : start + 4] != b"MPF\0":
            continue
        start += 4  # every offset counts from here
        order = "<" if data[start : start + 2] == b"II" else ">"
        index = data[start:end]
        (place,) = struct.unpack_from(order + "I", index, 4)
        (count,) = struct.unpack_from(order + "H", index, place)
        for number in range(count):
            tag, _, size, where = struct.unpack_from(order + "HHII", index, place + 2 + 12 * number)
            if tag == MP_ENTRIES:
                rows = struct.iter_unpack(order + "IIIHH", index[where : where + size // 16 * 16])
                return [
                    data[start + offset : start + offset + length]
                    for _, length, offset, *_ in list(rows)[1:]
                ]
    return []


def _pixels(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file), formats=["PNG", "JPEG"]) as im:
        return plain_numbers(np.asarray(im.convert("RGB") if im.mode == "P" else im))


def _fractions(stored: np.ndarray) -> np.ndarray:
    """Integers as parts of the largest that their type holds."""
    if stored.dtype.kind != "u":
        raise ValueError(f"depth of {stored.dtype} values")
    return stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max)


def _range(low: str | float, high: str | float) -> tuple[float, float]:
    ends = float(low), float(high)
    if not all(map(math.isfinite, ends)) or ends[0] == ends[1]:
        raise ValueError(f"depth from {low} to {high}")
    return ends


def _mix(start: float, end: float, part: np.ndarray) -> np.ndarray:
    return np.float32(start) + part * np.float32(end - start)


def _from_disparity(values: np.ndarray, unit: str, origin: str) -> RawDepth:
    """Inverse depth to depth; what is not positive is infinitely far."""
    with np.errstate(divide="ignore"):
        return _from_depth(np.where(values > 0, 1 / values, np.inf), unit, origin)


def _from_depth(values: np.ndarray, unit: str, origin: str) -> RawDepth:
    return RawDepth(values.astype(np.float32), np.isfinite(values), "depth", unit, origin)
