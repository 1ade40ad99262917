"""Depth inside phones' pictures: found, decoded to values by hand, turned with the photo."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.inputs import embedded, pictures, xmp
from src.inputs.depth_maps import RawDepth
from tests import phone_files as phone


def read(data: bytes, folder: Path, name: str = "a.jpg") -> RawDepth | None:
    path = folder / name
    path.write_bytes(data)
    return embedded.read(path, pictures.read(path, key="content"))


def found(data: bytes, folder: Path) -> RawDepth:
    depth = read(data, folder)
    assert depth is not None
    return depth


def png() -> bytes:
    return phone.encode(phone.ramp(), "PNG")


@pytest.mark.parametrize("pieces", [0, 1, 3])
@pytest.mark.parametrize("elements", [False, True])
def test_gdepth_inverse(tmp_path: Path, pieces: int, elements: bool) -> None:
    """By hand: n = 0 is near, 1 is far, 1/2 is 2 near far / (near + far) = 40 / 12."""
    stored = np.tile(np.array([[0, 255, 127, 128]], np.uint8), (3, 1))
    depth = found(
        phone.gdepth(phone.encode(stored, "PNG"), pieces=pieces, elements=elements), tmp_path
    )
    assert depth.values[0, :2].tolist() == pytest.approx([2, 10])
    assert depth.values[0, 2:].mean() == pytest.approx(40 / 12, rel=1e-3)
    assert depth.valid.all()
    assert (depth.kind, depth.unit) == ("depth", "m")


def test_gdepth_linear_of_8_and_16_bits_and_jpeg(tmp_path: Path) -> None:
    wide = phone.encode(phone.ramp().astype(np.uint16) * 257, "PNG")
    jpeg = phone.encode(phone.ramp(), "JPEG", quality=98)
    expected = 2 + phone.ramp()[0] / 255 * 8
    for file, tolerance in ((png(), 1e-5), (wide, 1e-5), (jpeg, 0.2)):
        depth = found(phone.gdepth(file, form="RangeLinear"), tmp_path)
        assert depth.values[0] == pytest.approx(expected, abs=tolerance)


def test_gdepth_units(tmp_path: Path) -> None:
    depth = found(phone.gdepth(png(), near="2000", far="10000", units="mm"), tmp_path)
    assert depth.values[0, [0, -1]].tolist() == pytest.approx([2, 10])
    assert found(phone.gdepth(png(), units=""), tmp_path).unit == "relative"


@pytest.mark.parametrize("elements", [False, True])
def test_dynamic_depth(tmp_path: Path, elements: bool) -> None:
    jpeg = phone.encode(phone.ramp(), "JPEG", quality=98)
    depth = found(phone.dynamic_depth(jpeg, elements=elements), tmp_path)
    assert depth.values[0, [0, -1]].tolist() == pytest.approx([2, 10], rel=0.1)
    assert depth.unit == "m"
    assert "Dynamic" in depth.origin
    # In diopters, the inverse:
    depth = found(phone.dynamic_depth(jpeg, near="0.5", far="0.1", units="Diopters"), tmp_path)
    assert depth.values[0, [0, -1]].tolist() == pytest.approx([2, 10], rel=0.1)


@pytest.mark.parametrize("order", [">", "<"])
def test_apple_disparity_behind_the_jpeg(tmp_path: Path, order: str) -> None:
    """By hand: 0 is a disparity of 0.5, which is a depth of 2; 255 is 2.5, which is 0.4."""
    depth = found(phone.apple_jpeg(phone.ramp(), order=order), tmp_path)
    assert depth.values.shape == (24, 32)
    assert depth.values[5, [0, -1]].tolist() == pytest.approx([2, 0.4], rel=0.03)
    assert depth.kind == "depth"


def test_apple_disparity_of_zero_is_infinitely_far(tmp_path: Path) -> None:
    depth = found(phone.apple_jpeg(phone.ramp(), low=-0.5, high=2), tmp_path)
    assert np.isposinf(depth.values[5, 0])
    assert not depth.valid[5, 0]
    assert depth.valid[5, -1]


def test_apple_depth_and_a_gain_map_behind_the_jpeg(tmp_path: Path) -> None:
    depth = found(phone.apple_jpeg(phone.ramp(), native=b"hdep"), tmp_path)
    assert depth.values[5, [0, -1]].tolist() == pytest.approx([0.5, 2.5], abs=0.05)
    assert read(phone.apple_jpeg(phone.ramp(), native=b"L008"), tmp_path) is None


@pytest.mark.parametrize(
    ("orientation", "near"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")]
)
@pytest.mark.parametrize("maker", [phone.gdepth, phone.apple_jpeg])
def test_depth_turns_with_the_photo(
    tmp_path: Path, maker: Callable[..., bytes], orientation: int, near: str
) -> None:
    """The photo's red half and the near half are stored on one side, and stay on one side."""
    jpeg = phone.photo(orientation=orientation)
    if maker is phone.gdepth:
        data = phone.gdepth(png(), jpeg=jpeg)
    else:
        data = phone.apple_jpeg(255 - phone.ramp(), jpeg=jpeg)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    picture = pictures.read(path, key="content")
    depth = embedded.read(path, picture)
    assert depth is not None
    sides: dict[str, Any] = {"left": np.s_[:, 0], "right": np.s_[:, -1]}
    side = (sides | {"top": 0, "bottom": -1})[near]
    assert picture.image[0, 0].numpy()[side].mean() > 0.8
    assert depth.values[side].mean() < np.median(depth.values)
    assert (depth.values.shape[0] < depth.values.shape[1]) == (orientation < 5)


