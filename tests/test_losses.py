"""The losses are the paper's numbers, by hand, by a slow second opinion, and by their gradients."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from src.losses import (
    NORMALIZERS,
    aligned_depth_loss,
    content_loss,
    depth_gradient_loss,
    depth_loss,
    gram_matrix,
    style_loss,
    total_variation,
)
from src.losses.aligned_depth import SMALLEST_SCALE, align

every_normalizer = pytest.mark.parametrize("normalizer", NORMALIZERS)
masked_or_not = pytest.mark.parametrize("masked", [False, True])
half_precisions = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def rand(*shape: int, grad: bool = False) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).requires_grad_(grad)


def rand_mask(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64)


def test_content_loss_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    mask = torch.tensor([[[[1.0, 0.5], [0.0, 1.0]]]])
    target = torch.zeros(1, 1, 2, 2)
    assert content_loss(features, target).item() == 15
    assert content_loss(features, target, mask).item() == 9
    assert content_loss(features, target + 1, mask).item() == 4.625  # (0 + 1/4 + 0 + 9) / 2


def test_content_loss_with_a_mask_of_ones_is_that_without_bit_for_bit() -> None:
    features, target = rand(1, 3, 7, 5).float(), rand(1, 3, 7, 5).float()
    masked = content_loss(features, target, torch.ones(1, 1, 7, 5))
    assert torch.equal(masked, content_loss(features, target))


def test_gram_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    mask = torch.tensor([[[[1.0, 0.5]]]])
    plain = torch.tensor([[[2.5, 5.5], [5.5, 12.5]]])
    summed = torch.tensor([[[2.0, 5.0], [5.0, 13.0]]])  # sum_k mask^2 F_ik F_jk
    torch.testing.assert_close(gram_matrix(features), plain)
    torch.testing.assert_close(gram_matrix(features, mask), summed / (2 * 0.625))
    torch.testing.assert_close(gram_matrix(features, mask, "paper"), summed / (2 * 0.5625))


@every_normalizer
@masked_or_not
def test_gram_is_the_reference(masked: bool, normalizer: str) -> None:
    features = rand(2, 3, 4, 5)
    mask = rand_mask(2, 1, 4, 5) if masked else None
    found = gram_matrix(features, mask, normalizer)
    expected = reference.gram_matrix(
        features.numpy(), None if mask is None else mask.numpy(), normalizer
    )
    assert found.shape == (2, 3, 3)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@every_normalizer
@masked_or_not
def test_gram_has_the_gradient_of_its_value(masked: bool, normalizer: str) -> None:
    mask = rand_mask(2, 1, 3, 4) if masked else None
    features = rand(2, 3, 3, 4, grad=True)
    assert torch.autograd.gradcheck(lambda x: gram_matrix(x, mask, normalizer), features)
    downstream = rand(2, 3, 3)  # not symmetric
    assert torch.autograd.gradcheck(
        lambda x: (gram_matrix(x, mask, normalizer) * downstream).sum(), features
    )


@every_normalizer
@masked_or_not
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gram_is_that_in_float64(
    masked: bool,
    normalizer: str,
    batch: int,
    memory_format: torch.memory_format,
    dtype: torch.dtype,
) -> None:
    # Both take another path on a CPU than float64; the gradient keeps the memory layout.
    features = rand(batch, 17, 6, 9).to(dtype).contiguous(memory_format=memory_format)
    exact = features.double().requires_grad_()
    features.requires_grad_()
    mask = rand_mask(1, 1, 6, 9) if masked else None
    downstream = rand(batch, 17, 17)  # not symmetric
    found = gram_matrix(features, None if mask is None else mask.float(), normalizer)
    expected = gram_matrix(exact, mask, normalizer)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad((found * downstream.float()).sum(), features)
    (exact_gradient,) = torch.autograd.grad((expected * downstream).sum(), exact)
    assert gradient.dtype == dtype
    assert gradient.is_contiguous(memory_format=memory_format)
    # Products of bfloat16 numbers are exact in float32: what is rounded is the factors and the end.
    rtol, atol = 1e-4, 1e-5
    if dtype is torch.bfloat16:
        rtol, atol = 0, 0.01 * float(exact_gradient.abs().max())
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=rtol, atol=atol)


@masked_or_not
@pytest.mark.parametrize("chunk", [1, 200, 400])
def test_gram_is_the_same_in_chunks_of_any_size(
    masked: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = rand(2, 5, 7, 9, grad=True)
    mask = rand_mask(2, 1, 7, 9) if masked else None
    downstream = rand(2, 5, 5)

    def found() -> tuple[Tensor, Tensor]:
        gram = gram_matrix(features, mask)
        (gradient,) = torch.autograd.grad((gram * downstream).sum(), features)
        return gram.detach(), gradient

    whole = found()
    monkeypatch.setattr("src.losses.gram.CHUNK", chunk)
    for one, other in zip(found(), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_gram_gives_no_gradient_to_its_mask() -> None:
    mask = rand_mask(1, 1, 3, 4).requires_grad_()
    gram_matrix(rand(1, 2, 3, 4, grad=True), mask).sum().backward()
    assert mask.grad is None


@every_normalizer
def test_gram_with_a_mask_of_ones_is_that_without(normalizer: str) -> None:
    features = rand(1, 8, 7, 9).float()
    ones = torch.ones(1, 1, 7, 9)
    # The layout in memory may order the sums differently: a few units of the last place.
    torch.testing.assert_close(
        gram_matrix(features, ones, normalizer), gram_matrix(features), rtol=1e-6, atol=1e-7
    )
    exact = features.round()  # sums of whole numbers have no order
    assert torch.equal(gram_matrix(exact, ones, normalizer), gram_matrix(exact))


@pytest.mark.parametrize(("share", "factor"), [(2, 2.0), (4, 4.0)])
def test_the_papers_normalizer_inflates_a_mask_that_selects(share: int, factor: float) -> None:
    features = rand(1, 3, 4, 8)
    mask = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
    mask[..., : 8 // share] = 1
    selected = gram_matrix(features[..., : 8 // share])
    torch.testing.assert_close(gram_matrix(features, mask, "mean_square"), selected)
    torch.testing.assert_close(gram_matrix(features, mask, "paper"), factor * selected)


@every_normalizer
def test_gram_keeps_the_images_of_a_batch_apart(normalizer: str) -> None:
    features, mask = rand(2, 3, 4, 5), rand_mask(2, 1, 4, 5)
    together = gram_matrix(features, mask, normalizer)
    alone = [gram_matrix(features[i : i + 1], mask[i : i + 1], normalizer) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))
    shared = gram_matrix(features, mask[:1], normalizer)
    torch.testing.assert_close(shared[1:], gram_matrix(features[1:], mask[:1], normalizer))


def test_gram_names_an_unknown_normalizer_and_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"^normalizer: got 'mean'; expected one of mean_square, paper$"
    ):
        gram_matrix(rand(1, 2, 3, 3), rand_mask(1, 1, 3, 3), "mean")
    with pytest.raises(ValueError, match="normalizer: got 'mean'"):
        gram_matrix(rand(1, 2, 3, 3), None, "mean")


@half_precisions
def test_half_precision_features_give_finite_float32_losses(dtype: torch.dtype) -> None:
    # Squares of 300 and more are beyond float16, and so is a sum of them.
    features = (rand(1, 4, 8, 8) * 300).to(dtype)
    target = (rand(1, 4, 8, 8) * 300).to(dtype)
    mask = rand_mask(1, 1, 8, 8).to(dtype)
    exact, exact_target, exact_mask = features.double(), target.double(), mask.double()
    exact_gram = gram_matrix(exact, exact_mask)
    pairs = [
        (content_loss(features, target, mask), content_loss(exact, exact_target, exact_mask)),
        (gram_matrix(features), gram_matrix(exact)),
        (gram_matrix(features, mask), exact_gram),
        (gram_matrix(features, mask, "paper"), gram_matrix(exact, exact_mask, "paper")),
        (
            style_loss(gram_matrix(features, mask), gram_matrix(target)),
            style_loss(exact_gram, gram_matrix(exact_target)),
        ),
        (depth_loss(features, target), depth_loss(exact, exact_target)),
    ]
    for found, expected in pairs:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-1)
    variation = total_variation(features)  # neighbours are subtracted in their own precision
    assert variation.dtype == torch.float32
    torch.testing.assert_close(variation.double(), total_variation(exact), rtol=5e-3, atol=0)


@pytest.mark.parametrize("by_convolution", [True, False])
def test_gram_stays_in_float32_under_autocast(
    monkeypatch: pytest.MonkeyPatch, by_convolution: bool
) -> None:
    # Both ways to take products: that of CPUs and that of other devices.
    monkeypatch.setattr("src.losses.gram._by_convolution", lambda x: by_convolution)
    features = rand(1, 8, 6, 6).float().requires_grad_()
    expected = gram_matrix(features)
    (gradient,) = torch.autograd.grad(expected.square().sum(), features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gram_matrix(features)
        (cast_gradient,) = torch.autograd.grad(found.square().sum(), features)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert torch.equal(cast_gradient, gradient)


def test_half_precision_features_get_gradients_of_their_own_type() -> None:
    features = rand(1, 4, 5, 5).half().requires_grad_()
    gram_matrix(features, rand_mask(1, 1, 5, 5)).sum().backward()
    assert features.grad.dtype == torch.float16
    assert features.grad.isfinite().all()


def test_style_loss_by_hand() -> None:
    gram = torch.tensor([[[1.0, 2.0], [2.0, 5.0]]])
    assert style_loss(gram, torch.zeros(1, 2, 2)).item() == 2.125  # 34 / (4 * 4)
    assert style_loss(gram, torch.ones(1, 2, 2)).item() == 1.125  # 18 / (4 * 4)


def test_style_loss_is_the_papers_e_l() -> None:
    # 1/(4 N^2 M^2) sum (F F^T - S S^T)^2, both pictures of the paper's one size M.
    features, style = rand(1, 3, 4, 5), rand(1, 3, 4, 5)
    grams = [x[0].flatten(1) @ x[0].flatten(1).T for x in (features, style)]
    expected = (grams[0] - grams[1]).square().sum() / (4 * 3**2 * 20**2)
    torch.testing.assert_close(style_loss(gram_matrix(features), gram_matrix(style)), expected)


def test_style_loss_of_tiled_pictures_is_zero() -> None:
    features = rand(1, 3, 4, 5)
    gram = gram_matrix(features)
    tiled = gram_matrix(features.repeat(1, 1, 2, 3))  # another size, the same statistics
    assert style_loss(gram, tiled).item() == pytest.approx(0, abs=1e-25)


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 1.0], [3.0, 7.0]]]])
    assert total_variation(image).item() == 9 + 36 + 1 + 16
    across = torch.tensor([[[[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]]])
    assert total_variation(across).item() == 4
    assert total_variation(across.mT).item() == 4


def test_depth_loss_by_hand() -> None:
    predicted = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
    target = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
    assert depth_loss(predicted, target).item() == (0.25 + 0 + 1 + 0.0625) / 4


aligned_losses = pytest.mark.parametrize("loss", [aligned_depth_loss, depth_gradient_loss])


def test_aligned_depth_loss_by_hand() -> None:
    # Half of the target's variance is in the rows, half in the columns; the rows are predicted.
    target = torch.tensor([[[[0.0, 1.0], [1.0, 2.0]]]])
    predicted = torch.tensor([[[[5.0, 5.0], [8.0, 8.0]]]])
    assert aligned_depth_loss(predicted, target).item() == pytest.approx(0.5)
    aligned = align(predicted, target)
    assert aligned.flatten().tolist() == pytest.approx([0.5, 0.5, 1.5, 1.5])
    # Left over, in units of its spread, sqrt(1/2): -1/2 and 1/2 in every row.
    assert depth_gradient_loss(predicted, target).item() == pytest.approx(2**0.5)


@aligned_losses
def test_aligned_losses_are_blind_to_scale_and_shift(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    predicted, target = rand(1, 1, 8, 6), rand(1, 1, 8, 6)
    value = loss(predicted, target).item()
    assert loss(7 * predicted - 3, target).item() == pytest.approx(value, rel=1e-9)
    assert loss(predicted, 0.2 * target + 4).item() == pytest.approx(value, rel=1e-9)
    assert loss(5 * target + 1, target).item() == pytest.approx(0, abs=1e-12)


def test_aligned_depth_loss_is_what_correlation_leaves() -> None:
    predicted, target = rand(1, 1, 8, 6), rand(1, 1, 8, 6)
    predicted = predicted + target
    r = np.corrcoef(predicted.numpy().ravel(), target.numpy().ravel())[0, 1]
    assert aligned_depth_loss(predicted, target).item() == pytest.approx(1 - r**2, rel=1e-9)


def test_a_map_turned_inside_out_is_no_match_and_is_put_right() -> None:
    target = rand(1, 1, 8, 6)
    value = aligned_depth_loss(-2 * target, target).item()
    assert value == pytest.approx((1 + SMALLEST_SCALE) ** 2)
    predicted = (-2 * target).requires_grad_()
    (gradient,) = torch.autograd.grad(aligned_depth_loss(predicted, target), predicted)
    assert aligned_depth_loss(predicted - 0.1 * gradient / gradient.norm(), target).item() < value


@aligned_losses
def test_a_constant_prediction_explains_nothing_and_has_a_finite_gradient(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    target = rand(1, 1, 8, 6)
    predicted = torch.full_like(target, 3.0).requires_grad_()
    value = loss(predicted, target)
    value.backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()
    assert predicted.grad.abs().max() < 1e6
    if loss is aligned_depth_loss:
        assert value.item() == pytest.approx(1)


def with_target(loss: Callable[..., Tensor], *others: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: loss(x, *others)


def cases() -> dict[str, tuple[Callable[..., Tensor], Tensor, tuple[Tensor, ...]]]:
    """By name a loss, what it is of, and its other arguments."""
    x, target, mask = rand(2, 3, 4, 5), rand(2, 3, 4, 5), rand_mask(2, 1, 4, 5)
    depth, near = rand(2, 1, 9, 7), rand(2, 1, 9, 7)
    return {
        "content": (content_loss, x, (target,)),
        "masked content": (content_loss, x, (target, mask)),
        "style": (style_loss, rand(2, 5, 5), (rand(2, 5, 5),)),
        "tv": (total_variation, x, ()),
        "depth": (depth_loss, rand(2, 1, 4, 5), (rand(2, 1, 4, 5),)),
        "aligned": (aligned_depth_loss, 3 * depth + near + 5, (depth,)),
        "aligned, turned inside out": (aligned_depth_loss, near - 3 * depth, (depth,)),
        "edges": (depth_gradient_loss, 3 * depth + near + 5, (depth,)),
        "edges, turned inside out": (depth_gradient_loss, near - 3 * depth, (depth,)),
    }


every_loss = pytest.mark.parametrize("name", list(cases()))


@every_loss
def test_it_is_the_reference(name: str) -> None:
    loss, x, others = cases()[name]
    found = loss(x, *others)
    expected = getattr(reference, loss.__name__)(x.numpy(), *(other.numpy() for other in others))
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-9)


@every_loss
def test_it_has_the_gradient_of_its_value(name: str) -> None:
    loss, x, others = cases()[name]
    assert torch.autograd.gradcheck(with_target(loss, *others), x.requires_grad_())


@every_loss
def test_of_what_it_compares_with_it_is_zero(name: str) -> None:
    loss, x, others = cases()[name]
    same = (others[0].clone(), *others) if others else (torch.full_like(x, 0.7),)
    assert loss(*same).item() == pytest.approx(0, abs=1e-12)
