"""The second opinion: the formulas as slow loops over numpy arrays, one number at a time.

Written from the paper and from Gatys et al. 2017, not from the code under test.
"""

import math

import numpy as np
import scipy.linalg

Array = np.ndarray


def content_loss(features: Array, target: Array, mask: Array | None = None) -> float:
    total = 0.0
    for b, c, y, x in np.ndindex(features.shape):
        gamma = 1.0 if mask is None else mask[b, 0, y, x]
        total += (gamma * features[b, c, y, x] - gamma * target[b, c, y, x]) ** 2
    return total / 2


def gram_matrix(
    features: Array, mask: Array | None = None, normalizer: str = "mean_square"
) -> Array:
    batch, channels, height, width = features.shape
    gram = np.zeros((batch, channels, channels))
    for b in range(batch):
        gamma = np.ones((height, width)) if mask is None else mask[b, 0]
        places = list(np.ndindex(height, width))
        if normalizer == "mean_square":
            eta = sum(gamma[p] ** 2 for p in places) / len(places)
        else:
            eta = (sum(gamma[p] for p in places) / len(places)) ** 2
        for i, j in np.ndindex(channels, channels):
            products = [
                (gamma[p] * features[b, i][p]) * (gamma[p] * features[b, j][p]) for p in places
            ]
            gram[b, i, j] = sum(products) / (len(places) * eta)
    return gram


def style_loss(gram: Array, target_gram: Array) -> float:
    """E_l with 1/M^2 inside the Gram matrices."""
    channels = gram.shape[-1]
    total = 0.0
    for place in np.ndindex(gram.shape):
        total += (gram[place] - target_gram[place]) ** 2
    return total / (4 * channels * channels)


def total_variation(image: Array) -> float:
    total = 0.0
    _, _, height, width = image.shape
    for b, c, y, x in np.ndindex(image.shape):
        if y + 1 < height:
            total += (image[b, c, y + 1, x] - image[b, c, y, x]) ** 2
        if x + 1 < width:
            total += (image[b, c, y, x + 1] - image[b, c, y, x]) ** 2
    return total


def depth_loss(predicted: Array, target: Array) -> float:
    total = 0.0
    for place in np.ndindex(predicted.shape):
        total += (predicted[place] - target[place]) ** 2
    return total / predicted.size


def linear(d: float, low: float = 0.0, high: float = 1.0) -> float:
    return low * (1 - d) + high * d


def sigmoid(d: float, center: float = 0.5, slope: float = 20.0) -> float:
    return 1 / (1 + math.exp(-slope * (d - center)))


def step(d: float, threshold: float = 0.5) -> float:
    return 1.0 if d >= threshold else 0.0


def band(d: float, near: float = 0.3, far: float = 0.7, softness: float = 0.1) -> float:
    if near <= d <= far:
        return 1.0
    distance = near - d if d < near else d - far
    return 1 - distance / softness if distance < softness else 0.0


def downsample_mask(mask: Array, height: int, width: int) -> Array:
    """The root of the mean square over each position's area, whole pixels that it touches."""
    batch, _, rows, columns = mask.shape
    out = np.zeros((batch, 1, height, width))
    for b, _, y, x in np.ndindex(out.shape):
        ys = range(y * rows // height, math.ceil((y + 1) * rows / height))
        xs = range(x * columns // width, math.ceil((x + 1) * columns / width))
        squares = [mask[b, 0, v, u] ** 2 for v in ys for u in xs]
        out[b, 0, y, x] = math.sqrt(sum(squares) / len(squares))
    return out


def normalize_masks(masks: list[Array]) -> list[Array]:
    out = [np.zeros_like(mask) for mask in masks]
    for place in np.ndindex(masks[0].shape):
        norm = math.sqrt(sum(mask[place] ** 2 for mask in masks))
        for mask, share in zip(masks, out, strict=True):
            share[place] = mask[place] / norm if norm > 0 else 0.0
    return out


def variance_between(values: Array, threshold: float) -> float:
    """Otsu's criterion: the weighted squared distance of the means of two classes."""
    near, far = values[values < threshold], values[values >= threshold]
    if not len(near) or not len(far):
        return 0.0
    return len(near) * len(far) / len(values) ** 2 * (far.mean() - near.mean()) ** 2


def align(predicted: Array, target: Array, smallest: float = 0.1) -> Array:
    """Least squares scale and shift, image by image, the scale bounded from below."""
    aligned = np.zeros_like(predicted)
    for b in range(len(predicted)):
        p, t = predicted[b, 0].ravel(), target[b, 0].ravel()
        design = np.stack([p, np.ones_like(p)], axis=1)
        scale = np.linalg.lstsq(design, t, rcond=None)[0][0]
        scale = max(scale, smallest * t.std() / p.std())
        aligned[b, 0] = scale * predicted[b, 0] + (t.mean() - scale * p.mean())
    return aligned


def aligned_depth_loss(predicted: Array, target: Array) -> float:
    losses = []
    for p, t in zip(align(predicted, target), target, strict=True):
        unexplained = sum((p[i] - t[i]) ** 2 for i in np.ndindex(t.shape))
        losses.append(unexplained / sum((x - t.mean()) ** 2 for x in t.ravel()))
    return sum(losses) / len(losses)


def depth_gradient_loss(predicted: Array, target: Array, scales: int = 4) -> float:
    """Of a batch: means over all neighbours of all its images."""
    aligned, total = align(predicted, target), 0.0
    for k in range(scales):
        down, across = [], []
        for p, t in zip(aligned[:, 0], target[:, 0], strict=True):
            residual = (p - t)[:: 2**k, :: 2**k] / t.std()
            height, width = residual.shape
            for y, x in np.ndindex(height, width):
                if y + 1 < height:
                    down.append(abs(residual[y + 1, x] - residual[y, x]))
                if x + 1 < width:
                    across.append(abs(residual[y, x + 1] - residual[y, x]))
        total += sum(sum(part) / len(part) for part in (down, across) if part)
    return total


def gaussian_wasserstein(one: Array, other: Array, mask: Array | None = None) -> float:
    """W^2 of the (C, H, W) features as Gaussians, those of `one` weighing mask^2, (H, W)."""
    weights = np.ones(one.shape[1:]) if mask is None else mask**2
    points = [one.reshape(len(one), -1), other.reshape(len(other), -1)]
    means = [np.average(points[0], axis=1, weights=weights.ravel()), points[1].mean(1)]
    first = np.cov(points[0], aweights=weights.ravel(), ddof=0)
    second = np.cov(points[1], ddof=0)
    root = scipy.linalg.sqrtm(second).real
    mixed = scipy.linalg.sqrtm(root @ first @ root).real
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(first + second - 2 * mixed))
