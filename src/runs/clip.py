"""The result of a clip as one file."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from src.core import video
from src.core.files import replace_whole
from src.core.images import load_png, to_uint8


def write_clip(files: Sequence[Path], folder: Path, rate: Fraction, kind: str) -> Path:
    """Write PNG frames as pastiche.mp4 or pastiche.webp into a folder, whole or not at all.

    Args:
        files: the frames, of one size; what is transparent in them becomes white.
        folder: where it goes.
        rate: frames per second.
        kind: `mp4` or `webp`.
    """
    path = folder / f"pastiche.{kind}"
    with replace_whole(path) as part:
        video.write(_opaque(files), part, kind, rate)
    return path


def _opaque(files: Sequence[Path]) -> Iterator[np.ndarray]:
    for file in files:
        image = load_png(file)
        color, alpha = image[:, :3], image[:, 3:]
        yield to_uint8(color if alpha.numel() == 0 else color * alpha + 1 - alpha)
