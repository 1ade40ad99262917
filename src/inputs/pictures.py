"""Picture files to upright sRGB tensors, as a viewer shows them, no larger than needed."""

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from torch import Tensor

from src.core import images
from src.core.errors import InputError
from src.core.files import check_decoded_size

log = logging.getLogger(__name__)

EXPECTED = "a still picture: PNG, JPEG, TIFF, WebP, HEIC, AVIF, BMP or GIF"
NUMPY = b"\x93NUMPY"  # begins an array's file, which is read, but not looked for in folders
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif"}
SUFFIXES |= {".bmp", ".gif", ".ppm"}
# Several frames in these are no animation but previews, pages or a depth map.
FRAMES_ALLOWED = ("MPO", "TIFF", "HEIF", "AVIF")
SMALLEST = 8  # pixels a side; with less there is nothing to stylise


@dataclass(frozen=True)
class Picture:
    """A picture as a viewer shows it; where alpha is 0 it is white, whatever the file hides."""

    image: Tensor  # (1, 3, H, W) float32 sRGB in [0, 1]
    alpha: Tensor | None  # (1, 1, H, W) float32 in [0, 1]; None where nothing is transparent
    file_size: tuple[int, int]  # (height, width) in pixels of the whole upright picture
    orientation: int  # EXIF's number of the turn that was made; 1 is none


def read(
    path: Path, *, key: str, size: int | None = None, short_side: int | None = None
) -> Picture:
    """Read a picture file, at a size (see `images.fit`); an InputError with `key` if it is none."""
    with as_input_error(path, key, EXPECTED):
        if first_bytes(path).startswith(NUMPY):
            return from_pixels(_numpy_pixels(path), size=size, short_side=short_side)
    with as_input_error(path, key, EXPECTED), open_still(path, key) as im:
        stored = (im.height, im.width)
        target = images.fit(*stored, size=size, short_side=short_side)
        pixels = _pixels(im, path, target)
        orientation = _orientation(im)
    if orientation >= 5:
        stored, target = stored[::-1], target[::-1]
    image, alpha = _to_tensors(apply_orientation(pixels, orientation), *target)
    return Picture(image, alpha, stored, orientation)


def from_pixels(
    pixels: np.ndarray, *, size: int | None = None, short_side: int | None = None
) -> Picture:
    """A picture from upright (H, W, 3) sRGB pixels, uint8 or in [0, 1], at a size."""
    height, width = pixels.shape[:2]
    target = images.fit(height, width, size=size, short_side=short_side)
    values = pixels.astype(np.float32) / (255 if pixels.dtype == np.uint8 else 1)
    return Picture(*_to_tensors(values, *target), (height, width), 1)


def _numpy_pixels(path: Path) -> np.ndarray:
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    check_decoded_size(4 * pixels.size)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < SMALLEST:
        raise ValueError(f"an array of shape {pixels.shape}, not height x width x 3")
    if pixels.dtype.kind == "f" and pixels.min() >= 0 and pixels.max() <= 1:
        return np.array(pixels)
    if pixels.dtype != np.uint8:
        raise ValueError(f"{pixels.dtype} values, not 8-bit ones or those from 0 to 1")
    return np.array(pixels)


