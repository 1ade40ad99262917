"""Picture files of every kind come out upright, in sRGB, at the size asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from src.core import images
from src.core.errors import InputError
from src.inputs import load_scene, load_style, pictures
from tests.phone_files import refused

RED, GREEN, BLUE = (255, 0, 0), (0, 128, 0), (0, 0, 255)


def corners() -> np.ndarray:
    """24 x 16 grey; its corners are red, green (top right) and blue (bottom right)."""
    pixels = np.full((16, 24, 3), 128, np.uint8)
    pixels[:6, :6] = RED
    pixels[:6, -6:] = GREEN
    pixels[-6:, -6:] = BLUE
    return pixels


def save(pixels: np.ndarray, path: Path, **how: Any) -> Path:
    Image.fromarray(pixels).save(path, **how)
    return path


def read(path: Path, **how: Any) -> pictures.Picture:
    return pictures.read(path, key="content", **how)


def colour(picture: pictures.Picture, y: int, x: int) -> list[int]:
    return (picture.image[0, :, y, x] * 255).round().int().tolist()


def assert_corners(picture: pictures.Picture, tolerance: int) -> None:
    for place, expected in (((2, 2), RED), ((2, 21), GREEN), ((13, 21), BLUE)):
        assert np.abs(np.subtract(colour(picture, *place), expected)).max() < tolerance


def assert_refused(path: Path, *words: str) -> None:
    with refused("content", str(path), *words):
        read(path)


def test_values_shape_and_range(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    found = read(save(pixels, tmp_path / "a.png"))
    assert found.image.shape == (1, 3, 10, 12)
    assert found.image.dtype == torch.float32
    assert found.alpha is None
    assert np.array_equal((found.image[0].permute(1, 2, 0) * 255).round().numpy(), pixels)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "a.gif", "a.ppm"])
def test_every_format_has_its_corners(tmp_path: Path, name: str) -> None:
    assert_corners(read(save(corners(), tmp_path / name)), 30)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "lzw.tif"])
def test_orientation_turns_the_picture_upright(tmp_path: Path, name: str, orientation: int) -> None:
    # What the camera stores is the upright picture, turned the other way.
    upright = corners()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    how = {"compression": "tiff_lzw"} if name.startswith("lzw") else {}
    found = read(save(np.ascontiguousarray(stored), tmp_path / name, exif=exif, **how))
    assert found.image.shape[-2:] == found.file_size == (16, 24)
    assert_corners(found, 60)  # JPEG's coarse colour


def test_size_is_exact(tmp_path: Path) -> None:
    path = save(np.zeros((40, 60, 3), np.uint8), tmp_path / "a.png")
    assert read(path).image.shape[-2:] == (40, 60)
    assert read(path, size=30).image.shape[-2:] == (20, 30)
    assert read(path, size=90).image.shape[-2:] == (60, 90)
    assert read(path, short_side=10).image.shape[-2:] == (10, 15)


def test_a_large_jpeg_is_shrunk_in_place(tmp_path: Path) -> None:
    """Drafts and reductions must not shift the picture: a ramp stays where it is."""
    ramp = np.linspace(0, 255, 1999)[None, :, None].repeat(1501, 0).repeat(3, 2).astype(np.uint8)
    found = read(save(ramp, tmp_path / "a.jpg", quality=95), size=100)
    assert found.image.shape[-2:] == (75, 100)
    assert found.file_size == (1501, 1999)
    expected = (np.arange(100) + 0.5) / 100
    assert np.abs(found.image[0, 0, 40].numpy() - expected).max() < 0.01


def test_a_jpeg_at_its_own_size_is_not_resampled(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = save(noise, tmp_path / "a.jpg", quality=95, subsampling=0)
    with Image.open(path) as stored:
        assert np.array_equal(images.to_uint8(read(path).image), np.asarray(stored))


def test_grey_and_bilevel(tmp_path: Path) -> None:
    grey = np.full((8, 8), 77, np.uint8)
    assert colour(read(save(grey, tmp_path / "a.png")), 3, 3) == [77] * 3
    Image.fromarray(grey > 50).convert("1").save(tmp_path / "b.png")
    assert colour(read(tmp_path / "b.png"), 3, 3) == [255] * 3


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    paletted = Image.fromarray(corners()).convert("P", palette=Image.Palette.ADAPTIVE)
    paletted.save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert colour(found, 2, 2) == list(RED)
    assert found.alpha is None
    see_through = paletted.getpixel((2, 2))
    paletted.save(tmp_path / "b.png", transparency=see_through)
    found = read(tmp_path / "b.png")
    assert found.alpha is not None
    assert found.alpha[0, 0, 2, 2] == 0
    assert found.alpha[0, 0, 13, 21] == 1


def test_alpha_is_kept_and_hidden_colours_stay_hidden(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, :8] = (*GREEN, 255)
    pixels[:, 8:] = (*RED, 0)
    found = read(save(pixels, tmp_path / "a.png"), size=9)
    assert found.alpha is not None
    assert found.alpha.shape == (1, 1, 9, 9)
    assert found.alpha[0, 0, 0].tolist() == pytest.approx([1, 1, 1, 1, 0.5, 0, 0, 0, 0], abs=0.2)
    assert colour(found, 4, 4) == list(GREEN)  # half transparent, with nothing of the red
    assert colour(found, 4, 8) == [255, 255, 255]
    assert read(save(pixels[:, :8], tmp_path / "opaque.png")).alpha is None


@pytest.mark.parametrize("value", [0, 1, 255, 256, 32769, 65535])
def test_sixteen_bit_grey_is_exact(tmp_path: Path, value: int) -> None:
    for name in ("a.png", "a.tif", "a.ppm"):
        path = save(np.full((8, 9), value, np.uint16), tmp_path / name)
        assert read(path).image[0, :, 4, 4].tolist() == pytest.approx([value / 65535] * 3, abs=1e-7)


def test_sixteen_bit_colour_is_exact(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (9, 11, 3), np.uint16)
    write_png16(tmp_path / "a.png", pixels)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="rgb", compression="zlib")
    for name in ("a.png", "a.tif", "b.tif"):
        found = read(tmp_path / name).image[0].permute(1, 2, 0).numpy()
        assert np.abs(found - pixels / 65535).max() < 1e-6, name


def write_png16(path: Path, pixels: np.ndarray) -> None:
    """A 16-bit colour PNG, which Pillow does not write: every row filtered by "Sub"."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, width, 2 * channels)
    sub = np.diff(rows, axis=1, prepend=np.zeros((height, 1, 2 * channels), np.uint8))
    raw = b"".join(b"\1" + row.tobytes() for row in sub)
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(raw), b"IEND": b""}
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*item) for item in chunks.items()))


