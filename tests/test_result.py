"""The result as a file that other programs open: formats, bits, profile, EXIF, settings."""

import io
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.ExifTags import GPS, IFD, Base
from torch import Tensor

from src.core.errors import InputError
from src.core.images import srgb_profile
from src.inputs import pictures
from src.inputs.exif import camera_exif
from src.runs.result import MOST_SETTINGS, read_settings, save_result
from tests.running import compose, picture, run

SETTINGS = "content: é.jpg\nsteps: 3\n"
KINDS = [("png", 8), ("png", 16), ("tiff", 8), ("tiff", 16), ("jpg", 8), ("webp", 8), ("heic", 8)]


def saved(path: Path, image: Tensor, alpha: Tensor | None = None, bits: int = 8) -> Path:
    save_result(image, path, SETTINGS, Image.Exif(), alpha, bits)
    return path


def read(path: Path) -> pictures.Picture:
    return pictures.read(path, key="content")


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_pixels_come_back_as_exactly_as_the_format_has_them(
    tmp_path: Path, kind: str, bits: int
) -> None:
    smooth = torch.nn.functional.interpolate(picture(1, 3, 4), (48, 64), mode="bicubic").clamp(0, 1)
    found = read(saved(tmp_path / f"x.{kind}", smooth, bits=bits))
    levels = {8: 255, 16: 65535}[bits]
    tolerance = 0.51 / levels if kind in ("png", "tiff") else 0.06
    torch.testing.assert_close(found.image, smooth, atol=tolerance, rtol=0)
    assert found.alpha is None
    if bits == 16:
        assert len(np.unique(found.image.numpy())) > 255


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_transparency_stays_where_the_format_has_it(tmp_path: Path, kind: str, bits: int) -> None:
    image, alpha = torch.full((1, 3, 24, 32), 0.25), torch.ones(1, 1, 24, 32)
    alpha[..., :16] = 0
    found = read(saved(tmp_path / f"x.{kind}", image, alpha, bits))
    if kind == "jpg":
        assert found.alpha is None
        assert float(found.image[..., :12].min()) > 0.97  # white paper
    else:
        assert found.alpha is not None
        assert torch.equal(found.alpha, alpha)
    assert float((found.image - 0.25)[..., 20:].abs().max()) < 0.01


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_the_file_says_its_colour_space_its_camera_and_its_settings(
    tmp_path: Path, kind: str, bits: int
) -> None:
    path, exif = tmp_path / f"x.{kind}", Image.Exif()
    exif[Base.Make] = "Maker"
    exif.get_ifd(IFD.Exif)[Base.FNumber] = 2.5
    save_result(picture(1), path, SETTINGS, exif, None, bits)
    assert read_settings(path).partition("\n")[2] == SETTINGS
    with Image.open(path) as file:
        assert file.info["icc_profile"] == srgb_profile()
        assert file.getexif()[Base.Make] == "Maker"
        if kind != "tiff":
            assert file.getexif().get_ifd(IFD.Exif)[Base.FNumber] == 2.5
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())).profile
    assert profile.xcolor_space.strip() == "RGB"
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(profile))


def test_sixteen_bit_png_is_what_another_decoder_reads(tmp_path: Path) -> None:
    from skimage.io import imread

    path = saved(tmp_path / "x.png", picture(1), bits=16)
    expected = (picture(1)[0].permute(1, 2, 0).double() * 65535).round().numpy()
    # Pillow's high bytes; a wrong filter or byte order would show in them.
    np.testing.assert_array_equal(imread(path), expected.astype(np.uint16) >> 8)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_settings_too_long_for_exif_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.jpg"
    save_result(picture(1), path, "a" * MOST_SETTINGS, Image.Exif())
    assert "without its settings" in caplog.text
    with pytest.raises(InputError, match="holds no settings"):
        read_settings(path)


