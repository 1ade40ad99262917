"""Stroke size and contrast over distance, by pictures whose answer is known."""

import math

import pytest
import torch
from torch import Tensor

from src.backbones import vgg19
from src.core.images import resize
from src.inputs import load_style
from src.metrics import strokes
from src.metrics.strokes import Gram, contrast_slope, lowest, painting_scales, stroke_slope

SIDE = 192


@pytest.fixture(scope="module")
def mosaic() -> Tensor:
    return load_style("mosaic", size=2 * SIDE)


@pytest.fixture(scope="module")
def scales(mosaic: Tensor) -> dict[float, Gram]:
    return painting_scales(vgg19(), mosaic, 0.5, SIDE)


def planes() -> Tensor:
    """Four planes from top to bottom, each 1.6 times as far away as the one before."""
    depth = torch.ones(1, 1, SIDE, SIDE)
    for number in range(4):
        depth[..., number * SIDE // 4 :, :] = 1.6**number
    return depth


def painted(mosaic: Tensor, power: float) -> Tensor:
    """The painting on every plane, its size over the usual one the depth to a power."""
    depth, image = planes(), torch.zeros(1, 3, SIDE, SIDE)
    middle = 1.6**1.5
    for z in depth.unique():
        scale = float(z / middle) ** power / 2
        height, width = (round(scale * side) for side in mosaic.shape[-2:])
        tile = resize(mosaic, height, width)
        tile = tile.repeat(1, 1, -(-SIDE // height), -(-SIDE // width))[..., :SIDE, :SIDE]
        image = torch.where(depth == z, tile, image)
    return image


@pytest.mark.parametrize("power", [0.0, -0.5, -1.0, 0.7])
def test_stroke_slope_is_the_power_that_strokes_were_made_with(
    mosaic: Tensor, scales: dict[float, Gram], power: float
) -> None:
    net = vgg19()
    found = stroke_slope(net, painted(mosaic, power), planes(), scales)
    assert found == pytest.approx(power, abs=0.2)
    assert stroke_slope(net, painted(mosaic, power), 7 * planes(), scales) == pytest.approx(found)


def test_large_pastiches_are_measured_in_a_copy(
    mosaic: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strokes, "LONG_SIDE", 144)
    net = vgg19()
    scales = painting_scales(net, mosaic, 0.5, SIDE)
    found = stroke_slope(net, painted(mosaic, -1.0), planes(), scales)
    assert found == pytest.approx(-1, abs=0.25)


def test_flat_depth_has_no_slope(mosaic: Tensor, scales: dict[float, Gram]) -> None:
    net, flat = vgg19(), torch.ones(1, 1, SIDE, SIDE)
    assert math.isnan(stroke_slope(net, painted(mosaic, 0), flat, scales))
    assert math.isnan(contrast_slope(painted(mosaic, 0), flat))


def test_a_painting_too_small_at_some_sizes_is_compared_at_the_others(
    mosaic: Tensor, scales: dict[float, Gram]
) -> None:
    net = vgg19()
    assert len(painting_scales(net, resize(mosaic, 24, 24), 0.5, SIDE)) < len(scales)
    assert math.isnan(stroke_slope(net, painted(mosaic, 0), planes(), {}))


@pytest.mark.parametrize("power", [0.0, -1.0, -2.0])
def test_contrast_slope_is_the_power_that_contrast_goes_with(power: float) -> None:
    noise = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 0.5
    image = (0.5 + 0.4 * noise * planes() ** power).expand(1, 3, SIDE, SIDE)
    assert contrast_slope(image, planes()) == pytest.approx(power, abs=0.1)
    assert math.isnan(contrast_slope(torch.full((1, 3, SIDE, SIDE), 0.5), planes()))


def test_lowest_is_between_the_points_of_a_parabola() -> None:
    x = [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert lowest(x, [(v - 0.2) ** 2 for v in x]) == pytest.approx(0.2)
    assert lowest(x, [v for v in x]) == -1
    assert lowest(x, [-v for v in x]) == 1
