"""Depth that a picture carries in its own file: what phones write.

Apple puts a small disparity picture into the HEIC, or behind the JPEG
(CIPA's multi-picture format); Google's Lens Blur puts a picture in base64 into the XMP (GDepth);
Android's Dynamic Depth puts it behind the JPEG and describes it in the XMP.
"""

import base64
import io
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from src.core.files import check_decoded_size
from src.core.images import open_picture
from src.inputs import xmp
from src.inputs.depth_files import plain_numbers
from src.inputs.depth_maps import RawDepth, check_aspect
from src.inputs.pictures import Picture, as_input_error, first_bytes

EXPECTED = "depth that is whole, or depth.path=FILE"

GOOGLE = "http://ns.google.com/photos"
GDEPTH, DYNAMIC_DEPTH = f"{GOOGLE}/1.0/depthmap/", f"{GOOGLE}/dd/1.0/depthmap/"
DYNAMIC_ITEMS = (f"{GOOGLE}/dd/1.0/item/", f"{GOOGLE}/1.0/container/item/")
APPLE_PIXELS = "http://ns.apple.com/pixeldatainfo/1.0/"
# Apple's names of pixel formats, four letters in a number: half and full float.
APPLE_DISPARITY = {int.from_bytes(name, "big") for name in (b"hdis", b"fdis")}
APPLE_DEPTH = {int.from_bytes(name, "big") for name in (b"hdep", b"fdep")}
APP2, MP_ENTRIES = 0xE2, 0xB002
# libheif's depth representations (ITU-T H.265, annex G.14.2.2).
UNIFORM_INVERSE_DEPTH, UNIFORM_DEPTH = 0, 2


def read(path: Path, picture: Picture) -> RawDepth | None:
    """The depth in a picture's file, upright, or None; an InputError if it is broken."""
    depth = None
    with as_input_error(path, "content", EXPECTED, "whose depth"):
        head = first_bytes(path)
        if head[4:8] == b"ftyp":
            depth = _heic(path, picture.file_size)
        elif head.startswith(b"\xff\xd8"):
            depth = _jpeg(path.read_bytes())
            depth = depth and depth.oriented(picture.orientation)
    if depth is not None:
        check_aspect(depth, picture.file_size, "content")
    return depth


def _heic(path: Path, photo: tuple[int, int]) -> RawDepth | None:
    import pillow_heif

    if not pillow_heif.is_supported(path):
        return None  # AVIF
    info = pillow_heif.open_heif(path).info
    depth_image = next((image for image in info["depth_images"] if image), None)
    if depth_image is None:
        return None
    check_decoded_size(4 * math.prod(depth_image.size))
    representation = depth_image.info.get("metadata") or {}
    depth = _heic_depth(np.asarray(depth_image.to_pillow()), representation)
    # libheif has turned the photo, and the depth too if that has a turn of its own. If it has
    # none it lies across, and the photo's EXIF says how.
    exif = Image.Exif()
    exif.load(info.get("exif") or b"")
    return depth.oriented_like(photo, exif.get(Base.Orientation, 1))


def _heic_depth(stored: np.ndarray, info: Mapping[str, float]) -> RawDepth:
    """What a depth image's numbers mean, by its representation information."""
    fraction = _as_fractions(stored)
    kind = info.get("representation_type")
    origin = "depth image in the HEIC"
    if kind in (UNIFORM_INVERSE_DEPTH, UNIFORM_DEPTH) and info.keys() >= {"z_near", "z_far"}:
        near, far = _endpoints(info["z_near"], info["z_far"])
        if kind == UNIFORM_DEPTH:
            return _from_depth(_interpolate(near, far, fraction), "m", origin)
        return _from_disparity(_interpolate(1 / far, 1 / near, fraction), "m", origin)
    if kind != UNIFORM_DEPTH and info.keys() >= {"d_min", "d_max"}:
        low, high = _endpoints(info["d_min"], info["d_max"])
        return _from_disparity(_interpolate(low, high, fraction), "relative", origin)
    # The file says nothing of the values. Those of phones are disparities: bright is near.
    return _from_depth(1 - fraction, "relative", origin)


def _jpeg(data: bytes) -> RawDepth | None:
    if b"/1.0/depthmap/" not in data:  # broken XMP without depth is nobody's business
        return _apple(data)
    packets = xmp.packets(data)
    google = xmp.properties(packets, GDEPTH)
    if "Data" in google:
        return _google(base64.b64decode(google["Data"]), google, "GDepth in the JPEG")
    dynamic = xmp.properties(packets, DYNAMIC_DEPTH)
    appended = _item(data, packets, dynamic.get("DepthURI", "android/depthmap"))
    if appended is not None and dynamic.keys() >= {"Near", "Far"}:
        return _google(appended, dynamic, "Dynamic Depth in the JPEG")
    return _apple(data)


