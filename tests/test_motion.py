"""Optical flow, warping, and depth over time, against slow implementations."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from src import motion
from src.backbones import Backbone
from src.inputs import Scene
from src.motion.depth import align
from src.objective import Inputs, Previous, TemporalTerm
from tests.running import tiny_backbone


def texture(height: int = 48, width: int = 64) -> Tensor:
    """Smooth noise, (1, 3, height, width) in [0, 1]."""
    noise = torch.rand(1, 3, height // 4, width // 4)
    image = torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")
    return image.clamp(0, 1)


def constant(x: float, y: float, height: int = 48, width: int = 64) -> Tensor:
    return (
        torch.tensor([x, y], dtype=torch.float32)[None, :, None, None]
        .expand(1, 2, height, width)
        .contiguous()
    )


def test_flow_finds_a_shift() -> None:
    wide = texture(48, 80)
    flow = motion.optical_flow(wide[..., 8:72], wide[..., 5:69])
    inner = flow[..., 8:-8, 8:-8]
    assert inner[:, 0].mean() == pytest.approx(3, abs=0.2)
    assert inner[:, 1].mean() == pytest.approx(0, abs=0.2)


def cubic(t: float) -> float:
    """The kernel of Keys 1981 with a = -0.75, as torch and OpenCV have it."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def test_warp_is_bicubic_with_the_border_repeated() -> None:
    image, flow = torch.rand(1, 2, 7, 9, dtype=torch.float64), torch.randn(1, 2, 7, 9).double() * 2
    warped = motion.warp(image, flow)
    pixels = image[0].numpy()
    for row in range(7):
        for column in range(9):
            x, y = column + float(flow[0, 0, row, column]), row + float(flow[0, 1, row, column])
            value = np.zeros(2)
            for i in range(math.floor(y) - 1, math.floor(y) + 3):
                for j in range(math.floor(x) - 1, math.floor(x) + 3):
                    weight = cubic(y - i) * cubic(x - j)
                    value += weight * pixels[:, min(max(i, 0), 6), min(max(j, 0), 8)]
            expected = np.clip(value, pixels.min(), pixels.max())
            np.testing.assert_allclose(warped[0, :, row, column].numpy(), expected, atol=1e-9)


def test_no_flow_changes_nothing() -> None:
    image = texture()
    torch.testing.assert_close(motion.warp(image, constant(0, 0)), image, atol=1e-5, rtol=0)


def test_a_shift_can_be_trusted_inside_the_frame() -> None:
    weights = motion.consistency(constant(-3, 0), constant(3, 0))
    assert (weights[..., 3:] == 1).all()
    assert (weights[..., :3] == 0).all()


def test_what_does_not_lead_home_cannot() -> None:
    """2 px of error are too much for 3 px of flow: 4 > 0.01 (9 + 25) + 0.5."""
    assert (motion.consistency(constant(-3, 0), constant(5, 0)) == 0).all()
    assert (motion.consistency(constant(-3, 0), constant(3.7, 0))[..., 3:] == 1).all()


def test_where_flow_jumps_it_cannot() -> None:
    flow = constant(0, 0)
    flow[..., 32:] = 4
    weights = motion.consistency(flow, -flow)
    assert (weights[..., 31:33] == 0).all()
    assert (weights[..., :29] == 1).all()


def test_warped_difference_by_hand() -> None:
    image, previous, weights = (
        torch.rand(1, 3, 6, 8),
        torch.rand(1, 3, 6, 8),
        torch.rand(1, 1, 6, 8),
    )
    got = motion.warped_difference(image, previous, constant(1, 0, 6, 8), weights)
    moved = np.concatenate([previous[..., 1:], previous[..., -1:]], -1)[0]
    squares = ((image[0].numpy() - moved) ** 2).mean(0)
    mask = weights[0, 0].numpy()
    assert got == pytest.approx(math.sqrt((squares * mask).sum() / mask.sum()), rel=1e-4)


