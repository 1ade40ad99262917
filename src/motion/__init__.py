"""What moves between the frames of a clip. What others use is re-exported here."""

from src.motion.depth import steady_depth
from src.motion.flow import check_library, consistency, optical_flow, warp, warped_difference

__all__ = [
    "check_library",
    "consistency",
    "optical_flow",
    "steady_depth",
    "warp",
    "warped_difference",
]