def _google(payload: bytes, properties: Mapping[str, str], origin: str) -> RawDepth:
    """Google's two formats, the same in GDepth and Dynamic Depth.

    With n in [0, 1], RangeLinear: near + n (far - near); RangeInverse, finer where it is near:
    far near / (far - n (far - near)).
    """
    fraction = _as_fractions(_pixels(payload))
    near, far = _endpoints(properties["Near"], properties["Far"])
    unit = properties.get("Units", "").lower()
    if unit == "diopters":
        near, far = 1 / near, 1 / far
    form = properties.get("Format", "RangeInverse").lower()
    if form == "rangelinear":
        depth = _interpolate(near, far, fraction)
    elif form == "rangeinverse":
        depth = 1 / _interpolate(1 / near, 1 / far, fraction)
    else:
        form = properties["Format"]
        raise ValueError(f"depth in the format {form!r}, not RangeInverse or RangeLinear")
    depth = depth * np.float32(0.001 if unit == "mm" else 1)
    known = unit in ("m", "mm", "meters", "diopters")
    return _from_depth(depth, "m" if known else "relative", origin)


def _item(data: bytes, packets: list[Element], uri: str) -> bytes | None:
    """A file appended to the JPEG, found in the XMP's directory by its URI or its meaning."""
    elements = [element for packet in packets for element in packet.iter()]
    listed = [xmp.own_properties(e, namespace) for e in elements for namespace in DYNAMIC_ITEMS]
    items = [item for item in listed if "Mime" in item]
    lengths = [int(item.get("Length", 0)) for item in items]
    for number, item in reversed(list(enumerate(items))):
        if item.get("DataURI") == uri or item.get("Semantic") == "Depth":
            # The directory lists the appended files in order, without gaps, up to the end.
            start = len(data) - sum(lengths[number:])
            if min(lengths) < 0 or not 0 < start < len(data):
                raise ValueError("a depth item outside the file")
            return data[start : start + lengths[number]]
    return None


def _apple(data: bytes) -> RawDepth | None:
    """A disparity picture behind the JPEG."""
    for jpeg in map(bytes, _further_pictures(data)):
        for packet in xmp.packets(jpeg):
            properties = xmp.properties([packet], APPLE_PIXELS)
            form = int(properties.get("NativeFormat", 0))
            if form not in APPLE_DISPARITY | APPLE_DEPTH:
                continue  # a portrait matte, an HDR gain map
            stored = _pixels(jpeg).astype(np.float32)
            low, high = (float(properties[f"Int{end}Value"]) for end in ("Min", "Max"))
            ends = _endpoints(properties["FloatMinValue"], properties["FloatMaxValue"])
            values = _interpolate(*ends, (stored - low) / (high - low))
            if form in APPLE_DEPTH:
                return _from_depth(values, "m", "depth image in the JPEG")
            return _from_disparity(values, "relative", "depth image in the JPEG")
    return None


def _further_pictures(data: bytes) -> list[memoryview]:
    """The JPEG files behind the first, by the index of CIPA DC-007, "Multi-picture format"."""
    for marker, start, end in xmp.segments(data):
        if marker != APP2 or data[start : start + 4] != b"MPF\0":
            continue
        start += 4  # every offset counts from here
        order = "<" if data[start : start + 2] == b"II" else ">"
        index = data[start:end]
        (position,) = struct.unpack_from(order + "I", index, 4)
        (count,) = struct.unpack_from(order + "H", index, position)
        for entry in range(position + 2, position + 2 + 12 * count, 12):
            tag, _, size, at = struct.unpack_from(order + "HHII", index, entry)
            if tag == MP_ENTRIES:
                rows = struct.iter_unpack(order + "IIIHH", index[at : at + size // 16 * 16])
                places = [(start + offset, length) for _, length, offset, *_ in rows]
                view = memoryview(data)
                found = [view[place : place + length] for place, length in places[1:]]
                # What is there counts: an editor may have cut off what the index still names.
                if sum(map(len, found)) > len(data):
                    raise ValueError("an index of pictures that overlap")
                return found
    return []


def _pixels(file: bytes) -> np.ndarray:
    with open_picture(io.BytesIO(file), ("PNG", "JPEG")) as im:
        return plain_numbers(np.asarray(im.convert("RGB") if im.mode == "P" else im))


def _as_fractions(stored: np.ndarray) -> np.ndarray:
    """Integers as fractions of the largest that their type holds."""
    if stored.dtype.kind != "u":
        raise ValueError(f"depth of {stored.dtype} values")
    return stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max)


def _endpoints(low: str | float, high: str | float) -> tuple[float, float]:
    start, end = float(low), float(high)
    if not math.isfinite(start - end) or start == end:
        raise ValueError(f"depth from {low} to {high}")
    return start, end


def _interpolate(start: float, end: float, fraction: np.ndarray) -> np.ndarray:
    return np.float32(start) + fraction * np.float32(end - start)


def _from_disparity(values: np.ndarray, unit: str, origin: str) -> RawDepth:
    """Inverse depth to depth; what is not positive is infinitely far."""
    with np.errstate(divide="ignore"):
        return _from_depth(np.where(values > 0, 1 / values, np.inf), unit, origin)


def _from_depth(values: np.ndarray, unit: str, origin: str) -> RawDepth:
    return RawDepth(values.astype(np.float32), np.isfinite(values), "depth", unit, origin)
