"""Estimated depth of a picture, kept so that it is computed once."""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.depth_nets.network import DepthNet, depth_from_disparity
from src.weights import cache_folder


def estimate_depth(net: DepthNet, image: Tensor) -> Tensor:
    """The program's depth of a picture by a network, from the cache where it is there.

    Args:
        net: the network.
        image: (1, 3, H, W) RGB in [0, 1].

    Returns:
        (1, 1, H, W) float32 in [0, 1], 0 near and 1 far (see `depth_from_disparity`).
    """
    file = _cached(net, image)
    disparity = _read(file, image.shape[-2:])
    if disparity is None:
        disparity = net.estimate(image)
        _write(file, disparity)
    return depth_from_disparity(disparity)


def _cached(net: DepthNet, image: Tensor) -> Path:
    """The file of an estimate: named by the network's weights and by the picture's pixels."""
    shape = "x".join(map(str, image.shape))
    pixels = hashlib.sha256(shape.encode() + image.contiguous().numpy().tobytes()).hexdigest()
    return cache_folder().parent / "depth" / f"{net.fingerprint()}_{pixels[:24]}.npy"


def _read(file: Path, size: torch.Size) -> Tensor | None:
    try:
        disparity = torch.from_numpy(np.load(file))
    except (OSError, ValueError, EOFError):  # not there, or damaged: it is made anew
        return None
    return disparity if disparity.shape == (1, 1, *size) else None


def _write(file: Path, disparity: Tensor) -> None:
    """Keep an estimate; where nothing can be written, do without."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
            np.save(part, disparity.float().cpu().numpy())
        os.replace(part.name, file)
    except OSError:
        return
