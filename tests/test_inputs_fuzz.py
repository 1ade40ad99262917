"""Damaged files: each gives one clear line or a scene that holds what every scene holds.

Seeded, and quick; `FUZZ=1000` in the environment does as many rounds per kind of file.
"""

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.core.errors import InputError
from src.inputs import Scene, load_scene, load_style
from tests import phone_files as phone
from tests import test_nyu
from tests.test_depth_files import save

ROUNDS = int(os.environ.get("FUZZ", "12"))
HEIGHT, WIDTH = 48, 64


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Cut, flip, swap, repeat, blank or grow."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 3])):
        place = rng.randrange(len(out) or 1)
        if rng.random() < 0.5:  # headers matter more than pixels
            place = rng.randrange(min(200, len(out) or 1))
        length = min(rng.choice([1, 2, 4, 16, 100]), max(1, len(out) - place))
        match rng.randrange(7):
            case 0:
                out = out[:place]
            case 1 if out:
                out[place] ^= 1 << rng.randrange(8)
            case 2:
                out[place : place + length] = rng.randbytes(length)
            case 3:
                out[place : place + length] = b"\xff" * length
            case 4:
                out[place : place + length] = b"\0" * length
            case 5:
                other = rng.randrange(len(out) or 1)
                out[place : place + length] = out[other : other + length]
            case 6:
                out[place:place] = rng.randbytes(length)
    return bytes(out)


def check(scene: Scene) -> None:
    assert scene.image.shape[:2] == (1, 3)
    assert max(scene.image.shape[-2:]) == 40
    assert torch.isfinite(scene.image).all()
    assert scene.image.min() >= 0
    assert scene.image.max() <= 1
    shape = (1, 1, *scene.image.shape[-2:])
    assert scene.alpha is None or scene.alpha.shape == shape
    assert (scene.depth is None) == (scene.valid is None)
    if scene.depth is not None and scene.valid is not None:
        assert scene.depth.shape == scene.valid.shape == shape
        assert torch.isfinite(scene.depth).all()
        assert scene.depth.min() >= 0
        assert scene.depth.max() <= 1
        assert scene.valid.any()


def assert_good(load: Callable[[], Scene]) -> None:
    try:
        check(load())
    except InputError as error:
        keys = ("content", "depth.source", "depth.path", "depth.kind")
        if "\n" in str(error) or error.key not in keys:
            raise AssertionError("not one clear line") from error


def fuzz(path: Path, load: Callable[[], Scene]) -> None:
    whole = path.read_bytes()
    check(load())
    before = sorted(path.parent.iterdir())
    for round_ in range(ROUNDS):
        path.write_bytes(mutate(whole, random.Random(f"{path.name} {round_}")))
        try:
            assert_good(load)
        except Exception as error:
            raise AssertionError(f"round {round_} of {path.name}") from error
    assert sorted(path.parent.iterdir()) == before


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.tif", "z.tif", "a.webp", "a.gif", "a.bmp", "a.ppm", "p.png"]
)
def test_pictures(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    picture = Image.fromarray(pixels())
    if name == "p.png":
        picture = picture.convert("P")
    picture.save(path, **({"compression": "tiff_lzw"} if name == "z.tif" else {}))
    fuzz(path, lambda: load_scene(path, size=40, need_depth=False))


def test_heic(tmp_path: Path) -> None:
    import pillow_heif

    if not pillow_heif.libheif_info()["encoders"]:
        pytest.skip("this pillow-heif cannot write HEIC")
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(pixels())).save(path)
    fuzz(path, lambda: load_scene(path, size=40, need_depth=False))


PHONES: dict[str, Callable[[], bytes]] = {
    "gdepth.jpg": lambda: phone.gdepth(phone.encode(phone.ramp(), "PNG")),
    "extended.jpg": lambda: phone.gdepth(phone.encode(phone.ramp(), "PNG"), pieces=3),
    "dynamic.jpg": lambda: phone.dynamic_depth(phone.encode(phone.ramp(), "JPEG")),
    "apple.jpg": lambda: phone.apple_jpeg(phone.ramp()),
}


@pytest.mark.parametrize("name", PHONES)
@pytest.mark.parametrize("need_depth", [True, False])
def test_phones(tmp_path: Path, name: str, need_depth: bool) -> None:
    path = tmp_path / name
    path.write_bytes(PHONES[name]())
    fuzz(path, lambda: load_scene(path, size=40, need_depth=need_depth))


@pytest.mark.parametrize(
    "name", ["d.png", "d.tif", "d.pgm", "d.pfm", "d.npy", "d.npz", "float.tif", "d.jpg", "d.exr"]
)
def test_depth_files(tmp_path: Path, name: str) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(phone.photo())
    path = tmp_path / name
    metres = np.linspace(1, 5, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    if name == "d.exr":
        import OpenEXR

        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"Z": metres}).write(str(path))
    elif name == "d.jpg":
        save((metres * 50).astype(np.uint8), path)
    elif name in ("d.png", "d.tif", "d.pgm"):
        save((metres * 1000).astype(np.uint16), path)
    else:
        save(metres, path)
    preset = "near_black" if name == "d.jpg" else None
    fuzz(path, lambda: load_scene(photo, depth_path=path, depth_preset=preset, size=40))


def test_mat(tmp_path: Path) -> None:
    path = test_nyu.write(tmp_path / "a.mat")
    fuzz(path, lambda: load_scene(path, index=1, size=40))


def test_every_kind_under_every_other_name(tmp_path: Path) -> None:
    """What a file is called says nothing: it is what it is, or it is refused."""
    contents = {name: make() for name, make in PHONES.items()}
    for kind in ("PNG", "TIFF", "GIF"):
        contents[kind] = phone.encode(pixels(), kind)
    np.save(tmp_path / "x.npy", np.ones((4, 4)))
    contents["npy"] = (tmp_path / "x.npy").read_bytes()
    contents["text"] = b"hello\n" * 50
    contents["zeros"] = b"\0" * 500
    for name in ("a.png", "a.jpg", "a.heic", "a.mat", "a.tif", "a.webp", "a"):
        for data in contents.values():
            path = tmp_path / name
            path.write_bytes(data)
            assert_good(partial(load_scene, path, size=40, need_depth=False))


def test_values_that_break_arithmetic(tmp_path: Path) -> None:
    photo, path = tmp_path / "photo.jpg", tmp_path / "d.npy"
    photo.write_bytes(phone.photo())
    rng = np.random.default_rng(0)
    for special in (np.nan, np.inf, -np.inf, -1.0, 0.0, 3e38, 1e-38, 1e-42, 1e300):
        for kind in ("depth", "disparity"):
            values = rng.random((HEIGHT, WIDTH)) + 1
            values[rng.random((HEIGHT, WIDTH)) < 0.3] = special
            np.save(path, values)
            check(load_scene(photo, depth_path=path, depth_kind=kind, size=40))


def test_styles_too(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    whole = phone.encode(pixels(), "PNG")
    refused = 0
    for round_ in range(ROUNDS):
        path.write_bytes(mutate(whole, random.Random(round_)))
        try:
            assert torch.isfinite(load_style(path, size=20)).all()
        except InputError:
            refused += 1
    assert refused > 0