def test_pictures_without_depth(tmp_path: Path) -> None:
    assert read(phone.photo(), tmp_path) is None
    assert read(phone.encode(np.zeros((9, 9, 3), np.uint8), "PNG"), tmp_path, "a.png") is None
    assert read(phone.photo() + phone.photo(), tmp_path) is None
    broken = phone.with_segments(phone.photo(), phone.segment(0xE1, phone.XMP + b"<x:xmp"))
    assert read(broken, tmp_path) is None
    whole = phone.apple_jpeg(phone.ramp())  # an editor cuts off what the index still names
    assert read(whole[: whole.index(b"\xff\xd9") + 2], tmp_path) is None


def assert_refused(data: bytes, folder: Path, word: str) -> None:
    with phone.refused("content", word):
        read(data, folder)


def test_broken_depth(tmp_path: Path) -> None:
    assert_refused(phone.gdepth(phone.encode(phone.ramp(30, 30), "PNG")), tmp_path, "30 x 30")
    assert_refused(phone.gdepth(b"no picture at all"), tmp_path, "whose depth is not")
    assert_refused(phone.gdepth(png(), near="nan"), tmp_path, "nan")
    assert_refused(phone.gdepth(png(), near="3", far="3"), tmp_path, "3")
    assert_refused(phone.gdepth(png(), form="Raw"), tmp_path, "Raw")
    assert_refused(phone.gdepth(png()).replace(b"</x:xmpmeta>", b" " * 12), tmp_path, "XMP")


def test_extended_xmp_with_a_gap(tmp_path: Path) -> None:
    data = phone.gdepth(png(), pieces=3)
    second = [i for i in range(len(data)) if data.startswith(phone.EXTENSION, i)][1]
    damaged = data[:second] + b"X" + data[second + 1 :]
    assert_refused(damaged, tmp_path, "extended XMP")


