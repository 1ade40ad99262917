"""Optical flow between two frames, and what it says of their pixels."""

from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.core.errors import InputError
from src.core.images import to_uint8


def check_library(key: str) -> None:
    """An InputError with `key` where OpenCV is not installed."""
    try:
        import_module("cv2")  # 0.4 s, and only clips need it
    except ImportError as error:
        expected = "`make setup`, or `pip install av opencv-python-headless`"
        raise InputError(key, "a clip, for which OpenCV is not installed", expected) from error


def optical_flow(image: Tensor, other: Tensor) -> Tensor:
    """Where each point of an image lies in another, (1, 2, H, W): (x, y) displacements in pixels.

    By dense inverse search (Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search").

    Args:
        image: (1, 3, H, W) in [0, 1].
        other: the same.
    """
    cv2: Any = import_module("cv2")  # whose types know less than it has
    cv2.setNumThreads(1)  # with several the result depends on how many
    grey = [cv2.cvtColor(to_uint8(x), cv2.COLOR_RGB2GRAY) for x in (image, other)]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = np.asarray(search.calc(*grey, None), np.float32)
    return torch.from_numpy(flow).permute(2, 0, 1)[None].contiguous()


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """An image, (1, C, H, W), at the places that a flow, (1, 2, H, W) in pixels, leads to.

    Bicubic, for a linear one blurs a little more with every frame; outside the image its border.
    """
    height, width = flow.shape[-2:]
    flow = flow.to(image)
    rows, columns = torch.arange(height).to(flow), torch.arange(width).to(flow)
    x = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows[:, None] + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], -1)
    warped = F.grid_sample(image, grid, "bicubic", "border", align_corners=True)
    return warped.clamp(image.amin(), image.amax())


def consistency(flow: Tensor, back: Tensor) -> Tensor:
    """1 where a flow can be trusted, else 0, (1, 1, H, W).

    Not where the flow back, warped to the same places, does not lead home (what was hidden), where
    flow itself jumps (silhouettes), or where it leaves the frame; the two bounds are those of
    Sundaram, Brox and Keutzer 2010, "Dense Point Trajectories by GPU-Accelerated Large Displacement
    Optical Flow", as Ruder, Dosovitskiy and Brox 2016, "Artistic Style Transfer for Videos", use
    them.

    Args:
        flow: from this frame to the other, (1, 2, H, W) in pixels.
        back: from the other to this one.
    """
    home = warp(back, flow)
    lengths = (flow.square() + home.square()).sum(1, keepdim=True)
    visible = (flow + home).square().sum(1, keepdim=True) <= 0.01 * lengths + 0.5
    slopes = sum(x.square().sum(1, keepdim=True) for x in torch.gradient(flow, dim=(2, 3)))
    smooth = slopes <= 0.01 * flow.square().sum(1, keepdim=True) + 0.002
    height, width = flow.shape[-2:]
    x = torch.arange(width) + flow[:, :1]
    y = torch.arange(height)[:, None] + flow[:, 1:]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return (visible & smooth & inside).to(flow)


def warped_difference(image: Tensor, previous: Tensor, flow: Tensor, weights: Tensor) -> float:
    """Root of the mean squared difference of a frame from the one before it, brought to its place.

    "Warping error" of Lai et al. 2018, "Learning Blind Video Temporal Consistency", as a root: of
    colours in [0, 1]; 0 is a clip that moves as the world does.

    Args:
        image: (1, 3, H, W) in [0, 1].
        previous: the same.
        flow: from this frame to the previous one, (1, 2, H, W) in pixels.
        weights: where to look, (1, 1, H, W) in [0, 1]; `consistency`.
    """
    squares = (image - warp(previous, flow)).square().mean(1, keepdim=True)
    return float(((squares * weights).sum() / weights.sum().clamp(min=1e-9)).sqrt())
