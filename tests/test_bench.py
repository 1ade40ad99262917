"""The bench: that what is compared is the same work, and that what is timed is what it says."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from src.bench import __main__ as bench
from src.bench import processes, steps, timing
from src.bench.peer import Peer, same_as_peer
from src.pipeline.build import build
from src.pipeline.config import compose

SIZE = 48


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return steps.save_inputs(SIZE, tmp_path_factory.mktemp("peer"))


@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-4), ("bfloat16", 1e-2)])
def test_our_objective_with_the_peers_weights_is_the_peers_loss(
    precision: str, within: float, files: dict[str, Path]
) -> None:
    settings = [*same_as_peer(files, SIZE), f"precision={precision}", "init=noise"]
    ours = build(compose(*settings)).stylization
    image = ours.pastiche.detach()
    peer = Peer(files, "adam")
    assert float(ours.terms()[0]) == pytest.approx(peer.loss(image), rel=within)
    before = peer.loss()
    assert before != pytest.approx(peer.loss(image), rel=0.1)
    peer.step()
    assert peer.loss() < before


def test_time_to_peer_is_ours_to_its_loss_over_its_own() -> None:
    found = steps.time_to_peer("adam", SIZE, 8)
    assert found["loss"] <= found["peer_loss"]
    assert 0 < found["steps"] < 8
    assert 0 < found["ratio"] < 60


def test_a_loss_that_is_not_reached_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "loss", lambda self, image=None: float(image is not None))
    assert steps.time_to_peer("adam", SIZE, 2)["ratio"] == math.inf


def test_rounds_go_there_and_back() -> None:
    seen: list[str] = []
    work = {name: (lambda name=name: seen.append(name)) for name in "ab"}
    seconds = timing.time_interleaved(work, 2)
    assert "".join(seen) == "abbaabbaab"
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_operations_by_hand() -> None:
    a, kernel = torch.rand(8, 9), torch.rand(4, 3, 3, 3)
    image = torch.rand(1, 3, 10, 12)
    assert timing.operations(lambda: a @ a.T) == 2 * 8 * 9 * 8
    counted = timing.operations(lambda: torch.nn.functional.conv2d(image, kernel))
    assert counted == 2 * 4 * 3 * 9 * 8 * 10


def test_the_peak_is_that_of_a_processor() -> None:
    assert 1e8 < timing.peak_flops(torch.float32, 1) < 1e14


def test_work_is_timed_between_the_steps_of_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "WARM_UP", 1)
    seconds, work = steps.time_steps(SIZE, 1)
    others = {"forward_backward", "step", "peer", "gram", "monodepth2"}
    assert set(seconds) == {*steps.EXPERIMENTS, *others}
    assert all(len(values) == 1 and values[0] > 0 for values in seconds.values())
    assert set(work) == set(seconds)
    assert {name for pair in bench.RATIOS.values() for name in pair} <= set(work)
    assert work["step"] == work["naive"]
    # Beside the network itself: Gram matrices of five layers forward and back, see docs.
    assert work["gram"] / work["forward_backward"] == pytest.approx(1.05, abs=0.01)
    assert work["gram"] < work["naive"]
    assert work["naive"] < work["masked_style"] * 1.01 < work["two_styles"]
    assert work["naive"] < work["depth_loss"]
    assert work["naive"] < work["monodepth2"]
    assert work["peer"] == pytest.approx(work["gram"], rel=0.1)


def test_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    seconds = {"a": [1.0, 9.0, 4.0], "b": [1.0, 3.0, 2.0]}
    assert timing.ratio(seconds, "a", "b") == 2


def test_peak_memory_is_that_of_the_process_alone() -> None:
    small = processes.run_python(["-c", "pass"])
    large = processes.run_python(["-c", "x = bytearray(300 * 2**20); x[::4096] = x[::4096]"])
    assert large - small == pytest.approx(300 / 1024, rel=0.1)


def test_the_report_has_every_figure_beside_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name for pair in bench.RATIOS.values() for name in pair}
    seconds = {name: [4.0, 2.0, 3.0] for name in names} | {"peer": [6.0, 8.0, 6.0]}
    operations = {name: 100.0 for name in names} | {"naive": 80.0, "peer": 300.0}
    peaks = {torch.float32: 60.0, torch.bfloat16: 50.0}
    monkeypatch.setattr(bench, "peak_flops", peaks.get)
    monkeypatch.setattr(bench, "time_steps", lambda *_: (seconds, operations))
    monkeypatch.setattr(bench, "startup", lambda *_: {"ours": [1.0], "peer": [2.0]})
    monkeypatch.setattr(bench, "time_to_peer", lambda *_: {"ratio": 0.3})
    monkeypatch.setattr(bench, "peak_memory", lambda *_: {"ours": 1.0, "peer": 2.0})
    monkeypatch.setattr(bench, "largest_picture", lambda *_: 4096)
    monkeypatch.setattr(sys, "argv", ["bench", f"--output-dir={tmp_path}", "precision=bfloat16"])
    bench.main()
    (file,) = tmp_path.glob("bench/*/bench.json")
    report = json.loads(file.read_text())
    assert report["device"].startswith("cpu")
    assert report["precision"] == "bfloat16"
    figures, limits = report["figures"], report["limits"]
    steps_over = {f"step_over_{name}_{size}" for name in ("bare", "peer") for size in (256, 512)}
    over_naive = {f"{x}_over_naive" for x in ("masked_style", "masked_content", "depth_head")}
    over_naive |= {"monodepth2_over_naive", "startup_over_peer", "largest_picture"}
    rest = {"time_to_peer_adam", "time_to_peer_lbfgs", "peak_memory_over_peer_1024"}
    assert steps_over | over_naive | rest <= set(figures)
    assert set(limits) == {name for name in figures if name.endswith(("_256", "_512"))}
    assert (figures["peer_seconds_256"], limits["peer_seconds_256"]) == (6, 5)
    assert (figures["naive_seconds_256"], limits["naive_seconds_256"]) == (3, 1.6)
    assert figures["step_over_peer_256"] == 0.5  # the median of 4/6, 2/8, 3/6
    assert limits["step_over_peer_256"] == pytest.approx(0.4)
    assert limits["masked_style_over_naive_256"] == pytest.approx(1.25)
    assert figures["startup_over_peer"] == figures["peak_memory_over_peer_1024"] == 0.5


@pytest.mark.slow
def test_quick_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", f"--output-dir={tmp_path}"])
    bench.main()
    assert len(list(tmp_path.glob("bench/*/bench.json"))) == 1


def test_a_mistyped_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "sise=3"])
    with pytest.raises(SystemExit, match=r"^error: sise: got an unknown key; expected size"):
        bench.main()
