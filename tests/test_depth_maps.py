"""Raw depth to the program's depth: inverted, normalised, resampled, its holes filled."""

from typing import Any

import numpy as np
import pytest
import torch

from src.core.errors import InputError
from src.inputs import depth_maps, holes
from src.inputs.depth_maps import RawDepth


def raw(values: np.ndarray, valid: np.ndarray | None = None, **how: Any) -> RawDepth:
    values = np.asarray(values, np.float32)
    return RawDepth(values, np.isfinite(values) if valid is None else valid, **how)


def grey(height: int, width: int) -> torch.Tensor:
    return torch.full((1, 3, height, width), 0.5)


def prepare(found: RawDepth, height: int, width: int) -> depth_maps.DepthMap:
    return depth_maps.prepare(found, grey(height, width), "depth.path")


def test_a_ramp_becomes_zero_to_one() -> None:
    ramp = np.linspace(2, 12, 101)[None].repeat(20, 0)
    found = prepare(raw(ramp, unit="m"), 20, 101)
    assert found.depth.shape == (1, 1, 20, 101)
    assert found.depth.dtype == torch.float32
    assert found.span == pytest.approx((2.1, 11.9), abs=0.01)  # percentiles 1 and 99
    assert found.unit == "m"
    assert found.depth[0, 0, 0, [0, 50, 100]].tolist() == pytest.approx([0, 0.5, 1])
    assert found.depth[0, 0, 0, 20].item() == pytest.approx((4 - 2.1) / 9.8, abs=1e-3)


def test_one_speckle_moves_nothing_and_infinity_is_not_measured() -> None:
    ramp = np.linspace(1, 2, 400).reshape(20, 20)
    ramp[7, 7] = 1e6
    found = prepare(raw(ramp), 20, 20)
    assert found.span[1] < 2
    assert found.depth[0, 0, 7, 7] == 1
    ramp[:5] = np.inf
    found = prepare(raw(ramp), 20, 20)
    assert (found.depth[0, 0, :5] == 1).all()
    assert not found.valid[0, 0, :5].any()


def test_disparity_is_inverted_and_zero_is_missing() -> None:
    disparity = np.full((20, 20), 2.0)
    disparity[:, :10] = 10
    disparity[0, 0] = 0
    found = prepare(raw(disparity, kind="disparity", unit="1/m"), 20, 20)
    assert found.span == pytest.approx((0.1, 0.5))
    assert found.unit == "m"
    assert found.depth[0, 0, 5, 2] == 0
    assert found.depth[0, 0, 5, 15] == 1
    assert not found.valid[0, 0, 0, 0]
    assert found.valid.sum() == 399


def test_two_depths_of_which_one_is_rare() -> None:
    values = np.full((30, 30), 3.0)
    values[0, 0] = 1
    found = prepare(raw(values), 30, 30)
    assert found.span == (1, 3)


@pytest.mark.parametrize("constant", [0.5, 1.0, 3.3333, 1e30])
def test_constant_depth(constant: float) -> None:
    with pytest.raises(InputError, match="same depth everywhere") as caught:
        prepare(raw(np.full((9, 9), constant)), 9, 9)
    assert caught.value.key == "depth.path"


@pytest.mark.parametrize("kind", ["depth", "disparity"])
def test_nothing_valid(kind: str) -> None:
    with pytest.raises(InputError, match="valid nowhere"):
        prepare(raw(np.zeros((9, 9)), np.zeros((9, 9), bool), kind=kind), 9, 9)


def test_dense_maps_keep_what_their_makers_filled() -> None:
    values = np.linspace(1, 2, 400).reshape(20, 20)
    valid = np.ones((20, 20), bool)
    valid[:, 10:] = False
    filled = prepare(raw(values, valid, dense=True), 20, 20)
    assert filled.depth[0, 0, 10, 15] > filled.depth[0, 0, 10, 10]
    assert not filled.valid[0, 0, :, 10:].any()
    guessed = prepare(raw(values, valid), 20, 20)
    assert guessed.depth[0, 0, 10, 15] <= guessed.depth[0, 0, 10, 9] + 1e-3


def test_resample_leaves_out_what_is_not_known() -> None:
    """By hand: of each 2 x 2 block only the known points count."""
    values = np.array([[1, 3, 100, 100], [5, 7, 100, 9]], np.float32)
    known = np.array([[1, 1, 0, 0], [1, 0, 0, 1]], bool)
    found, density = depth_maps.resample(values, known, 1, 2)
    assert found.tolist() == [[3, 9]]
    assert density.tolist() == [[0.75, 0.25]]


