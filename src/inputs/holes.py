"""Filling the holes of a depth map along the edges of its photo.

Two steps. Geodesic propagation: every unknown point takes the depth of the known point that is
nearest along a path over the photo, where crossing an edge is long (the distance of Criminisi,
Sharp, Blake, "GeoS: geodesic image segmentation", 2008). Then edge-weighted smoothing inside the
holes: the minimum of sum_i lambda (x_i - p_i)^2 + sum_ij w_ij (x_i - x_j)^2 with p what was
propagated, w_ij = exp(-|I_i - I_j| / sigma) as in Levin, Lischinski, Weiss, "Colorization using
optimization", 2004, whose method fills NYU Depth v2. Differs from Levin's in the first term: pure
diffusion invents slopes from front to back across wide holes.

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


def fill(depth: np.ndarray, known: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Fill what is not known; what is known stays as it is.

    Args:
        depth: (H, W) float32 in [0, 1]; ignored where not `known`.
        known: (H, W) bool, True at one point at least.
        guide: (H, W, 3) float32 in [0, 1], the photo.

    Returns:
        (H, W) float32 in [0, 1].
    """
    if known.all():
        return depth
    from scipy import sparse  # 0.3 s, which a complete map does not pay
    from scipy.sparse import csgraph

    unknown = ~known.ravel()
    here, there, length, colour = _edges(unknown, guide)

    # Geodesic propagation, from the known points along the rim of the holes.
    count = depth.size
    paths = sparse.coo_array((length + colour, (here, there)), shape=(count, count)).tocsr()
    rim = np.zeros(count, bool)
    rim[here] = rim[there] = True
    _, _, nearest = csgraph.dijkstra(
        paths,
        directed=False,
        indices=np.flatnonzero(rim & ~unknown),
        min_only=True,
        return_predecessors=True,
    )
    flat = depth.ravel().astype(np.float64)
    flat[unknown] = flat[nearest[unknown]]

    # Smoothing: (lambda + L) x = lambda p in the holes, with what is known as boundary values.
    straight = length < 1.2 * length.min()
    here, there = here[straight], there[straight]
    pull = SMOOTHING * (np.exp(-colour[straight] / SIGMA) + TIE)
    pull = np.concatenate([pull, pull])
    here, there = np.concatenate([here, there]), np.concatenate([there, here])
    place = np.cumsum(unknown) - 1
    from_hole, both = unknown[here], unknown[here] & unknown[there]
    holes = int(unknown.sum())
    total = 1 + np.bincount(place[here[from_hole]], pull[from_hole], minlength=holes)
    between = (-pull[both], (place[here[both]], place[there[both]]))
    system = sparse.coo_array(between, shape=(holes, holes)).tocsr() + sparse.diags_array(total)
    border = from_hole & ~unknown[there]
    right = flat[unknown] + np.bincount(
        place[here[border]], pull[border] * flat[there[border]], minlength=holes
    )
    flat[unknown] = _conjugate_gradients(system, right, flat[unknown], 1 / total)
    return flat.reshape(depth.shape).clip(0, 1).astype(np.float32)


def _conjugate_gradients(
    system: "csr_array", right: np.ndarray, x: np.ndarray, inverse_diagonal: np.ndarray
) -> np.ndarray:
    """Solve system x = right, symmetric and positive, to one part in ten thousand.

    SciPy's own takes 20 times as long beside another busy process, because it takes its inner
    products by BLAS, whose threads then wait for each other.
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


def _edges(
    unknown: np.ndarray, guide: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of neighbours of which one at least is unknown.

    Args:
        unknown: (H W) bool.
        guide: (H, W, 3).

    Returns:
        Both ends' flat indices, the pair's length in the plane, and its RGB distance; (N,) each.
    """
    height, width = guide.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    colours = guide.reshape(-1, 3)
    parts = []
    for down, right in NEIGHBOURS:
        one = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        other = slice(down, height), slice(max(0, right), width - max(0, -right))
        here, there = index[one].ravel(), index[other].ravel()
        wanted = unknown[here] | unknown[there]
        here, there = here[wanted], there[wanted]
        colour = np.linalg.norm(colours[here] - colours[there], axis=1).astype(np.float64)
        length = np.full(len(here), np.hypot(down, right) * LENGTH / max(height, width))
        parts.append((here, there, length, colour))
    here, there, length, colour = (np.concatenate(part) for part in zip(*parts, strict=True))
    return here, there, length, colour