def test_a_dynamic_item_outside_the_file(tmp_path: Path) -> None:
    jpeg = phone.encode(phone.ramp(), "JPEG")
    data = phone.dynamic_depth(jpeg)
    length = f'Item:Length="{len(jpeg)}"'.encode()
    assert length in data
    longer = f'Item:Length="{9 * 10 ** (len(str(len(jpeg))) - 1 + 0)}"'.encode()
    assert_refused(data.replace(length, longer.ljust(len(length))), tmp_path, "item")


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_entities_are_refused(tmp_path: Path, prolog: str) -> None:
    assert_refused(phone.gdepth(png(), prolog=prolog), tmp_path, "document type")


def test_xmp_properties_as_attributes_and_elements() -> None:
    root = xmp.parse(b'<r xmlns:a="u"><b a:x="1"><a:y> 2 </a:y></b></r>')
    assert xmp.properties([root], "u") == {"x": "1", "y": "2"}
    with pytest.raises(ValueError, match="broken XMP"):
        xmp.parse(b"")


# HEIC. Nothing here writes a depth image into one, so the reader gets what pillow-heif would give.


class FakeDepth:
    def __init__(self, stored: np.ndarray, metadata: dict[str, float]) -> None:
        self.stored = stored
        self.info = {"metadata": metadata}
        self.size = stored.shape[::-1]

    def to_pillow(self) -> Image.Image:
        return Image.fromarray(self.stored)


@pytest.fixture
def read_heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RawDepth]:
    """Reads the depth of a HEIC of which pillow-heif would say this."""
    import pillow_heif

    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    monkeypatch.setattr(pillow_heif, "is_supported", lambda _: True)

    def read(height: int, width: int, metadata: dict[str, float], **info: Any) -> RawDepth:
        info["depth_images"] = [FakeDepth(phone.ramp(), metadata)]
        file = types.SimpleNamespace(info=info)
        monkeypatch.setattr(pillow_heif, "open_heif", lambda _: file)
        picture = pictures.from_pixels(np.zeros((height, width, 3), np.uint8))
        depth = embedded.read(path, picture)
        assert depth is not None
        return depth

    return read


@pytest.mark.parametrize(
    ("metadata", "ends", "unit"),
    [
        ({"representation_type": 1, "d_min": 0.5, "d_max": 2.5}, (2, 0.4), "relative"),
        ({"representation_type": 0, "z_near": 0.4, "z_far": 2.0}, (2, 0.4), "m"),
        ({"representation_type": 2, "z_near": 1.0, "z_far": 5.0}, (1, 5), "m"),
        ({}, (1, 0), "relative"),
    ],
)
def test_heic_representations(
    read_heic: Callable[..., RawDepth],
    metadata: dict[str, float],
    ends: tuple[float, float],
    unit: str,
) -> None:
    depth = read_heic(48, 64, metadata)
    assert depth.values[3, [0, -1]].tolist() == pytest.approx(ends)
    assert depth.unit == unit


def test_heic_depth_that_lies_the_way_the_sensor_lay(read_heic: Callable[..., RawDepth]) -> None:
    """Libheif turns the photo; a depth image without its own note is turned by the photo's EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    metadata = {"representation_type": 2, "z_near": 1.0, "z_far": 5.0}
    depth = read_heic(64, 48, metadata, exif=exif.tobytes())
    assert depth.values.shape == (32, 24)
    assert depth.values[[0, -1], 5].tolist() == pytest.approx([1, 5])
    assert read_heic(48, 64, metadata, exif=exif.tobytes()).values.shape == (24, 32)


def test_heic_without_depth(tmp_path: Path) -> None:
    import pillow_heif

    if not pillow_heif.libheif_info()["encoders"]:
        pytest.skip("this pillow-heif cannot write HEIC")
    pixels = np.full((64, 96, 3), (200, 30, 30), np.uint8)
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.heic", quality=95)
    picture = pictures.read(tmp_path / "a.heic", key="content", size=48)
    assert picture.image.shape[-2:] == (32, 48)
    assert (picture.image[0, :, 9, 9] * 255).tolist() == pytest.approx([200, 30, 30], abs=6)
    assert embedded.read(tmp_path / "a.heic", picture) is None
