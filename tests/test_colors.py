"""Colours kept or taken over: against skimage and numpy, and in runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch import Tensor

from src.colors import from_oklab, grey, match_colors, to_oklab, with_colors_of
from src.core.images import load_png
from src.pipeline.build import build
from src.pipeline.config import resolve
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
