"""Numbers at occlusion edges, by pictures whose answer is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from src.metrics.occlusion import edge_recall, occlusion_edges, tone_separation


def two_planes(ratio: float = 2.0) -> Tensor:
    """Near on the left, far on the right."""
    depth = torch.ones(1, 1, 40, 60)
    depth[..., 30:] = ratio
    return depth


def tones(left: float, right: float) -> Tensor:
    image = torch.full((1, 3, 40, 60), left)
    image[..., 30:] = right
    return image


def test_an_edge_is_where_neighbours_differ_by_a_tenth() -> None:
    columns = occlusion_edges(two_planes(1.11))[0, 0]
    assert columns.any(0).nonzero().flatten().tolist() == [29, 30]
    assert columns[:, 29:31].all()
    assert not occlusion_edges(two_planes(1.09)).any()
    slope = (1 + 0.01 * torch.arange(60.0)).expand(1, 1, 40, 60)
    assert not occlusion_edges(slope).any()
    assert torch.equal(occlusion_edges(7 * two_planes(1.11)), occlusion_edges(two_planes(1.11)))


def test_what_was_not_measured_makes_no_edge() -> None:
    depth, valid = two_planes(), torch.ones(1, 1, 40, 60, dtype=torch.bool)
    valid[..., 28:32] = False
    assert not occlusion_edges(depth, valid).any()
    depth[..., 10, 10] = 0  # a hole
    valid[..., 10, 10] = False
    assert not occlusion_edges(depth, valid).any()


def test_recall_is_the_share_of_edges_beside_an_edge_of_the_picture() -> None:
    edges = occlusion_edges(two_planes())
    assert edge_recall(tones(0.2, 0.8), edges) == pytest.approx(1, abs=0.1)
    assert edge_recall(tones(0.5, 0.5), edges) == 0
    assert edge_recall(tones(0.2, 0.8).mT, edges.mT) == pytest.approx(1, abs=0.1)
    assert edge_recall(tones(0.2, 0.8).roll(12, -1), edges) == 0
    half = tones(0.2, 0.8)
    half[..., :20, :] = 0.5
    assert edge_recall(half, edges) == pytest.approx(0.5, abs=0.15)
    assert math.isnan(edge_recall(half, torch.zeros_like(edges)))


def test_tone_separation_is_over_the_content_images() -> None:
    depth = two_planes()
    edges = occlusion_edges(depth)
    content = tones(0.2, 0.8)
    assert tone_separation(content, content, depth, edges) == pytest.approx(1)
    assert tone_separation(tones(0.35, 0.65), content, depth, edges) == pytest.approx(0.5)
    assert tone_separation(tones(0.8, 0.2), content, depth, edges) == pytest.approx(1)
    assert tone_separation(tones(0.5, 0.5), content, depth, edges) == pytest.approx(0, abs=1e-9)
    assert math.isnan(tone_separation(content, tones(0.5, 0.5), depth, edges))
    assert math.isnan(tone_separation(content, content, depth, torch.zeros_like(edges)))
    turned = [x.mT.contiguous() for x in (content, content, depth, edges)]
    assert tone_separation(*turned) == pytest.approx(1)


def test_texture_away_from_edges_counts_for_nothing() -> None:
    depth, content = two_planes(), tones(0.2, 0.8)
    noisy = content.clone()
    noise = torch.from_numpy(np.random.default_rng(0).random((40, 15))).float()
    noisy[..., :15] = noise
    edges = occlusion_edges(depth)
    assert tone_separation(noisy, content, depth, edges) == pytest.approx(1, abs=0.02)
