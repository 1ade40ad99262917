"""The bench: that what is compared is the same work, and that what is timed is what it says."""

import math
import sys
from pathlib import Path

import pytest
import torch

from src import bench, config, jobs
from src.peer import Peer

SIZE = 48


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return bench.pictures(SIZE, tmp_path_factory.mktemp("peer"))


@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-4), ("bfloat16", 1e-2)])
def test_our_objective_with_the_peers_weights_is_the_peers_loss(
    precision: str, within: float, files: dict[str, Path]
) -> None:
    settings = [*bench.like(files, SIZE), f"precision={precision}"]
    ours = jobs.build(config.compose(*settings, "init=noise", "tracking=off")).stylization
    picture = ours.pastiche.detach()
    peer = Peer(files["content"], files["style"], "adam")
    assert float(ours.terms()[0]) == pytest.approx(peer.loss(picture), rel=within)
    before = peer.loss()
    assert before != pytest.approx(peer.loss(picture), rel=0.1)
    peer.step()
    assert peer.loss() < before


def test_time_to_peer_is_ours_to_its_loss_over_its_own() -> None:
    found = bench.time_to_peer("adam", SIZE, 8)
    assert found["loss"] <= found["peer_loss"]
    assert 0 < found["steps"] < 8
    assert found["ratio"] == found["seconds"] / found["peer_seconds"]
    assert 0 < found["seconds"] < 60


def test_a_loss_that_is_not_reached_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "loss", lambda self, picture=None: float(picture is not None))
    assert bench.time_to_peer("adam", SIZE, 2)["ratio"] == math.inf


def test_the_race_keeps_both_curves() -> None:
    curves = bench.time_to_peer("lbfgs", SIZE, 12)["curves"]
    assert len(curves["ours"]) == 12
    assert len(curves["peer"]) == 3  # after 0, 10 and all steps
    for curve in curves.values():
        seconds = [x for x, _ in curve]
        assert seconds == sorted(seconds)
        assert curve[-1][1] < curve[0][1]
    page = bench.plot({"time_to_peer_lbfgs": {"curves": curves}, "seconds_256": {}})
    assert "time_to_peer_lbfgs, ours" in page


def test_operations_by_hand() -> None:
    a, kernel = torch.rand(8, 9), torch.rand(4, 3, 3, 3)
    image = torch.rand(1, 3, 10, 12)
    assert bench.operations(lambda: a @ a.T) == 2 * 8 * 9 * 8
    counted = bench.operations(lambda: torch.nn.functional.conv2d(image, kernel))
    assert counted == 2 * 4 * 3 * 9 * 8 * 10


def test_the_rate_is_that_of_a_processor() -> None:
    assert 1e8 < bench.rate(torch.float32, 1) < 1e14


@pytest.mark.parametrize("precision", config.PRECISIONS)
def test_steps_are_timed_in_turn(precision: str) -> None:
    seconds, work = bench.steps(SIZE, 2, precision)
    assert set(seconds) == {"bare", "step", "peer", *bench.EXPERIMENTS, "monodepth2"}
    assert all(len(values) == 2 and min(values) > 0 for values in seconds.values())
    assert set(work) == set(seconds)
    assert {name for pair in bench.RATIOS.values() for name in pair} <= set(work)
    assert work["step"] == work["naive"]
    # Beside the network itself: Gram matrices of five layers forward and back, see docs.
    assert work["naive"] / work["bare"] == pytest.approx(1.05, abs=0.01)
    assert work["naive"] < work["masked_style"] * 1.01 < work["two_styles"]
    assert work["peer"] == pytest.approx(work["naive"], rel=0.1)


def test_every_ratio_stands_beside_its_limit() -> None:
    names = {name for pair in bench.RATIOS.values() for name in pair}
    timed = bench.Timed(
        {name: [4.0, 2.0, 3.0] for name in names} | {"peer": [6.0, 8.0, 6.0]},
        {name: 100.0 for name in names} | {"naive": 80.0, "peer": 300.0},
    )
    figures, limits = bench.figures_of(timed, {"ours": 50.0, "peer": 60.0}, "_8")
    assert set(figures) == set(limits)
    assert {name.removesuffix("_8") for name in figures} > set(bench.RATIOS)
    assert (figures["peer_seconds_8"], limits["peer_seconds_8"]) == (6, 5)
    assert (figures["naive_seconds_8"], limits["naive_seconds_8"]) == (3, 1.6)
    assert figures["step_over_peer_8"] == 0.5  # the median of 4/6, 2/8, 3/6
    assert limits["step_over_peer_8"] == pytest.approx(0.4)
    assert limits["masked_style_over_naive_8"] == pytest.approx(1.25)


def test_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    seconds = {"a": [1.0, 9.0, 4.0], "b": [1.0, 3.0, 2.0]}
    assert bench.ratio(seconds, "a", "b") == 2


def test_peak_memory_is_that_of_the_process_alone() -> None:
    small = bench._run(["-c", "pass"])
    large = bench._run(["-c", "x = bytearray(300 * 2**20); x[::4096] = x[::4096]"])
    assert large - small == pytest.approx(300 / 1024, rel=0.1)


@pytest.mark.slow
def test_quick_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", f"--output-dir={tmp_path}"])
    bench.main()
    assert len(list(tmp_path.glob("bench/*/bench.json"))) == 1
