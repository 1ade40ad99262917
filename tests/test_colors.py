"""Colours kept or taken over: against skimage and numpy, and in runs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch import Tensor

from src.colors import (
    aerial_perspective,
    darken_behind_silhouettes,
    from_oklab,
    grey,
    match_colors,
    to_oklab,
    with_colors_of,
)
from src.core.errors import InputError
from src.core.images import load_png
from src.pipeline.build import build
from src.pipeline.config import resolve
from src.runs.reader import read_json
from tests.running import SMALL, compose, picture, run


def chroma(image: Tensor) -> Tensor:
    return to_oklab(image)[:, 1:].norm(dim=1)


def moments(image: Tensor, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    pixels = to_oklab(image)[0].flatten(1).numpy()
    return np.average(pixels, 1, weights), np.cov(pixels, aweights=weights, ddof=0)


def test_oklab_has_its_authors_values_and_comes_back() -> None:
    # Ottosson 2020, the table of XYZ to OKLab, whose first row is white.
    white = to_oklab(torch.ones(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(white, torch.tensor([1.0, 0, 0]).double(), atol=1e-6, rtol=0)
    red = to_oklab(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)).flatten()
    expected = torch.tensor([0.62796, 0.22486, 0.12585]).double()  # CSS Color 4's sample values
    torch.testing.assert_close(red, expected, atol=2e-4, rtol=0)
    image = picture(1)
    torch.testing.assert_close(from_oklab(to_oklab(image)), image, atol=1e-5, rtol=0)


def test_grey_has_the_same_lightness_and_no_colour() -> None:
    image = picture(1)
    found = grey(image)
    torch.testing.assert_close(to_oklab(found)[:, 0], to_oklab(image)[:, 0], atol=1e-5, rtol=0)
    assert float(chroma(found).max()) < 1e-5
    assert np.abs(rgb2lab(found[0].permute(1, 2, 0).numpy())[..., 1:]).max() < 0.1


def test_colours_are_kept_as_far_as_the_screen_has_them() -> None:
    image, content = picture(1), 0.25 + picture(2) / 2
    found = with_colors_of(image, content)
    lightness = to_oklab(image)[:, 0]
    torch.testing.assert_close(to_oklab(found)[:, 0], lightness, atol=2e-3, rtol=0)
    assert (chroma(found) <= chroma(content) + 2e-3).all()
    middle = (lightness - to_oklab(content)[:, 0]).abs() < 0.05
    torch.testing.assert_close(chroma(found)[middle], chroma(content)[middle], atol=0.03, rtol=0)
    turned = to_oklab(found)[:, 1] * to_oklab(content)[:, 2]
    turned -= to_oklab(found)[:, 2] * to_oklab(content)[:, 1]
    assert float(turned.abs().max()) < 1e-3  # the hue is the content's
    torch.testing.assert_close(with_colors_of(content, content), content, atol=1e-4, rtol=0)


def test_matched_colours_have_the_targets_mean_and_covariance() -> None:
    image, target = 0.4 + picture(1) / 5, 0.3 + picture(2) / 4  # far from the screen's limits
    mask = (torch.rand(1, 1, *target.shape[-2:]) > 0.5).float()
    for weights in (None, mask):
        found = moments(match_colors(image, target, weights))
        flat = None if weights is None else weights.flatten().numpy()
        expected = moments(target, flat)
        np.testing.assert_allclose(found[0], expected[0], atol=1e-3)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


def test_a_picture_matched_to_itself_stays() -> None:
    image = picture(1)
    torch.testing.assert_close(match_colors(image, image), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("painting", [grey(picture(1)), torch.full((1, 3, 8, 8), 0.5)])
def test_paintings_without_colours_are_matched_without_noise(painting: Tensor) -> None:
    found = match_colors(painting, picture(2))
    assert torch.isfinite(found).all()
    np.testing.assert_allclose(moments(found)[0], moments(picture(2))[0], atol=0.03)
    assert match_colors(painting, picture(2), torch.zeros(1, 1, 8, 8)) is painting


def test_a_run_keeps_the_contents_colours(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", "+experiment=naive", "steps=6", "colors=content")
    content, pastiche = (
        load_png(folder / name)[:, :3] for name in ("inputs/content.png", "pastiche.png")
    )
    assert float((to_oklab(pastiche)[:, 0] - to_oklab(content)[:, 0]).abs().mean()) > 0.01
    assert (chroma(pastiche) <= chroma(content) + 0.02).all()
    assert float(chroma(load_png(folder / "inputs" / "style_main.png")[:, :3]).max()) < 1e-2


def test_each_painting_is_matched_to_where_it_goes() -> None:
    job = build(resolve(compose(*SMALL, "+experiment=two_styles", "colors=match")))
    for name in ("near", "far"):
        mask = job.images[f"mask_{name}"].square().flatten().numpy()
        expected = moments(job.images["content"], mask)
        np.testing.assert_allclose(moments(job.images[f"style_{name}"])[0], expected[0], atol=0.05)
    near, far = (moments(job.images[f"style_{name}"])[0] for name in ("near", "far"))
    assert np.abs(near - far).max() > 0.02


def depth_ramp() -> Tensor:
    return torch.linspace(0, 1, 16).expand(1, 1, 12, 16).contiguous()


def test_air_takes_contrast_and_colour_with_distance() -> None:
    image, painting, density = 0.2 + 0.6 * picture(1), picture(3), 0.7
    found = aerial_perspective(image, depth_ramp(), density, painting)
    lab, seen = to_oklab(image), to_oklab(found)
    pixels = to_oklab(painting)[0].flatten(1).numpy()
    paleness = pixels[0] - np.hypot(pixels[1], pixels[2])
    air = pixels[:, np.argsort(-paleness)[: math.ceil(0.1 * len(paleness))]].mean(1)
    for row, column in ((0, 0), (3, 7), (11, 15)):
        share = math.exp(-density * column / 15)
        expected = share * lab[0, :, row, column].numpy() + (1 - share) * air
        np.testing.assert_allclose(seen[0, :, row, column].numpy(), expected, atol=2e-3)
    torch.testing.assert_close(found[..., 0], image[..., 0], atol=1e-5, rtol=0)  # the nearest
    torch.testing.assert_close(
        aerial_perspective(image, depth_ramp(), 0.0, painting), image, atol=1e-5, rtol=0
    )
    endless = aerial_perspective(image, torch.ones(1, 1, 12, 16), 60.0, painting)
    assert float(endless.flatten(2).std(2).max()) < 1e-5


def test_shadows_lie_behind_silhouettes_only() -> None:
    depth = torch.zeros(1, 1, 60, 80)
    depth[..., 40:] = 1
    grey_wall = torch.full((1, 3, 60, 80), 0.5)
    found = darken_behind_silhouettes(grey_wall, depth, 0.5)
    change = (to_oklab(found) - to_oklab(grey_wall))[0, 0, 30]
    sigma = 0.03 * math.hypot(60, 80)
    blurred = [0.5 * math.erfc((39.5 - x) / sigma / math.sqrt(2)) for x in range(80)]
    expected = [0.5 * min(0.0, b - float(x >= 40)) for x, b in enumerate(blurred)]
    np.testing.assert_allclose(change.numpy(), expected, atol=0.01)
    assert torch.equal(change[:38].abs() < 1e-6, torch.ones(38, dtype=torch.bool))
    assert -0.26 < float(change[40]) < -0.2
    flat = darken_behind_silhouettes(grey_wall, torch.full_like(depth, 0.3), 1.0)
    torch.testing.assert_close(flat, grey_wall, atol=1e-5, rtol=0)


def test_runs_have_air_and_shadows_in_every_picture(tmp_path: Path) -> None:
    keys = ("haze=1", "depth_darkening=0.5", "steps=2", "save_every_n_steps=1", "evaluate=true")
    folder = run(tmp_path / "air", "+experiment=strokes_by_depth", *keys)
    content = load_png(folder / "inputs" / "content.png")[:, :3]
    depth = load_png(folder / "inputs" / "depth.png")[:, :1]
    last, first = (load_png(folder / name) for name in ("pastiche.png", "steps/step_000001.png"))
    bare = run(tmp_path / "bare", "+experiment=strokes_by_depth", *keys[2:])
    plain = load_png(bare / "pastiche.png")
    painting = load_png(sorted((folder / "inputs").glob("style_*.png"))[-1])
    expected = aerial_perspective(
        darken_behind_silhouettes(plain, depth, 0.5), depth, 1.0, painting
    )
    torch.testing.assert_close(last, expected, atol=0.02, rtol=0)
    assert float((first - content).abs().mean()) > 0.02  # a picture on the way has them, too
    slopes = [read_json(x / "metrics.json")["contrast_slope"] for x in (folder, bare)]
    assert slopes[0] < slopes[1] - 0.3
    assert "stroke_slope" in read_json(folder / "metrics.json")


@pytest.mark.parametrize("key", ["haze", "depth_darkening"])
def test_air_of_less_than_none_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=rf"{key}: got -1"):
        build(resolve(compose("+experiment=naive", f"{key}=-1")))
