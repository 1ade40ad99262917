"""Scenes and styles: names, sources of depth, sizes, errors; the list and the preview."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor

from src.inputs import Scene, load_scene, load_style, plausibility, samples
from src.inputs.__main__ import main
from src.inputs.folders import find_rgbd_pairs, pictures_in
from tests import phone_files as phone


def assert_refused(
    key: str, *words: str, load: Callable[..., Any] = load_scene, **how: Any
) -> None:
    with phone.refused(key, *words):
        load(how.pop("path"), **how)


def check(scene: Scene, height: int, width: int) -> None:
    """What holds for every scene with depth."""
    assert scene.depth is not None
    assert scene.valid is not None
    for tensor, channels in ((scene.image, 3), (scene.depth, 1)):
        assert tensor.shape == (1, channels, height, width)
        assert tensor.dtype == torch.float32
        assert tensor.min() >= 0
        assert tensor.max() <= 1
    assert scene.valid.shape == (1, 1, height, width)
    assert scene.valid.dtype == torch.bool
    assert scene.valid.any()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """64 x 48, red on the left."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(phone.photo())
    return path


@pytest.fixture
def depth(tmp_path: Path) -> Path:
    """64 x 48, 1000 at the left to 3000 at the right, with a hole."""
    stored = np.linspace(1000, 3000, 64).astype(np.uint16)[None].repeat(48, 0)
    stored[10:20, 10:20] = 0
    Image.fromarray(stored).save(tmp_path / "depth.png")
    return tmp_path / "depth.png"


def test_motorcycle() -> None:
    scene = load_scene("motorcycle", size=256)
    check(scene, 173, 256)
    assert scene.name == "motorcycle"
    assert scene.alpha is None
    assert scene.depth is not None
    # The tank in front is near, the shelves behind it are far; the floor comes towards us.
    assert scene.depth[0, 0, 100, 110] < 0.2
    assert scene.depth[0, 0, 20, 200] > 0.5
    assert scene.depth[0, 0, 165, 30] < scene.depth[0, 0, 130, 30]
    assert scene.depth_unit == "m"
    assert scene.depth_span == pytest.approx((2.16, 4.84), abs=0.02)
    check(load_scene("motorcycle"), 500, 741)
    check(load_scene("motorcycle", short_side=96), 96, 142)


def test_motorcycle_by_its_calibration() -> None:
    """By hand, at the file's disparity of 50 px: 994.978 x 193.001 / (50 + 31.086) = 2368 mm."""
    raw = samples.motorcycle_depth()
    assert raw.values.shape == (500, 741)
    assert raw.valid.mean() == pytest.approx(0.93, abs=0.01)
    disparity = samples.FOCAL_LENGTH * samples.BASELINE / raw.values - 31.086
    nearest = np.abs(disparity - 50).argmin()
    assert raw.values.flat[nearest] == pytest.approx(2.368, abs=0.002)
    assert raw.unit == "m"


def test_nothing_heavy_is_imported() -> None:
    """Starting must not pay for formats that are not used."""
    heavy = ["skimage", "h5py", "scipy", "pillow_heif", "tifffile", "pooch", "rich", "OpenEXR"]
    code = f"import sys, src.inputs; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_picture_and_its_depth_file(photo: Path, depth: Path) -> None:
    for source in ("auto", "file"):
        scene = load_scene(photo, depth_path=depth, depth_source=source, size=32)
        check(scene, 24, 32)
        assert scene.name == "photo"
        assert scene.depth is not None
        assert scene.depth[0, 0, 3, [0, 16, 31]].tolist() == pytest.approx([0, 0.5, 1], abs=0.03)
        assert scene.depth[0, 0, 7, 7] == pytest.approx(15 / 63, abs=0.09)  # filled
        assert scene.valid is not None
        assert not scene.valid[0, 0, 7, 7]
        assert scene.valid.float().mean() == pytest.approx(1 - 100 / 3072, abs=0.01)


def test_disparity_is_depth_upside_down(photo: Path, depth: Path) -> None:
    scene = load_scene(photo, depth_path=depth, depth_kind="disparity")
    assert scene.depth is not None
    assert scene.depth[0, 0, 3, [0, 63]].tolist() == [1, 0]
    # 1/2000, half-way between the stored values, is a quarter of the way in depth.
    assert scene.depth[0, 0, 3, 32] == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("shape", [(24, 32), (96, 128), (37, 50)])
