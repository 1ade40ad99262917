"""Pictures and their depth, found in folders and ZIP files."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.core.errors import InputError
from src.inputs.depth_maps import RawDepth
from src.training import pairs
from src.training.__main__ import load_pairs


def photo(path: Path, size: tuple[int, int] = (32, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 100, 50)).save(path)


def depth(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint16)).save(path)


def pair(folder: Path, write_depth: Callable[[Path], object]) -> None:
    photo(folder / "a.jpg")
    write_depth(folder / "a.png")


MILLIMETRES = np.full((24, 32), 2000)


def test_depth_is_inverted_and_holes_stay_holes(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    values = MILLIMETRES.copy()
    values[:12] = 0
    values[:, 16:] *= 2
    depth(tmp_path / "a.png", values)
    (one,) = pairs.load(f"{tmp_path}:depth")
    assert one.image.shape == (3, 24, 32)
    assert one.image.dtype == torch.uint8
    assert one.inverse.shape == (12, 16)
    assert one.inverse[:6].isnan().all()
    assert one.inverse[6:].isfinite().all()
    assert (one.inverse[6:, :8] / one.inverse[6:, 8:]).allclose(torch.tensor(2.0))


def test_disparity_stays_as_it_is_and_large_pictures_shrink(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", (640, 480))
    depth(tmp_path / "a.png", np.repeat(np.arange(1, 481)[:, None], 640, axis=1))
    (one,) = pairs.load(f"{tmp_path}:disparity")
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


def test_a_zip_file_is_as_good_as_a_folder_and_its_last_pairs_are_held_out(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for i, name in enumerate("abcd"):
        photo(folder / f"{name}.jpg", (32 + i, 24))
        depth(folder / f"{name}.png", MILLIMETRES)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    train, held_out = load_pairs([f"{tmp_path / 'set.zip'}:mm", str(folder)], 0.3)
    assert [one.image.shape[2] for one in train] == [32, 33, 34] * 2
    assert [one.image.shape[2] for one in held_out] == [35, 35]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "does not exist; expected a folder or ZIP file with NAME.jpg"),
        (lambda path: path.write_text("no ZIP"), "which is no ZIP file; expected a folder or ZIP"),
        (lambda path: photo(path / "a.jpg"), "in which no picture has its depth"),
        (lambda path: pair(path, lambda p: depth(p, 0 * MILLIMETRES)), "valid nowhere"),
        (lambda path: pair(path, lambda p: p.write_text("")), "a.png', an empty file"),
        (lambda path: pair(path, photo), "a map in colours"),
    ],
)
def test_a_bad_source_is_one_line(
    tmp_path: Path, make: Callable[[Path], object], text: str
) -> None:
    make(tmp_path / "source")
    with pytest.raises(InputError) as error:
        pairs.load(str(tmp_path / "source"))
    assert error.value.key == "data"
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_encodings_and_single_pairs_are_refused(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    depth(tmp_path / "a.png", MILLIMETRES)
    with pytest.raises(InputError, match=r"data: got .*feet.*one of mm, tum"):
        pairs.load(f"{tmp_path}:feet")
    with pytest.raises(InputError, match=r"data: got .* with one pair; expected two pairs or more"):
        load_pairs([str(tmp_path)], 0.5)
