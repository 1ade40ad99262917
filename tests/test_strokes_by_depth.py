"""One painting at several sizes, parted by depth."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src import masks
from src.core.errors import InputError
from src.depth_nets.network import FAR_OVER_NEAR
from src.pipeline.build import build
from src.pipeline.masks import _median, _merge_small, need_depth, style_bands, style_masks
from src.pipeline.schema import Config
from tests.running import TINY_DEPTH, run, summary, terms

EXPERIMENT = "+experiment=strokes_by_depth"


def config(*overrides: str) -> Config:
    from src.pipeline.config import compose as typed

    return typed(EXPERIMENT, *overrides)


def ramp(height: int = 48, width: int = 64) -> Tensor:
    """Depth from 0 on the left to 1 on the right."""
    return torch.linspace(0, 1, width).expand(1, 1, height, width)


def test_octaves_against_a_slow_one() -> None:
    ratio = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(0)) * 4 + 0.1
    for count, exponent in ((1, 1.0), (2, 1.0), (3, 0.5), (4, 1.0), (5, 2.0)):
        found = masks.octaves(ratio, count, exponent)
        assert found.shape == (count, 1, 5, 7)
        for place in np.ndindex(5, 7):
            wanted = -exponent * math.log2(float(ratio[0, 0][place]))  # log2 of the strokes' size
            sizes = [(count - 1) / 2 - k for k in range(count)]
            wanted = min(max(wanted, sizes[-1]), sizes[0])
            shares = [max(0.0, 1 - abs(size - wanted)) for size in sizes]
            squares = found[:, 0].square()[:, place[0], place[1]].tolist()
            assert squares == pytest.approx(shares, abs=1e-5)
            assert sum(size * share for size, share in zip(sizes, squares, strict=True)) == (
                pytest.approx(wanted, abs=1e-4)
            )
        torch.testing.assert_close(found.square().sum(0), torch.ones(1, 5, 7))


def test_bands_of_a_style_keep_its_share_and_its_mask() -> None:
    settings, depth = config("mask=sigmoid", "styles.main.mask=${mask}", "mask.center=0.3"), ramp()
    of_styles = style_masks(settings, depth, None)
    mask = of_styles["main"]
    assert mask is not None
    bands = style_bands(settings, depth, of_styles, 8)
    assert len(bands) > 1
    squares = torch.stack([band.mask.square() for band in bands.values() if band.mask is not None])
    torch.testing.assert_close(squares.sum(0), mask.square(), atol=1e-5, rtol=0)
    assert sum(band.share for band in bands.values()) == pytest.approx(1, abs=1e-5)
    assert all(band.style == "main" for band in bands.values())
    depths, scales = [[getattr(b, x) for b in bands.values()] for x in ("depth", "scale")]
    assert depths == sorted(depths)
    assert scales == sorted(scales, reverse=True)
    assert all(one == pytest.approx(2 * other) for one, other in itertools.pairwise(scales))


def test_strokes_have_their_usual_size_at_the_median_depth() -> None:
    depth = ramp()
    bands = style_bands(config("styles.main.octaves=5"), depth, {"main": None}, 9)
    log_size = sum(
        math.log2(band.scale) * band.mask.square()
        for band in bands.values()
        if band.mask is not None
    )
    ratio = (1 + 8 * depth) / (1 + 8 * 0.5)
    inside = ratio.log2().abs() < 1  # farther out small bands have been merged
    torch.testing.assert_close(log_size[inside], -ratio.log2()[inside], atol=0.05, rtol=0)


def test_one_octave_is_the_style_as_it_is() -> None:
    bands = style_bands(config("styles.main.octaves=1"), ramp(), {"main": None}, 4)
    (band,) = bands.values()
    assert (band.mask, band.scale, band.share) == (None, 1, 1)


def test_small_bands_go_to_the_nearest_other() -> None:
    squares = torch.tensor([5.0, 900, 3000, 1, 2000]).view(5, 1, 1, 1)
    assert _merge_small(squares).flatten().tolist() == [0, 905, 3001, 0, 2000]
    assert _merge_small(squares / 100).flatten().count_nonzero() == 1
    assert float(_merge_small(squares / 100).sum()) == pytest.approx(59.06)
    two_planes = torch.tensor([3000.0, 10, 10, 3000]).view(4, 1, 1, 1)
    assert _merge_small(two_planes).flatten().tolist() == [3010, 0, 0, 3010]


def test_the_median_counts_weights() -> None:
    x = torch.tensor([[[[3.0, 1.0, 2.0, 9.0]]]])
    assert _median(x, torch.ones_like(x)) == 2
    assert _median(x, torch.tensor([[[[1.0, 0, 0, 5]]]])) == 9


def test_the_painting_is_smaller_farther_away_and_steps_cost_one_pass() -> None:
    job = build(config("size=128", "styles.main.exponent=2"))
    heights = [x.shape[-2] for name, x in job.images.items() if name.startswith("style_main_")]
    assert len(heights) > 1
    assert all(abs(one - 2 * other) <= 2 for one, other in itertools.pairwise(heights))
    assert len(job.stylization.objective._tiles) == 1
    styles = next(t for t in job.stylization.objective._terms if t.name == "style")._styles
    assert sum(style.share for style in styles.values()) == pytest.approx(1)


def test_levels_masks_and_several_styles_go_together(tmp_path: Path) -> None:
    folder = run(
        tmp_path / "run",
        "+experiment=two_styles",
        "size=96",
        "mask=sigmoid",
        "styles.near.octaves=2",
        "styles.far.octaves=2",
        "styles.far.exponent=2",
        "pyramid.levels=2",
        "pyramid.steps_per_level=1",
    )
    assert summary(folder)["status"] == "done"
    assert {name for name in terms(folder)[0] if "style_" in name} == {"style_near", "style_far"}
    names = {file.stem.partition("_")[2] for file in (folder / "inputs").glob("style_*.png")}
    assert {"near_1", "near_2"} <= names
    assert names == {file.stem.partition("_")[2] for file in (folder / "inputs").glob("mask_*.png")}


def test_estimated_depth_spans_as_much_as_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    real = style_bands

    def spy(settings: Config, depth: Tensor, of_styles: dict, far: float) -> object:
        seen.append(far)
        return real(settings, depth, of_styles, far)

    monkeypatch.setattr("src.pipeline.build.style_bands", spy)
    build(config("size=64"))
    build(config("size=64", "depth.source=estimate", *TINY_DEPTH))
    assert seen[0] == pytest.approx(2.25, abs=0.3)  # the motorcycle's, as measured
    assert seen[1] == FAR_OVER_NEAR


def test_strokes_of_one_size_are_said(caplog: pytest.LogCaptureFixture) -> None:
    build(config("size=64"))
    assert not caplog.text
    build(config("size=64", "styles.main.exponent=0.1", "styles.main.octaves=3"))
    assert "styles.main.octaves: strokes of one size" in caplog.text
    assert "styles.main.exponent=0.2" in caplog.text


def test_depth_is_asked_for_where_it_steers() -> None:
    assert not need_depth(config("styles.main.octaves=1"))
    assert need_depth(config())
    for key in ("haze=0.1", "depth_darkening=0.1"):
        assert need_depth(config("styles.main.octaves=1", key))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("styles.main.octaves=0", r"styles\.main\.octaves: got 0; expected"),
        ("styles.main.octaves=2.5", r"styles\.main\.octaves: got 2\.5; expected"),
        ("styles.main.exponent=-1", r"styles\.main\.exponent: got -1"),
        ("+styles.main_2.path=ink", r"styles\.main_2: got the name of a part of main, too"),
        (
            "styles.main.scale=0.2",
            r"styles\.main\.octaves: got a picture of \d+ x \d+ pixels; expected a short side of",
        ),
    ],
)
def test_bad_settings_are_one_clear_line(override: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        build(config("size=96", override))
