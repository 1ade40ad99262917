"""Depth files: every encoding to its values by hand, and an error for what says nothing."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tifffile
from PIL import Image

from src.inputs import depth_files
from src.inputs.depth_files import PRESETS
from tests.phone_files import refused
from tests.running import Intruder

METRES = np.linspace(0.5, 7.5, 48).reshape(6, 8).astype(np.float32)


def save(numbers: np.ndarray, path: Path) -> Path:
    """Write a map by the name's ending."""
    kind = path.suffix
    if kind == ".npy":
        np.save(path, numbers)
    elif kind == ".npz":
        np.savez_compressed(path, numbers)
    elif kind == ".pfm":
        header = f"Pf\n{numbers.shape[1]} {numbers.shape[0]}\n-1.0\n".encode()
        path.write_bytes(header + numbers[::-1].astype("<f4").tobytes())
    else:
        Image.fromarray(numbers).save(path)
    return path


def assert_refused(key: str, path: Path, *words: str, **how: Any) -> None:
    with refused(key, *words):
        depth_files.read(path, **how)


SCALES = {"mm": 1000, "tum": 5000, "icl": 5000, "kitti": 256, "redwood": 1000, "scannet": 1000}


@pytest.mark.parametrize(("preset", "per_metre"), SCALES.items())
@pytest.mark.parametrize("name", ["d.png", "d.tif", "d.pgm", "d.npy"])
def test_scaled_integers(tmp_path: Path, preset: str, per_metre: int, name: str) -> None:
    stored = (METRES * per_metre).round().astype(np.uint16)
    stored[0, :3] = 0
    found = depth_files.read(save(stored, tmp_path / name), preset=preset)
    assert (found.kind, found.unit) == ("depth", "m")
    assert not found.valid[0, :3].any()
    assert found.valid.sum() == 45
    assert np.abs(found.values - METRES)[found.valid].max() <= 0.51 / per_metre


def test_a_scale_is_units_per_metre(tmp_path: Path) -> None:
    path = save(np.full((6, 8), 2500, np.uint16), tmp_path / "d.png")
    assert depth_files.read(path, scale=500).values[0, 0] == 5
    assert depth_files.read(path, scale="1000").values[0, 0] == 2.5
    assert depth_files.read(path, preset="tum", scale=1000).values[0, 0] == 2.5
    assert depth_files.read(path).unit == "relative"  # nobody said what a unit is


def test_sun_bits_are_rotated(tmp_path: Path) -> None:
    """By hand: 9000 mm = 0x2328, three bits to the left 0x1941, which reads as 6465."""
    millimetres = np.full((20, 20), 2000, np.uint16)
    millimetres[0, 0] = 9000
    stored = (millimetres << 3) | (millimetres >> 13)
    assert stored[0, 0] == 6465
    path = save(stored, tmp_path / "d.png")
    for how in ({"preset": "sun_rgbd"}, {"preset": "SUN RGB-D"}, {}):
        found = depth_files.read(path, **how)
        assert found.values[0, 0] == pytest.approx(9)
        assert found.values[5, 5] == pytest.approx(2)
    assert depth_files.read(path, preset="mm").values[0, 0] == pytest.approx(6.465)


def test_raw_kinect(tmp_path: Path) -> None:
    """By hand: 351.3 / (1092.5 - 800) = 1.2010 m; 1080 is past 10 m; 2047 is "no reading"."""
    readings = np.full((6, 8), 800, np.uint16)
    readings[0, :4] = 0, 2047, 1080, 1041
    for stored in (readings, readings.byteswap()):
        found = depth_files.read(save(stored, tmp_path / "d.pgm"), preset="kinect_raw")
        assert found.values[3, 3] == pytest.approx(1.2010, abs=1e-4)
        assert found.valid[0, :4].tolist() == [False, False, True, True]
        assert found.values[0, 2:4].tolist() == pytest.approx([10, 351.3 / 51.5], abs=1e-3)
        assert found.unit == "m"
    swapped = depth_files.read(save(readings.byteswap(), tmp_path / "d.pgm"))  # the file says it
    assert swapped.values[3, 3] == pytest.approx(1.2010, abs=1e-4)


