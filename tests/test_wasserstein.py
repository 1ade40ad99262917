"""The Wasserstein distance of features: by a slow second opinion, its gradient, what it ignores."""

from typing import Any

import pytest
import reference
import torch
from torch import Tensor

from src.losses.gram import unnormalized_moments
from src.losses.wasserstein import gaussian_wasserstein, moments, principal_axes
from src.objective import Style, StyleTerm, WassersteinDistance
from tests.running import TINY_LAYERS, picture, tiny_backbone, tiny_objective

masked_or_not = pytest.mark.parametrize("masked", [False, True])


def features(seed: int, channels: int = 5, height: int = 9, width: int = 8) -> Tensor:
    """Correlated features, mostly positive."""
    generator = torch.Generator().manual_seed(seed)
    kwargs: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    mix = torch.randn(channels, channels, **kwargs)
    noise = torch.randn(1, channels, height, width, **kwargs)
    return torch.einsum("ij,bjhw->bihw", mix, noise + 0.5)


def mask_of(x: Tensor) -> Tensor:
    return torch.rand(1, 1, *x.shape[-2:], dtype=torch.float64)


def distance(x: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    return gaussian_wasserstein(moments(x, mask), principal_axes(moments(target)))


def test_moments_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    plain = torch.tensor([[[1.5, 3.5], [2.5, 5.5], [5.5, 12.5]]])
    torch.testing.assert_close(moments(x), plain)
    mask = torch.tensor([[[[1.0, 0.0]]]])
    torch.testing.assert_close(moments(x, mask), torch.tensor([[[1.0, 3.0], [1.0, 3.0], [3, 9]]]))


@masked_or_not
def test_it_is_the_reference(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.losses.wasserstein.EXPLAINED", 2)  # every axis
    x, target = features(1), features(2, height=7)
    mask = mask_of(x) if masked else None
    expected = reference.gaussian_wasserstein(
        x[0].numpy(), target[0].numpy(), None if mask is None else mask[0, 0].numpy()
    )
    assert float(distance(x, target, mask)) == pytest.approx(expected, rel=1e-9)


def test_by_hand_in_one_dimension() -> None:
    x = torch.tensor([[[[0.0, 2.0]]]], dtype=torch.float64)  # mean 1, deviation 1
    target = torch.tensor([[[[1.0, 7.0]]]], dtype=torch.float64)  # mean 4, deviation 3
    assert float(distance(x, target)) == pytest.approx(3**2 + 2**2)


@masked_or_not
@pytest.mark.parametrize("explained", [0.5, 0.99])
def test_it_has_the_gradient_of_its_value(
    masked: bool, explained: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.losses.wasserstein.EXPLAINED", explained)
    target = principal_axes(moments(features(2)))
    assert target.shape[1] - 2 < 5 or explained > 0.5
    x = features(1).requires_grad_()
    mask = mask_of(x) if masked else None
    assert torch.autograd.gradcheck(lambda x: gaussian_wasserstein(moments(x, mask), target), x)


@masked_or_not
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_are_those_in_float64(masked: bool, dtype: torch.dtype) -> None:
    x = features(1).to(dtype)
    exact = x.double().requires_grad_()
    x.requires_grad_()
    mask = mask_of(x) if masked else None
    downstream = torch.randn(1, 6, 5, dtype=torch.float64)
    found = unnormalized_moments(x, None if mask is None else mask.float())
    expected = unnormalized_moments(exact, mask)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
    (gradient,) = torch.autograd.grad((found * downstream.float()).sum(), x)
    (exact_gradient,) = torch.autograd.grad((expected * downstream).sum(), exact)
    atol = (1e-5 if dtype is torch.float32 else 0.02) * float(exact_gradient.abs().max())
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=0, atol=atol)


def test_identical_features_are_at_no_distance_whatever_is_left_over() -> None:
    for rank in (1, 3, 12):
        x = features(1, rank, 4, 6).float().repeat(1, 12 // rank, 1, 1)
        scale = float(moments(x)[0, 1:].trace())
        assert abs(float(distance(x, x))) < 1e-5 * scale


def test_order_of_positions_does_not_matter() -> None:
    x, target = features(1), features(2)
    shuffled = x.flatten(2)[..., torch.randperm(72)].view_as(x)
    torch.testing.assert_close(distance(shuffled, target), distance(x, target))


def test_a_half_mask_is_the_cropped_half() -> None:
    x, target = features(1), features(2)
    mask = torch.zeros(1, 1, 9, 8, dtype=torch.float64)
    mask[..., 4:] = 1
    torch.testing.assert_close(distance(x, target, mask), distance(x[..., 4:], target))


def test_float32_is_float64_where_features_fill_few_dimensions() -> None:
    """Eigenvalues that are 0 but for rounding must not count."""
    mix = features(3, 64, 8, 8)[0, :, 0, :3]
    x, target = (torch.einsum("ij,bjhw->bihw", mix, features(s, 3, 30, 30)) for s in (1, 2))
    found = [distance(one.requires_grad_(), two) for one, two in [(x, target)]]
    x32 = x.detach().float().requires_grad_()
    found.append(distance(x32, target.float()).double())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=0)
    exact, rough = (torch.autograd.grad(f, one)[0] for f, one in zip(found, (x, x32), strict=True))
    torch.testing.assert_close(rough.double(), exact, rtol=0, atol=1e-3 * float(exact.abs().max()))


def test_features_of_zero_are_at_a_distance_of_one() -> None:
    target = principal_axes(moments(features(2)))
    black = torch.zeros(1, 6, 5, dtype=torch.float64)
    assert float(WassersteinDistance().distance(black, target)) == pytest.approx(1)


def test_what_is_no_number_stays_none() -> None:
    assert torch.isnan(distance(features(1) * torch.nan, features(2)))


@pytest.mark.parametrize(("flat", "other"), [(True, False), (False, True), (True, True)])
def test_flat_pictures_have_a_finite_gradient(flat: bool, other: bool) -> None:
    x, target = features(1).float(), features(2).float()
    x = (torch.full_like(x, 0.5) if flat else x).requires_grad_()
    target = torch.full_like(target, 0.25) if other else target
    value = distance(x, target)
    (gradient,) = torch.autograd.grad(value, x)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    if flat and other:
        assert float(value.detach()) == pytest.approx(5 * 0.25**2, rel=1e-3)


@masked_or_not
def test_tiles_give_the_same_loss_and_gradient(masked: bool) -> None:
    content, paint = picture(1, 40, 56), picture(2, 24, 32)
    mask = torch.linspace(0, 1, 56).expand(1, 1, 40, 56) if masked else None
    results = []
    for size in (10**4, 16):
        term = StyleTerm(TINY_LAYERS, 1.0, WassersteinDistance())
        objective = tiny_objective(
            [term], content, {"a": Style(paint, 1.0, mask)}, tile_size=size, backbone=BACKBONE
        )
        image = picture(3, 40, 56).requires_grad_()
        total, _ = objective(image)
        results.append((total, *torch.autograd.grad(total, image)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


BACKBONE = tiny_backbone()