def test_resample_grows_holes_with_the_map() -> None:
    values, known = np.ones((8, 8), np.float32), np.ones((8, 8), bool)
    known[2:4, 2:6] = False
    values[~known] = 99
    found, density = depth_maps.resample(values, known, 32, 32)
    assert (density == 0).mean() == pytest.approx(8 / 64, abs=0.04)
    assert set(np.unique(found[density > 0])) == {1}


def test_sparse_points_stay_where_they_are() -> None:
    """One point in nine, as a laser's: each is measured at half the size, and nothing else is."""
    values = np.zeros((48, 48), np.float32)
    known = np.zeros((48, 48), bool)
    known[1::3, 1::3] = True
    values[known] = np.linspace(1, 9, known.sum())
    found = prepare(RawDepth(values, known), 24, 24)
    assert found.valid.float().mean() == pytest.approx(256 / 576, abs=0.01)
    assert found.depth[0, 0, 0, 0] == 0
    assert found.depth[0, 0, -1, -1] == 1


def test_maps_with_holes_keep_their_share() -> None:
    rng = np.random.default_rng(0)
    values = np.linspace(1, 9, 6400).reshape(80, 80).astype(np.float32)
    known = np.ones((80, 80), bool)
    known[20:40, 20:60] = False
    known &= rng.random((80, 80)) > 0.02
    found = prepare(RawDepth(values, known), 40, 40)
    assert found.valid.float().mean() == pytest.approx(1 - 800 / 6400, abs=0.01)


def test_aspects() -> None:
    for height, width in ((120, 160), (240, 320), (121, 160)):
        depth_maps.check_aspect(raw(np.ones((height, width))), (480, 640), "depth.path")
    for height, width in ((160, 120), (120, 170)):
        with pytest.raises(InputError, match=f"{width} x {height} points.* 640 x 480 pixels"):
            depth_maps.check_aspect(raw(np.ones((height, width))), (480, 640), "depth.path")


def two_planes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A near and a far half, the photo red and blue, and a hole across the border."""
    depth = np.zeros((60, 80), np.float32)
    depth[:, 52:] = 1
    photo = np.zeros((60, 80, 3), np.float32)
    photo[:, :52, 0] = 1
    photo[:, 52:, 2] = 1
    known = np.ones((60, 80), bool)
    known[20:40, 25:55] = False  # the border is far from its middle
    return depth, known, photo


def test_holes_are_filled_along_the_photos_edges() -> None:
    depth, known, photo = two_planes()
    found = holes.inpaint_depth(np.where(known, depth, 0.5), known, photo)
    assert np.abs(found - depth).max() < 0.05


def test_what_is_known_stays_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    depth = rng.random((40, 50), np.float32)
    known = rng.random((40, 50)) > 0.5
    found = holes.inpaint_depth(depth, known, rng.random((40, 50, 3), np.float32))
    assert np.array_equal(found[known], depth[known])
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_complete_map_is_untouched_and_one_known_point_fills_everything() -> None:
    depth, photo = np.full((12, 15), 0.3, np.float32), np.zeros((12, 15, 3), np.float32)
    assert holes.inpaint_depth(depth, np.ones((12, 15), bool), photo) is depth
    known = np.zeros((12, 15), bool)
    known[3, 4] = True
    assert np.abs(holes.inpaint_depth(depth, known, photo) - 0.3).max() < 1e-3


def test_filling_does_not_see_the_values_in_holes() -> None:
    depth, known, photo = two_planes()
    one = holes.inpaint_depth(np.where(known, depth, 0.1).astype(np.float32), known, photo)
    other = holes.inpaint_depth(np.where(known, depth, 0.9).astype(np.float32), known, photo)
    assert np.array_equal(one, other)


def test_conjugate_gradients_solve() -> None:
    from scipy import sparse

    rng = np.random.default_rng(0)
    dense = rng.random((30, 30)) - 0.5
    dense = dense @ dense.T + np.eye(30)
    right = rng.random(30)
    system = sparse.csr_array(dense)
    found = holes._conjugate_gradients(system, right, np.zeros(30), 1 / dense.diagonal())
    assert np.abs(found - np.linalg.solve(dense, right)).max() < 1e-3


def test_a_dense_map_is_known_where_it_is_positive() -> None:
    values = np.tile(np.linspace(1, 2, 16, dtype=np.float32), (12, 1))
    values[5, 8] = 0
    raw = RawDepth(values, values > 0, "depth", "m", "drawn", dense=True)
    found = prepare(raw, 12, 16)[0]
    assert 0.4 < float(found[0, 0, 5, 8]) < 0.7
