"""NYU Depth v2, on a small file with the very layout: reversed axes, references, types."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from src.errors import InputError
from src.inputs import load_scene, nyu

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
        file["accelData"] = np.zeros((4, COUNT), np.float32)
        names = [f"kitchen_{i:04d}" for i in range(COUNT)]
        for i, name in enumerate(names):
            codes = np.array([[ord(c)] for c in name], np.uint16)
            file.create_dataset(f"#refs#/s{i}", data=codes)
        scenes = file.create_dataset("scenes", (1, COUNT), h5py.ref_dtype)
        for i in range(COUNT):
            scenes[0, i] = file[f"#refs#/s{i}"].ref
    path_bytes = bytearray(path.read_bytes())
    path_bytes[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(path_bytes)
    return path


def write_splits(path: Path) -> Path:
    from scipy.io import savemat

    savemat(path, {"trainNdxs": [[1], [3]], "testNdxs": [[2], [4]]})  # from 1, as MATLAB counts
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


def test_the_first_image_is_the_default(mat: Path) -> None:
    assert load_scene(mat, size=40).name == "nyu0000"


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


def assert_refused(key: str, path: Path, index: Any, word: str) -> None:
    with pytest.raises(InputError) as caught:
        load_scene(path, index=index)
    assert caught.value.key == key
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", [COUNT, -1, 99999])
def test_an_index_past_the_end(mat: Path, index: int) -> None:
    assert_refused("content_index", mat, index, f"from 0 to {COUNT - 1}")
    assert_refused("content_index", mat, index, str(index))


def test_an_index_for_a_picture(tmp_path: Path) -> None:
    assert_refused("content_index", tmp_path / "a.png", 3, ".mat")


def test_files_that_are_none(tmp_path: Path) -> None:
    old = tmp_path / "old.mat"
    write_splits(old)  # a MATLAB file of version 5
    assert_refused("content", old, 0, "not HDF5")
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


# The prepared set


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    monkeypatch.setattr(nyu, "_note", lambda: tmp_path / "cache" / "note.txt")
    monkeypatch.delenv("NYU_DEPTH_V2", raising=False)
    return tmp_path


@pytest.fixture
def prepared(mat: Path, home: Path) -> Path:
    return nyu.prepare(home / "out", mat, write_splits(home / "splits.mat"))


def test_prepare(prepared: Path, home: Path) -> None:
    assert prepared == home / "out" / "nyu_depth_v2.h5"
    assert [p.name for p in (home / "out").iterdir()] == [prepared.name]
    with h5py.File(prepared) as file:
        assert file["images"].shape == (COUNT, 82, 114, 3)
        assert file["images"].chunks == (1, 82, 114, 3)
        assert file["images"][1, 3, 3].tolist() == [200, 0, 0]
        assert file["depth"].dtype == np.uint16
        assert file["depth"][0, 0, 0] == round(1000 * depths()[0, 7, 7])
        assert file["raw_depth"][0, 0, 60 - 7 : 80 - 7].tolist() == [0] * 20
        assert file["scenes"].asstr()[:].tolist() == [f"kitchen_{i:04d}" for i in range(COUNT)]
        assert file["split"].asstr()[:].tolist() == ["train", "test", "train", "test"]
        assert file.attrs["cropped_rows"].tolist() == [7, 7]


def test_a_prepared_image_equals_that_of_the_mat(prepared: Path, mat: Path) -> None:
    one, other = nyu.read_prepared("nyu:0002"), nyu.read_mat(mat, 2)
    assert np.array_equal(one.rgb, other.rgb)
    assert np.array_equal(one.depth.valid, other.depth.valid)
    assert np.abs(one.depth.values - other.depth.values).max() <= 0.0006
    assert "kitchen_0002" in one.depth.origin
    scene = load_scene("nyu:0002", size=50)
    assert scene.name == "nyu0002"
    assert scene.depth is not None
    assert load_scene("nyu:2", size=50).name == "nyu0002"


def test_the_environment_names_the_folder(
    prepared: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = home / "elsewhere"
    prepared.parent.rename(moved)
    with pytest.raises(InputError, match="prepare --out"):
        nyu.read_prepared("nyu:0")
    monkeypatch.setenv("NYU_DEPTH_V2", str(moved))
    assert nyu.read_prepared("nyu:0").name == "nyu0000"


@pytest.mark.parametrize("name", ["nyu:4", "nyu:abc", "nyu:", "nyu:-1"])
def test_prepared_images_that_do_not_exist(prepared: Path, name: str) -> None:
    with pytest.raises(InputError, match="nyu:0000 to nyu:0003") as caught:
        load_scene(name)
    assert caught.value.key == "content"


def test_the_official_training_part(prepared: Path) -> None:
    with h5py.File(prepared) as file:
        split = file["split"].asstr()[:]
    part = nyu.training_part()
    assert part == [f"nyu:{i:04d}" for i, name in enumerate(split) if name == "train"]
    assert 0 < len(part) < len(split)


def test_no_training_part_where_nothing_is_prepared(home: Path) -> None:
    with pytest.raises(InputError, match=r"NYU Depth v2: python -m src\.inputs\.nyu prepare"):
        nyu.training_part()


def test_nothing_prepared(home: Path) -> None:
    with pytest.raises(InputError, match=r"src\.inputs\.nyu prepare"):
        load_scene("nyu:0001")


def test_a_disk_that_is_full(home: Path, mat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 10**9))
    with pytest.raises(InputError, match=r"1\.0 GB free") as caught:
        nyu.prepare(home / "out")
    assert caught.value.key == "out"


def test_a_broken_cut_leaves_nothing_that_looks_whole(home: Path, mat: Path) -> None:
    mat.write_bytes(mat.read_bytes()[: mat.stat().st_size * 2 // 3])
    with pytest.raises(InputError):
        nyu.prepare(home / "out", mat, write_splits(home / "splits.mat"))
    assert not (home / "out" / nyu.PREPARED).exists()


def test_the_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nyu.main(["prepare", "--out", str(home / "out"), "--mat", str(home / "no.mat")]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "no.mat" in captured.err


def test_the_command_runs_as_a_module() -> None:
    found = subprocess.run(
        [sys.executable, "-W", "error", "-m", "src.inputs.nyu", "prepare", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "--out" in found.stdout