def test_depth_of_another_resolution_is_resampled(
    photo: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    np.save(tmp_path / "d.npy", np.linspace(1, 3, shape[1])[None].repeat(shape[0], 0))
    scene = load_scene(photo, depth_path=tmp_path / "d.npy")
    check(scene, 48, 64)
    assert scene.depth is not None
    assert scene.depth[0, 0, 5].diff().min() >= 0
    assert scene.depth[0, 0, 5, 32] == pytest.approx(0.5, abs=0.03)


def test_depth_of_another_shape(photo: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.linspace(1, 3, 900).reshape(30, 30))
    assert_refused("depth.path", "30 x 30", "64 x 48", path=photo, depth_path=tmp_path / "d.npy")


def test_depth_saved_the_way_the_sensor_lay(tmp_path: Path) -> None:
    """The photo says "turn me" and the depth file, which cannot, is turned with it."""
    (tmp_path / "photo.jpg").write_bytes(phone.photo(orientation=6))
    np.save(tmp_path / "d.npy", np.linspace(1, 3, 64)[None].repeat(48, 0))
    scene = load_scene(tmp_path / "photo.jpg", depth_path=tmp_path / "d.npy")
    check(scene, 64, 48)
    assert scene.depth is not None
    assert scene.image[0, 0, 3].mean() > 0.8  # stored at the left, now at the top
    assert scene.depth[0, 0, :, 5].diff().min() >= 0


def test_useless_depth(photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "d.npy"
    for values, word in (
        (np.zeros((48, 64)), "valid nowhere"),
        (np.full((48, 64), np.nan), "valid nowhere"),
        (np.full((48, 64), -2.0), "valid nowhere"),
        (np.full((48, 64), np.inf), "valid nowhere"),
        (np.full((48, 64), 2.5), "same depth"),
    ):
        np.save(path, values)
        assert_refused("depth.path", word, path=photo, depth_path=path)


def test_a_depth_file_is_asked_for(photo: Path) -> None:
    assert_refused("depth.path", "depth.source=file", path=photo, depth_source="file")
    assert_refused("depth.path", "does not exist", path=photo, depth_path="no.png")


@pytest.mark.parametrize(
    ("key", "how"),
    [
        ("depth.kind", {"depth_kind": "disparity"}),
        ("depth.scale", {"depth_scale": 1000}),
        ("depth.preset", {"depth_preset": "tum"}),
        ("depth.path", {"depth_path": "d.png", "depth_source": "embedded"}),
    ],
)
def test_what_would_be_ignored_is_refused(key: str, how: dict[str, Any]) -> None:
    assert_refused(key, path="motorcycle", **how)


def test_transparency_is_kept(tmp_path: Path, depth: Path) -> None:
    pixels = np.full((48, 64, 4), 90, np.uint8)
    pixels[:, :32, 3] = 0
    pixels[:, 32:, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    scene = load_scene(tmp_path / "a.png", depth_path=depth, size=32)
    assert scene.alpha is not None
    assert scene.alpha.shape == (1, 1, 24, 32)
    assert scene.alpha[0, 0, 5, [2, 29]].tolist() == [0, 1]
    style = load_style(tmp_path / "a.png")
    assert style[0, :, 5, 5].tolist() == [1, 1, 1]
    assert style[0, 0, 5, 60].item() == pytest.approx(90 / 255)


# What a picture carries, and what it does not


def test_embedded_depth_and_a_file_that_wins_over_it(tmp_path: Path, depth: Path) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(phone.gdepth(phone.encode(phone.ramp(), "PNG"), form="RangeLinear"))
    for source in ("auto", "embedded"):
        scene = load_scene(path, depth_source=source)
        check(scene, 48, 64)
        assert scene.depth is not None
        assert scene.depth[0, 0, 9, [0, -1]].tolist() == pytest.approx([0, 1], abs=0.02)
    path.write_bytes(phone.gdepth(phone.encode(255 - phone.ramp(), "PNG")))
    scene = load_scene(path, depth_path=depth)
    assert scene.depth is not None
    assert scene.depth[0, 0, 3, 0] == 0
    assert load_scene(path).depth[0, 0, 3, 0] > 0.9


def test_a_picture_without_depth(photo: Path) -> None:
    scene = load_scene(photo, need_depth=False)
    assert scene.depth is None
    assert scene.valid is None
    for source in ("auto", "embedded", "estimate"):
        assert_refused("depth.source", source, "depth.path", path=photo, depth_source=source)
    assert_refused("depth.source", path=photo, depth_source="embedded", need_depth=False)
    assert_refused("depth.source", "deep", "embedded", path=photo, depth_source="deep")
    # Broken depth matters only where depth is needed.
    photo.write_bytes(phone.gdepth(b"junk"))
    assert load_scene(photo, need_depth=False).depth is None
    assert_refused("content", "whose depth", path=photo)


def test_unknown_names_list_what_there_is(tmp_path: Path) -> None:
    assert_refused("content", "'motorcylce'", "motorcycle, perhaps", path="motorcylce")
    assert_refused("style", "swirls, perhaps", load=load_style, path="swirl")
    assert_refused("style", "swirls", "starry_night", load=load_style, path="xyz")
    with phone.refused("styles.far.path", "styles.far.path: got 'x.png'"):
        load_style("x.png", key="styles.far.path")


def test_the_built_in_paintings() -> None:
    names = samples.paintings()
    assert list(names) == ["ink", "mosaic", "swirls"]
    for name, file in names.items():
        assert file.stat().st_size < 1_200_000
        painting = load_style(name)
        assert painting.shape == (1, 3, 512, 640)
        assert painting.std() > 0.1
    swirls = load_style("swirls").mean((0, 2, 3))
    assert swirls[2] > swirls[0] + 0.1  # blue


def test_a_style_from_a_file_and_wrong_sides(photo: Path) -> None:
    assert load_style(photo, short_side=24).shape == (1, 3, 24, 32)
    assert_refused("style", "folder", load=load_style, path=photo.parent)
    assert_refused("size", "-3", path="motorcycle", size=-3)
    assert_refused("short_side", "0", load=load_style, path="swirls", short_side=0)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and a network that leads nowhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(samples, "HOST", "http://127.0.0.1:9")
    return tmp_path / "depth-style-transfer" / "paintings"


def test_classics_have_fixed_commits_and_sums() -> None:
    for classic in samples.CLASSICS.values():
        assert len(classic.file.split("/")[2]) == 40
        assert len(classic.sha256) == 64
        assert classic.title.count(",") == 2
    assert not samples.CLASSICS.keys() & samples.paintings().keys()


def test_without_a_network_the_built_in_paintings_are_offered(kept: Path) -> None:
    words = ("starry_night", "swirls", "network")
    assert_refused("style", *words, load=load_style, path="starry_night")
    assert not (kept / "starry_night.jpg").exists()


def test_a_kept_classic_needs_no_network(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    kept.mkdir(parents=True)
    data = phone.photo()
    (kept / "the_scream.jpg").write_bytes(data)
    classic = samples.Classic("A, B, 1", "o/r/c/f.jpg", hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(samples.CLASSICS, "the_scream", classic)
    assert load_style("the_scream").shape == (1, 3, 48, 64)
    (kept / "the_scream.jpg").write_bytes(data[:-9])  # damaged: fetched again, or refused
    assert_refused("style", "the_scream", load=load_style, path="the_scream")


def test_pictures_with_their_depth(tmp_path: Path) -> None:
    pairs = {
        "a": ("a.jpg", "a.png"),
        "b": ("b.png", "b_depth.png"),
        "c": ("c_rgb.png", "c_depth.npy"),
        "rgb/d": ("rgb/d.png", "depth/d.png"),
        "x/y/e": ("x/y/e-rgb.jpg", "x/y/e-disp.png"),
    }
    others = ("alone.jpg", "f.png", "g_depth.png", "notes.txt", ".hidden.png")
    for name in (*(file for pair in pairs.values() for file in pair), *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_rgbd_pairs(tmp_path)
    assert list(found) == list(pairs)
    for name, files in pairs.items():
        assert found[name] == tuple(tmp_path / file for file in files)
    assert [path.name for path in pictures_in(tmp_path / "rgb")] == ["d.png"]
    assert ".hidden.png" not in [path.name for path in pictures_in(tmp_path)]


@pytest.mark.usefixtures("kept")
def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    for name in ("motorcycle", *samples.paintings(), *samples.CLASSICS):
        assert name in said


def measured(depth: Tensor, span: tuple[float, float] = (1.0, 4.0)) -> Scene:
    image = load_scene("motorcycle", size=160, need_depth=False).image
    return Scene(image, depth, depth > -1, None, "x", "'d.png' (16 bit)", span, "m")


def test_swapped_depth_is_said(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    depth = load_scene("motorcycle", size=160).depth
    assert depth is not None
    plausibility.announce_depth(measured(depth), "auto")
    assert capsys.readouterr().err == "depth of 'd.png' (16 bit): 1 to 4 m, 100% measured\n"
    assert "swapped" not in caplog.text
    plausibility.announce_depth(measured(1 - depth), "auto")
    assert "near and far look swapped; try depth.kind=disparity" in caplog.text
    plausibility.announce_depth(measured(1 - depth), "disparity")
    assert "try depth.kind=depth" in caplog.text


@pytest.mark.parametrize("span", [(0.001, 0.004), (1000.0, 4000.0)])
def test_depth_of_another_unit_is_said(
    span: tuple[float, float], caplog: pytest.LogCaptureFixture
) -> None:
    depth = load_scene("motorcycle", size=160).depth
    assert depth is not None
    plausibility.announce_depth(measured(depth, span), "auto")
    assert f"the farthest point is at {span[1]:.3g} m; is it right?" in caplog.text


def test_estimates_are_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    scene = measured(torch.rand(1, 1, 8, 8))
    plausibility.announce_depth(replace(scene, is_estimated=True), "auto")
    assert capsys.readouterr().err == ""


def test_rank_correlation_is_spearmans() -> None:
    one, other = torch.rand(2, 1, 1, 48, 64)
    found = plausibility.rank_correlation(one, other)
    blocks = [x[0, 0].reshape(24, 2, 32, 2).mean((1, 3)).flatten() for x in (one, other)]
    assert found == pytest.approx(float(spearmanr(*blocks).statistic), abs=1e-6)
    assert plausibility.rank_correlation(one, 1 - one) == pytest.approx(-1)


def test_preview(photo: Path, depth: Path, tmp_path: Path) -> None:
    photo = photo.rename(tmp_path / "a=b.png")
    out = tmp_path / "folder" / "sheet.png"
    pairs = [f"depth.path={depth}", "depth.kind=disparity", "size=64", f"out={out}"]
    assert main(["preview", str(photo), *pairs]) == 0
    with Image.open(out) as sheet:
        pixels = np.asarray(sheet).astype(int)
    top, tile, gap = 12 + 22, 320, 12
    left = 12 + tile + gap  # the second tile is the depth: far (white) at the left
    assert pixels[top + 60, left + 3].min() > 240
    assert pixels[top + 60, left + tile - 3].max() < 10
    assert [p.name for p in out.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize("arguments", [["--help"], ["preview", "--help"], ["preview", "-h"]])
def test_help_is_no_picture(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["preview", "motorcycle", "sise=3"], 1, "size, perhaps"),
        (["preview", "motorcycle", "size=big"], 1, "whole number"),
        (["preview", "motorcycl"], 1, "motorcycle, perhaps"),
        (["preview", "motorcycle", "size=64", "out=/proc/nowhere/a.png"], 1, "out"),
        (["preview", "motorcycle", "out=sheet.jpg"], 1, "out: got 'sheet.jpg'; expected a name"),
        (["preview", "content=motorcycle"], 1, "preview: got 'content=motorcycle'; expected a pic"),
        (["preview"], 2, "usage"),
        ([], 2, "usage"),
    ],
)
def test_commands_that_cannot_be(
    arguments: list[str], status: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    said = capsys.readouterr().err
    assert word in said
    if status == 1:
        assert said.count("\n") == 1
