"""Picture files to upright sRGB tensors, read no larger than they are needed.

`read` takes whatever people have (phone JPEG, CMYK scan, palette PNG, 16-bit grey, wide-gamut
HEIC) and gives what a viewer would show, at the size asked for.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from torch import Tensor

from src import images
from src.errors import InputError

log = logging.getLogger(__name__)

EXPECTED = "a still picture: PNG, JPEG, TIFF, WebP, HEIC, AVIF, BMP or GIF"
# A closed list: Pillow would otherwise start Ghostscript for a PostScript file called .jpg.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "AVIF")
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif"}
SUFFIXES |= {".bmp", ".gif", ".ppm"}
# Several frames in these are no animation but previews, pages or a depth map.
FRAMES_ALLOWED = ("MPO", "TIFF", "HEIF", "AVIF")
SMALLEST = 8  # pixels a side; with less there is nothing to stylise
ORIENTATION_TAG = 0x0112
BITS_PER_SAMPLE_TAG = 258


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder by name; hidden ones are left out."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


@dataclass(frozen=True)
class Picture:
    """A picture as a viewer shows it.

    Attributes:
        image: (1, 3, H, W) float32 sRGB in [0, 1].
        alpha: (1, 1, H, W) float32 in [0, 1]; None where nothing is transparent. Where it is 0
            the image is white, whatever colour the file hides there.
        file_size: (height, width) in pixels of the whole upright picture in the file.
        orientation: EXIF's number of the turn that was made; 1 is none.
    """

    image: Tensor
    alpha: Tensor | None
    file_size: tuple[int, int]
    orientation: int


def read(
    path: Path, *, key: str, size: int | None = None, short_side: int | None = None
) -> Picture:
    """Read a picture file: upright, sRGB, at a size.

    Args:
        path: the file.
        key: the configuration key that named it, for errors.
        size: long side in pixels; see `images.fit`.
        short_side: short side in pixels.

    Raises:
        InputError: no such file, or one that is no picture, broken, animated, tiny or huge.
    """
    check_file(path, key, EXPECTED)
    with as_input_error(path, key, EXPECTED), open_still(path, key) as im:
        stored = (im.height, im.width)
        target = images.fit(*stored, size=size, short_side=short_side)
        pixels, orientation = _pixels(im, path, target)
    if orientation >= 5:
        stored, target = stored[::-1], target[::-1]
    image, alpha = _to_tensors(turn(pixels, orientation), *target)
    return Picture(image, alpha, stored, orientation)


def from_pixels(
    pixels: np.ndarray, *, size: int | None = None, short_side: int | None = None
) -> Picture:
    """A picture from upright (H, W, 3) uint8 sRGB pixels, at a size."""
    height, width = pixels.shape[:2]
    target = images.fit(height, width, size=size, short_side=short_side)
    image, _ = _to_tensors(pixels.astype(np.float32) / 255, *target)
    return Picture(image, None, (height, width), 1)


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


def check_file(path: Path, key: str, expected: str) -> None:
    """Raise an InputError where `path` is not an ordinary file with something in it."""
    if path.is_dir():
        raise InputError(key, f"'{path}', a folder", expected)
    if not path.is_file():
        raise InputError(key, f"'{path}', which does not exist", expected)
    if path.stat().st_size == 0:
        raise InputError(key, f"'{path}', an empty file", expected)


@contextmanager
def as_input_error(path: Path, key: str, expected: str, what: str = "which") -> Iterator[None]:
    """Turn whatever a decoder raises into an InputError, and keep its warnings to itself.

    Decoders meet bytes that nobody thought of and raise anything from SyntaxError to IndexError:
    here, at the border, everything is caught.

    Args:
        path: the file.
        key: the configuration key that named it.
        expected: what would do.
        what: what of the file is being read: `which`, or `whose depth`.
    """
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
        got = f"'{path}', {what} cannot be read ({reason})"
        raise InputError(key, got, expected) from error


@contextmanager
def open_still(path: Path, key: str) -> Iterator[ImageFile]:
    """Open a picture lazily, its pixels not yet decoded, and check that it is one to work on."""
    with path.open("rb") as file:
        header = file.read(12)
    formats = list(FORMATS)
    if header[4:8] == b"ftyp":
        import pillow_heif  # 0.1 s, and only HEIC needs it

        pillow_heif.register_heif_opener()
        formats.append("HEIF")
    with Image.open(path, formats=formats) as im:
        if getattr(im, "is_animated", False) and im.format not in FRAMES_ALLOWED:
            raise InputError(key, f"'{path}', an animated {im.format}", EXPECTED)
        if min(im.size) < SMALLEST:
            raise InputError(
                key,
                f"'{path}', {im.width} x {im.height} pixels",
                f"a picture of at least {SMALLEST} x {SMALLEST} pixels",
            )
        yield im


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, ...) stored pixels upright by EXIF's orientation number, 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    # What is left to do is to mirror: left to right for 2, 3, 6, 7, top to bottom for 3, 4, 7, 8.
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _pixels(im: ImageFile, path: Path, target: tuple[int, int]) -> tuple[np.ndarray, int]:
    """The stored pixels, (H, W, 3 or 4) float32 in [0, 1], and their orientation number."""
    profile = im.info.get("icc_profile")
    wide = None if profile else _sixteen_bit_colour(im, path)
    if wide is not None:
        return wide.astype(np.float32) / 65535, _orientation(im)
    # A phone's picture has fifty times the pixels that are stylised: decode and shrink it early,
    # to twice the size needed, before anything is done in floating point.
    double = (2 * target[1], 2 * target[0])
    drafted = im.draft("", double) if im.format in ("JPEG", "MPO") else None
    im.load()
    plain = _plain_mode(im)
    if plain.mode not in ("L", "RGB", "RGBA", "CMYK"):
        return _from_numbers(np.asarray(plain).astype(np.float32), plain.mode), _orientation(im)
    if drafted or max(plain.size) > max(double):
        box = drafted[1] if drafted else None  # a draft's last row and column may be partial
        plain = plain.resize(double, Image.Resampling.BILINEAR, box=box, reducing_gap=2)
    colour = _to_srgb(plain, profile, path)
    return np.asarray(colour).astype(np.float32) / 255, _orientation(im)


def _orientation(im: Image.Image) -> int:
    try:
        orientation = im.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF does not spoil the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def _plain_mode(im: Image.Image) -> Image.Image:
    """The picture in one of the modes L, RGB, RGBA, CMYK, or a mode of numbers: I..., F."""
    if im.mode.startswith(("I", "F")):
        return im
    if im.has_transparency_data:
        return im.convert("RGBA")
    if im.mode in ("L", "RGB", "CMYK"):
        return im
    return im.convert("L" if im.mode == "1" else "RGB")


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
                converted = ImageCms.profileToProfile(im, source, srgb, outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            log.warning("%s: colour profile ignored (%s)", path, error)
    return im.convert("RGB")


def _from_numbers(values: np.ndarray, mode: str) -> np.ndarray:
    """Grey pictures of more than 8 bits, (H, W) to (H, W, 3) in [0, 1]."""
    white = 1.0 if mode == "F" else 65535.0
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise ValueError(f"values from {values.min():g} to {values.max():g}, not 0 to {white:g}")
    return np.repeat(values[..., None] / np.float32(white), 3, axis=2)


def _sixteen_bit_colour(im: ImageFile, path: Path) -> np.ndarray | None:
    """16-bit RGB or RGBA, of which Pillow keeps the high bytes only, as (H, W, 3 or 4) uint16.

    PNG: decoded a second time as if in the other byte order, which gives the low bytes. TIFF:
    through tifffile, where it can. None for every other picture.
    """
    if im.format == "PNG" and im.tile and im.tile[0].args in ("RGB;16B", "RGBA;16B"):
        with Image.open(path, formats=["PNG"]) as low:
            low.tile = [tile._replace(args=f"{low.mode};16L") for tile in low.tile]
            low_bytes = np.asarray(low).astype(np.uint16)
        return (np.asarray(im).astype(np.uint16) << 8) | low_bytes
    bits = getattr(im, "tag_v2", {}).get(BITS_PER_SAMPLE_TAG, ())
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
    return np.asarray(tifffile.imread(path, key=0))