def test_a_preset_that_the_file_is_not_in(tmp_path: Path) -> None:
    path = save(np.full((6, 8), 5000, np.uint16), tmp_path / "d.png")
    assert_refused("depth.preset", path, "2047", preset="kinect_raw")
    path = save(METRES, tmp_path / "d.npy")
    assert_refused("depth.preset", path, "float32", preset="sun_rgbd")
    grey = save(np.full((4, 4), 9, np.uint8), tmp_path / "grey.png")
    assert_refused("depth.preset", grey, "8 bits: near_black", preset="kitti")


def test_eight_bits_in_each_direction(tmp_path: Path) -> None:
    for name in ("d.png", "d.jpg"):
        path = save(np.full((8, 8), 90, np.uint8), tmp_path / name)
        assert_refused("depth.kind", path, "near_black", "near_white", "disparity")
    stored = np.tile(np.array([0, 51, 255], np.uint8), (2, 1))
    path = save(stored, tmp_path / "d.png")
    black = depth_files.read(path, preset="near_black")
    assert black.values[0].tolist() == [0, 51, 255]
    white = depth_files.read(path, preset="near_white")
    assert white.values[0].tolist() == [255, 204, 0]
    for found in (black, white):
        assert found.valid.all()
        assert (found.kind, found.unit) == ("depth", "relative")
    disparity = depth_files.read(path, kind="disparity")
    assert disparity.kind == "disparity"
    assert disparity.valid[0].tolist() == [False, True, True]


def test_grey_in_three_channels_and_colours(tmp_path: Path) -> None:
    grey = np.repeat(np.array([[10, 20], [30, 40]], np.uint8)[..., None], 3, 2)
    found = depth_files.read(save(grey, tmp_path / "d.png"), preset="near_black")
    assert found.values.tolist() == [[10, 20], [30, 40]]
    rainbow = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert_refused("depth.path", save(rainbow, tmp_path / "r.png"), "colours", preset="near_black")


@pytest.mark.parametrize("name", ["d.npy", "d.npz", "d.pfm", "d.tif"])
def test_floats_are_metres(tmp_path: Path, name: str) -> None:
    stored = METRES.copy()
    stored[0, :5] = np.nan, np.inf, -1, 0, 1e10
    found = depth_files.read(save(stored, tmp_path / name))
    assert (found.kind, found.unit) == ("depth", "m")
    assert not found.valid[0, :5].any()
    assert np.isposinf(found.values[0, [1, 4]]).all()  # the sky, as renderers write it
    assert np.array_equal(found.values[1:], METRES[1:])


def test_other_floats_in_a_tiff(tmp_path: Path) -> None:
    for dtype in (np.float16, np.float64):
        tifffile.imwrite(tmp_path / "d.tif", METRES.astype(dtype))
        assert np.abs(depth_files.read(tmp_path / "d.tif").values - METRES).max() < 0.005


def test_pfm_of_either_byte_order_is_bottom_up(tmp_path: Path) -> None:
    values = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    for order, scale in (("<f4", "-1"), (">f4", "1.0")):
        path = tmp_path / "d.pfm"
        path.write_bytes(f"Pf\n3 2\n{scale}\n".encode() + values[::-1].astype(order).tobytes())
        assert depth_files.read(path).values.tolist() == values.tolist()
    path.write_bytes(b"PF 3 2 -1 " + np.repeat(values[::-1, :, None], 3, 2).tobytes())
    assert depth_files.read(path).values.tolist() == values.tolist()


def test_exr(tmp_path: Path) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    path = tmp_path / "d.exr"
    for channels in ({"Z": METRES}, {"View.Depth.V": METRES, "View.Combined.R": METRES * 0}):
        OpenEXR.File(header, channels).write(str(path))
        found = depth_files.read(path)
        assert np.array_equal(found.values, METRES)
        assert found.unit == "m"


def test_exr_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    path = tmp_path / "d.exr"
    path.write_bytes(b"\x76\x2f\x31\x01" + b"\0" * 50)
    assert_refused("depth.path", path, "package OpenEXR")


