"""Filling the holes of a depth map along the edges of its photo.

Geodesic propagation: every unknown point takes the depth of the known point that is nearest along a
path over the photo, where crossing an edge is long (Criminisi, Sharp, Blake, "GeoS: geodesic image
segmentation", 2008). Then edge-weighted smoothing inside the holes: the minimum of
sum_i lambda (x_i - p_i)^2 + sum_ij w_ij (x_i - x_j)^2 with p what was propagated, w_ij =
exp(-|I_i - I_j| / sigma) as in Levin, Lischinski, Weiss, "Colorization using optimization", 2004,
but with the first term: pure diffusion invents slopes from front to back across wide holes.

The constants are the best of a small grid on 15 real pairs, with part of what was measured hidden.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LENGTH = 8.0  # of the photo's long side along a path, in units of RGB distance: edges win over it
SMOOTHING = 10.0  # 1 / lambda
SIGMA = 0.05  # RGB distance at which neighbours stop to pull at each other
TIE = 1e-3  # the least pull, so that a noisy photo does not leave noisy depth
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # (rows down, columns right)


def inpaint_depth(depth: np.ndarray, known: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Fill what is not `known`, (H, W), in `depth`, (H, W) float32 in [0, 1].

    `guide` is the photo, (H, W, 3) float32 in [0, 1]. One point at least must be known.
    """
    if known.all():
        return depth
    from scipy import sparse  # 0.3 s, which a complete map does not pay
    from scipy.sparse import csgraph

    unknown = ~known.ravel()
    start, end, length, colour = _edges(unknown, guide)

    # Geodesic propagation, from the known points along the rim of the holes.
    count = depth.size
    paths = sparse.coo_array((length + colour, (start, end)), shape=(count, count)).tocsr()
    rim = np.zeros(count, bool)
    rim[start] = rim[end] = True
    sources, how = np.flatnonzero(rim & ~unknown), {"min_only": True, "return_predecessors": True}
    _, _, nearest = csgraph.dijkstra(paths, directed=False, indices=sources, **how)
    flat = depth.ravel().astype(np.float64)
    flat[unknown] = flat[nearest[unknown]]

    # Smoothing: (lambda + L) x = lambda p in the holes, with what is known as boundary values.
    straight = length < 1.2 * length.min()
    start, end = start[straight], end[straight]
    pull = SMOOTHING * (np.exp(-colour[straight] / SIGMA) + TIE)
    pull, start, end = map(np.concatenate, ([pull, pull], [start, end], [end, start]))
    hole_index = np.cumsum(unknown) - 1
    from_hole, both = unknown[start], unknown[start] & unknown[end]
    holes = int(unknown.sum())
    total = 1 + np.bincount(hole_index[start[from_hole]], pull[from_hole], minlength=holes)
    between = (-pull[both], (hole_index[start[both]], hole_index[end[both]]))
    system = sparse.coo_array(between, shape=(holes, holes)).tocsr() + sparse.diags_array(total)
    border = from_hole & ~unknown[end]
    right = flat[unknown] + np.bincount(
        hole_index[start[border]], pull[border] * flat[end[border]], minlength=holes
    )
    flat[unknown] = _conjugate_gradients(system, right, flat[unknown], 1 / total)
    return flat.reshape(depth.shape).clip(0, 1).astype(np.float32)


def _conjugate_gradients(
    system: "csr_array", right: np.ndarray, x: np.ndarray, inverse_diagonal: np.ndarray
) -> np.ndarray:
    """Solve system x = right, symmetric and positive, to one part in ten thousand.

    SciPy's own takes 20 times as long beside another busy process: its inner products are BLAS's,
    whose threads then wait for each other.
    """
    residual = right - system @ x
    direction = step = inverse_diagonal * residual
    old = (residual * step).sum()
    enough = 1e-8 * (right * inverse_diagonal * right).sum()
    for _ in range(200):
        if old <= enough:
            break
        image = system @ direction
        along = old / (direction * image).sum()
        x = x + along * direction
        residual = residual - along * image
        step = inverse_diagonal * residual
        old, older = (residual * step).sum(), old
        direction = step + old / older * direction
    return x


def _edges(unknown: np.ndarray, guide: np.ndarray) -> list[np.ndarray]:
    """Neighbours, one unknown: flat indices, distance in the plane and in RGB, (N,) each."""
    height, width = guide.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    colours = guide.reshape(-1, 3)
    parts = []
    for down, right in NEIGHBOURS:
        first = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        second = slice(down, height), slice(max(0, right), width - max(0, -right))
        start, end = index[first].ravel(), index[second].ravel()
        has_unknown = unknown[start] | unknown[end]
        start, end = start[has_unknown], end[has_unknown]
        colour = np.linalg.norm(colours[start] - colours[end], axis=1).astype(np.float64)
        length = np.full(len(start), np.hypot(down, right) * LENGTH / max(height, width))
        parts.append((start, end, length, colour))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]
