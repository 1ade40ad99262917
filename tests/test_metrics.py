"""Metrics: values by hand, slow loops, and the orderings that anyone would expect."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from src.backbones import Backbone, vgg19
from src.core.images import resize
from src.inputs import load_scene, load_style
from src.losses import gram_matrix
from src.metrics.content import (
    edge_agreement,
    feature_change,
    feature_distance,
    self_similarity,
    ssim,
)
from src.metrics.depth import depth_scores, guessed_depth
from src.metrics.regions import change, leakage, preserved_change, sharpness
from src.metrics.style import gram_distance, quantiles, wasserstein

LAYERS = ["relu1_2", "relu2_2", "relu3_1"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def halves(height: int = 8, width: int = 12) -> Tensor:
    """1 in the left half, 0 in the right one."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


def test_gram_distance_by_hand() -> None:
    target = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    assert gram_distance(target, target) == 0
    assert gram_distance(torch.zeros(1, 2, 2), target) == pytest.approx(1)
    assert gram_distance(target + torch.eye(2), target) == pytest.approx(math.sqrt(2) / 5)
    assert gram_distance(7 * target + 7, 7 * target) == pytest.approx(2 / 5)  # no unit


def slow_quantiles(features: np.ndarray, mask: np.ndarray, direction: np.ndarray, levels: int):
    """The smallest value at or below which a share u of the weight lies, one by one."""
    places = list(np.ndindex(mask.shape))
    points = sorted((float(direction @ features[:, y, x]), mask[y, x] ** 2) for y, x in places)
    total = sum(weight for _, weight in points)
    found = []
    for j in range(levels):
        reached = 0.0
        for value, weight in points:
            reached += weight
            if reached >= (j + 0.5) / levels * total:
                found.append(value)
                break
    return found


def test_masked_quantiles_are_the_slow_ones() -> None:
    features, mask = random(1, 3, 5, 7).double(), random(1, 1, 5, 7, seed=1).double()
    mask[..., :2] = 0
    found = quantiles(features, mask, projections=4, levels=10, seed=3)
    generator = torch.Generator().manual_seed(3)
    directions = F.normalize(torch.randn(4, 3, generator=generator), dim=1).double()
    for row, direction in zip(found, directions, strict=True):
        slow = slow_quantiles(features[0].numpy(), mask[0, 0].numpy(), direction.numpy(), levels=10)
        np.testing.assert_allclose(row.numpy(), slow, rtol=1e-6)


def test_quantiles_are_the_same_every_time_and_rise() -> None:
    features = random(1, 3, 6, 6)
    found = quantiles(features)
    assert torch.equal(found, quantiles(features))
    assert (found.diff(dim=1) >= 0).all()
    assert not torch.equal(found, quantiles(features, seed=1))


def test_a_mask_of_ones_is_no_mask_and_half_a_mask_is_the_half() -> None:
    features, mask = random(1, 3, 8, 12), halves()
    whole = quantiles(features)
    assert torch.equal(quantiles(features, torch.ones(1, 1, 8, 12)), whole)
    half = quantiles(features[..., :6])
    assert torch.allclose(quantiles(features, mask), half)
    assert torch.allclose(quantiles(features, 0.3 * mask), half)
    with pytest.raises(ValueError, match="mask: got 0 everywhere; expected more than 0 somewhere"):
        quantiles(features, 0 * mask)


def test_wasserstein_of_a_shift_and_of_a_scale() -> None:
    target = quantiles(random(1, 1, 40, 40), projections=1)
    assert wasserstein(target, target) == 0
    spread = float(target.std(correction=0))
    assert wasserstein(target + 2 * spread, target) == pytest.approx(2, rel=1e-4)
    middle = target.mean()
    assert wasserstein(middle + 3 * (target - middle), target) == pytest.approx(2, rel=1e-4)


