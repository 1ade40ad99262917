"""What W&B gets: read back from its file, and its pictures opened."""

import itertools
import json
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf.message import DecodeError
from PIL import Image

from src.core.errors import InputError
from src.objective import TotalVariationTerm
from src.runs.identity import RunMetadata
from src.stylization import Level, Stylization
from src.tracking import ProgressBar, StepTimer, tracked
from tests.running import pastiche, run, summary, terms, tiny_objective

IDENTITY = RunMetadata("slope=5", "masked_style/monday", "sweep", ("vgg19", "mask:sigmoid"))


def logged_bytes(path: Path) -> Iterator[bytes]:
    """The records of a W&B file: LevelDB's log format after a header of seven bytes.

    Blocks of 32 KiB hold pieces (checksum, length, kind); kinds 1 to 4 are whole, first, middle
    and last.
    """
    data, block, at, record = path.read_bytes(), 32 * 1024, 7, b""
    assert data[:4] == b":W&B"
    while at < len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def records(folder: Path) -> list[Any]:
    """The records of the one W&B file below a folder, once it is whole.

    On a busy machine W&B's service may still be writing when `finish` has returned.
    """
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found: list[Any] = []
    deadline = time.monotonic() + 30
    while not any(r.WhichOneof("record_type") == "exit" for r in found):
        assert time.monotonic() < deadline, f"{path} has no end"
        found = []
        with suppress(struct.error, DecodeError):  # cut off in the middle
            for data in logged_bytes(path):
                record = wandb_internal_pb2.Record()
                record.ParseFromString(data)
                found.append(record)
    return found


def history(folder: Path) -> list[dict[str, Any]]:
    """What was logged, row by row; a picture is a dict."""
    rows = []
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                name, *inner = item.nested_key or [item.key]
                value = json.loads(item.value_json)
                row[name] = row.get(name, {}) | {inner[0]: value} if inner else value
            rows.append(row)
    return rows


def logged_config(folder: Path) -> dict[str, Any]:
    """The configuration that W&B has."""
    runs = [record.run for record in records(folder) if record.WhichOneof("record_type") == "run"]
    return {i.key: json.loads(i.value_json) for run in runs for i in run.config.update}


def exit_code(folder: Path) -> int:
    (code,) = [r.exit.exit_code for r in records(folder) if r.WhichOneof("record_type") == "exit"]
    return code


@pytest.fixture(scope="module")
def tracked_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    every = ("log_every_n_steps=2", "save_every_n_steps=2")
    settings = ("+experiment=masked_style", "tracking=offline", *every)
    return run(folder, *settings, "steps=5")


def test_wandb_has_the_values_of_terms_csv(tracked_run: Path) -> None:
    rows = [row for row in history(tracked_run) if "total" in row]
    assert len(rows) == 4
    for row, expected in zip(rows, terms(tracked_run), strict=True):
        assert {name: row[name] for name in expected} == expected
        assert row["lr"] == 1.0


def test_wandb_has_the_pictures_pixel_by_pixel(tracked_run: Path) -> None:
    logged: dict[str, list[dict[str, Any]]] = {}
    for row in history(tracked_run):
        for name, value in row.items():
            if isinstance(value, dict) and value.get("_type") == "image-file":
                logged.setdefault(name, []).append(value | {"step": row["step"]})
    inputs = {f"inputs/{name}" for name in ("content", "style_main", "depth", "mask_main")}
    assert set(logged) == {"pastiche", *inputs}
    assert [picture["step"] for picture in logged["pastiche"]] == [2, 4, 5]
    (files,) = tracked_run.glob("wandb/offline-run-*/files")
    with Image.open(files / logged["pastiche"][-1]["path"]) as picture:
        assert np.array_equal(
            np.asarray(picture), np.asarray(Image.open(tracked_run / "pastiche.png"))
        )
    parameter = pastiche(tracked_run)[0].permute(1, 2, 0).clamp(0, 1)
    assert 100 < (parameter * 255).mean() < 200  # not all but black


