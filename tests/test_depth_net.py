"""Disparity to depth."""

import pytest
import torch

from src.depth_nets import depth_from_disparity, estimate_depth
from src.depth_nets.network import FAR_OVER_NEAR
from tests.running import TinyDepthNet


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_depth_from_disparity_by_hand() -> None:
    # Evenly spaced disparity between 1 / far and 1 / near, the ends beyond the percentiles.
    disparity = torch.linspace(5, 25, 401).view(1, 1, 1, 401)
    depth = depth_from_disparity(disparity)[0, 0, 0]
    assert (depth[:4] == 1).all()
    assert (depth[-4:] == 0).all()
    # Halfway in disparity: 1 / ((1 + 1 / FAR) / 2) times as far as the nearest.
    middle = 1 / ((1 + 1 / FAR_OVER_NEAR) / 2)
    assert depth[200].item() == pytest.approx((middle - 1) / (FAR_OVER_NEAR - 1), abs=1e-4)
    assert (depth.diff() <= 0).all()


def test_depth_from_disparity_is_blind_to_scale_and_offset() -> None:
    disparity = rand(2, 1, 6, 7)
    scaled = torch.cat([3 * disparity[:1] - 5, 0.1 * disparity[1:] + 2])
    assert torch.allclose(depth_from_disparity(disparity), depth_from_disparity(scaled), atol=1e-4)


def test_depth_of_a_constant_disparity_is_in_the_middle() -> None:
    assert (depth_from_disparity(torch.full((1, 1, 4, 4), 7.0)) == 0.5).all()


def test_depth_is_estimated_from_the_networks_disparity() -> None:
    net, image = TinyDepthNet(), rand(1, 3, 12, 16)
    expected = depth_from_disparity(net.disparity(image, {}))
    assert torch.equal(estimate_depth(net, image), expected)
