"""The real command: what it leaves, how it goes on, how it fails."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from src.core.errors import InputError
from src.pipeline.stylize import stylize
from src.run import main
from src.stylization import Stylization
from tests.running import SMALL, TINY_DEPTH, compose, pastiche, run, summary, terms

ROOT = Path(__file__).parent.parent
EVERY_SECOND = ("log_every_n_steps=2", "save_every_n_steps=2")
SMALL_ARGS = [*SMALL, *EVERY_SECOND]


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "src.run", *arguments],
        cwd=ROOT,
        env=os.environ | {"WANDB_SILENT": "true"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def the_run(folder: Path) -> Path:
    (found,) = folder.glob("*/*")
    return found


def test_a_run_leaves_every_file(tmp_path: Path) -> None:
    folder = run(tmp_path, "+experiment=masked_style", *EVERY_SECOND, "steps=5")
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {
        "pastiche.png",
        "inputs/content.png",
        "inputs/style_main.png",
        "inputs/depth.png",
        "inputs/mask_main.png",
        "steps/step_000002.png",
        "steps/step_000004.png",
        "terms.csv",
        "summary.json",
        "config.yaml",
        "last.ckpt",
    }
    with Image.open(folder / "pastiche.png") as picture:
        assert (picture.size, picture.mode) == ((48, 32), "RGB")
    rows = terms(folder)
    assert [row["step"] for row in rows] == [0, 2, 4, 5]
    assert list(rows[0]) == ["step", "total", "content", "style", "style_main", "tv"]
    assert rows[0]["content"] == 0  # it starts from the content, before the first step
    assert rows[-1]["total"] < rows[0]["total"] * 0.75
    report = summary(folder)
    assert report["experiment"] == "masked_style"
    assert (report["status"], report["steps"], report["size"]) == ("done", 5, [32, 48])
    assert report["total"] == rows[-1]["total"]
    assert report["terms"] == {k: v for k, v in rows[-1].items() if k not in ("step", "total")}
    assert {"seconds", "seconds_per_step", "startup_seconds", "device", "seed", "backbone"} < set(
        report
    )
    assert {"versions", "git_commit", "config_hash"} < set(report)


def test_a_run_with_a_depth_term_leaves_what_the_network_saw(tmp_path: Path) -> None:
    folder = run(tmp_path, "+experiment=depth_loss", "init=noise", *TINY_DEPTH)
    with Image.open(folder / "depth_pastiche.png") as picture:
        assert (picture.size, picture.mode) == ((48, 32), "L")
    assert (folder / "inputs" / "depth_estimated.png").exists()
    rows = terms(folder)
    assert 0 < rows[-1]["depth"] < rows[0]["depth"]
    assert summary(folder)["depth_net"] == "TinyDepthNet"


def test_the_total_is_the_weighted_terms(tmp_path: Path) -> None:
    folder = run(tmp_path, "+experiment=naive")
    config = compose("+experiment=naive").loss
    for row in terms(folder):
        expected = sum(config[term].weight * row[term] for term in ("content", "style", "tv"))
        assert row["total"] == pytest.approx(expected, rel=1e-5)


def test_the_picture_is_the_parameter_rounded(tmp_path: Path) -> None:
    folder = run(tmp_path, "+experiment=naive")
    with Image.open(folder / "pastiche.png") as picture:
        written = np.asarray(picture)
    parameter = pastiche(folder)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    assert np.array_equal(written, np.round(parameter * 255).astype(np.uint8))


def test_transparency_is_kept(tmp_path: Path) -> None:
    rgba = np.full((32, 48, 4), 200, np.uint8)
    rgba[:, :24, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    folder = run(tmp_path / "run", "+experiment=naive", f"content={tmp_path}/cut.png")
    with Image.open(folder / "pastiche.png") as picture:
        assert picture.mode == "RGBA"
        assert np.array_equal(np.asarray(picture)[..., 3], rgba[..., 3])


@pytest.mark.parametrize("size", [40, 47, 53])
def test_the_pastiche_has_exactly_the_size_asked_for(size: int, tmp_path: Path) -> None:
    run(tmp_path, "+experiment=masked_style", f"size={size}", "steps=1")
    with Image.open(tmp_path / "pastiche.png") as picture:
        assert picture.size == (size, round(size * 500 / 741))


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    a, b, c = (
        run(tmp_path / name, "+experiment=naive", "init=noise", f"seed={seed}")
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(pastiche(a), pastiche(b))
    assert not torch.equal(pastiche(a), pastiche(c))
    assert summary(a)["config_hash"] == summary(b)["config_hash"] != summary(c)["config_hash"]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_resume_equals_an_uninterrupted_run_bit_for_bit(optimizer: str, tmp_path: Path) -> None:
    settings = ("+experiment=masked_style", f"optimizer={optimizer}", "log_every_n_steps=2")
    whole = run(tmp_path / "whole", *settings, "steps=7")
    first = run(tmp_path / "first", *settings, "steps=3")
    with mock.patch.object(torch, "load", wraps=torch.load) as load:
        second = run(tmp_path / "second", *settings, "steps=7", f"resume={first}")
    assert len(load.call_args_list) >= 2  # this program's check, and Lightning
    assert all(call.kwargs["weights_only"] is True for call in load.call_args_list)
    assert torch.equal(pastiche(second), pastiche(whole))
    assert (second / "pastiche.png").read_bytes() == (whole / "pastiche.png").read_bytes()
    assert terms(second) == terms(whole)


GROWING = (
    "+experiment=masked_style",
    "pyramid.levels=2",
    "pyramid.scale_factor=1.2",
    "pyramid.steps_per_level=3",
)


def test_coarse_to_fine_every_picture_has_the_size_asked_for(tmp_path: Path) -> None:
    rgba = np.full((32, 48, 4), 200, np.uint8)
    rgba[:, :24, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    settings = ("+experiment=naive", *GROWING[1:], *TINY_DEPTH, "loss.depth.weight=1", "steps=5")
    settings += ("tracking=offline", "log_every_n_steps=1", "save_every_n_steps=2")
    settings += (f"content={tmp_path}/cut.png",)
    folder = run(tmp_path / "run", *settings)
    pictures = [folder / "pastiche.png", *sorted((folder / "steps").iterdir())]
    assert [path.name for path in pictures[1:]] == ["step_000002.png", "step_000004.png"]
    for path in pictures:
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((48, 32), "RGBA")
    with Image.open(folder / "depth_pastiche.png") as picture:
        assert picture.size == (48, 32)
    with Image.open(folder / "inputs" / "style_main.png") as picture:
        assert max(picture.size) == 48
    assert summary(folder)["size"] == [32, 48]
    assert [row["step"] for row in terms(folder)] == [0, 1, 2, 3, 4, 5]
    assert (summary(folder)["status"], summary(folder)["steps"]) == ("done", 5)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("stop", [2, 3, 4])
def test_stopped_at_any_size_a_run_goes_on_bit_for_bit(
    stop: int,
    optimizer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = (*GROWING, f"optimizer={optimizer}", "log_every_n_steps=1", "steps=5")
    whole = run(tmp_path / "whole", *settings)
    original = Stylization.training_step

    def step(module: Stylization, *arguments: object) -> dict[str, object]:
        if module.global_step == stop - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(module, *arguments)

    first = tmp_path / "first"
    monkeypatch.setattr(Stylization, "training_step", step)
    with pytest.raises(KeyboardInterrupt):
        run(first, *settings)
    monkeypatch.setattr(Stylization, "training_step", original)
    said = "stopped at a smaller size: the pastiche of 40 x 27 pixels was enlarged to 48 x 32"
    assert (said in capsys.readouterr().err) == (stop <= 3)
    assert (summary(first)["status"], summary(first)["steps"]) == ("interrupted", stop)
    assert summary(first)["size"] == [32, 48]
    assert pastiche(first).shape[-2:] == ((27, 40) if stop <= 3 else (32, 48))
    with Image.open(first / "pastiche.png") as picture:
        assert picture.size == (48, 32)
    second = run(tmp_path / "second", *settings, f"resume={first}")
    assert torch.equal(pastiche(second), pastiche(whole))
    assert terms(second) == terms(whole)


def test_a_run_with_levels_goes_on_to_more_steps(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", *GROWING, "steps=7")
    first = run(tmp_path / "first", *GROWING, "steps=4")
    second = run(tmp_path / "second", *GROWING, "steps=7", f"resume={first}")
    assert torch.equal(pastiche(second), pastiche(whole))


def test_a_failed_run_says_why_and_leaves_no_result(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        run(tmp_path, "+experiment=masked_style", "mask=uniform", "mask.invert=true")
    assert (tmp_path / "FAILED").read_text().startswith("styles.main.mask: got a mask that selects")
    assert not (tmp_path / "pastiche.png").exists()
    assert not (tmp_path / "summary.json").exists()
    assert not (tmp_path / "last.ckpt").exists()


def test_a_value_that_is_not_finite_stops_the_run_and_keeps_the_last_good_picture(
    tmp_path: Path,
) -> None:
    settings = (
        "+experiment=naive",
        "optimizer=adam",
        "save_every_n_steps=1",
        "log_every_n_steps=1",
    )
    with pytest.raises(FloatingPointError, match=r"the term .* is (nan|inf) after"):
        run(tmp_path, *settings, "clamp=false", "optimizer.lr=1e20", "steps=20")
    assert (tmp_path / "FAILED").exists()
    assert not (tmp_path / "pastiche.png").exists()


def test_a_disk_that_fills_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "pastiche.png")

    monkeypatch.setattr("src.core.images.Image.Image.save", full)
    with pytest.raises(OSError, match="No space"):
        stylize(compose(*SMALL, "+experiment=naive"), tmp_path, time.time())
    assert (tmp_path / "FAILED").read_text() == (
        "output_dir: got pastiche.png (No space left on device); "
        "expected a folder that can be written, with room\n"
    )


def test_the_command_and_its_repetition_from_config_yaml(tmp_path: Path) -> None:
    arguments = ["+experiment=masked_style", *SMALL_ARGS, f"output_dir={tmp_path}/a"]
    code, out, err = finished(command(*arguments))
    assert code == 0, err
    folder = the_run(tmp_path / "a")
    assert folder.parent.name == "masked_style"
    assert out.strip() == f"done: {folder}/pastiche.png"
    here = os.path.relpath(folder, ROOT)
    again = [
        "--config-path",
        here,
        "--config-name",
        "config",
        f"output_dir={tmp_path}/b",
        "steps=3",
    ]
    code, _, err = finished(command(*again))
    assert code == 0, err
    repeated = the_run(tmp_path / "b")
    assert torch.equal(pastiche(repeated), pastiche(folder))
    assert summary(repeated)["config_hash"] == summary(folder)["config_hash"]


def test_the_command_measures_its_pastiche_on_request(tmp_path: Path) -> None:
    arguments = ["+experiment=naive", *SMALL_ARGS, "evaluate=true", f"output_dir={tmp_path}"]
    code, _, err = finished(command(*arguments))
    assert code == 0, err
    assert (the_run(tmp_path) / "metrics.json").exists()


def test_an_error_is_one_line_and_a_traceback_only_on_request(tmp_path: Path) -> None:
    arguments = ["+experiment=naive", "content=nobody.jpg", f"output_dir={tmp_path}", *SMALL]
    code, out, err = finished(command(*arguments))
    assert code == 1
    assert out == ""
    (line,) = err.strip().splitlines()
    assert line.startswith("error: content: got 'nobody.jpg'")
    assert "Traceback" not in err
    assert (the_run(tmp_path) / "FAILED").exists()
    code, _, err = finished(command(*arguments, HYDRA_FULL_ERROR="1"))
    assert code == 1
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: experiment: got nothing; expected +experiment=NAME of "),
        (
            ["+experiment=maskedstyle"],
            "error: experiment: got 'maskedstyle'; expected masked_style",
        ),
        (["+experimnt=naive"], "error: experimnt: got an unknown key; expected experiment"),
        (["+experiment=naive", "mask=sigmoit"], "error: mask: got 'sigmoit'; expected sigmoid"),
        (
            ["--experiment", "naive"],
            "error: --experiment: got an unknown option; expected keys without dashes: +experiment",
        ),
        (["+experiment=naive", "size=64,96"], "error: size: got '64,96'; expected one value; each"),
        (
            ["+experiment=naive", "style=a,b"],
            "error: style: got 'a,b'; expected one value; each in turn: -m; two in one picture: ",
        ),
        (["+experiment=naive", "stepps=3"], "error: stepps: got an unknown key; expected steps"),
        (
            ["+experiment=naive", "content=photos/été.jpg"],
            "error: content: got 'photos/été.jpg'; expected a plain name, or quotes around it: "
            "'content=\"photos/été.jpg\"'",
        ),
        (
            ["+experiment=naive", "style=[a,b"],
            "error: style: got '[a,b'; expected brackets that close, in quotes: 'style=[A,B]'",
        ),
        (
            ["+experiment=naive", "style.scale=2"],
            "error: style.scale: got an unknown key; expected style=VALUE; of a painting: st",
        ),
        (["-size=96"], "error: -size: got an unknown option; expected keys without dashes: +exp"),
        (["-m", "style=ink,", "mosaic"], "error: style: got 'ink,'; expected no blanks between"),
        (["+experiment=naive", "photo.jpg"], "error: photo.jpg: got no value; expected photo.jpg="),
        (["naive"], "error: naive: got nothing; expected +experiment=naive"),
        (["experiment=naive"], "error: experiment: got no + before it; expected +experiment=NAME"),
        (["+experiment=naive", "output_dir=LICENSE"], "error: output_dir: got LICENSE"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["src.run", *arguments])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # Hydra sets its own
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith(message)


def test_help_says_how_to_begin() -> None:
    code, out, _ = finished(command("--help"))
    assert code == 0
    assert out.startswith("usage: python -m src.run +experiment=NAME")
    assert "experiment: depth_loss, " in out
    assert len(out.splitlines()) < 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_everything_and_can_go_on(number: int, tmp_path: Path) -> None:
    arguments = ["+experiment=naive", *SMALL_ARGS, "steps=100000", f"output_dir={tmp_path}/a"]
    process = command(*arguments)
    deadline = time.time() + 60
    while not list(tmp_path.glob("a/*/*/steps/*.png")) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    code, out, err = finished(process)
    assert code == 130, err
    assert "interrupted: " in out
    folder = the_run(tmp_path / "a")
    report = summary(folder)
    assert report["status"] == "interrupted"
    assert (folder / "pastiche.png").exists()
    assert not (folder / "FAILED").exists()
    steps = report["steps"] + 2
    resumed = run(tmp_path / "b", "+experiment=naive", f"steps={steps}", f"resume={folder}")
    assert summary(resumed)["steps"] == steps


def test_in_a_multirun_a_failing_job_leaves_the_others(tmp_path: Path) -> None:
    arguments = [
        *("-m", "+experiment=masked_style", *SMALL_ARGS, "tracking=offline"),
        *("mask=step", "mask.threshold=0.3,9,0.5", f"output_dir={tmp_path}"),
    ]
    code, _, err = finished(command(*arguments))
    assert code == 1
    start = (
        "error: 1 of 3 jobs are not done: 1 (mask.threshold=9): styles.main.mask.threshold: got 9"
    )
    assert err.strip().splitlines()[-1].startswith(start)
    (sweep,) = tmp_path.glob("masked_style/sweeps/*")
    assert {p.name for p in sweep.iterdir() if p.is_dir()} == {"0", "1", "2"}
    assert [(sweep / job / "pastiche.png").exists() for job in "012"] == [True, False, True]
    assert [(sweep / job / "FAILED").exists() for job in "012"] == [False, True, False]
    runs = [list((sweep / job).glob("wandb/offline-run-*/*.wandb")) for job in "012"]
    assert [len(files) for files in runs] == [1, 1, 1]
    assert len({files[0].name for files in runs}) == 3
