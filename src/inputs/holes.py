"""Filling the holes of a depth map."""

import numpy as np


def fill(depth: np.ndarray, valid: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Stand-in: the nearest valid point's depth."""
    if valid.all():
        return depth
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return depth[tuple(nearest)]
