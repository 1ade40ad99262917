"""`python -m src.views`, `views=true`, and the hidden layer that a run paints."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src.core.errors import InputError
from src.core.images import load_png, save_png
from src.depth_nets import invert_depth
from src.inputs import load_scene
from src.pipeline.arguments import run_config
from src.pipeline.views import FOLDER, PAINTED, WRITERS, ViewOptions, Views, make_views, select
from src.runs.reader import Run, find_runs
from src.runs.result import read_settings
from src.views.__main__ import main
from tests.fake_runs import fake_run
from tests.running import TINY_DEPTH, run

QUICK = ["--seconds", "0.2"]


def picture_run(path: Path, height: int = 48, width: int = 64) -> Path:
    """A fake run of noise, with a square in front."""
    fake_run(path)
    image = torch.rand(1, 3, height, width)
    depth = torch.ones(1, 1, height, width)
    depth[..., 16:32, 20:40] = 0
    for name, picture in (("pastiche", image), ("inputs/content", image), ("inputs/depth", depth)):
        save_png(picture, path / f"{name}.png")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return picture_run(tmp_path / "run")


def test_all_views_of_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), *QUICK]) == 0
    files = {path.name for path in (folder / FOLDER).iterdir()}
    assert files == {
        "loop.webp",
        "loop.mp4",
        "stereo.png",
        "stereo_crossed.png",
        "anaglyph.png",
        "quilt_qs8x6a1.33.png",
        "mesh.glb",
        "parallax.html",
        "pastiche.jpg",
        "pastiche_depth.png",
        "pastiche_gdepth.jpg",
    }
    printed = capsys.readouterr().out.splitlines()
    assert [Path(line.removeprefix("done: ")).name for line in printed if line] == [
        name if name != "quilt.png" else "quilt_qs8x6a1.33.png" for name in WRITERS
    ]
    with Image.open(folder / FOLDER / "stereo.png") as stereo:
        assert stereo.size == (128, 48)


def test_the_loop_begins_with_the_very_picture(folder: Path) -> None:
    assert main([str(folder), "--only", "loop", *QUICK]) == 0
    with (
        Image.open(folder / FOLDER / "loop.webp") as loop,
        Image.open(folder / "pastiche.png") as p,
    ):
        assert (loop.n_frames, loop.size) == (6, p.size)
        first = np.asarray(loop.convert("RGB")).astype(int)
        assert np.abs(first - np.asarray(p)).max() <= 1
        loop.seek(3)
        assert np.abs(np.asarray(loop.convert("RGB")).astype(int) - np.asarray(p)).mean() > 5


def test_pairs_for_other_programs(folder: Path) -> None:
    assert main([str(folder), "--only", "pastiche,pastiche_depth,pastiche_gdepth.jpg"]) == 0
    near = load_png(folder / FOLDER / "pastiche_depth.png")
    depth = load_png(folder / "inputs" / "depth.png")
    torch.testing.assert_close(near, invert_depth(depth), atol=1 / 255, rtol=0)
    assert near[..., 20, 30] == 1  # white
    scene = load_scene(folder / FOLDER / "pastiche_gdepth.jpg")
    assert scene.depth is not None
    assert torch.equal(scene.depth, depth)
    difference = scene.image - load_png(folder / "pastiche.png")
    assert difference.abs().mean() < 0.05
    assert not (folder / FOLDER / "loop.mp4").exists()


@pytest.mark.parametrize(
    ("only", "files"),
    [
        ("", list(WRITERS)),
        ("loop", ["loop.webp", "loop.mp4"]),
        ("loop.mp4, mesh", ["loop.mp4", "mesh.glb"]),
        ("pastiche", ["pastiche.jpg"]),
        ("quilt", ["quilt.png"]),
    ],
)
def test_views_are_named_with_or_without_suffix(only: str, files: list[str]) -> None:
    assert select(only) == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "lop"], "--only: got 'lop'; expected loop"),
        (["--seconds", "0"], "--seconds: got 0.0; expected a number from 0.1 to 20"),
        (["--strength", "3"], "--strength: got 3.0; expected a number above 0, 2.0 at most"),
        (["--motion", "spin"], "--motion: got 'spin'; expected one of circle, swing, zoom"),
        (["--size", "2"], "--size: got 2; expected a whole number of pixels, 16 or more"),
    ],
)
def test_settings_are_checked_before_anything_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([str(folder), *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"error: {message}"), error
    assert "\n" not in error
    assert not (folder / FOLDER).exists()


def test_where_nothing_is_nearer_nothing_moves(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_png(torch.full((1, 1, 48, 64), 0.3), folder / "inputs" / "depth.png")
    assert main([str(folder)]) == 1
    assert "error: depth: got nearly the same everywhere" in capsys.readouterr().err
    assert not (folder / FOLDER).exists()


def test_a_run_without_depth_is_estimated(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "inputs" / "depth.png").unlink()
    slope = torch.linspace(0, 1, 64).expand(1, 1, 48, 64)
    monkeypatch.setattr("src.pipeline.views.estimate_depth", lambda net, image: slope)
    assert torch.equal(Views(Run(folder), ViewOptions()).depth, slope)
    assert "no depth; it is estimated by the shipped network" in caplog.text
    (folder / "inputs" / "content.png").unlink()
    with pytest.raises(InputError, match=r"inputs/content\.png: got nothing"):
        Views(Run(folder), ViewOptions())


def test_large_pictures_have_smaller_views_and_say_so(folder: Path) -> None:
    assert main([str(folder), "--size", "32", "--only", "parallax,pastiche,stereo"]) == 0
    page = (folder / FOLDER / "parallax.html").read_text()
    assert "32 x 24 pixels, made smaller: the picture itself has 64 x 48." in page
    with Image.open(folder / FOLDER / "pastiche.jpg") as picture:
        assert picture.size == (64, 48)
    with Image.open(folder / FOLDER / "stereo.png") as stereo:
        assert stereo.size == (64, 24)


def test_views_of_one_pixel_are_none(tmp_path: Path) -> None:
    narrow = picture_run(tmp_path / "run", 48, 1600)
    save_png(torch.linspace(0, 1, 1600).expand(1, 1, 48, 1600), narrow / "inputs" / "depth.png")
    with pytest.raises(InputError, match="--size: got 16; expected more"):
        make_views(Run(narrow), ViewOptions(size=16), ["anaglyph.png"])


def test_transparent_parts_are_white(folder: Path) -> None:
    alpha = torch.ones(1, 1, 48, 64)
    alpha[..., :10] = 0
    save_png(torch.zeros(1, 3, 48, 64), folder / "pastiche.png", alpha)
    pastiche = Views(Run(folder), ViewOptions()).pastiche
    assert pastiche.shape[1] == 3
    assert pastiche[..., :10].min() == 1
    assert pastiche[..., 10:].max() == 0


def test_every_run_of_a_sweep_and_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture_run(tmp_path / "0")
    picture_run(tmp_path / "1")
    broken = picture_run(tmp_path / "2")
    (broken / "inputs" / "depth.png").write_bytes(b"no picture")
    (picture_run(tmp_path / "3") / "pastiche.png").unlink()
    assert main([str(tmp_path), "--only", "anaglyph"]) == 0
    screen = capsys.readouterr()
    assert screen.out.count("done: ") == 2
    left_out = [line for line in screen.err.splitlines() if line.startswith("left out: ")]
    assert [Path(line.split(": ")[1]).name for line in left_out] == ["2", "3"]


def test_no_run_or_none_that_is_done_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nowhere")]) == 1
    (picture_run(tmp_path / "0") / "pastiche.png").unlink()
    assert main([str(tmp_path / "0")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: FOLDER: got ")
    assert second.startswith("error: pastiche.png: got ")


def test_nothing_is_written_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="got a link"):
        make_views(Run(folder), ViewOptions(), ["pastiche.jpg"])
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views") / "run"
    return run(folder, "+experiment=masked_style", "views=true", "haze=1")


def test_a_run_makes_its_own_views_with_what_is_hidden_painted(real_run: Path) -> None:
    files = {path.name for path in (real_run / FOLDER).iterdir()}
    assert {"loop.mp4", "loop.webp", "mesh.glb", "parallax.html", PAINTED} <= files
    settings = read_settings(real_run / FOLDER / "pastiche_gdepth.jpg")
    assert "masked_style" in settings
    assert json.loads((real_run / "summary.json").read_text())["status"] == "done"


def layers_of(folder: Path, **options: Any) -> tuple[Tensor, Any]:
    views = Views(Run(folder), ViewOptions(**options))
    return views.pastiche, views.layers


def test_only_what_is_hidden_is_painted(real_run: Path, tmp_path: Path) -> None:
    painted = layers_of(real_run)[1]
    copy = shutil.copytree(real_run, tmp_path / "run", ignore=shutil.ignore_patterns(FOLDER))
    pastiche, plain = layers_of(copy)
    assert torch.equal(plain.inside(plain.image), pastiche)
    assert torch.equal(painted.image, plain.image)
    same = (painted.hidden_image - plain.hidden_image).abs().amax(1, keepdim=True) < 0.5 / 255
    assert same[~painted.hidden].all()
    inside = plain.inside(plain.hidden)
    assert inside.any()
    assert not plain.inside(same)[inside].all()


def test_what_was_painted_is_used_again_until_the_pastiche_is_newer(
    real_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(real_run, tmp_path / "run")
    calls: list[float] = []

    def paint(config: Any, scene: Any, pastiche: Tensor, *rest: Any) -> Tensor:
        calls.append(rest[-1])
        return torch.zeros_like(pastiche)

    monkeypatch.setattr("src.pipeline.painting.paint_hidden", paint)
    layers_of(copy, paint=True)
    assert calls == []
    layers = layers_of(copy, paint=True, size=32)[1]
    assert calls == [pytest.approx(32 / 48, rel=0.05)]
    assert layers.inside(layers.hidden_image).max() == 0
    (copy / "pastiche.png").touch()
    stamp = (copy / "pastiche.png").stat().st_mtime + 5
    os.utime(copy / "pastiche.png", (stamp, stamp))
    layers_of(copy, paint=True, size=32)
    assert len(calls) == 2


def test_painting_goes_by_the_runs_own_configuration(real_run: Path) -> None:
    config = run_config(real_run)
    assert (config.name, config.haze, config.views) == ("masked_style", 1, True)
    assert [run.path for run in find_runs(real_run)] == [real_run]


def test_a_run_is_done_whatever_becomes_of_its_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("src.pipeline.views.make_views", fail)
    run(tmp_path / "run", "+experiment=naive", "views=true")
    assert "no views: RuntimeError: no room" in capsys.readouterr().err
    assert Run(tmp_path / "run").status == "done"


def test_modules_that_the_command_line_trusted_paint_within_the_run(tmp_path: Path) -> None:
    run(tmp_path / "run", "+experiment=depth_loss", "views=true", *TINY_DEPTH)
    assert (tmp_path / "run" / FOLDER / PAINTED).exists()
    (tmp_path / "run" / FOLDER / PAINTED).unlink()
    with pytest.raises(InputError, match=r"tests\.running"):
        make_views(Run(tmp_path / "run"), ViewOptions(paint=True), ["mesh.glb"])


def test_painting_that_is_stopped_leaves_the_run_done_and_nothing_half_painted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> SimpleNamespace:
        return SimpleNamespace(global_step=3)

    monkeypatch.setattr("src.pipeline.painting.fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", "+experiment=masked_style", "views=true")
    assert Run(tmp_path / "run").status == "done"
    assert not (tmp_path / "run" / FOLDER / PAINTED).exists()


def test_drawn_masks_fit_the_hidden_layer(tmp_path: Path) -> None:
    drawing = torch.zeros(1, 1, 27, 48)
    drawing[..., 24:] = 1
    save_png(drawing, tmp_path / "mask.png")
    save_png(torch.rand(1, 3, 27, 48), tmp_path / "photo.png")
    save_png(torch.linspace(0, 1, 48).round().expand(1, 1, 27, 48), tmp_path / "depth.png")
    content = [f"content={tmp_path}/photo.png", f"depth.path={tmp_path}/depth.png"]
    content += ["depth.kind=depth", "depth.scale=1", "mask=file", f"mask.path={tmp_path}/mask.png"]
    run(tmp_path / "run", "+experiment=masked_style", "views=true", *content)
    assert (tmp_path / "run" / FOLDER / PAINTED).exists()