def test_wandb_has_the_resolved_config_and_the_summary(tracked_run: Path) -> None:
    config, numbers = logged_config(tracked_run), {}
    for record in records(tracked_run):
        if record.WhichOneof("record_type") == "run":
            facts = record.run
        for item in record.summary.update:
            numbers[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    assert config["styles"]["main"]["path"] == "swirls"
    assert config["styles"]["main"]["mask"]["slope"] == 20
    assert "${" not in json.dumps(config)
    assert facts.run_group == "masked_style"
    assert facts.display_name == "masked_style motorcycle"
    assert {"vgg19", "mask:sigmoid", "lbfgs"} < set(facts.tags)
    assert numbers["status"] == "done"
    assert numbers["content"] == summary(tracked_run)["terms"]["content"]
    assert exit_code(tracked_run) == 0


def test_wandb_has_a_table_row_with_the_picture_and_its_numbers(tracked_run: Path) -> None:
    (table,) = [row["result"] for row in history(tracked_run) if "result" in row]
    assert (table["_type"], table["nrows"]) == ("table-file", 1)
    # What the table holds waits for its upload beside the rest of the run.
    waiting = list(tracked_run.glob("wandb/offline-run-*/artifacts/staging/*"))
    (shown,) = [path for path in waiting if path.read_bytes().startswith(b"\x89PNG")]
    content = json.loads(next(p for p in waiting if p != shown).read_text())
    assert content["columns"][:4] == ["run", "pastiche", "total", "content"]
    ((name, picture, total, *values),) = content["data"]
    report = summary(tracked_run)
    assert (name, picture["_type"]) == ("masked_style motorcycle", "image-file")
    assert (total, values) == (report["total"], list(report["terms"].values()))
    expected = np.asarray(Image.open(tracked_run / "pastiche.png"))
    assert np.array_equal(np.asarray(Image.open(shown)), expected)


def test_a_failed_run_is_marked_failed(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        run(tmp_path, "+experiment=masked_style", "tracking=offline", "mask=band", "mask.near=5")
    assert exit_code(tmp_path) == 1


def test_two_runs_in_one_process_are_two(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with tracked("offline", tmp_path / name, IDENTITY, {"name": name}, "p") as tracker:
            tracker.log({"step": 0, "total": 1.0})
            tracker.summary({"which": name})
    for name in ("a", "b"):
        assert [row["total"] for row in history(tmp_path / name)] == [1.0]
        assert logged_config(tmp_path / name)["name"] == name


def test_images_are_clipped_not_stretched(tmp_path: Path) -> None:
    values = {"under": -0.4, "black": 0.0, "grey": 0.5, "white": 1.0, "over": 1.7}
    with tracked("offline", tmp_path, IDENTITY, {}, "p") as tracker:
        for name, value in values.items():
            tracker.log_image(name, torch.full((1, 3, 4, 4), value), 0)
    for name, value in values.items():
        (path,) = tmp_path.glob(f"wandb/offline-run-*/files/media/images/{name}_*.png")
        with Image.open(path) as image:
            assert np.asarray(image).max() == round(min(max(value, 0), 1) * 255)


def test_off_writes_nothing(tmp_path: Path) -> None:
    with tracked("off", tmp_path, IDENTITY, {}) as tracker:
        tracker.log({"step": 0})
        tracker.log_image("pastiche", torch.zeros(1, 3, 4, 4), 0)
        tracker.summary({})
    assert not list(tmp_path.iterdir())


def test_an_unknown_mode_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"tracking.mode: got 'of'; expected one of offline"),
        tracked("of", tmp_path, IDENTITY, {}),
    ):
        pass


def test_online_without_an_account_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**_: Any) -> None:
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refuse)
    with (
        pytest.raises(InputError, match=r"tracking: got online, which W&B refuses .*wandb login"),
        tracked("online", tmp_path, IDENTITY, {}, "p") as tracker,
    ):
        tracker.log({"step": 0})


def test_the_clock_leaves_out_the_first_three_steps() -> None:
    assert StepTimer(seconds=[9.0, 9.0, 9.0]).seconds_per_step is None
    assert StepTimer(seconds=[9.0, 9.0, 9.0, 1.0, 2.0, 6.0]).seconds_per_step == 2.0


def test_without_a_terminal_progress_is_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "+experiment=naive", "steps=2", "log_every_n_steps=1")
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0].startswith("naive 1/2, ")
    assert " s left  total " in lines[0]
    assert "  content 0  style " in lines[0]
    assert not any("\x1b" in line for line in lines)


def test_the_time_left_counts_the_larger_steps_that_follow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(100.0, 10.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    image = torch.rand(1, 3, 4, 4)
    objective = tiny_objective([TotalVariationTerm(1.0)], image)
    larger = Level(2, objective, 8, 8)
    module = Stylization(objective, image, partial(torch.optim.SGD, lr=1.0), levels=[larger])
    trainer = SimpleNamespace(global_step=0, max_steps=5)
    bar = ProgressBar("x")
    bar.on_train_start(trainer, module)  # at 100 s
    trainer.global_step = 1
    bar.show({"total": 2.0})  # at 110 s, after 16 of 2 x 16 + 3 x 64 pixels
    assert capsys.readouterr().err.startswith("x 1/5, 130 s left  total 2")
