"""Reading runs: whole ones, failed ones, and what a cut-off one left."""

import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from src.core.errors import InputError
from src.runs.reader import Run, find_runs, flatten, is_number, natural, read_yaml

SUMMARY = {"experiment": "naive", "status": "done", "steps": 20, "total": 3.5}


def make_run(path: Path, **files: str) -> Path:
    for folder in ("inputs", "steps"):
        (path / folder).mkdir(parents=True)
    defaults = {
        "summary.json": json.dumps(SUMMARY),
        "config.yaml": "name: naive\nsteps: 20\nhydra: {run: {dir: x}}\n",
        "terms.csv": "step,total,style\n0,8.0,2.0\n20,3.5,1.5\n",
        "pastiche.png": "",
    }
    for name, text in (defaults | files).items():
        (path / name).write_text(text)
    return path


def test_a_whole_run(tmp_path: Path) -> None:
    metrics = {"lpips": 0.25, "style": {"gram": 3, "broken": math.nan}, "good": True, "net": "vgg"}
    run = Run(make_run(tmp_path / "run", **{"metrics.json": json.dumps(metrics)}))
    assert run.summary == SUMMARY
    assert run.config == {"name": "naive", "steps": 20}
    assert run.terms == {"step": [0, 20], "total": [8, 3.5], "style": [2, 1.5]}
    assert run.metrics == {"lpips": 0.25, "style.gram": 3}
    assert (run.status, run.reason, run.sweep) == ("done", "", None)
    assert run.pastiche == run.path / "pastiche.png"


def test_inputs_come_in_the_order_of_the_story(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "run"))
    for name in ("style_near", "mask_near", "depth", "style_far", "content", "other"):
        (run.path / "inputs" / f"{name}.png").touch()
    assert [*run.inputs] == ["content", "style_far", "style_near", "depth", "mask_near", "other"]


@pytest.mark.parametrize("broken", ["", "{", '{"status": "do', "[1, 2]", '{"status": "odd"}'])
def test_a_broken_summary_is_unfinished(tmp_path: Path, broken: str) -> None:
    run = Run(make_run(tmp_path / "run", **{"summary.json": broken}))
    assert run.status == "unfinished"
    assert "summary.json is broken" in run.reason


def test_how_a_run_ended(tmp_path: Path) -> None:
    failed = Run(make_run(tmp_path / "a", FAILED="mask.center: got 2;\nexpected less\n"))
    assert (failed.status, failed.reason) == ("failed", "mask.center: got 2; expected less")
    stopped = json.dumps({"status": "interrupted", "steps": 7})
    interrupted = Run(make_run(tmp_path / "b", **{"summary.json": stopped}))
    assert interrupted.reason == "interrupted after 7 of 20 steps"
    killed = Run(make_run(tmp_path / "c"))
    (killed.path / "summary.json").unlink()
    assert "ended after step 20 without a word" in killed.reason
    (tmp_path / "d").mkdir()
    assert "before its first step" in Run(tmp_path / "d").reason
    assert Run(tmp_path / "e").status == "missing"
    without = Run(make_run(tmp_path / "f"))
    (without.path / "pastiche.png").unlink()
    assert (without.status, without.reason) == ("unfinished", "pastiche.png is missing")


def test_a_row_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "a", **{"terms.csv": "step,total\n0,8.0\n10,4.0\n20,\n30"}))
    assert run.terms == {"step": [0, 10], "total": [8, 4]}
    assert Run(make_run(tmp_path / "b", **{"terms.csv": ""})).terms == {}


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "\x00", "a: ${"])
def test_broken_yaml_is_no_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert read_yaml(tmp_path / "config.yaml") in ({}, {"a": "${"})
    assert read_yaml(tmp_path / "missing.yaml") == {}


def test_deep_yaml_is_not_built_in_c_on_a_small_stack(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("? " * 1900)
    before = threading.stack_size(2**19)
    reader = threading.Thread(target=read_yaml, args=(tmp_path / "config.yaml",))
    reader.start()  # else the process would end here
    reader.join()
    threading.stack_size(before)


def test_runs_are_found_at_any_depth_in_natural_order(tmp_path: Path) -> None:
    sweep = tmp_path / "naive" / "sweeps" / "now"
    for number in (10, 9, 0):
        make_run(sweep / str(number))
    (sweep / "multirun.yaml").touch()
    (sweep / "11").mkdir()  # a job that was killed at once
    make_run(sweep / ".earlier" / "9_1")  # an attempt that another took the place of
    make_run(tmp_path / "single")
    (sweep / "9" / "wandb" / "steps").mkdir(parents=True)
    (sweep / "9" / "wandb" / "inputs").mkdir()  # below a run is nothing but the run
    runs = find_runs(tmp_path)
    names = [run.path.relative_to(tmp_path).as_posix() for run in runs]
    assert names == [f"naive/sweeps/now/{n}" for n in (0, 9, 10, 11)] + ["single"]
    assert runs[0].sweep == sweep
    assert runs[4].sweep is None
    assert [run.path for run in find_runs(sweep / "9")] == [sweep / "9"]


def test_overrides_as_typed(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "run"))
    assert run.overrides == []
    (run.path / ".hydra").mkdir()
    (run.path / ".hydra" / "overrides.yaml").write_text("- +experiment=naive\n- steps=20\n")
    assert Run(run.path).overrides == ["+experiment=naive", "steps=20"]


def test_a_folder_may_be_named_by_a_link(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "inputs" / "content.png").touch()
    (tmp_path / "latest").symlink_to(run)
    (found,) = find_runs(tmp_path / "latest")
    assert (found.status, [*found.inputs], found.unreadable) == ("done", ["content"], [])


def test_a_folder_that_cannot_be_entered_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    stat = os.stat

    def refused(path: Any, **options: Any) -> os.stat_result:
        if "/b/" in os.fspath(path):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refused)
    assert [run.status for run in find_runs(tmp_path)] == ["done", "unfinished"]


def test_folders_without_runs_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for path, problem in (
        (tmp_path / "missing", "which is not there"),
        (tmp_path / "notes.txt", "which is not a folder"),
        (tmp_path, "in which no run is"),
    ):
        with pytest.raises(InputError, match=f"FOLDER: got .*{problem}; expected the folder of"):
            find_runs(path)


def test_natural_order_tables_and_numbers() -> None:
    assert sorted(["b", "a10", "a9", "10", "9"], key=natural) == ["9", "10", "a9", "a10", "b"]
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2], "e": {}}) == {"a.b.c": 1, "d": [1, 2]}
    values = [1, 0.5, -2, True, "1", None, math.nan, math.inf]
    assert [is_number(value) for value in values] == [True] * 3 + [False] * 5