def test_sixteen_bit_colour_with_alpha(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), 0x1234, np.uint16)
    pixels[..., 3] = 65535
    pixels[0, 0, 3] = 0
    write_png16(tmp_path / "a.png", pixels)
    found = read(tmp_path / "a.png")
    assert found.image[0, 0, 4, 4].item() == pytest.approx(0x1234 / 65535, abs=1e-6)
    assert found.alpha is not None
    assert found.alpha[0, 0, 0, 0] == 0


def test_float_tiff_in_and_out_of_range(tmp_path: Path) -> None:
    assert read(save(np.full((8, 8), 0.25, np.float32), tmp_path / "a.tif")).image.mean() == 0.25
    path = save(np.full((8, 8), 3.0, np.float32), tmp_path / "b.tif")
    assert_refused(path, "3")


def test_cmyk_without_a_profile(tmp_path: Path) -> None:
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[..., 1:3] = 255  # magenta and yellow: red
    for name in ("a.jpg", "a.tif"):
        Image.fromarray(ink, "CMYK").save(tmp_path / name)
        found = np.array(colour(read(tmp_path / name), 4, 4))
        assert np.abs(found - RED).max() < 30


def wide_gamut_profile() -> bytes:
    """A matrix profile with Display P3's primaries and sRGB's curve, built by hand.

    The columns are P3's primaries adapted to D50, as in the profile that Apple ships.
    """
    import struct

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*values)

    curve = b"para\0\0\0\0" + struct.pack(">HH", 3, 0)
    curve += fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    text = "P3".encode("utf-16-be")
    about = b"mluc\0\0\0\0" + struct.pack(">IIHHII", 1, 12, 0x656E, 0x5553, len(text), 28) + text
    tags = {
        b"desc": about,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.51512, 0.2412, -0.00105),
        b"gXYZ": xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": xyz(0.1571, 0.06657, 0.78407),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x04000000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    header += fixed(0.9642, 1.0, 0.8249)
    return header + b"\0" * (128 - len(header)) + struct.pack(">I", len(tags)) + table + body


