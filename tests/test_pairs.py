"""Pictures and their depth, found in folders and ZIP files."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.depth_nets import pairs
from src.errors import InputError
from src.inputs import nyu
from src.inputs.depth_maps import RawDepth


def photo(path: Path, size: tuple[int, int] = (32, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 100, 50)).save(path)


def depth(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint16)).save(path)


MILLIMETRES = np.full((24, 32), 2000)


@pytest.mark.parametrize(
    ("picture", "map_"),
    [
        ("a.jpg", "a.png"),
        ("a.png", "a_depth.png"),
        ("a_rgb.png", "a_depth.png"),
        ("a.jpg", "a_disparity.png"),
        ("rgb/a.png", "depth/a.png"),
        ("x/y/a-rgb.jpg", "x/y/a-depth.png"),
    ],
)
def test_a_picture_finds_its_depth(tmp_path: Path, picture: str, map_: str) -> None:
    photo(tmp_path / picture)
    depth(tmp_path / map_, MILLIMETRES)
    photo(tmp_path / "alone.jpg")
    photo(tmp_path / "alone_too.png")
    assert pairs.couples(tmp_path) == [(tmp_path / picture, tmp_path / map_)]


def test_depth_is_inverted_and_holes_stay_holes(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    values = MILLIMETRES.copy()
    values[:12] = 0
    values[:, 16:] *= 2
    depth(tmp_path / "a.png", values)
    (one,) = pairs.load(f"{tmp_path}:depth", tmp_path)
    assert one.image.shape == (3, 24, 32)
    assert one.image.dtype == torch.uint8
    assert one.inverse.shape == (12, 16)
    assert one.inverse[:6].isnan().all()
    assert one.inverse[6:].isfinite().all()
    assert (one.inverse[6:, :8] / one.inverse[6:, 8:]).allclose(torch.tensor(2.0))


def test_disparity_stays_as_it_is_and_large_pictures_shrink(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", (640, 480))
    depth(tmp_path / "a.png", np.repeat(np.arange(1, 481)[:, None], 640, axis=1))
    (one,) = pairs.load(f"{tmp_path}:disparity", tmp_path)
    assert one.image.shape == (3, 240, 320)
    assert one.inverse.shape == (120, 160)
    assert (one.inverse.diff(dim=0) > 0).all()
    assert one.inverse.mean().item() == pytest.approx(240.5)


def test_what_is_infinitely_far_is_known() -> None:
    values = np.array([[np.inf, 2.0], [4.0, 0.0]], np.float32)
    valid = np.array([[False, True], [True, False]])
    one = pairs.pair(torch.zeros(1, 3, 4, 4), RawDepth(values, valid, "depth", "m"))
    torch.testing.assert_close(
        one.inverse, torch.tensor([[0, 0.5], [0.25, torch.nan]]), equal_nan=True
    )


def test_a_zip_file_is_as_good_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("b", "a", "c", "d"):
        photo(folder / f"{name}.jpg")
        depth(folder / f"{name}.png", MILLIMETRES)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    unpacked = tmp_path / "unpacked"
    found = pairs.load(f"{tmp_path / 'set.zip'}:mm", unpacked)
    assert len(found) == 4
    assert len(pairs.load(f"{tmp_path / 'set.zip'}:mm", unpacked, limit=2)) == 2
    train, held_out = pairs.held_out(found, 0.3)
    assert [id(one) for one in [*train, *held_out]] == [id(one) for one in found]
    assert len(held_out) == 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "does not exist; expected a folder or ZIP file with NAME.jpg"),
        (lambda path: path.write_text("no ZIP"), "which is no ZIP file; expected a folder or ZIP"),
        (lambda path: photo(path / "a.jpg"), "in which no picture has its depth"),
        (
            lambda path: (photo(path / "a.jpg"), depth(path / "a.png", 0 * MILLIMETRES)),
            "valid nowhere",
        ),
        (
            lambda path: (photo(path / "a.jpg"), (path / "a.png").write_text("broken")),
            "a.png', which is not a picture",
        ),
        (lambda path: (photo(path / "a.jpg"), photo(path / "a.png")), "a map in colours"),
    ],
)
def test_a_bad_source_is_one_line(tmp_path: Path, make: object, text: str) -> None:
    assert callable(make)
    make(tmp_path / "source")
    with pytest.raises(InputError) as error:
        pairs.load(str(tmp_path / "source"), tmp_path / "unpacked")
    assert error.value.key == "data"
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_encodings_and_absent_nyu_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "a.jpg")
    depth(tmp_path / "a.png", MILLIMETRES)
    with pytest.raises(InputError, match=r"data: got .*feet.*one of mm, tum"):
        pairs.load(f"{tmp_path}:feet", tmp_path)
    monkeypatch.setenv("NYU_DEPTH_V2", str(tmp_path))
    with pytest.raises(InputError, match=r"data: got nyu .*src\.inputs\.nyu prepare"):
        pairs.load("nyu", tmp_path)


def test_the_prepared_nyu_set_by_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.full((24, 32), 2, np.float32)
    frame = nyu.Frame(
        np.full((24, 32, 3), 9, np.uint8), RawDepth(values, values > 0, "depth", "m"), "nyu0001"
    )
    monkeypatch.setattr(nyu, "training_part", lambda: ["nyu:0001"])
    monkeypatch.setattr(nyu, "read_prepared", {"nyu:0001": frame}.__getitem__)
    (one,) = pairs.load("nyu", tmp_path)
    assert (one.image == 9).all()
    assert one.inverse.shape == (12, 16)
    assert (one.inverse == 0.5).all()