@pytest.fixture
def inputs() -> Inputs:
    backbone: Backbone = tiny_backbone()
    previous = Previous(torch.rand(1, 3, 8, 8).double(), torch.rand(1, 1, 8, 8).double())
    content = torch.rand(1, 3, 8, 8).double()
    return Inputs(backbone, content, {}, {}, 8, lambda: pytest.fail("no depth"), previous)


def test_temporal_term_by_hand(inputs: Inputs) -> None:
    term = TemporalTerm(weight=1)
    term.set_targets(inputs)
    pastiche = torch.rand(1, 3, 8, 8).double()
    assert inputs.previous is not None
    image, weights = (x[0].numpy() for x in inputs.previous)
    expected = sum(
        weights[0, y, x] * (float(pastiche[0, c, y, x]) - image[c, y, x]) ** 2
        for c in range(3)
        for y in range(8)
        for x in range(8)
    ) / (3 * 8 * 8)
    assert float(term.compute(pastiche, {})["temporal"]) == pytest.approx(expected, rel=1e-12)
    pastiche.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term.compute(x, {})["temporal"], pastiche)


def scene(depth: Tensor, span: tuple[float, float], is_estimated: bool = False) -> Scene:
    image, valid = depth.expand(1, 3, -1, -1), torch.ones_like(depth, dtype=torch.bool)
    return Scene(image, depth, valid, None, "x", "", span, "m", is_estimated)


def test_measured_depth_is_in_the_first_frames_unit() -> None:
    metres = 2 + 2 * torch.rand(1, 1, 8, 8)
    first = scene((metres - 1) / 4, (1, 5))
    later = scene((metres - 2) / 2, (2, 4))
    none = torch.zeros_like(metres)
    steady = motion.steady_depth(later, first, none, none)
    assert steady.depth is not None
    torch.testing.assert_close(steady.depth, first.depth)
    assert steady.depth_span == (1, 5)


def test_depth_is_smoothed_where_flow_can_be_trusted() -> None:
    first = scene(torch.full((1, 1, 8, 8), 0.5), (0, 1))
    previous, weights = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    weights[..., :4] = 1
    steady = motion.steady_depth(first, first, previous, weights).depth
    assert steady is not None
    assert (steady[..., :4] == 0.75).all()
    assert (steady[..., 4:] == 0.5).all()


def test_without_depth_there_is_none() -> None:
    still = replace(scene(torch.rand(1, 1, 8, 8), (0, 1)), depth=None)
    assert motion.steady_depth(still, still, torch.zeros(()), torch.zeros(())) is still


def test_estimates_are_aligned_by_mean_and_deviation() -> None:
    depth, previous, weights = torch.rand(3, 1, 1, 16, 16).double()
    mask = weights.numpy() / weights.numpy().sum()

    def moments(x: np.ndarray) -> tuple[float, float]:
        mean = (x * mask).sum()
        return mean, math.sqrt(((x - mean) ** 2 * mask).sum())

    (mean, deviation), (target, wanted) = moments(depth.numpy()), moments(previous.numpy())
    expected = (depth.numpy() - mean) * (wanted / deviation) ** 0.5 + mean + 0.5 * (target - mean)
    np.testing.assert_allclose(align(depth, previous, weights).numpy(), expected, rtol=1e-12)


def test_a_noisy_estimate_does_not_flatten_frame_by_frame() -> None:
    truth = torch.rand(1, 1, 32, 32)
    first = scene(truth, (0, 1), is_estimated=True)
    depth, everywhere = truth, torch.ones_like(truth)
    for _ in range(60):
        noisy = (truth + 0.1 * torch.randn_like(truth)).clamp(0, 1)
        found = motion.steady_depth(scene(noisy, (0, 1), True), first, depth, everywhere).depth
        assert found is not None
        depth = found
    assert depth.std() == pytest.approx(float(truth.std()), rel=0.15)


def test_too_few_points_align_nothing() -> None:
    depth = torch.rand(1, 1, 9, 9)
    assert align(depth, 1 - depth, torch.ones_like(depth)) is depth
    flat = torch.full((1, 1, 32, 32), 0.5)
    assert align(flat, torch.rand(1, 1, 32, 32), torch.ones_like(flat)) is flat
