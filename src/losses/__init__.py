"""The losses of "3D Neural Style Transfer" (Ghiron, Jamgochian, Lange), as pure functions.

Shapes are (B, C, H, W); in the paper's notation N_l = C filters and M_l = H W positions.
"""

from src.losses.aligned_depth import aligned_depth_loss, depth_gradient_loss
from src.losses.gram import NORMALIZERS, Normalizer
from src.losses.paper import content_loss, depth_loss, gram_matrix, style_loss, total_variation
from src.losses.structure import laplacian_loss

__all__ = [
    "NORMALIZERS",
    "Normalizer",
    "aligned_depth_loss",
    "content_loss",
    "depth_gradient_loss",
    "depth_loss",
    "gram_matrix",
    "laplacian_loss",
    "style_loss",
    "total_variation",
]