def test_a_wide_gamut_profile_is_converted(tmp_path: Path) -> None:
    """Display P3 to sRGB by the definitions of the two spaces: linearise, mix, encode."""
    to_srgb = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
    for shown in ([200, 100, 50], [128, 128, 128], [90, 120, 160]):
        linear = to_srgb @ np.array([srgb_to_linear(v / 255) for v in shown])
        expected = [255 * linear_to_srgb(v) for v in linear]
        pixels = np.full((8, 8, 3), shown, np.uint8)
        for name in ("a.png", "a.jpg"):
            path = save(pixels, tmp_path / name, icc_profile=wide_gamut_profile())
            found = colour(read(path), 4, 4)
            assert np.abs(np.subtract(found, expected)).max() < 3, (name, shown, found, expected)


def srgb_to_linear(v: float) -> float:
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def linear_to_srgb(v: float) -> float:
    return 12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055


def test_profiles_that_say_srgb_change_nothing(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = read(save(corners(), tmp_path / "a.png", icc_profile=srgb))
    assert np.abs((found.image[0].permute(1, 2, 0) * 255).numpy() - corners()).max() < 1.5
    grey = read(save(np.full((8, 8), 99, np.uint8), tmp_path / "b.png", icc_profile=srgb))
    assert np.abs(np.subtract(colour(grey, 1, 1), 99)).max() <= 1


@pytest.mark.parametrize("profile", [b"junk", b"\0" * 200, wide_gamut_profile()[:150]])
def test_a_broken_profile_is_ignored(tmp_path: Path, profile: bytes) -> None:
    found = read(save(corners(), tmp_path / "a.png", icc_profile=profile))
    assert colour(found, 2, 2) == list(RED)


def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    path = save(corners(), tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert colour(read(path), 2, 2) == list(RED)


def test_what_is_no_picture(tmp_path: Path) -> None:
    assert_refused(tmp_path / "no.png", "does not exist")
    assert_refused(tmp_path, "folder")
    path = tmp_path / "a.png"
    path.touch()
    assert_refused(path, "empty")
    path.write_text("not a picture, but a text of some length\n" * 9)
    assert_refused(path, "not a picture", "PNG, JPEG")
    # PostScript is not run.
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    assert_refused(path, "not a picture")
    assert_refused(save(np.zeros((1, 1, 3), np.uint8), tmp_path / "a.png"), "1 x 1", "8 x 8")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.gif"])
def test_a_truncated_file(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(noise, tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_refused(path, "cannot be read")


def test_animations_and_pages_of_a_tiff(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((16, 16, 3), v, np.uint8)) for v in (7, 99, 200)]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        if name != "a.tif":
            assert_refused(tmp_path / name, "animated")
    assert colour(read(tmp_path / "a.tif"), 8, 8) == [7] * 3


def test_a_decompression_bomb(tmp_path: Path) -> None:
    """A header of 40000 x 40000 pixels before a few bytes of data."""
    path = save(np.zeros((64, 64, 3), np.uint8), tmp_path / "a.bmp")
    data = bytearray(path.read_bytes())
    data[18:26] = (40000).to_bytes(4, "little") * 2
    path.write_bytes(data)
    assert_refused(path, "cannot be read")


def test_from_pixels() -> None:
    found = pictures.from_pixels(corners(), size=12)
    assert found.image.shape == (1, 3, 8, 12)
    assert found.file_size == (16, 24)
    assert colour(found, 1, 1) == list(RED)


def test_a_painting_that_is_much_enlarged_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tiny.png"
    Image.new("RGB", (20, 16), "red").save(path)
    load_style(path, size=79)
    assert not caplog.records
    load_style(path, size=80)
    assert "20 x 16 pixels, enlarged to 80 x 64, have no strokes left" in caplog.text


@pytest.mark.parametrize("kind", ["u1", "f4"])
def test_a_photo_as_an_array(kind: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    np.save(tmp_path / "photo.npy", pixels if kind == "u1" else pixels.astype("f4") / 255)
    scene = load_scene(tmp_path / "photo.npy", need_depth=False)
    np.testing.assert_allclose(scene.image[0].permute(1, 2, 0), pixels / np.float32(255), atol=1e-6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((12, 16)), r"an array of shape \(12, 16\), not height x width x 3"),
        (np.full((12, 16, 3), 255.0), "float64 values, not 8-bit ones or those from 0 to 1"),
        (np.zeros((12, 16, 3), "u2"), "uint16 values, not 8-bit"),
        (np.array([{}]), "Python objects"),
    ],
)
def test_other_arrays_are_no_photos(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "photo.npy", array)
    with pytest.raises(InputError, match=rf"content: got '.*photo.npy', .*{message}"):
        load_scene(tmp_path / "photo.npy", need_depth=False)