def test_npz_names_say_the_kind(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, disparity=METRES, K=np.eye(3))
    assert depth_files.read(path).kind == "disparity"
    assert depth_files.read(path, kind="depth").kind == "depth"  # the option wins
    np.savez(path, depth=METRES, K=np.eye(3))
    assert depth_files.read(path).kind == "depth"
    np.savez(path, a=METRES, b=METRES)
    assert_refused("depth.path", path, "a, b")


def test_axes_of_length_one(tmp_path: Path) -> None:
    for shape in ((1, 1, 6, 8), (1, 6, 8), (6, 8, 1)):
        path = save(METRES.reshape(shape), tmp_path / "d.npy")
        assert np.array_equal(depth_files.read(path).values, METRES)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(5),
        np.zeros((0, 4)),
        np.zeros((2, 3, 5)),
        np.zeros((4, 4), complex),
        np.zeros((4, 4), bool),
        np.array(["a", "b"]),
        np.array([{"a": 1}, None], object),  # a pickle is not opened
    ],
)
def test_arrays_that_are_no_map(tmp_path: Path, bad: np.ndarray) -> None:
    assert_refused("depth.path", save(bad, tmp_path / "d.npy"), "cannot be read")


def test_alpha_says_nothing_about_depth(tmp_path: Path) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    path = save(np.dstack([grey, grey, grey, np.full_like(grey, 255)]), tmp_path / "d.png")
    assert np.array_equal(depth_files.read(path, preset="near_black").values, grey)


@pytest.mark.parametrize("name", ["d.npy", "d.npz"])
def test_an_array_cannot_run_code(tmp_path: Path, name: str) -> None:
    intruder = Intruder(tmp_path / "was_here")
    path = save(np.array([[intruder]], object), tmp_path / name)
    with mock.patch.object(np, "load", wraps=np.load) as load:
        assert_refused("depth.path", path, "cannot be read")
    assert not intruder.victim.exists()
    assert all(call.kwargs["allow_pickle"] is False for call in load.call_args_list)


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    path = save(METRES, tmp_path / "d.npy")
    data = path.read_bytes().replace(b"(6, 8), }    ", b"(9999, 9999)}")
    assert b"9999" in data
    path.write_bytes(data)
    assert_refused("depth.path", path, "cannot be read")
    path = tmp_path / "d.pfm"
    path.write_bytes(b"Pf\n99999 99999\n-1\n" + b"\0" * 64)
    assert_refused("depth.path", path, "64 bytes")


def test_a_depth_jpeg_turned_by_exif(tmp_path: Path) -> None:
    stored = np.zeros((16, 24), np.uint8)
    stored[:, :8] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "d.jpg", exif=exif)
    found = depth_files.read(tmp_path / "d.jpg", preset="near_black")
    assert found.values.shape == (24, 16)
    assert found.values[2].mean() > 190
    assert found.values[-2].mean() < 10


@pytest.mark.parametrize(
    ("key", "how", "word"),
    [
        ("depth.kind", {"kind": "deep"}, "disparity"),
        ("depth.scale", {"scale": 0}, "more than 0"),
        ("depth.scale", {"scale": "x"}, "'x'"),
        ("depth.scale", {"scale": float("nan")}, "nan"),
        ("depth.preset", {"preset": "tom"}, "tum"),
    ],
)
def test_unknown_options(tmp_path: Path, key: str, how: dict[str, Any], word: str) -> None:
    assert_refused(key, save(METRES, tmp_path / "d.npy"), word, **how)


def test_files_that_are_none(tmp_path: Path) -> None:
    assert_refused("depth.path", tmp_path / "no.png", "does not exist")
    assert_refused("depth.path", tmp_path, "folder")
    text = tmp_path / "d.png"
    text.write_text("depth\n" * 9)
    assert_refused("depth.path", text, "not a picture")


def test_integers_that_count_as_missing_and_every_preset(tmp_path: Path) -> None:
    path = save(np.array([[0, 65535], [1000, 2001]], np.uint16), tmp_path / "d.png")
    assert depth_files.read(path).valid.tolist() == [[False, False], [True, True]]
    path = save(np.full((6, 8), 1000, np.uint16), path)
    for preset in PRESETS:
        assert depth_files.read(path, preset=preset).valid.all()