def test_a_picture_of_another_program_holds_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = b"ASCII\0\0\0Hello"
    Image.new("RGB", (16, 16)).save(tmp_path / "x.jpg", exif=exif)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    for name, got in {
        "x.jpg": "holds no settings",
        "broken.png": "cannot be read",
        "none.png": "does not exist",
    }.items():
        with pytest.raises(InputError, match=rf"picture: got '.*{name}', which {got}"):
            read_settings(tmp_path / name)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo that lies on its side, of a camera that knows where it was."""
    exif = Image.Exif()
    exif[Base.Orientation], exif[Base.Make], exif[Base.Model] = 6, "Maker", "One"
    exif[Base.Software] = "an editor"
    exif.get_ifd(IFD.Exif).update({Base.ISOSpeedRatings: 200, Base.ExifImageWidth: 64})
    exif.get_ifd(IFD.GPSInfo).update({GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 31.0, 0.0)})
    pixels = (torch.rand(48, 64, 3, generator=torch.Generator().manual_seed(0)) * 255).byte()
    Image.fromarray(pixels.numpy()).save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def test_what_still_holds_of_the_photo_is_kept_and_never_its_place(photo: Path) -> None:
    kept = camera_exif(photo)
    assert dict(kept)[Base.Make] == "Maker"
    assert not {Base.Orientation, Base.Software, IFD.GPSInfo} & set(kept)
    assert dict(kept.get_ifd(IFD.Exif)) == {Base.ISOSpeedRatings: 200}
    assert not kept.get_ifd(IFD.GPSInfo)
    assert camera_exif(photo, location=True).get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] == "N"
    for other in ("motorcycle", photo.parent, photo.parent / "none.jpg"):
        assert not camera_exif(Path(other))


@pytest.mark.parametrize("kind", ["jpg", "tiff", "png", "webp"])
@pytest.mark.parametrize("author", ["x" * 70_000, "", "a\0b", "J\u00f6rg", 7, (1, 2), b"\xff\0"])
def test_no_exif_costs_the_result(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, author: object, kind: str
) -> None:
    exif = Image.Exif()
    exif[Base.Artist], exif[Base.Make] = author, "Maker"
    with Image.open(photo) as picture:
        monkeypatch.setattr(picture, "getexif", lambda: exif)
        monkeypatch.setattr("src.inputs.exif.open_still", lambda *_: nullcontext(picture))
        kept = camera_exif(photo)
    path = tmp_path / f"x.{kind}"
    save_result(torch.rand(1, 3, 12, 16), path, SETTINGS, kept)
    assert read_settings(path).endswith(SETTINGS)


@pytest.mark.parametrize("location", [False, True])
def test_a_run_writes_the_format_and_is_repeated_from_it(
    tmp_path: Path, photo: Path, location: bool
) -> None:
    keys = ["+experiment=naive", f"content={photo}", "output.format=tiff", "output.bits=16"]
    folder = run(tmp_path / "run", *keys, f"output.location={str(location).lower()}")
    assert b"GPS" not in (folder / "pastiche.png").read_bytes()
    with Image.open(folder / "pastiche.png") as file:
        assert file.size == (36, 48)  # upright
        assert bool(file.getexif().get_ifd(IFD.GPSInfo)) == location
        assert file.getexif().get_ifd(IFD.Exif)[Base.ISOSpeedRatings] == 200
    eight, sixteen = (read(folder / f"pastiche.{kind}").image for kind in ("png", "tiff"))
    assert 0 < float((eight - sixteen).abs().max()) < 0.51 / 255
    command = [sys.executable, "-m", "src.inputs", "settings", str(folder / "pastiche.tiff")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "config.yaml").write_text(text)
    arguments = ["--config-path", str(tmp_path / "again"), "--config-name", "config"]
    again = [*arguments, f"hydra.run.dir={tmp_path}/second", "tracking.mode=off"]
    subprocess.run([sys.executable, "-m", "src.run", *again], check=True)
    first, second = (x / "pastiche.png" for x in (folder, tmp_path / "second"))
    assert read_settings(first) == read_settings(second) == text
    # Another process may have another number of threads, and so other roundings.
    torch.testing.assert_close(read(first).image, read(second).image, atol=3 / 255, rtol=0)


@pytest.mark.parametrize("kind", ["jpg", "webp", "heic"])
def test_formats_of_eight_bits_refuse_sixteen(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=rf"output\.bits: got 16 beside output\.format={kind}"):
        run(tmp_path / "run", "+experiment=naive", f"output.format={kind}", "output.bits=16")
    with pytest.raises(InputError, match=r"output\.bits: got 12; expected one of 8, 16"):
        run(tmp_path / "run", "+experiment=naive", "output.bits=12")
    with pytest.raises(InputError, match=r"output\.format: got 'gif'; expected one of png, jpg"):
        run(tmp_path / "run", "+experiment=naive", "output.format=gif")
    assert compose("+experiment=naive").output.format == "png"
