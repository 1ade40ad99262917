"""Monocular depth networks, one per file: a picture in, its disparity out, differentiable."""

from src.depth_nets.estimates import estimate_depth
from src.depth_nets.network import DepthNet, depth_from_disparity

__all__ = ["DepthNet", "depth_from_disparity", "estimate_depth"]
