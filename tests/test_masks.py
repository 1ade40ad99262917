"""Masks are the formulas of the paper, stay in [0, 1], and shrink and share without loss."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from src.masks import at_layer, auto_threshold, band, linear, shares, sigmoid, step, uniform

FUNCTIONS = [uniform, linear, sigmoid, step, band]
every_function = pytest.mark.parametrize("function", FUNCTIONS)
SIZES = [(1, 1), (1, 7), (2, 3), (5, 4), (8, 12), (11, 5), (16, 24), (20, 30)]


def depth(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def ramp(height: int = 16, width: int = 24) -> Tensor:
    return torch.linspace(0, 1, width, dtype=torch.float64).expand(1, 1, height, width).clone()


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64)


def assert_values(mask: Tensor, *values: float) -> None:
    assert mask.flatten().tolist() == pytest.approx(values, abs=1e-12)


# The functions


def test_uniform_is_one_everywhere() -> None:
    assert_values(uniform(depth(0, 0.4, 1)), 1, 1, 1)


def test_linear_by_hand() -> None:
    assert_values(linear(depth(0, 0.25, 1)), 0, 0.25, 1)
    assert_values(linear(depth(0, 0.5, 1), low=0.8, high=1.0), 0.8, 0.9, 1)  # paper, 3.2
    assert_values(linear(depth(0, 0.25, 1), low=1.0, high=0.0), 1, 0.75, 0)
    assert_values(linear(depth(0, 0.5, 1), low=0.8, high=1.0, invert=True), 0.2, 0.1, 0)


def test_sigmoid_by_hand() -> None:
    two = 1 / (1 + np.exp(-2))  # 0.8808
    assert_values(sigmoid(depth(0.4, 0.5, 0.6)), 1 - two, 0.5, two)  # paper, 3.2
    assert_values(sigmoid(depth(0.4, 0.5), center=0.3, slope=10.0), 0.73105857863, two)


def test_sigmoid_inverted_is_that_of_figure_3() -> None:
    d = ramp()
    figure_3 = 1 - 1 / (1 + torch.exp(-20 * (d - 0.8)))
    torch.testing.assert_close(sigmoid(d, center=0.8, invert=True), figure_3)


def test_step_includes_its_threshold() -> None:
    assert_values(step(depth(0.49, 0.5, 0.51)), 0, 1, 1)
    assert_values(step(depth(0.2, 0.25, 0.3), threshold=0.25, invert=True), 1, 0, 0)


def test_band_by_hand() -> None:
    d = depth(0.1, 0.25, 0.3, 0.5, 0.7, 0.775, 0.9)
    assert_values(band(d), 0, 0.5, 1, 1, 1, 0.25, 0)
    assert_values(band(d, near=0.5, far=0.5, softness=0.5), 0.2, 0.5, 0.6, 1, 0.6, 0.45, 0.2)
    assert_values(band(d, invert=True), 1, 0.5, 0, 0, 0, 0.75, 1)


def test_band_without_softness_has_hard_edges() -> None:
    d = depth(0.29, 0.3, 0.7, 0.71)
    assert_values(band(d, softness=0), 0, 1, 1, 0)
    assert_values(band(d, softness=0, invert=True), 1, 0, 0, 1)


@pytest.mark.parametrize(
    ("function", "loop", "options"),
    [
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


@every_function
def test_invert_gives_one_minus_the_mask(function: Callable[..., Tensor]) -> None:
    d = ramp()
    torch.testing.assert_close(function(d, invert=True), 1 - function(d))


@pytest.mark.parametrize("function", [linear, sigmoid, step])
def test_masks_select_what_is_far(function: Callable[..., Tensor]) -> None:
    mask = function(ramp())[0, 0, 0]
    assert (mask.diff() >= 0).all()
    assert mask[-1] > 0.99
    assert mask[0] < 0.01


@pytest.mark.parametrize("function", [linear, sigmoid])
def test_soft_masks_have_the_gradient_of_their_value(function: Callable[..., Tensor]) -> None:
    assert torch.autograd.gradcheck(function, rand(1, 1, 3, 4).requires_grad_())


# The automatic border


def two_clusters(near: float, far: float) -> tuple[Tensor, Tensor]:
    """A third of the picture near, the rest far, spread by a tenth either way; all valid."""
    d = torch.full((1, 1, 30, 40), far)
    d[:, :, :10] = near
    d += 0.1 * (2 * torch.rand(d.shape) - 1)
    return d, torch.ones_like(d, dtype=torch.bool)


@pytest.mark.parametrize(("near", "far"), [(0.2, 0.8), (0.15, 0.5), (0.6, 0.9)])
def test_auto_threshold_parts_two_clusters(near: float, far: float) -> None:
    d, valid = two_clusters(near, far)
    threshold = auto_threshold(d, valid)
    assert near < threshold < far
    mask = step(d, threshold)
    assert mask[:, :, :10].mean() < 0.02  # but for what shares the border's bin of 256
    assert mask[:, :, 10:].mean() == 1


def test_auto_threshold_makes_the_variance_between_classes_largest() -> None:
    d = torch.cat([torch.rand(400) * 0.7, 0.4 + 0.6 * torch.rand(700)]).view(1, 1, 20, 55)
    values = d.flatten().numpy().astype(float)
    best = max(reference.variance_between(values, t) for t in np.linspace(0, 1, 513))
    threshold = auto_threshold(d, torch.ones_like(d, dtype=torch.bool))
    assert reference.variance_between(values, threshold) > 0.999 * best
    assert reference.variance_between(values, threshold + 0.1) < 0.99 * best


def test_auto_threshold_ignores_invalid_points() -> None:
    d, valid = two_clusters(0.15, 0.5)
    expected = auto_threshold(d, valid)
    d = torch.cat([d, torch.ones_like(d)], dim=3)
    valid = torch.cat([valid, torch.zeros_like(valid)], dim=3)
    assert auto_threshold(d, valid) == expected
    assert auto_threshold(d, torch.ones_like(valid)) > expected + 0.1


def test_auto_threshold_without_a_valid_point_takes_all_of_them() -> None:
    d, valid = two_clusters(0.2, 0.8)
    assert auto_threshold(d, ~valid) == auto_threshold(d, valid)


def test_auto_threshold_of_a_flat_depth_is_that_depth() -> None:
    d = torch.full((1, 1, 4, 5), 0.25)
    assert auto_threshold(d, torch.ones_like(d, dtype=torch.bool)) == 0.25


# Shares


def three_masks() -> dict[str, Tensor]:
    return {
        "near": sigmoid(ramp(), center=0.3, invert=True),
        "middle": rand(1, 1, 16, 24),
        "far": linear(ramp()),
    }


def sum_of_squares(masks: dict[str, Tensor]) -> Tensor:
    return torch.stack([mask.square() for mask in masks.values()]).sum(0)


def test_squares_of_shares_sum_to_one_at_every_pixel() -> None:
    found = shares(three_masks())
    assert list(found) == ["near", "middle", "far"]
    torch.testing.assert_close(sum_of_squares(found), torch.ones_like(ramp()))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_squares_of_shares_sum_to_one_at_every_layer(height: int, width: int) -> None:
    small = {name: at_layer(mask, height, width) for name, mask in shares(three_masks()).items()}
    ones = torch.ones(1, 1, height, width, dtype=torch.float64)
    torch.testing.assert_close(sum_of_squares(small), ones)


def test_masks_that_sum_to_one_leave_half_in_the_middle_and_their_shares_do_not() -> None:
    d = depth(0, 0.5, 1)
    plain = {"far": linear(d), "near": linear(d, invert=True)}
    assert_values(sum_of_squares(plain), 1, 0.5, 1)
    found = shares(plain)
    assert_values(sum_of_squares(found), 1, 1, 1)
    assert_values(found["far"], 0, 0.5**0.5, 1)
    assert_values(found["near"], 1, 0.5**0.5, 0)


def test_shares_are_the_reference() -> None:
    masks = {name: rand(1, 1, 4, 5) for name in "abc"}
    for mask in masks.values():
        mask[0, 0, 1, 2] = 0
    expected = reference.shares([mask.numpy() for mask in masks.values()])
    for found, wanted in zip(shares(masks).values(), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)


def test_a_pixel_that_no_mask_claims_goes_to_none() -> None:
    found = shares({"a": depth(0, 1), "b": depth(0, 0)})
    assert_values(found["a"], 0, 1)
    assert_values(found["b"], 0, 0)


def test_a_single_mask_is_no_share() -> None:
    mask = rand(1, 1, 4, 5)
    found = shares({"main": mask})
    assert list(found) == ["main"]
    assert torch.equal(found["main"], mask)


# At a layer's size


def test_at_layer_by_hand() -> None:
    mask = torch.tensor([[[[1.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 0.0]]]])
    torch.testing.assert_close(at_layer(mask, 1, 2), torch.tensor([[[[0.5, (1.5 / 4) ** 0.5]]]]))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_at_layer_is_the_reference(height: int, width: int) -> None:
    mask = rand(2, 1, 16, 24)
    found = at_layer(mask, height, width)
    assert found.shape == (2, 1, height, width)
    np.testing.assert_allclose(
        found.numpy(), reference.at_layer(mask.numpy(), height, width), rtol=1e-12
    )


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (8, 12), (4, 24), (16, 6)])
def test_at_layer_keeps_the_mean_of_squares(height: int, width: int) -> None:
    mask = rand(1, 1, 16, 24)
    found = at_layer(mask, height, width).square().mean()
    torch.testing.assert_close(found, mask.square().mean())


@pytest.mark.parametrize(("height", "width"), [(5, 7), (11, 13), (15, 23)])
def test_at_layer_nearly_keeps_the_mean_of_squares_where_areas_overlap(
    height: int, width: int
) -> None:
    mask = sigmoid(ramp())
    found = at_layer(mask, height, width).square().mean()
    torch.testing.assert_close(found, mask.square().mean(), rtol=0.02, atol=0)


def test_at_layer_of_the_masks_own_size_is_the_mask_bit_for_bit() -> None:
    mask = rand(1, 1, 5, 7)
    assert torch.equal(at_layer(mask, 5, 7), mask)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_at_layer_keeps_ones_and_zeros(height: int, width: int) -> None:
    ones = torch.ones(1, 1, 16, 24)
    assert torch.equal(at_layer(ones, height, width), torch.ones(1, 1, height, width))
    assert torch.equal(at_layer(0 * ones, height, width), torch.zeros(1, 1, height, width))


def test_at_layer_has_the_gradient_of_its_value() -> None:
    mask = (0.1 + 0.9 * rand(1, 1, 4, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: at_layer(x, 2, 4), mask)


def test_auto_threshold_lies_in_the_middle_of_an_empty_gap() -> None:
    depth = torch.tensor([0.2] * 30 + [0.8] * 20).reshape(1, 1, 5, 10)
    assert auto_threshold(depth, torch.ones_like(depth, dtype=torch.bool)) == pytest.approx(0.5)
