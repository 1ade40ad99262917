"""`resume=FOLDER` alone: by the run's own settings, to its end."""

from pathlib import Path

import torch

from tests.conftest import Command
from tests.running import pastiche, run, summary, terms


def the_run(folder: Path) -> Path:
    (path,) = folder.glob("*/*/pastiche.png")
    return path.parent


def test_resume_alone_goes_on_by_the_runs_own_settings(command: Command, tmp_path: Path) -> None:
    settings = ("+experiment=masked_style", "mask=step", "init=noise")
    whole = run(tmp_path / "whole", *settings, "steps=5")
    first = run(tmp_path / "first", *settings, "steps=3")
    ran = command(f"resume={first}", "steps=5", f"output_dir={tmp_path}/out")
    assert ran.code == 0, ran.err
    second = the_run(tmp_path / "out")
    assert f"done: {second / 'pastiche.png'}" in ran.out
    assert torch.equal(pastiche(second), pastiche(whole))
    assert terms(second) == terms(whole)
    ran = command(f"resume={first}", f"output_dir={tmp_path}/out")
    assert ran.err.strip().splitlines()[-1].startswith("error: steps: got 3; expected more than")
    ran = command(f"resume={tmp_path}", f"output_dir={tmp_path}/out")
    assert "error: resume: got " in ran.err


def test_a_strangers_run_is_resumed_by_the_rules_of_a_repeated_one(
    command: Command, tmp_path: Path
) -> None:
    first = run(tmp_path / "first", "+experiment=naive", "steps=1")
    text = (first / "config.yaml").read_text()
    for line, message in {
        "trusted_modules: [tests.running]": "error: trusted_modules: got ",
        "init: ${oc.env:HOME}": "error: init: got ",
    }.items():
        key = line.partition(":")[0]
        lines = [line, *(x for x in text.splitlines() if not x.startswith(f"{key}:"))]
        (first / "config.yaml").write_text("\n".join(lines) + "\n")
        ran = command(f"resume={first}", "steps=2", f"output_dir={tmp_path}/out")
        assert ran.code == 1
        assert ran.err.strip().splitlines()[-1].startswith(message)
    assert not (tmp_path / "out").exists()


def test_a_run_killed_between_its_last_checkpoint_and_its_picture_is_finished(
    command: Command, tmp_path: Path
) -> None:
    first = run(tmp_path / "first", "+experiment=naive", "steps=3")
    expected = (first / "pastiche.png").read_bytes()
    for name in ("pastiche.png", "summary.json"):
        (first / name).unlink()
    ran = command(f"resume={first}", f"output_dir={tmp_path}/out")
    assert ran.code == 0, ran.err
    second = the_run(tmp_path / "out")
    assert (second / "pastiche.png").read_bytes() == expected
    assert terms(second) == terms(first)
    names = [{file.name for file in (folder / "inputs").iterdir()} for folder in (first, second)]
    assert names[0] == names[1]
    assert (second / "last.ckpt").exists()
    assert (summary(second)["status"], summary(second)["steps"]) == ("done", 3)
