"""Tensors and picture files: sizes, resampling, 8-bit sRGB out.

Pictures are (1, 3, H, W) float32 sRGB in [0, 1]; maps are (1, 1, H, W).
"""

import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, ImageMode
from PIL.ImageFile import ImageFile
from torch import Tensor

from src.core.errors import InputError
from src.core.files import MOST_DECODED, check_decoded_size, replace_whole

# A closed list: Pillow would otherwise start Ghostscript for a PostScript file called .jpg.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "AVIF")


@contextmanager
def open_picture(
    source: Path | BinaryIO, formats: tuple[str, ...] = FORMATS
) -> Iterator[ImageFile]:
    """Open a picture, its pixels not yet decoded: the only place that does.

    Raises:
        ValueError: it declares to be larger than `files.MOST_DECODED`.
        OSError: another format than `formats`, or broken; Pillow has further errors for that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is checked below
        image = Image.open(source, formats=formats)
    with image:
        mode = ImageMode.getmode(image.mode)
        check_decoded_size(
            image.width * image.height * len(mode.bands) * np.dtype(mode.typestr).itemsize
        )
        yield image


def fit(
    height: int, width: int, *, size: int | None = None, short_side: int | None = None
) -> tuple[int, int]:
    """The (height, width) in pixels of a picture scaled to a given side, its aspect kept.

    `size` is the long side of the result and wins over `short_side`; with neither, the picture
    keeps its size. An InputError names the one that is not a positive whole number, or gives too
    large a picture.
    """
    for key, side in {"size": size, "short_side": short_side}.items():
        if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
            raise InputError(key, repr(side), "a whole number of pixels, 1 or more")
    if size is not None:
        scale = size / max(height, width)
    elif short_side is not None:
        scale = short_side / min(height, width)
    else:
        return height, width
    fitted = max(1, round(height * scale)), max(1, round(width * scale))
    if 3 * math.prod(fitted) > MOST_DECODED:
        key, side = ("size", size) if size is not None else ("short_side", short_side)
        got = f"{side} for a picture of {width} x {height} pixels"
        raise InputError(key, got, f"one that gives {MOST_DECODED // 3:,} pixels at most")
    return fitted


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resample a (B, C, H, W) tensor to (B, C, height, width), antialiased.

    Bicubic where it grows (kept within the input's range), area-weighted bilinear where it shrinks.
    """
    if image.shape[-2:] == (height, width):
        return image
    grows = height >= image.shape[-2] and width >= image.shape[-1]
    mode = "bicubic" if grows else "bilinear"
    out = F.interpolate(image, (height, width), mode=mode, align_corners=False, antialias=True)
    return out.clamp(image.amin(), image.amax())


def fill(image: Tensor, height: int, width: int) -> Tensor:
    """The middle of a (B, C, H, W) tensor at (height, width), cropped where its aspect differs."""
    rows, columns = image.shape[-2:]
    scale = max(height / rows, width / columns)
    tall, wide = min(rows, round(height / scale)), min(columns, round(width / scale))
    top, left = (rows - tall) // 2, (columns - wide) // 2
    return resize(image[..., top : top + tall, left : left + wide], height, width)


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """An ICC profile of sRGB, always the same bytes: without the time of its making."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def to_uint8(image: Tensor) -> np.ndarray:
    """(1, C, H, W) in [0, 1], clipped there, to (H, W, C) uint8 (C = 1: (H, W))."""
    pixels = (image.detach()[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return pixels.permute(1, 2, 0).squeeze(-1).contiguous().numpy()


def save_png(image: Tensor, path: Path, alpha: Tensor | None = None) -> None:
    """Write a (1, 3 or 1, H, W) tensor as 8-bit sRGB PNG, whole or not at all.

    Values are clipped to [0, 1]; `alpha`, (1, 1, H, W), becomes the last channel. The folder must
    exist.
    """
    channels = image if alpha is None else torch.cat([image, alpha.to(image)], dim=1)
    with replace_whole(path) as part:
        Image.fromarray(to_uint8(channels)).save(part, format="PNG")


def load_png(path: Path) -> Tensor:
    """What `save_png` wrote: (1, C, H, W) float32 in [0, 1], alpha last; errors: `open_picture`."""
    with open_picture(path, ("PNG",)) as file:
        pixels = np.array(file)
    channels = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    return channels[None].contiguous().float() / 255
