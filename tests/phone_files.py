"""Small files with the layouts that phones write, for the tests; and what refuses a file."""

import base64
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.core.errors import InputError

XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
GUID = "0123456789ABCDEF0123456789ABCDEF"


@contextmanager
def refused(key: str, *words: str) -> Iterator[None]:
    """The block ends with one line that names the key and has these words."""
    with pytest.raises(InputError) as caught:
        yield
    assert caught.value.key == key
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def photo(height: int = 48, width: int = 64, orientation: int | None = None) -> bytes:
    """A grey JPEG with a red left half; with orientation 6 or 8 that half is up or down."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[:, : width // 2] = (220, 30, 30)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return encode(pixels, "JPEG", exif=exif.tobytes() if orientation else b"")


def ramp(height: int = 24, width: int = 32) -> np.ndarray:
    """8 bits from 0 at the left to 255 at the right."""
    return np.linspace(0, 255, width).round().astype(np.uint8)[None].repeat(height, 0)


def encode(pixels: np.ndarray, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **how)
    return buffer.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def packet(inside: str, prolog: str = "") -> bytes:
    return (
        f'{prolog}<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"{inside}</rdf:RDF></x:xmpmeta>"
    ).encode()


def gdepth(
    depth: bytes,
    *,
    form: str = "RangeInverse",
    near: str = "2",
    far: str = "10",
    units: str = "m",
    pieces: int = 0,
    elements: bool = False,
    prolog: str = "",
    jpeg: bytes | None = None,
) -> bytes:
    """A JPEG with GDepth; with `pieces` the data is in that many pieces of extended XMP."""
    names = {"Format": form, "Near": near, "Far": far, "Units": units, "Mime": "image/png"}
    data = base64.b64encode(depth).decode()
    if not pieces:
        names["Data"] = data
    space = 'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/"'
    note = 'xmlns:n="http://ns.adobe.com/xmp/note/"'
    known = f'n:HasExtendedXMP="{GUID}"' if pieces else ""
    if elements:
        inside = "".join(f"<GDepth:{k}>{v}</GDepth:{k}>" for k, v in names.items())
        main = packet(f"<rdf:Description {space} {note} {known}>{inside}</rdf:Description>", prolog)
    else:
        inside = " ".join(f'GDepth:{k}="{v}"' for k, v in names.items())
        main = packet(f"<rdf:Description {space} {note} {known} {inside}/>", prolog)
    segments = [segment(0xE1, XMP + main)]
    if pieces:
        extended = packet(f'<rdf:Description {space} GDepth:Data="{data}"/>')
        size = -(-len(extended) // pieces)
        for offset in reversed(range(0, len(extended), size)):  # any order will do
            head = EXTENSION + GUID.encode() + struct.pack(">II", len(extended), offset)
            segments.append(segment(0xE1, head + extended[offset : offset + size]))
    return with_segments(jpeg or photo(), *segments)


def dynamic_depth(
    depth: bytes, *, near: str = "2", far: str = "10", units: str = "Meters", elements: bool = False
) -> bytes:
    """A JPEG with Dynamic Depth: an unrelated file and the depth behind the photo."""
    other = b"a film, perhaps" * 9
    items = [
        ("image/jpeg", 0, "primary_image"),
        ("video/mp4", len(other), "android/film"),
        ("image/jpeg", len(depth), "android/depthmap"),
    ]
    if elements:
        listed = "".join(
            '<rdf:li rdf:parseType="Resource"><rdf:value rdf:parseType="Resource">'
            f"<Item:Mime>{mime}</Item:Mime><Item:Length>{length}</Item:Length>"
            f"<Item:DataURI>{uri}</Item:DataURI></rdf:value></rdf:li>"
            for mime, length, uri in items
        )
    else:
        listed = "".join(
            f'<rdf:li><Container:Item Item:Mime="{mime}" Item:Length="{length}" '
            f'Item:DataURI="{uri}"/></rdf:li>'
            for mime, length, uri in items
        )
    base = "http://ns.google.com/photos/dd/1.0"
    spaces = " ".join(
        f'xmlns:{name}="{base}/{name.lower()}/"'
        for name in ("Device", "Container", "Item", "Camera", "DepthMap")
    )
    xmp = packet(
        f"<rdf:Description {spaces}><Device:Container><Container:Directory><rdf:Seq>{listed}"
        "</rdf:Seq></Container:Directory></Device:Container><Device:Cameras><rdf:Seq><rdf:li>"
        f'<Device:Camera><Camera:DepthMap DepthMap:Format="RangeInverse" DepthMap:Near="{near}" '
        f'DepthMap:Far="{far}" DepthMap:Units="{units}" DepthMap:DepthURI="android/depthmap"/>'
        "</Device:Camera></rdf:li></rdf:Seq></Device:Cameras></rdf:Description>"
    )
    return with_segments(photo(), segment(0xE1, XMP + xmp)) + other + depth


def apple_jpeg(
    stored: np.ndarray,
    *,
    low: float = 0.5,
    high: float = 2.5,
    native: bytes = b"hdis",
    jpeg: bytes | None = None,
    order: str = ">",
) -> bytes:
    """A JPEG with a preview and Apple's auxiliary picture behind it, in a multi-picture index."""
    about = {
        "NativeFormat": int.from_bytes(native, "big"),
        "IntMinValue": 0,
        "IntMaxValue": 255,
        "FloatMinValue": low,
        "FloatMaxValue": high,
    }
    inside = "".join(f"<apdi:{k}>{v}</apdi:{k}>" for k, v in about.items())
    space = 'xmlns:apdi="http://ns.apple.com/pixeldatainfo/1.0/"'
    xmp = packet(f"<rdf:Description {space}>{inside}</rdf:Description>")
    auxiliary = with_segments(encode(stored, "JPEG", quality=100), segment(0xE1, XMP + xmp))
    preview = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
    main = jpeg or photo()

    def index(first: int) -> bytes:
        entries = b""
        place = first
        for number, picture in enumerate((main, preview, auxiliary)):
            entries += struct.pack(
                order + "IIIHH", 0, len(picture), 0 if number == 0 else place, 0, 0
            )
            place += 0 if number == 0 else len(picture)
        rows = [
            (0xB000, 7, 4, int.from_bytes(b"0100", "big" if order == ">" else "little")),
            (0xB001, 4, 1, 3),
            (0xB002, 7, len(entries), 8 + 2 + 3 * 12 + 4),
        ]
        mark = b"MM\0*" if order == ">" else b"II*\0"
        table = struct.pack(order + "IH", 8, len(rows))
        table += b"".join(struct.pack(order + "HHII", *row) for row in rows)
        return b"MPF\0" + mark + table + struct.pack(order + "I", 0) + entries

    marker = segment(0xE2, index(0))
    # Offsets count from the byte order mark: after the photo's first marker and "MPF\0".
    first = len(main) + len(marker) - 2 - 4 - 4
    return with_segments(main, segment(0xE2, index(first))) + preview + auxiliary
