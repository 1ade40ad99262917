"""Layout without a network: the loss by a slow second opinion, its term, and its experiment."""

import numpy as np
import pytest
import torch
from torch import Tensor

from src.core.errors import InputError
from src.losses import laplacian_loss
from src.losses.structure import LUMA
from src.objective import Inputs, Objective, StructureTerm
from src.pipeline.build import build
from src.pipeline.config import compose
from tests.running import TinyDepthNet, picture, tiny_backbone


def rand(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def at(tones: np.ndarray, row: int, column: int) -> float:
    """A pixel, or beyond the border the nearest one."""
    rows, columns = tones.shape
    return float(tones[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)])


def slow_loss(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """By loops, in 8-bit levels; mask (H, W), images (3, H, W)."""
    total = 0.0
    for spacing in (2, 4, 8):
        curvatures = []
        for x in (image, target):
            tones = 255 * np.tensordot(LUMA, x, 1)
            blurred = np.zeros_like(tones)
            window = range(-(spacing // 2), (spacing + 1) // 2)
            for i, j in np.ndindex(*tones.shape):
                blurred[i, j] = np.mean([at(tones, i + a, j + b) for a in window for b in window])
            curvature = np.zeros_like(tones)
            for i, j in np.ndindex(*tones.shape):
                around = [(i - spacing, j), (i + spacing, j), (i, j - spacing), (i, j + spacing)]
                curvature[i, j] = sum(at(blurred, *x) for x in around) - 4 * blurred[i, j]
            curvatures.append(curvature)
        squares = (mask * (curvatures[0] - curvatures[1])) ** 2
        total += spacing**2 / (4 + 16 + 64) * squares.mean()
    return total


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_agrees_with_a_slow_one(masked: bool) -> None:
    image, target = rand(1, 3, 11, 14), rand(1, 3, 14, 11).mT.contiguous()
    mask = rand(1, 1, 11, 14) if masked else None
    expected = slow_loss(
        image[0].numpy(),
        target[0].numpy(),
        mask[0, 0].numpy() if mask is not None else np.ones((11, 14)),
    )
    assert float(laplacian_loss(image, target, mask)) == pytest.approx(expected, rel=1e-9)


def test_it_has_the_gradient_of_its_value_and_is_zero_for_itself() -> None:
    image, target, mask = rand(1, 3, 9, 8), rand(1, 3, 9, 8) / 2, rand(1, 1, 9, 8)
    assert torch.autograd.gradcheck(
        lambda x: laplacian_loss(x, target, mask), image.clone().requires_grad_()
    )
    assert float(laplacian_loss(image, image)) == 0


def test_hue_and_a_change_of_light_are_free() -> None:
    image = rand(1, 3, 16, 16)
    assert float(laplacian_loss(image + 0.2, image)) == pytest.approx(0, abs=1e-20)
    shift = torch.tensor([LUMA[1], -LUMA[0], 0.0]).double().view(1, 3, 1, 1)
    assert float(laplacian_loss(image + shift, image)) == pytest.approx(0, abs=1e-20)
    assert float(laplacian_loss(1 - image, image)) > 1


@pytest.mark.parametrize("shape", [(1, 5), (3, 1), (2, 40)])
def test_narrow_pictures_have_a_loss(shape: tuple[int, int]) -> None:
    assert float(laplacian_loss(rand(1, 3, *shape), rand(1, 3, *shape) / 3)) >= 0


def term_objective(mask: Tensor | None, weight: float = 2.0) -> Objective:
    masks = {} if mask is None else {"structure": mask}
    inputs = Inputs(tiny_backbone(), picture(0), {}, masks, 10**4, TinyDepthNet)
    return Objective([StructureTerm(weight)], inputs)


def test_the_term_is_the_loss_where_its_mask_says() -> None:
    mask = torch.zeros(1, 1, *picture(0).shape[-2:])
    mask[..., :8] = 1
    total, values = term_objective(mask)(picture(1))
    expected = laplacian_loss(picture(1), picture(0), mask)
    assert float(values["structure"]) == pytest.approx(float(expected))
    assert float(total) == pytest.approx(2 * float(expected))
    assert 0 < float(expected) < float(laplacian_loss(picture(1), picture(0)))


def test_a_mask_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"loss\.structure\.mask: got a mask that is 0 every"):
        term_objective(torch.zeros(1, 1, *picture(0).shape[-2:]))


def test_the_experiment_keeps_silhouettes_of_the_built_in_photo() -> None:
    config = compose("+experiment=structure", "size=64", "style=ink")
    job = build(config)
    assert job.stylization.objective.terms == ["content", "style", "tv", "structure"]
    mask = job.images["mask_structure"]
    assert 0.05 < float(mask.mean()) < 0.8
    everywhere = build(compose("+experiment=structure", "size=64", "style=ink", "mask=uniform"))
    pastiche = torch.rand_like(job.images["content"])
    values = [float(x.stylization.objective(pastiche)[1]["structure"]) for x in (job, everywhere)]
    assert 0 < values[0] < values[1]


def test_other_experiments_take_it_and_are_without_it() -> None:
    assert (
        "structure"
        not in build(compose("+experiment=naive", "size=64")).stylization.objective.terms
    )
    weighted = compose("+experiment=naive", "size=64", "loss.structure.weight=100")
    terms = build(weighted).stylization.objective._terms
    assert {term.name: term.weight for term in terms}["structure"] == 100
    stronger = build(compose("+experiment=structure", "size=64", "strength=0.8")).stylization
    weights = {term.name: term.weight for term in stronger.objective._terms}
    assert weights["structure"] == pytest.approx(150 * 0.125)
    assert weights["content"] == pytest.approx(500 * 0.125)


def test_few_edges_are_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    mask = build(compose("+experiment=structure", "size=64", "mask.threshold=0.5")).images
    assert 0 < float(mask["mask_structure"].mean()) < 0.1
    assert not caplog.text


def test_depth_without_an_edge_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"a smaller threshold, or a floor above 0"):
        build(compose("+experiment=structure", "size=64", "mask.threshold=1.0"))
