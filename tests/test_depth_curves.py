"""Curves of depth: what is above naive's at equal style, its interval, and the command."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.bench import depth_curves
from src.bench.depth_curves import WAYS, above, interval, report

PAIR = {"photo": "a", "painting": "p", "size": 64, "steps": 3}


def row(way: str, weight: float, style: float, depth: float, **pair: Any) -> dict[str, Any]:
    return {
        "way": way,
        "weight": weight,
        **PAIR,
        **pair,
        "style_swd": style,
        "sensor_spearman": depth,
    }


def test_a_way_is_compared_at_equal_style() -> None:
    rows = [
        row("content", 500, 0.1, 0.2),
        row("content", 2000, 0.3, 0.6),
        row("content", 500, 0.1, 0.9, photo="b"),  # of another pair
        row("structure", 500, 0.15, 0.5),  # the line has .3 there
        row("structure", 1500, 0.4, 0.9),  # beyond its end
    ]
    assert above(rows, "structure", 500, "sensor_spearman") == {"a": [pytest.approx(0.2)]}
    assert above(rows, "structure", 1500, "sensor_spearman") == {}
    assert above(rows, "content", 2000, "sensor_spearman") == {"a": [pytest.approx(0)]}
    assert above(rows, "structure", 500, "occlusion_edge_recall") == {}  # which no run has
    table = report(rows).splitlines()
    assert table[4] == "| structure | 500 | 1 | 0.150 | 0.500 | +0.200 [+0.200, +0.200] |"
    assert table[2].endswith("| 0.100 | 0.550 |  |")


def test_the_interval_draws_photos() -> None:
    assert np.isnan(interval({})).all()
    mean, low, high = interval({"a": [0.0, 0.0, 0.0], "b": [1.0]})  # a photo counts once
    assert (mean, low, high) == (0.5, 0.0, 1.0)
    values = {str(i): [x] for i, x in enumerate(np.random.default_rng(1).normal(0, 1, 100))}
    mean, low, high = interval(values)
    assert 0.3 < high - low < 0.5  # 2 x 1.96 / sqrt(100)
    assert low < mean < high


def test_one_command_makes_runs_table_and_figure_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the extra `report`")
    monkeypatch.setattr(
        depth_curves,
        "WAYS",
        {way: (WAYS[way][0], WAYS[way][1][:2]) for way in ("content", "depth")},
    )
    arguments = ["--size", "64", "--steps", "2", "--paintings", "ink", "--ways", "content", "depth"]
    monkeypatch.setattr(sys, "argv", ["depth_curves", str(tmp_path), *arguments])
    assert depth_curves.main() == 0
    made = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("*.json"))]
    assert {(x["way"], x["weight"]) for x in made} == {
        ("content", 250),
        ("content", 500),
        ("depth", 1e5),
        ("depth", 1e6),
    }
    assert all(0 <= x["occlusion_edge_recall"] <= 1 for x in made)
    assert len(list(tmp_path.glob("*-*.png"))) == 4
    assert (tmp_path / "depth_curves.png").stat().st_size > 1000
    monkeypatch.setattr(depth_curves, "Ours", lambda *_: pytest.fail("made again"))
    assert depth_curves.main() == 0
    assert "edges above content" in capsys.readouterr().out


def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["depth_curves", str(tmp_path / "out"), *arguments])
        assert depth_curves.main() == 1
        return capsys.readouterr().err

    assert error("--judge-file", "nothing.onnx").startswith(
        "error: --judge-file: got 'nothing.onnx'"
    )
    assert error("--photos", "content=nobody.png").startswith("error: content: got 'nobody.png'")
    assert error("--photos", "a.png").startswith("error: a.png: got no value; expected a.png=VALUE")
    assert error("--ways").startswith("error: FOLDER: got")
