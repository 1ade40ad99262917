"""Masks are the formulas of the paper, stay in [0, 1], and shrink and share without loss."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from torch import Tensor

from src.masks import (
    band,
    downsample_mask,
    edges,
    linear,
    normalize_masks,
    otsu_threshold,
    refine,
    sigmoid,
    step,
    uniform,
)

FUNCTIONS = [uniform, linear, sigmoid, step, band, edges]
every_function = pytest.mark.parametrize("function", FUNCTIONS)
SIZES = [(1, 1), (1, 7), (2, 3), (5, 4), (8, 12), (11, 5), (16, 24), (20, 30)]  # of (16, 24)


def depth(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def ramp(height: int = 16, width: int = 24) -> Tensor:
    return torch.linspace(0, 1, width, dtype=torch.float64).expand(1, 1, height, width).clone()


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64)


def assert_values(mask: Tensor, *values: float) -> None:
    assert mask.flatten().tolist() == pytest.approx(values, abs=1e-12)


def test_linear_by_hand() -> None:
    assert_values(linear(depth(0, 0.25, 1)), 0, 0.25, 1)
    assert_values(linear(depth(0, 0.5, 1), low=0.8, high=1.0), 0.8, 0.9, 1)  # paper, 3.2
    assert_values(linear(depth(0, 0.25, 1), low=1.0, high=0.0), 1, 0.75, 0)
    assert_values(linear(depth(0, 0.5, 1), low=0.8, high=1.0, invert=True), 0.2, 0.1, 0)


def test_sigmoid_by_hand() -> None:
    two = 1 / (1 + np.exp(-2))  # 0.8808
    assert_values(sigmoid(depth(0.4, 0.5, 0.6)), 1 - two, 0.5, two)  # paper, 3.2
    assert_values(sigmoid(depth(0.4, 0.5), center=0.3, slope=10.0), 0.73105857863, two)
    assert_values(sigmoid(depth(0.7, 0.8), center=0.8, invert=True), two, 0.5)  # Figure 3


def test_step_includes_its_threshold() -> None:
    assert_values(step(depth(0.49, 0.5, 0.51)), 0, 1, 1)
    assert_values(step(depth(0.2, 0.25, 0.3), threshold=0.25, invert=True), 1, 0, 0)


def test_band_by_hand() -> None:
    d = depth(0.1, 0.25, 0.3, 0.5, 0.7, 0.775, 0.9)
    assert_values(band(d), 0, 0.5, 1, 1, 1, 0.25, 0)
    assert_values(band(d, near=0.5, far=0.5, softness=0.5), 0.2, 0.5, 0.6, 1, 0.6, 0.45, 0.2)
    assert_values(band(d, invert=True), 1, 0.5, 0, 0, 0, 0.75, 1)
    d = depth(0.29, 0.3, 0.7, 0.71)
    assert_values(band(d, softness=0), 0, 1, 1, 0)
    assert_values(band(d, softness=0, invert=True), 1, 0, 0, 1)
    with pytest.raises(ValueError, match=r"near 0.7 lies behind far 0.3"):
        band(d, near=0.7, far=0.3)


@pytest.mark.parametrize(
    ("function", "loop", "options"),
    [
        (uniform, lambda depth: 1.0, {}),
        (linear, reference.linear, {"low": 0.8, "high": 0.3}),
        (sigmoid, reference.sigmoid, {"center": 0.8, "slope": 7.0}),
        (step, reference.step, {"threshold": 0.3}),
        (band, reference.band, {"near": 0.2, "far": 0.4, "softness": 0.3}),
    ],
)
def test_masks_are_the_reference(
    function: Callable[..., Tensor], loop: Callable[..., float], options: dict[str, float]
) -> None:
    d = rand(1, 1, 9, 11)
    for given in ({}, options):
        expected = np.vectorize(lambda x, given=given: loop(x, **given))(d.numpy())
        np.testing.assert_allclose(function(d, **given).numpy(), expected, rtol=0, atol=1e-12)


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masks_keep_shape_and_type_and_stay_in_0_to_1(
    function: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    d = ramp().to(dtype)
    for invert in (False, True):
        mask = function(d, invert=invert)
        assert mask.shape == d.shape
        assert mask.dtype == dtype
        assert mask.min() >= 0
        assert mask.max() <= 1
    torch.testing.assert_close(mask, 1 - function(d))


@pytest.mark.parametrize("function", [linear, sigmoid])
def test_soft_masks_have_the_gradient_of_their_value(function: Callable[..., Tensor]) -> None:
    assert torch.autograd.gradcheck(function, rand(1, 1, 3, 4).requires_grad_())


def two_clusters(near: float, far: float) -> tuple[Tensor, Tensor]:
    """A third of the picture near, the rest far, spread by a tenth either way; all valid."""
    d = torch.full((1, 1, 30, 40), far)
    d[:, :, :10] = near
    d += 0.1 * (2 * torch.rand(d.shape) - 1)
    return d, torch.ones_like(d, dtype=torch.bool)


@pytest.mark.parametrize(("near", "far"), [(0.2, 0.8), (0.15, 0.5), (0.6, 0.9)])
def test_auto_threshold_parts_two_clusters(near: float, far: float) -> None:
    d, valid = two_clusters(near, far)
    threshold = otsu_threshold(d, valid)
    assert near < threshold < far
    mask = step(d, threshold)
    assert mask[:, :, :10].mean() < 0.02  # but for what shares the border's bin of 256
    assert mask[:, :, 10:].mean() == 1


def test_auto_threshold_makes_the_variance_between_classes_largest() -> None:
    d = torch.cat([torch.rand(400) * 0.7, 0.4 + 0.6 * torch.rand(700)]).view(1, 1, 20, 55)
    values = d.flatten().numpy().astype(float)
    best = max(reference.variance_between(values, t) for t in np.linspace(0, 1, 513))
    threshold = otsu_threshold(d, torch.ones_like(d, dtype=torch.bool))
    assert reference.variance_between(values, threshold) > 0.999 * best
    assert reference.variance_between(values, threshold + 0.1) < 0.99 * best


def test_auto_threshold_ignores_invalid_points() -> None:
    d, valid = two_clusters(0.15, 0.5)
    expected = otsu_threshold(d, valid)
    d = torch.cat([d, torch.ones_like(d)], dim=3)
    valid = torch.cat([valid, torch.zeros_like(valid)], dim=3)
    assert otsu_threshold(d, valid) == expected
    assert otsu_threshold(d, torch.ones_like(valid)) > expected + 0.1
    # Without a valid point all count.
    assert otsu_threshold(d, torch.zeros_like(valid)) == otsu_threshold(d, torch.ones_like(valid))


def test_auto_threshold_lies_between_the_nearest_depths_on_either_side() -> None:
    d = depth(0, 1 / 512, 1)  # the second is Otsu's threshold: the middle of a bin
    assert otsu_threshold(d, torch.ones_like(d, dtype=torch.bool)) == (1 / 512 + 1) / 2


def test_auto_threshold_of_a_flat_depth_is_that_depth() -> None:
    d = torch.full((1, 1, 4, 5), 0.25)
    assert otsu_threshold(d, torch.ones_like(d, dtype=torch.bool)) == 0.25


def three_masks() -> dict[str, Tensor]:
    return {
        "near": sigmoid(ramp(), center=0.3, invert=True),
        "middle": rand(1, 1, 16, 24),
        "far": linear(ramp()),
    }


def sum_of_squares(masks: dict[str, Tensor]) -> Tensor:
    return torch.stack([mask.square() for mask in masks.values()]).sum(0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_squares_of_shares_sum_to_one_at_every_layer(height: int, width: int) -> None:
    normalized = normalize_masks(three_masks())
    assert list(normalized) == ["near", "middle", "far"]
    small = {name: downsample_mask(mask, height, width) for name, mask in normalized.items()}
    ones = torch.ones(1, 1, height, width, dtype=torch.float64)
    torch.testing.assert_close(sum_of_squares(small), ones)


def test_shares_are_the_reference() -> None:
    masks = {name: rand(1, 1, 4, 5) for name in "abc"}
    for mask in masks.values():
        mask[0, 0, 1, 2] = 0
    expected = reference.normalize_masks([mask.numpy() for mask in masks.values()])
    for found, wanted in zip(normalize_masks(masks).values(), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)


def test_a_single_mask_is_no_share() -> None:
    mask = rand(1, 1, 4, 5)
    found = normalize_masks({"main": mask})
    assert list(found) == ["main"]
    assert torch.equal(found["main"], mask)


def test_downsample_mask_by_hand() -> None:
    mask = torch.tensor([[[[1.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 0.0]]]])
    torch.testing.assert_close(
        downsample_mask(mask, 1, 2), torch.tensor([[[[0.5, (1.5 / 4) ** 0.5]]]])
    )
    assert torch.equal(downsample_mask(mask, 2, 4), mask)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_downsample_mask_is_the_reference(height: int, width: int) -> None:
    mask = rand(2, 1, 16, 24)
    found = downsample_mask(mask, height, width)
    assert found.shape == (2, 1, height, width)
    np.testing.assert_allclose(
        found.numpy(), reference.downsample_mask(mask.numpy(), height, width), rtol=1e-12
    )


def test_downsample_mask_has_the_gradient_of_its_value() -> None:
    mask = (0.1 + 0.9 * rand(1, 1, 4, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: downsample_mask(x, 2, 4), mask)


def test_auto_threshold_lies_in_the_middle_of_an_empty_gap() -> None:
    depth = torch.tensor([0.2] * 30 + [0.8] * 20).reshape(1, 1, 5, 10)
    assert otsu_threshold(depth, torch.ones_like(depth, dtype=torch.bool)) == pytest.approx(0.5)


def test_edges_are_where_depth_jumps_and_near_it() -> None:
    d = torch.zeros(1, 1, 60, 80, dtype=torch.float64)
    d[..., 40:] = 0.5
    columns = edges(d, threshold=0.2, spread=0.03)[0, 0]  # 3 px of the diagonal's 100
    assert (columns == columns[:1]).all()
    assert columns[0].nonzero().flatten().tolist() == list(range(37, 43))
    assert columns.max() == 1
    assert_values(edges(d, threshold=0.4)[..., 30, 39:40], 0.25)  # .5 is 1.25 times it
    assert edges(d, threshold=0.5).max() == 0
    assert edges(d, floor=0.3).unique().tolist() == [0.3, 1]
    assert edges(d, threshold=0.2, spread=0)[..., 0, :].sum() == 2  # a pixel at least


def test_a_slope_is_no_edge_and_edges_mean_the_same_at_every_size() -> None:
    assert edges(ramp(120, 160), threshold=0.05).max() == 0  # .006 a pixel
    d = torch.zeros(1, 1, 60, 80)
    d[..., 40:] = 1
    shares = [edges(F.interpolate(d, scale_factor=k), spread=0.03).mean().item() for k in (1, 2, 4)]
    assert shares == pytest.approx([shares[0]] * 3, rel=0.1)


def scene_of_a_disk() -> tuple[Tensor, Tensor]:
    """A picture of a dark disk with a little noise, and the disk."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    disk = ((y - 48) ** 2 + (x - 64) ** 2 < 30**2).float()[None, None]
    noise = 0.05 * torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    return (0.8 - 0.5 * disk + noise).clamp(0, 1), disk


