"""Sizes, resampling and picture files: exact where it can be, whole or not at all on disk."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src.core.errors import InputError
from src.core.images import fill, fit, load_png, resize, save_png, to_uint8


def checkerboard(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((x + y) % 2).float().expand(1, 3, height, width)


@pytest.mark.parametrize(
    ("height", "width", "sides", "expected"),
    [
        (500, 741, {"size": 512}, (345, 512)),  # the motorcycle
        (741, 500, {"size": 512}, (512, 345)),
        (480, 640, {"short_side": 192}, (192, 256)),  # NYU in the paper's experiments
        (640, 480, {"short_side": 192}, (256, 192)),
        (480, 640, {"size": 1280}, (960, 1280)),
        (333, 333, {"size": 256}, (256, 256)),
        (480, 640, {}, (480, 640)),
        (480, 640, {"size": 320, "short_side": 999}, (240, 320)),
        (3, 1000, {"size": 100}, (1, 100)),  # never without a row
        (1000, 1, {"size": 1}, (1, 1)),
    ],
)
def test_fit(height: int, width: int, sides: dict[str, int], expected: tuple[int, int]) -> None:
    assert fit(height, width, **sides) == expected


def test_fit_gives_exactly_the_side_asked_for() -> None:
    for height, width, side in np.random.default_rng(0).integers(1, 5000, (1000, 3)).tolist():
        assert max(fit(height, width, size=side)) == side
        if side * side * max(height, width) / min(height, width) < 10**8:
            assert min(fit(height, width, short_side=side)) == side


@pytest.mark.parametrize("key", ["size", "short_side"])
@pytest.mark.parametrize("side", [0, -5, 2.5, True, "512"])
def test_fit_refuses_what_is_not_a_number_of_pixels(key: str, side: object) -> None:
    with pytest.raises(InputError) as caught:
        fit(480, 640, **{key: side})
    assert caught.value.key == key
    assert str(caught.value) == (
        f"{key}: got {side!r}; expected a whole number of pixels, 1 or more"
    )


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (40, 60), (7, 60), (40, 5)])
def test_resize_of_a_constant_is_that_constant(height: int, width: int) -> None:
    found = resize(torch.full((2, 3, 20, 30), 0.3), height, width)
    torch.testing.assert_close(found, torch.full((2, 3, height, width), 0.3))


@pytest.mark.parametrize(("height", "width"), [(5, 5), (8, 4), (64, 80)])
def test_resize_keeps_the_mean(height: int, width: int) -> None:
    # Smooth at the border, which a window sees less often than the rest.
    image = torch.rand(1, 3, 6, 6)
    assert torch.equal(resize(image, 6, 6), image)
    image = resize(image, 32, 40)
    found = resize(image, height, width).mean((2, 3))
    torch.testing.assert_close(found, image.mean((2, 3)), rtol=0, atol=0.02)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 24), (13, 10)])
def test_a_checkerboard_shrinks_to_grey(height: int, width: int) -> None:
    found = resize(checkerboard(64, 64), height, width)
    torch.testing.assert_close(found, torch.full_like(found, 0.5), rtol=0, atol=0.06)


def test_a_checkerboard_of_one_side_shrunk_is_grey_too() -> None:
    found = resize(checkerboard(64, 16), 16, 64)
    inside = found[..., 2:-2, 4:-4]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.5), rtol=0, atol=0.06)


def test_resize_keeps_left_and_right_up_and_down() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[..., :4, :4] = 1  # top left
    for side in (4, 16):
        found = resize(image, side, side)[0, 0]
        assert found[0, 0] > 0.95
        assert found[0, -1] < 0.05
        assert found[-1, 0] < 0.05


def test_a_grown_ramp_is_the_finer_ramp() -> None:
    ramp = (torch.arange(16.0) + 0.5).div(16).expand(1, 1, 16, 16)
    finer = (torch.arange(32.0) + 0.5).div(32).expand(1, 1, 32, 32)
    inside = slice(4, -4)
    torch.testing.assert_close(resize(ramp, 32, 32)[..., inside], finer[..., inside])


def test_a_grown_edge_stays_within_the_pictures_range() -> None:
    image = torch.full((1, 3, 8, 8), 0.2)
    image[..., 4:] = 0.7
    found = resize(image, 32, 32)
    assert found.min() >= 0.2
    assert found.max() <= 0.7


def test_fill_crops_the_middle_and_stretches_nothing() -> None:
    image = torch.zeros(1, 3, 20, 60)
    image[..., 5:15, 25:35] = 1  # a square in the middle
    for height, width in ((20, 20), (40, 40), (40, 20), (20, 60), (10, 60)):
        found = fill(image, height, width)
        assert found.shape == (1, 3, height, width)
        inside = found[0, 0] > 0.5
        tall, wide = int(inside.any(1).sum()), int(inside.any(0).sum())
        assert abs(tall - wide) <= 1
        assert torch.equal(inside, inside.flip(0))
        assert torch.equal(inside, inside.flip(1))
    assert torch.equal(fill(image, 20, 60), image)


def test_resize_passes_gradients() -> None:
    image = torch.rand(1, 3, 8, 10, requires_grad=True)
    resize(image, 4, 5).sum().backward()
    assert (image.grad > 0).all()


def test_to_uint8_rounds_and_clips() -> None:
    values = torch.tensor([0, 100.4 / 255, 100.6 / 255, 1, 1.2, -0.3, 254.6 / 255])
    assert to_uint8(values.view(1, 1, 1, 7)).tolist() == [[0, 100, 101, 255, 255, 0, 255]]


def test_to_uint8_puts_channels_last_and_drops_a_single_one() -> None:
    image = torch.arange(24.0).view(1, 3, 2, 4) / 255
    found = to_uint8(image.requires_grad_())
    assert found.dtype == np.uint8
    assert found.shape == (2, 4, 3)
    assert found[1, 2].tolist() == [6, 14, 22]
    assert to_uint8(image[:, :1]).shape == (2, 4)
    assert to_uint8(image[:, :, :1, :1]).shape == (1, 1, 3)


def opened(path: Path) -> tuple[str, np.ndarray]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.mode, np.array(image)


@pytest.mark.parametrize(
    ("channels", "with_alpha", "mode"),
    [(3, False, "RGB"), (3, True, "RGBA"), (1, False, "L"), (1, True, "LA")],
)
def test_save_png_writes_every_pixel(
    tmp_path: Path, channels: int, with_alpha: bool, mode: str
) -> None:
    pixels = torch.randint(256, (1, channels, 5, 7))
    opacity = torch.randint(256, (1, 1, 5, 7))
    alpha = opacity.double() / 255 if with_alpha else None
    save_png(pixels / 255, tmp_path / "a.png", alpha)
    expected = torch.cat([pixels, opacity], dim=1) if with_alpha else pixels
    found_mode, found = opened(tmp_path / "a.png")
    assert found_mode == mode
    assert np.array_equal(found, expected[0].permute(1, 2, 0).squeeze(-1).numpy())
    assert os.listdir(tmp_path) == ["a.png"]


def break_in_the_middle(*args: object, **kwargs: object) -> None:
    Path(args[1]).write_bytes(b"half of a picture")
    raise OSError("disk full")


@pytest.mark.parametrize("older", [False, True])
def test_a_broken_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    if older:
        save_png(torch.zeros(1, 3, 4, 4), tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", break_in_the_middle)
        with pytest.raises(OSError, match="disk full"):
            save_png(torch.ones(1, 3, 4, 4), tmp_path / "a.png")
    assert os.listdir(tmp_path) == (["a.png"] if older else [])
    if older:
        assert opened(tmp_path / "a.png")[1].max() == 0
    save_png(torch.ones(1, 3, 4, 4), tmp_path / "a.png")
    assert opened(tmp_path / "a.png")[1].min() == 255


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match=r"a\.png"):
        save_png(torch.ones(1, 3, 4, 4), tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]
    with pytest.raises(FileNotFoundError):
        save_png(torch.ones(1, 3, 4, 4), tmp_path / "nowhere" / "a.png")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_comes_back_as_it_was_written(channels: int, tmp_path: Path) -> None:
    image = torch.randint(0, 256, (1, channels, 5, 7)).float() / 255
    colours, alpha = (image[:, :3], image[:, 3:]) if channels == 4 else (image, None)
    save_png(colours, tmp_path / "a.png", alpha)
    assert torch.equal(load_png(tmp_path / "a.png"), image)
    (tmp_path / "b.png").write_bytes(b"none")
    with pytest.raises(OSError, match="cannot identify image file"):
        load_png(tmp_path / "b.png")