def _to_tensors(pixels: np.ndarray, height: int, width: int) -> tuple[Tensor, Tensor | None]:
    """(h, w, 3 or 4) float32 in [0, 1] to the image and its alpha at (height, width)."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    colour, alpha = tensor[:, :3], tensor[:, 3:]
    if alpha.numel() == 0 or bool((alpha == 1).all()):
        return images.resize(colour, height, width).contiguous(), None
    # Colours weigh by their alpha, or those that the file hides would bleed in at the edges.
    weighted, alpha = (images.resize(x, height, width) for x in (colour * alpha, alpha))
    colour = torch.where(alpha > 0, weighted / alpha.clamp(min=1e-6), torch.ones(()))
    return colour.clamp(0, 1), alpha


def first_bytes(path: Path) -> bytes:
    """The first 12 bytes of a file, which say what is in it."""
    with path.open("rb") as file:
        return file.read(12)


@contextmanager
def as_input_error(path: Path, key: str, expected: str, what: str = "which") -> Iterator[None]:
    """Turn whatever a decoder raises into an InputError, and keep its warnings to itself.

    Decoders raise anything from SyntaxError to IndexError on bytes that nobody thought of. What is
    no file, or an empty one, is refused before. `what` is being read: `which`, or `whose depth`.
    """
    if path.is_dir():
        raise InputError(key, f"'{path}', a folder", expected)
    if not path.is_file():
        raise InputError(key, f"'{path}', which does not exist", expected)
    if path.stat().st_size == 0:
        raise InputError(key, f"'{path}', an empty file", expected)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        got = f"'{path}', {what} is not a picture of a known kind"
        raise InputError(key, got, expected) from error
    except Exception as error:
        kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__} "
        reason = " ".join(f"{kind}{error}".split())[:160]
        raise InputError(key, f"'{path}', {what} cannot be read ({reason})", expected) from error


@contextmanager
def open_still(path: Path, key: str) -> Iterator[ImageFile]:
    """Open a picture that can be worked on, its pixels not yet decoded."""
    formats: tuple[str, ...] = images.FORMATS
    if first_bytes(path)[4:8] == b"ftyp":
        import pillow_heif  # 0.1 s, and only HEIC needs it

        pillow_heif.register_heif_opener()
        formats += ("HEIF",)
    with images.open_picture(path, formats) as im:
        if getattr(im, "is_animated", False) and im.format not in FRAMES_ALLOWED:
            raise InputError(key, f"'{path}', an animated {im.format}", EXPECTED)
        if min(im.size) < SMALLEST:
            got = f"'{path}', {im.width} x {im.height} pixels"
            raise InputError(key, got, f"a picture of at least {SMALLEST} x {SMALLEST} pixels")
        yield im


def apply_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, ...) stored pixels upright by EXIF's orientation number, 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _pixels(im: ImageFile, path: Path, target: tuple[int, int]) -> np.ndarray:
    """The stored pixels, (H, W, 3 or 4) float32 in [0, 1]."""
    profile = im.info.get("icc_profile")
    if profile == images.srgb_profile():
        profile = None
    wide = None if profile else _sixteen_bit_colour(im, path)
    # A phone's picture has fifty times the pixels needed: shrink it early, to twice the size.
    double = (2 * target[1], 2 * target[0])
    if wide is not None:
        return _shrink(wide, double) / 65535
    drafted = im.draft("", double) if im.format in ("JPEG", "MPO") else None
    im.load()
    if im.mode.startswith(("I", "F")):
        return _from_numbers(im, double)
    plain: Image.Image = im
    if im.has_transparency_data:
        plain = im.convert("RGBA")
    elif im.mode not in ("L", "RGB", "CMYK"):
        plain = im.convert("L" if im.mode == "1" else "RGB")
    box = drafted[1] if drafted else (0, 0, *plain.size)
    # A draft's last row and column may be partial; a draft of the file's own size is none.
    if box[2:] != plain.size or max(plain.size) > max(double):
        plain = plain.resize(double, Image.Resampling.BILINEAR, box=box, reducing_gap=2)
    return np.asarray(_to_srgb(plain, profile, path)).astype(np.float32) / 255


def _orientation(im: Image.Image) -> int:
    try:
        orientation = im.getexif().get(Base.Orientation, 1)
    except Exception:  # broken EXIF does not spoil the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def _to_srgb(im: Image.Image, profile: bytes | None, path: Path) -> Image.Image:
    """L, RGB, RGBA or CMYK to RGB or RGBA in sRGB, through the file's colour profile."""
    if im.mode == "RGBA":
        colour = _to_srgb(im.convert("RGB"), profile, path)
        colour.putalpha(im.getchannel("A"))
        return colour
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = source.profile.xcolor_space.strip()
            if space == "RGB" and im.mode == "L":
                im = im.convert("RGB")
            if {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space) == im.mode:
                srgb = ImageCms.createProfile("sRGB")
                im = ImageCms.profileToProfile(im, source, srgb, outputMode="RGB") or im
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            log.warning("%s: colour profile ignored (%s)", path, error)
    return im.convert("RGB")


def _from_numbers(im: Image.Image, double: tuple[int, int]) -> np.ndarray:
    """Grey pictures of more than 8 bits to (H, W, 3) in [0, 1]."""
    values, white = np.asarray(im), 1.0 if im.mode == "F" else 65535.0
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise ValueError(f"values from {values.min():g} to {values.max():g}, not 0 to {white:g}")
    return np.repeat(_shrink(values[..., None], double) / np.float32(white), 3, axis=2)


def _shrink(values: np.ndarray, double: tuple[int, int]) -> np.ndarray:
    """(H, W, C) numbers as float32, no larger than (width, height); with alpha as they are."""
    if max(values.shape[:2]) <= max(double) or values.shape[2] == 4:
        check_decoded_size(4 * values.size)
        return values.astype(np.float32)
    channels = np.moveaxis(values, 2, 0)
    pictures = (Image.fromarray(channel.astype(np.float32)) for channel in channels)
    bilinear = Image.Resampling.BILINEAR
    small = [np.asarray(p.resize(double, bilinear, reducing_gap=2)) for p in pictures]
    return np.stack(small, axis=2)


def _sixteen_bit_colour(im: ImageFile, path: Path) -> np.ndarray | None:
    """16-bit RGB or RGBA, of which Pillow keeps the high bytes only, as (H, W, 3 or 4) uint16."""
    # A PNG is decoded a second time as if in the other byte order, which gives the low bytes.
    if im.format == "PNG" and im.tile and im.tile[0].args in ("RGB;16B", "RGBA;16B"):
        check_decoded_size(2 * im.width * im.height * len(im.mode))
        with images.open_picture(path, ("PNG",)) as low:
            low.tile = [tile._replace(args=f"{low.mode};16L") for tile in low.tile]
            low_bytes = np.asarray(low).astype(np.uint16)
        return (np.asarray(im).astype(np.uint16) << 8) | low_bytes
    bits = getattr(im, "tag_v2", {}).get(Base.BitsPerSample, ())
    if im.format == "TIFF" and im.mode in ("RGB", "RGBA") and set(bits) == {16}:
        try:
            pixels = read_tiff(path)
        except Exception as error:  # a compression that only Pillow reads
            log.info("%s: read with 8 bits (%s)", path, error)
            return None
        if pixels.dtype == np.uint16 and pixels.shape == (im.height, im.width, len(im.mode)):
            return pixels
    return None


def read_tiff(path: Path) -> np.ndarray:
    """The first page of a TIFF as it is stored, for the number formats that Pillow lacks."""
    import tifffile

    # It also logs what it raises; one line is enough.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        size = max(math.prod(page.shape), math.prod(page.chunks))
        check_decoded_size(size * np.dtype(page.dtype or np.float64).itemsize)
        return np.asarray(page.asarray())
