"""NYU Depth v2, on a small file with the very layout: reversed axes, types."""

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Server

from src.inputs import load_scene, nyu
from src.inputs.__main__ import main
from tests.phone_files import refused

COUNT, HEIGHT, WIDTH = 4, 96, 128
FRAME = 6  # pixels of white around each picture


def images() -> np.ndarray:
    """(N, H, W, 3): a grey level per image, red at the top left, inside a white frame."""
    pixels = np.full((COUNT, HEIGHT, WIDTH, 3), 255, np.uint8)
    inside = pixels[:, FRAME:-FRAME, FRAME:-FRAME]
    for index in range(COUNT):
        inside[index] = 40 + 10 * index
    inside[:, :30, :30] = (200, 0, 0)
    return pixels


def depths() -> np.ndarray:
    """(N, H, W) metres: from 1 at the left to 5 at the right, plus the image's number."""
    ramp = np.linspace(1, 5, WIDTH, dtype=np.float32)
    return np.stack([np.tile(ramp + i, (HEIGHT, 1)) for i in range(COUNT)])


def write(path: Path) -> Path:
    """The file as MATLAB writes it: the axes of H x W x 3 x N reversed."""
    raw = depths()
    raw[:, :, 60:80] = 0
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = images().transpose(0, 3, 2, 1)
        file["depths"] = depths().transpose(0, 2, 1)
        file["rawDepths"] = raw.transpose(0, 2, 1)
    path_bytes = bytearray(path.read_bytes())
    path_bytes[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(path_bytes)
    return path


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    return write(tmp_path / "small.mat")


def test_one_image_the_right_way_round(mat: Path) -> None:
    frame = nyu.read_mat(mat, 2)
    assert frame.rgb.dtype == np.uint8
    assert frame.rgb.shape == (HEIGHT - 2 * FRAME - 2, WIDTH - 2 * FRAME - 2, 3)
    assert frame.rgb[3, 3].tolist() == [200, 0, 0]
    assert frame.rgb[3, -3].tolist() == [60] * 3
    assert frame.rgb[-3, 3].tolist() == [60] * 3
    assert frame.name == "nyu0002"
    inside = depths()[2][nyu.without_frame(images()[2])]
    assert np.array_equal(frame.depth.values, inside)
    assert frame.depth.unit == "m"


def test_validity_is_what_was_measured(mat: Path) -> None:
    valid = nyu.read_mat(mat, 0).depth.valid
    left = FRAME + 1
    assert valid[:, : 60 - left].all()
    assert not valid[:, 60 - left : 80 - left].any()
    assert valid[:, 80 - left :].all()


def test_a_scene_uses_the_authors_filling(mat: Path) -> None:
    scene = load_scene(mat, index=1, size=57)
    assert scene.image.shape[-2:] == (41, 57)
    assert scene.name == "nyu0001"
    assert scene.depth is not None
    assert scene.valid is not None
    row = scene.depth[0, 0, 20]
    assert (row.diff() >= 0).all()  # the ramp goes on through what was not measured
    assert row[28] == pytest.approx(0.5, abs=0.03)
    assert scene.valid[0, 0, 20].float().mean() == pytest.approx(1 - 20 / 114, abs=0.04)
    assert scene.depth_span == pytest.approx((2.25, 5.75), abs=0.1)
    assert load_scene(mat, size=40).name == "nyu0000"  # the first, by default


def test_only_one_image_is_read(mat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = h5py.Dataset.__getitem__

    def watch(self: h5py.Dataset, key: object, **how: Any) -> object:
        asked.append(key)
        return real(self, key, **how)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watch)
    nyu.read_mat(mat, 3)
    assert asked == [3, 3, 3]


def test_without_raw_depths_all_is_measured(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["images"] = np.zeros((1, 3, 20, 10), np.uint8)
        file["depths"] = np.ones((1, 20, 10), np.float32)
    frame = nyu.read_mat(tmp_path / "a.mat")
    assert frame.depth.valid.all()
    assert frame.rgb.shape == (10, 20, 3)


def test_a_picture_without_a_frame_is_not_cropped() -> None:
    grey = np.full((96, 128, 3), 90, np.uint8)
    assert nyu.without_frame(grey) == (slice(0, 96), slice(0, 128))
    grey[:, -9:] = grey[:, :5] = grey[:7] = 255  # white walls and a ceiling, but no frame
    assert nyu.without_frame(grey) == (slice(0, 96), slice(0, 128))
    assert nyu.without_frame(np.full((96, 128, 3), 255, np.uint8)) == (slice(0, 96), slice(0, 128))


def assert_refused(key: str, path: str | Path, index: Any, word: str) -> None:
    with refused(key, word):
        load_scene(path, index=index)


def test_an_index_past_the_end_or_for_a_picture(mat: Path, tmp_path: Path) -> None:
    for index in (COUNT, -1, 99999):
        assert_refused("content_index", mat, index, f"got {index}; expected a whole number from 0")
    assert_refused("content_index", tmp_path / "a.png", 3, ".mat")


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "old.mat").write_text("MATLAB 5.0 MAT-file")
    assert_refused("content", tmp_path / "old.mat", 0, "not HDF5")
    assert_refused("content", tmp_path / "no.mat", 0, "does not exist")
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["images"] = np.zeros((1, 3, 8, 8), np.uint8)
    assert_refused("content", tmp_path / "other.mat", 0, "without depths")
    with h5py.File(tmp_path / "shape.mat", "w") as file:
        file["images"] = np.zeros((8, 8, 3, 1), np.uint8)
        file["depths"] = np.zeros((8, 8, 1))
    assert_refused("content", tmp_path / "shape.mat", 0, "(N, 3, W, H)")
    with h5py.File(tmp_path / "float.mat", "w") as file:
        file["images"] = np.zeros((1, 3, 8, 8))
        file["depths"] = np.zeros((1, 8, 8))
    assert_refused("content", tmp_path / "float.mat", 0, "float64")


def test_a_truncated_file(mat: Path) -> None:
    mat.write_bytes(mat.read_bytes()[: mat.stat().st_size * 2 // 3])
    assert_refused("content", mat, 0, "cannot be read")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NYU_DEPTH_V2", raising=False)
    return tmp_path / "cache" / "depth-style-transfer"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The set in the folder that the environment names."""
    path = tmp_path / "set"
    path.mkdir()
    write(path / nyu.MAT)
    monkeypatch.setenv("NYU_DEPTH_V2", str(path))
    return path


def test_a_name_is_an_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name, by_index = nyu.read_named("nyu:0002"), nyu.read_mat(folder / nyu.MAT, 2)
    assert np.array_equal(by_name.rgb, by_index.rgb)
    assert np.array_equal(by_name.depth.values, by_index.depth.values)
    monkeypatch.setenv("NYU_DEPTH_V2", str(folder / nyu.MAT))  # the file will do, too
    for name in ("nyu:0002", "nyu:2"):
        assert load_scene(name, size=50).name == "nyu0002"


@pytest.mark.parametrize("name", ["nyu:4", "nyu:abc", "nyu:", "nyu:-1"])
def test_names_that_do_not_exist(folder: Path, name: str) -> None:
    assert_refused("content", name, None, "nyu:0000 to nyu:0003")


def test_nothing_on_this_machine() -> None:
    for word in ("src.inputs fetch nyu", "NYU_DEPTH_V2=FOLDER", nyu.MAT):
        assert_refused("content", "nyu:0001", None, word)


def test_fetch(
    folder: Path, cache: Path, server: Server, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NYU_DEPTH_V2")
    monkeypatch.setattr(nyu, "HOST", server.url)
    assert main(["fetch", "nyu"]) == 1
    error = capsys.readouterr().err
    assert "NYU_DEPTH_V2: got no answer from" in error
    assert error.strip().endswith("NYU_DEPTH_V2=PATH")
    served = (folder / nyu.MAT).rename(server.folder / nyu.MAT)
    monkeypatch.setattr(nyu, "MD5", hashlib.md5(served.read_bytes()).hexdigest())
    assert main(["fetch", "nyu"]) == 0
    assert nyu.find_file() == cache / "nyu_depth_v2" / nyu.MAT
    assert load_scene("nyu:3", size=50).name == "nyu0003"
    served.write_bytes(b"another file")
    monkeypatch.setenv("NYU_DEPTH_V2", str(folder))  # where there is none any more
    assert main(["fetch", "nyu"]) == 1
    assert "another checksum" in capsys.readouterr().err
    assert not list(folder.iterdir())
