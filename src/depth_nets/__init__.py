"""Monocular depth networks, one per file: an image in, its disparity out, differentiable."""

from src.depth_nets.depth_anything import depth_anything_v2
from src.depth_nets.model_file import judge_file, model_file
from src.depth_nets.monodepth2 import monodepth2
from src.depth_nets.network import DepthNet, depth_from_disparity, estimate_depth, invert_depth
from src.depth_nets.vgg_head import vgg_head

__all__ = [
    "DepthNet",
    "depth_anything_v2",
    "depth_from_disparity",
    "estimate_depth",
    "invert_depth",
    "judge_file",
    "model_file",
    "monodepth2",
    "vgg_head",
]