def test_feature_distance_by_hand() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(1, 2, 1, 2)  # along x, then along y
    other = torch.tensor([[5.0, 3.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # along x twice
    assert feature_distance({"a": one}, {"a": other}) == pytest.approx((0 + 2) / 2)
    both = feature_distance({"a": one, "b": one}, {"a": other, "b": one})
    assert both == pytest.approx(0.5)
    assert feature_change(one, other).flatten().tolist() == pytest.approx([0, 2])


def slow_self_similarity(features: np.ndarray, target: np.ndarray) -> float:
    """StyleID's CFSD, place by place, as a mean times 4096."""

    def distributions(x: np.ndarray) -> np.ndarray:
        places = x.reshape(len(x), -1).T / len(x)
        powers = np.array([[math.exp(one @ other) for other in places] for one in places])
        return powers / powers.sum(1, keepdims=True)

    p, q = distributions(target), distributions(features)
    return 4096 * float((p * np.log(p / q)).sum(1).mean())


def test_self_similarity_is_the_slow_one() -> None:
    one, other = 5 * random(1, 4, 3, 5).double(), 5 * random(1, 4, 3, 5, seed=1).double()
    expected = slow_self_similarity(one[0].numpy(), other[0].numpy())
    assert expected > 1
    assert self_similarity(one, other) == pytest.approx(expected, rel=1e-6)
    assert self_similarity(one, one) == 0


def test_self_similarity_averages_large_features() -> None:
    small = random(1, 3, 32, 64)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = random(1, 3, 32, 64, seed=1)
    found = self_similarity(large, other)
    assert found == pytest.approx(self_similarity(small, other), rel=1e-4)


def test_ssim_by_hand() -> None:
    flat = torch.full((1, 3, 16, 16), 0.5)
    assert ssim(flat, flat) == pytest.approx(1)
    # Without structure the luminance's factor is left: (2 a b + C1) / (a^2 + b^2 + C1).
    expected = (2 * 0.5 * 0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4)
    assert ssim(flat / 2, flat) == pytest.approx(expected, rel=1e-5)


def square(left: int, side: int = 40) -> Tensor:
    image = torch.zeros(1, 3, 64, 96)
    image[..., 12 : 12 + side, left : left + side] = 1
    return image


def test_edges_agree_within_the_tolerance_only() -> None:
    here = square(20)
    assert edge_agreement(here, here) == 1
    # 0.75 % of a diagonal of 115 pixels is less than one, so one it is. Two edges of four slide
    # along themselves and stay, but for their ends.
    assert edge_agreement(square(21), here) == 1
    assert 0.4 < edge_agreement(square(26), here) < 0.8
    assert edge_agreement(0.4 + 0.1 * here, here) == 1  # contrast is of no effect
    assert edge_agreement(torch.full((1, 3, 64, 96), 0.5), here) == 0  # no edges


def test_depth_scores_by_hand() -> None:
    depth = torch.tensor([1.0, 1.0, 2.0, 2.0]).view(1, 1, 2, 2)
    assert depth_scores(7 / depth - 3, depth) == pytest.approx((1, 0, 1, 0, 0, 0), abs=1e-4)
    # Constant disparity becomes the mean of 1 and 1/2: depth 4/3 everywhere.
    flat = depth_scores(torch.ones(1, 1, 2, 2), depth)
    rmse, silog = math.sqrt(((1 / 3) ** 2 + (2 / 3) ** 2) / 2), 100 * math.log(2) / 2
    assert flat == pytest.approx((0, 1 / 3, 0, rmse, silog, 0.5))


def slow_depth_scores(p: np.ndarray, depth: np.ndarray) -> tuple[float, ...]:
    target = 1 / depth
    matrix = np.stack([p, np.ones_like(p)], axis=1)
    (scale, offset), *_ = np.linalg.lstsq(matrix, target, rcond=None)
    errors, near, squares, logs = [], [], [], []
    for x, d in zip(p, depth, strict=True):
        found = 1 / max(scale * x + offset, 1 / depth.max())
        errors.append(abs(found - d) / d)
        near.append(max(found / d, d / found) < 1.25)
        squares.append((found - d) ** 2)
        logs.append(math.log(found) - math.log(d))
    mean = sum(logs) / len(logs)
    silog = 100 * math.sqrt(sum(e * e for e in logs) / len(logs) - mean**2)
    return np.mean(errors), np.mean(near), math.sqrt(np.mean(squares)), silog


def test_depth_scores_are_the_slow_ones() -> None:
    depth = 1 + 3 * random(1, 1, 9, 11).double()
    disparity = 40 / depth + 15 * random(1, 1, 9, 11, seed=1).double()
    valid = random(1, 1, 9, 11, seed=2) > 0.3
    found = depth_scores(disparity, depth, valid)
    slow = slow_depth_scores(disparity[valid].numpy(), depth[valid].numpy())
    assert slow[1] not in (0, 1)
    assert (found.abs_rel, found.delta, found.rmse, found.silog) == pytest.approx(slow, rel=1e-6)


def test_metres_change_the_rmse_only() -> None:
    depth, disparity = 1 + random(1, 1, 9, 11), random(1, 1, 9, 11, seed=1)
    scores = depth_scores(disparity, depth)._asdict()
    feet = depth_scores(disparity, 3.28 * depth)._asdict()
    assert feet.pop("rmse") == pytest.approx(3.28 * scores.pop("rmse"))
    assert feet == pytest.approx(scores)


def test_order_counts_only_where_depth_differs_by_a_tenth() -> None:
    depth = torch.tensor([1.0, 1.05]).view(1, 1, 1, 2)
    assert depth_scores(depth, depth).whdr == 0.5  # no pair differs enough
    ramp = torch.linspace(1, 2, 100).view(1, 1, 1, 100)
    # The nearer half is right, the farther half turned around in itself: of pairs that differ by a
    # tenth, those within the farther half are wrong.
    turned = 1 / torch.cat([ramp[..., :50], ramp[..., 50:].flip(3)], dim=3)
    pairs = [(i, j) for i in range(100) for j in range(100)]
    ratios = {(i, j): float(ramp[0, 0, 0, i] / ramp[0, 0, 0, j]) for i, j in pairs}
    counted = [pair for pair, r in ratios.items() if r > 1.1 or r < 1 / 1.1]
    wrong = [pair for pair in counted if min(pair) >= 50]
    expected = len(wrong) / len(counted)
    assert depth_scores(turned, ramp).whdr == pytest.approx(expected, abs=0.02)


def test_guessed_depth_goes_from_one_to_four() -> None:
    disparity = torch.linspace(-5, 90, 1000).view(1, 1, 10, 100)
    depth = guessed_depth(disparity)
    assert depth.min() == pytest.approx(1)
    assert depth.max() == pytest.approx(4)
    middle = guessed_depth(torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3))[0, 0, 0, 1]
    assert float(middle) == pytest.approx(1 / (0.25 + 0.75 / 2), rel=0.02)
    assert (guessed_depth(torch.ones(1, 1, 4, 4)) == 4).all()


def test_preserved_change_by_hand() -> None:
    image = torch.where(halves() > 0, 0.4, 0.1) * torch.tensor([0.5, 1, 1.5]).view(1, 3, 1, 1)
    changed = change(image, torch.zeros(1, 3, 8, 12))  # the mean over colours
    found = preserved_change(changed, halves())
    assert found.mean == pytest.approx(0.1)
    assert found.ratio == pytest.approx(0.25)
    assert found.share == pytest.approx(0.2)
    # A grey pixel counts for both: everywhere the same change is a ratio of 1 for any mask.
    assert preserved_change(torch.ones(1, 1, 8, 12), random(1, 1, 8, 12)).ratio == pytest.approx(1)


def test_preserved_change_of_an_unchanged_picture() -> None:
    found = preserved_change(torch.zeros(1, 1, 8, 12), halves())
    assert (found.mean, found.share) == (0, 0)
    assert math.isnan(found.ratio)


@pytest.mark.parametrize("measure", [preserved_change, leakage])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_that_does_not_select_has_no_preserved_change(measure, value: float) -> None:
    with pytest.raises(ValueError, match="region: got one region only; expected a styled and a"):
        measure(torch.ones(1, 1, 4, 4), torch.full((1, 1, 4, 4), value))


@pytest.mark.parametrize("reach", [2.0, 5.0])
def test_leakage_by_hand(reach: float) -> None:
    # Falls in a straight line from 1 in the styled half, to 0 at twice the reach.
    distance = (torch.arange(40) - 19.0).clamp(min=0)
    changed = (1 - distance / (2 * reach)).clamp(min=0).expand(1, 1, 30, 40)
    assert leakage(changed, halves(30, 40)) == pytest.approx(reach, rel=1e-6)


def test_leakage_of_a_clean_cut_and_of_no_cut() -> None:
    mask = halves(30, 40)
    assert leakage(mask, mask) == pytest.approx(0.5)  # between two pixels
    assert leakage(torch.ones_like(mask), mask) == 20
    assert leakage(torch.zeros_like(mask), mask) == 0


def slow_detail(grey: np.ndarray, region: np.ndarray) -> float:
    padded = np.pad(grey, 1, mode="edge")
    total = []
    for y, x in np.argwhere(region) + 1:
        around = padded[y - 1, x] + padded[y + 1, x] + padded[y, x - 1] + padded[y, x + 1]
        total.append((around - 4 * padded[y, x]) ** 2)
    return float(np.mean(total))


def test_sharpness_is_the_slow_one() -> None:
    image, content, depth = random(1, 3, 9, 12), random(1, 3, 9, 12, seed=1), random(1, 1, 9, 12)
    near, far = sharpness(image, content, depth)
    weights = np.array([0.299, 0.587, 0.114])[:, None, None]
    one, other = ((x[0].numpy() * weights).sum(0) for x in (image, content))
    d = depth[0, 0].numpy()
    thirds = d <= np.quantile(d, 1 / 3), d >= np.quantile(d, 2 / 3)
    for found, region in zip((near, far), thirds, strict=True):
        expected = slow_detail(one, region) / slow_detail(other, region)
        assert found == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return vgg19()


@pytest.fixture(scope="module")
def pictures() -> dict[str, Tensor]:
    """The photo, worse and worse copies of it, another photo, and a painting."""
    from skimage import data  # its coffee comes in the wheel

    photo = load_scene("motorcycle", size=96, need_depth=False).image
    height, width = photo.shape[-2:]
    coffee = torch.from_numpy(data.coffee()).permute(2, 0, 1)[None].float() / 255
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    padded = F.pad(photo, (1, 1, 1, 1), mode="replicate")
    return {
        "itself": photo,
        "blurred": F.avg_pool2d(padded, 3, 1),
        "noisy": (photo + 0.2 * noise).clamp(0, 1),
        "another": resize(coffee, height, width),
        "painting": load_style("swirls", size=96),
    }


@pytest.fixture(scope="module")
def features(backbone: Backbone, pictures: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    return {name: backbone.features(image, LAYERS) for name, image in pictures.items()}


ORDER = ("itself", "blurred", "noisy", "another")


def test_content_gets_lost_in_this_order(
    pictures: dict[str, Tensor], features: dict[str, dict[str, Tensor]]
) -> None:
    photo, photo_features = pictures["itself"], features["itself"]
    lower = {
        "feature_distance": [feature_distance(features[n], photo_features) for n in ORDER],
        "self_similarity": [
            self_similarity(features[n]["relu3_1"], photo_features["relu3_1"]) for n in ORDER
        ],
        "ssim": [-ssim(pictures[n], photo) for n in ORDER],
    }
    for name, values in lower.items():
        assert values == sorted(values), name
        assert len(set(values)) == len(values), name
    edges = {n: edge_agreement(pictures[n], photo) for n in ORDER}
    assert edges["itself"] == 1
    assert min(edges["blurred"], edges["noisy"]) > edges["another"] + 0.2


def test_style_is_nearest_in_a_piece_of_the_painting(
    backbone: Backbone, pictures: dict[str, Tensor], features: dict[str, dict[str, Tensor]]
) -> None:
    painting = pictures["painting"]
    piece = backbone.features(painting[..., : painting.shape[-1] * 2 // 3], LAYERS)
    for layer in LAYERS:
        target = features["painting"][layer]
        near, far = piece[layer], features["itself"][layer]
        grams = [gram_distance(gram_matrix(f), gram_matrix(target)) for f in (near, far)]
        wanted = quantiles(target)
        swd = [wasserstein(quantiles(f), wanted) for f in (near, far)]
        assert grams[0] < grams[1] / 2, layer
        assert swd[0] < swd[1] / 1.5, layer
