"""Disparity to depth, and the cache of estimates."""

from pathlib import Path

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


def test_an_estimate_is_made_once_for_each_picture_and_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    net, image = TinyDepthNet(), rand(1, 3, 12, 16)
    first = estimate_depth(net, image)
    assert torch.equal(first, depth_from_disparity(net.disparity(image, {})))
    net.looked = 0
    assert torch.equal(estimate_depth(net, image), first)
    assert net.looked == 0
    estimate_depth(net, image.flip(-1))
    assert net.looked == 1
    other = TinyDepthNet()
    other.name = "another"
    estimate_depth(other, image)
    assert other.looked == 1
    (file, *_) = tmp_path.rglob("depth/*.npy")
    for damage in (b"", b"junk", file.read_bytes()[:100]):
        for path in tmp_path.rglob("depth/*.npy"):
            path.write_bytes(damage)
        net.looked = 0
        assert torch.equal(estimate_depth(net, image), first)
        assert net.looked == 1
    assert not list(tmp_path.rglob("depth/*.part"))


def test_where_nothing_can_be_written_an_estimate_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    net, image = TinyDepthNet(), rand(1, 3, 12, 16)
    assert torch.equal(estimate_depth(net, image), estimate_depth(net, image))
    assert net.looked == 2
