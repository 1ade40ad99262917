"""The front of style distances: what is compared at equal content and seconds, and its command."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.bench import front
from src.bench.front import MEASURES, WAYS


def rows(scale: float, content: float, seconds: float) -> dict[str, np.ndarray]:
    """A curve that halves its style distance with each doubling of its steps."""
    step = np.array([1.0, 2.0, 4.0])
    return {
        "step": step,
        "seconds": step * seconds,
        "style_gram": scale / step,
        "style_swd": 2 * scale / step,
        "feature_distance": np.full(3, content),
    }


def test_between_two_rows_it_is_a_line_over_the_logarithm_of_time() -> None:
    found = front.after(rows(1, 0.5, seconds=3), 3 * 2**0.5)
    assert found == pytest.approx({"style_gram": 0.75, "style_swd": 1.5, "feature_distance": 0.5})
    assert front.after(rows(1, 0.5, seconds=3), 100)["style_gram"] == 0.25  # no further


def test_style_is_compared_at_equal_content_and_seconds() -> None:
    where = (64, "photo", "painting")
    curves: dict[front.Key, Any] = {
        ("gram", 1.0, *where): rows(1.0, 0.6, seconds=1),  # after 4 s: 0.25
        ("gram", 3.0, *where): rows(9.0, 0.1, seconds=1),
        # As long for two steps as the other for four; content .5 and .9 are on both sides of .6.
        ("wasserstein", 1.0, *where): rows(0.4, 0.5, seconds=2),  # after 4 s: 0.2
        ("wasserstein", 0.3, *where): rows(0.2, 0.9, seconds=2),  # after 4 s: 0.1
    }
    expected = (0.2 - 0.1 * (0.6 - 0.5) / (0.9 - 0.5)) / 0.25
    found = front.style_at_equal_content(curves, "wasserstein", 64)
    assert found == {
        "style_gram": pytest.approx([expected]),
        "style_swd": pytest.approx([expected]),
    }
    del curves["wasserstein", 0.3, *where]  # the other is nearer to the photo than `gram`
    found = front.style_at_equal_content(curves, "wasserstein", 64)
    assert found["style_swd"] == pytest.approx([0.2 / 0.25])
    curves["wasserstein", 1.0, *where] = rows(0.4, 0.7, seconds=2)  # and now farther from it
    assert front.style_at_equal_content(curves, "wasserstein", 64)["style_swd"] == []


def test_one_command_makes_the_curves_the_table_and_the_figure_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the extra `report`")
    arguments = ["--sizes", "64", "--steps", "6", "--factors", "1", "--paintings", "ink"]
    monkeypatch.setattr(sys, "argv", ["front", str(tmp_path), *arguments])
    assert front.main() == 0
    files = sorted(tmp_path.glob("*-*.json"))
    made = [json.loads(file.read_text()) for file in files]
    assert {run["way"] for run in made} == set(WAYS)
    for run in made:
        assert [row["step"] for row in run["rows"]] == [5, 6]
        first, last = run["rows"]
        assert last["style_swd"] < first["style_swd"]
        assert last.keys() == {"step", *MEASURES}
    assert (tmp_path / "front.png").stat().st_size > 1000
    monkeypatch.setattr(front, "curve", lambda *_: pytest.fail("made again"))
    front.main()
    assert "| 1.00 (1 of 1) | 1.00 (1 of 1) |" in capsys.readouterr().out  # gram beside itself


def test_bad_input_is_one_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(front, "time_interleaved", lambda *_: pytest.fail("work"))
    monkeypatch.setattr(sys, "argv", ["front", str(tmp_path), "--photos", "nobody.jpg"])
    assert front.main() == 1
    assert capsys.readouterr().err.startswith("error: content: got 'nobody.jpg'")
    monkeypatch.setattr(front, "find_spec", lambda _: None)
    assert front.main() == 1
    assert capsys.readouterr().err.startswith("error: front.png: got no matplotlib")
    assert not list(tmp_path.iterdir())


def test_the_plain_way_is_torchs_own_optimiser(tmp_path: Path) -> None:
    pair = {name: torch.rand(1, 3, 64, 64) for name in ("content", "style")}
    files = {name: tmp_path / f"{name}.png" for name in pair}
    for name, image in pair.items():
        front.images.save_png(image, files[name])
    plain = WAYS["gram, torch's L-BFGS"](files, 64, 3.0)
    assert isinstance(plain, front.Ours)
    assert isinstance(plain.optimizer, torch.optim.LBFGS)
    weights = {term.name: term.weight for term in plain.stylization.objective._terms}
    assert weights["content"] == 3 * 100
    before = float(plain.stylization.terms()[0])
    for _ in range(3):
        plain.step()
    assert float(plain.stylization.terms()[0]) < before
