"""The finished picture as a file: bits, colour profile, EXIF, and the settings that made it."""

import logging
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import IFD, Base
from torch import Tensor

from src.core.errors import InputError
from src.core.files import replace_whole
from src.core.images import FORMATS, load_png, open_picture, srgb_profile, to_uint8

log = logging.getLogger(__name__)

HEAD = "# config.yaml of a run: python -m src.run --config-path FOLDER --config-name config"
CHARACTER_CODE = bytes(8)  # begins EXIF's UserComment; these say nothing, and UTF-8 follows
COLOR_TYPES = {3: 2, 4: 6}  # of PNG, by channels
MOST_SETTINGS = 60_000  # bytes, of the 64 KB that a JPEG has for EXIF
QUALITY: dict[str, Mapping[str, Any]] = {
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "quality": 95, "method": 4},
    ".heic": {"format": "HEIF", "quality": 90, "chroma": 444},
    ".png": {"format": "PNG"},
}


def save_result(
    image: Tensor,
    path: Path,
    settings: str,
    exif: Image.Exif,
    alpha: Tensor | None = None,
    bits: int = 8,
) -> None:
    """Write a picture with an sRGB profile, EXIF and settings, whole or not at all.

    Args:
        image: (1, 3, H, W), clipped to [0, 1].
        path: its suffix is one of `reader.Format`'s.
        settings: of the run, as YAML.
        exif: what else it says, changed by this.
        alpha: (1, 1, H, W) in [0, 1]; a JPEG has white behind it.
        bits: of a colour, 8, or 16 for PNG and TIFF.
    """
    if alpha is not None:
        alpha = alpha.to(image)
        if path.suffix == ".jpg":
            image = torch.lerp(torch.ones_like(image), image, alpha)
        else:
            image = torch.cat([image, alpha], 1)
    text = f"{HEAD}\n{settings}".encode()
    if len(text) > MOST_SETTINGS:
        log.warning("%s: without its settings, which are longer than EXIF may be", path)
    else:
        exif.get_ifd(IFD.Exif)[Base.UserComment] = CHARACTER_CODE + text
    with replace_whole(path) as part:
        pixels = to_uint8(image) if bits == 8 else _to_uint16(image)
        if path.suffix == ".tiff":
            _save_tiff(part, pixels, exif)
        elif bits == 16:
            part.write_bytes(b"".join(_png(pixels, exif)))
        else:
            if path.suffix == ".heic":
                _register_heif()
            options = QUALITY[path.suffix]
            said: dict[str, Any] = {"icc_profile": srgb_profile(), "exif": exif.tobytes()}
            Image.fromarray(pixels).save(part, **options, **said)


def read_settings(path: Path, key: str = "picture") -> str:
    """The settings in a picture as YAML; an InputError with `key` where there are none."""
    expected = "a picture that a run of this program made"
    if not path.is_file():
        raise InputError(key, f"'{path}', which does not exist", expected)
    try:
        _register_heif()
        with open_picture(path, (*FORMATS, "HEIF")) as picture:
            exif = picture.getexif()
            comment = exif.get_ifd(IFD.Exif).get(Base.UserComment, exif.get(Base.UserComment))
    except Exception as error:  # Pillow has many ways of saying that a picture is broken
        raise InputError(key, f"'{path}', which cannot be read", expected) from error
    text = comment[len(CHARACTER_CODE) :].decode(errors="replace") if comment else ""
    if not text.startswith(HEAD):
        raise InputError(key, f"'{path}', which holds no settings", expected)
    return text


def read_picture(file: Path, on_white: bool = False) -> Tensor:
    """A picture that a run wrote, (1, 3 or 1, H, W) in [0, 1]; InputError where it is broken.

    With `on_white` what is transparent is white.
    """
    try:
        image = load_png(file)
    except Exception as error:  # Pillow has many ways of saying that a PNG is broken
        got = "a file that cannot be read"
        raise InputError(str(file), got, "a picture that a run wrote") from error
    color, alpha = image[:, :3], image[:, 3:]
    if on_white and alpha.numel():
        color = color * alpha + 1 - alpha
    return color if image.shape[1] >= 3 else color[:, :1]


def _register_heif() -> None:
    import pillow_heif  # 0.1 s, and few want it

    pillow_heif.register_heif_opener()


def _to_uint16(image: Tensor) -> np.ndarray:
    pixels = (image.detach()[0].double().clamp(0, 1) * 65535).round()
    return pixels.permute(1, 2, 0).cpu().numpy().astype(np.uint16)


def _png(pixels: np.ndarray, exif: Image.Exif) -> Iterator[bytes]:
    """The parts of a 16-bit PNG, which Pillow does not write (ISO/IEC 15948, section 11)."""
    height, width, channels = pixels.shape
    yield b"\x89PNG\r\n\x1a\n"
    yield _chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[channels], 0, 0, 0)
    )
    yield _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(srgb_profile()))
    yield _chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    rows = pixels.astype(">u2", order="C").view(np.uint8).reshape(height, -1)
    differences = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    up = np.full((height, 1), 2, np.uint8)  # the filter, less the row above
    yield _chunk(b"IDAT", zlib.compress(np.hstack([up, differences]).tobytes(), 6))
    yield _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _save_tiff(path: Path, pixels: np.ndarray, exif: Image.Exif) -> None:
    """A TIFF, of 16 bits, too, which Pillow does not write; of EXIF what is text, and settings."""
    import tifffile

    tags: list[tuple[int, str, int, Any, bool]] = [
        (int(tag), "s", 0, value, True)
        for tag, value in exif.items()
        if isinstance(value, str) and value.isascii() and value.isprintable() and value
    ]
    comment = exif.get_ifd(IFD.Exif).get(Base.UserComment)
    if comment:
        tags.append((int(Base.UserComment), "B", len(comment), comment, True))
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None,
        compression="adobe_deflate",
        predictor=True,
        iccprofile=srgb_profile(),
        extratags=tags,
        metadata=None,
        software=False,
    )
