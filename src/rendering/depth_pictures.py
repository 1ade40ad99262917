"""A picture and its depth in the forms that other programs read."""

import base64
import hashlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torch import Tensor

from src.core.files import replace_whole
from src.core.images import srgb_profile, to_uint8
from src.inputs.xmp import EXTENDED, NOTE, STANDARD

QUALITY = 95
LONGEST_CHUNK = 65_000  # bytes of extended XMP in a segment, of 65,533 that one holds
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF \
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" \
xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" {attributes}/></rdf:RDF></x:xmpmeta>"""


def save_jpeg(image: Tensor, path: Path, exif: bytes, xmp_segments: bytes = b"") -> None:
    """Write a picture, (1, 3, H, W) in [0, 1], as JPEG, whole or not at all."""
    file = io.BytesIO()
    options = {"quality": QUALITY, "subsampling": 0, "icc_profile": srgb_profile()}
    Image.fromarray(to_uint8(image)).save(file, "JPEG", exif=exif, **options)
    data = file.getvalue()
    # Behind JFIF and EXIF, where readers look for it.
    end = 2
    while data[end : end + 2] in (b"\xff\xe0", b"\xff\xe1"):
        end += 2 + int.from_bytes(data[end + 2 : end + 4], "big")
    with replace_whole(path) as part:
        part.write_bytes(data[:end] + xmp_segments + data[end:])


def depth_segments(depth: Tensor) -> bytes:
    """GDepth for a JPEG's header: depth, (1, 1, H, W) in [0, 1], 0 near, as a PNG in XMP.

    Google, "Depthmap metadata": RangeLinear, which keeps the far as well as the near. What is
    longer than a segment is extended XMP (Adobe, "XMP specification, part 3", 2020, 1.1.3.1).
    """
    png = io.BytesIO()
    Image.fromarray(to_uint8(depth)).save(png, "PNG")
    data = base64.b64encode(png.getvalue()).decode()
    extension = XMP.format(attributes=f'GDepth:Data="{data}"').encode()
    digest = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()
    attributes = (
        'GDepth:Format="RangeLinear" GDepth:Near="1.0" GDepth:Far="2.0" '
        'GDepth:Mime="image/png" '
        f'xmlns:xmpNote="{NOTE}" xmpNote:HasExtendedXMP="{digest}"'
    )
    head = _segment(STANDARD + XMP.format(attributes=attributes).encode())
    return head + b"".join(_extension(extension, digest.encode()))


def _extension(data: bytes, digest: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), LONGEST_CHUNK):
        head = EXTENDED + digest + struct.pack(">II", len(data), start)
        yield _segment(head + data[start : start + LONGEST_CHUNK])


def _segment(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
