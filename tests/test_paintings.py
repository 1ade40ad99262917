"""The built-in paintings: reproducible, as committed, and each of its own character."""

import colorsys
from functools import cache

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from src.errors import InputError
from src.inputs import paintings
from src.inputs.paintings import ASSETS, PAINTINGS, SIZE, draw

every_painting = pytest.mark.parametrize("name", PAINTINGS)


@cache
def committed(name: str) -> np.ndarray:
    with Image.open(ASSETS / f"{name}.png") as image:
        assert image.mode == "RGB"
        return np.array(image)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def share_of_hues(image: np.ndarray, low: float, high: float) -> float:
    """The share of pixels that are coloured, not dark, and of a hue between two angles."""
    hue, saturation, value = np.moveaxis(np.array(Image.fromarray(image).convert("HSV")), -1, 0)
    degrees = hue * (360 / 256)
    return float(((degrees >= low) & (degrees <= high) & (saturation > 90) & (value > 60)).mean())


def coherence(image: np.ndarray) -> float:
    """How one-directional a picture is in windows of about 10 pixels: 0 not at all, 1 stripes."""
    grey = image.astype(float).mean(axis=-1)
    dy, dx = (ndimage.gaussian_filter(grey, 1, order=order) for order in ((1, 0), (0, 1)))
    yy, xx, yx = (ndimage.gaussian_filter(product, 5) for product in (dy * dy, dx * dx, dy * dx))
    return float(np.hypot(yy - xx, 2 * yx).sum() / (yy + xx).sum())


def test_coherence_tells_stripes_from_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3))
    stripes = np.broadcast_to(noise[:1], noise.shape)
    assert coherence(stripes) > 0.99
    assert coherence(noise) < 0.3


@every_painting
def test_same_arguments_give_the_same_picture(name: str) -> None:
    assert np.array_equal(draw(name, 64, 80, seed=5), draw(name, 64, 80, seed=5))


@every_painting
def test_another_seed_gives_another_picture(name: str) -> None:
    assert difference(draw(name, 64, 80, seed=5), draw(name, 64, 80, seed=6)) > 10


@every_painting
@pytest.mark.parametrize(("height", "width"), [(48, 60), (61, 47), (40, 120)])
def test_shape_type_and_range(name: str, height: int, width: int) -> None:
    picture = draw(name, height, width)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
    assert picture.min() < 50
    assert picture.max() > 200


@every_painting
def test_a_small_drawing_is_the_large_one_seen_from_afar(name: str) -> None:
    small = draw(name, 128, 160)
    shrunk = np.array(Image.fromarray(committed(name)).resize((160, 128), Image.Resampling.BOX))
    blurred = [ndimage.gaussian_filter(p.astype(float), (5, 5, 0)) for p in (small, shrunk)]
    assert difference(*blurred) < 10


@every_painting
def test_the_file_is_what_the_code_draws(name: str) -> None:
    # Not bit for bit: another processor's sine may differ in its last digit and move a stone.
    assert difference(draw(name, *SIZE), committed(name)) < 2


@every_painting
def test_files_are_small(name: str) -> None:
    assert committed(name).shape == (*SIZE, 3)
    assert (ASSETS / f"{name}.png").stat().st_size < 1_200_000


def test_there_is_a_file_for_each_painting_and_no_other() -> None:
    assert {path.stem for path in ASSETS.glob("*.png")} == set(PAINTINGS)


def test_swirls_is_blue_with_yellow_stars() -> None:
    picture = committed("swirls")
    assert share_of_hues(picture, 190, 250) > 0.5
    assert 0.02 < share_of_hues(picture, 30, 65) < 0.2


def test_mosaic_is_warm_with_dark_mortar() -> None:
    picture = committed("mosaic")
    assert share_of_hues(picture, 0, 60) > 0.5
    assert share_of_hues(picture, 150, 200) > 0.02
    assert (picture.max(axis=-1) < 70).mean() > 0.1


def test_ink_is_black_on_cream_with_a_red_sun() -> None:
    picture = committed("ink")
    assert (picture.max(axis=-1) < 60).mean() > 0.2
    assert (picture.min(axis=-1) > 170).mean() > 0.2
    sun = picture[int(0.27 * SIZE[0]), int(0.64 * SIZE[1])] / 255
    hue, saturation, _ = colorsys.rgb_to_hsv(*sun)
    assert hue < 0.05
    assert saturation > 0.7


@pytest.mark.parametrize("name", ["swirls", "ink"])
def test_strokes_have_a_direction(name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3))
    assert coherence(committed(name)) > 2 * coherence(noise)


def test_contrast_lives_at_brush_scale() -> None:
    # Pixel noise loses nearly all its contrast to a blur of 1.5 pixels, brush strokes do not.
    grey = committed("swirls").astype(float).mean(axis=-1)
    assert ndimage.gaussian_filter(grey, 1.5).std() > 0.7 * grey.std()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"style: got 'sunflowers'.*swirls, mosaic, ink"):
        draw("sunflowers", 64, 80)


def test_the_module_redraws_its_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(paintings, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(paintings, "SIZE", (40, 50))
    paintings.main()
    assert {path.name for path in (tmp_path / "assets").iterdir()} == {
        f"{n}.png" for n in PAINTINGS
    }
    with Image.open(tmp_path / "assets" / "ink.png") as image:
        assert np.array_equal(np.array(image), draw("ink", 40, 50))