def wrong(mask: Tensor, truth: Tensor) -> int:
    return int(((mask > 0.5) != (truth > 0.5)).sum())


def test_a_shifted_or_soft_mask_is_brought_to_the_silhouette() -> None:
    image, disk = scene_of_a_disk()
    for mask in (disk.roll((1, 2), (-2, -1)), F.avg_pool2d(disk.roll(1, -1), 5, 1, 2)):
        refined = refine(mask, image)
        assert wrong(refined, disk) < 0.3 * wrong(mask, disk)
        assert refined.min() >= 0
        assert refined.max() <= 1
    assert wrong(refine(disk, image), disk) <= 5  # what is right stays so
    inverse = refine(1 - disk.roll(2, -1), image)
    torch.testing.assert_close(inverse, 1 - refine(disk.roll(2, -1), image), atol=0.02, rtol=0)


def test_slopes_flat_masks_and_thin_parts_stay_as_they_are() -> None:
    image, disk = scene_of_a_disk()
    for mask in (ramp(96, 128).float(), torch.ones_like(disk), torch.zeros_like(disk)):
        assert torch.equal(refine(mask, image), mask)
    thin = torch.zeros_like(disk)
    thin[..., 10:80, 5] = 1  # no wider than the band
    assert refine(thin, image)[..., 20:70, 5].min() > 0.5


def test_a_large_mask_is_refined_at_a_smaller_size() -> None:
    image, disk = scene_of_a_disk()
    image, disk = (F.interpolate(x, scale_factor=6) for x in (image, disk))
    mask = disk.roll(10, -1)
    refined = refine(mask, image)
    assert refined.shape == mask.shape
    assert wrong(refined, disk) < 0.3 * wrong(mask, disk)
