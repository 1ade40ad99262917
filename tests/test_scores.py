"""Scores against measured depth, by hand."""

import numpy as np
import pytest

from src.metrics.depth import row_prior, scores


def measured(height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 5, (height, width))


def test_inverted_depth_counts_as_a_constant_but_in_the_order() -> None:
    depth = measured()
    wrong, constant = scores(depth, depth), scores(np.zeros_like(depth), depth)
    assert wrong.spearman == pytest.approx(-1)
    assert wrong.whdr == 1
    assert wrong.abs_rel == pytest.approx(constant.abs_rel)
    assert constant.spearman == 0
    assert constant.whdr == 0.5


def test_by_hand() -> None:
    # Inverse depth 1, 1/2 and 1/4; of the disparity 3, 2, 1 the best line is 0.375 x - 1/6.
    depth = np.array([[1.0, 2.0, 4.0]])
    disparity = np.array([[3.0, 2.0, 1.0]])
    fitted = 1 / (0.375 * disparity[0] - 1 / 6)
    fitted[2] = 4.0  # 4.8 is beyond the farthest
    found = scores(disparity, depth)
    assert found.abs_rel == pytest.approx(np.mean(np.abs(fitted - depth[0]) / depth[0]))
    assert found.rmse == pytest.approx(np.sqrt(np.mean((fitted - depth[0]) ** 2)))
    assert found.spearman == pytest.approx(1)


def test_what_was_not_measured_does_not_count() -> None:
    depth = measured()
    holed, disparity = depth.copy(), 1 / depth
    holed[0, :] = 0
    holed[1, :] = np.nan
    holed[2, :] = np.inf
    disparity[:3] = 100
    found = scores(disparity, holed)
    assert found.abs_rel == pytest.approx(0, abs=1e-9)
    assert found.spearman == pytest.approx(1)
    with pytest.raises(ValueError, match="measured at 0 points"):
        scores(disparity, np.zeros_like(depth))


def test_row_prior_is_nearer_below() -> None:
    prior = row_prior(4, 3)
    assert prior.shape == (4, 3)
    assert (np.diff(prior, axis=0) > 0).all()
    assert (np.diff(prior, axis=1) == 0).all()
