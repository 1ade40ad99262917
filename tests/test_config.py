"""Configurations: every option composes and builds; what cannot be used is named."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from src import masks
from src.backbones import chain
from src.core import weights
from src.core.errors import InputError
from src.core.images import resize, save_png
from src.core.weights import State
from src.objective import targets, terms
from src.optimizers import LBFGS
from src.pipeline import build as jobs
from src.pipeline import legacy
from src.pipeline import resume as checkpoints
from src.pipeline.arguments import upgraded_arguments
from src.pipeline.build import build
from src.pipeline.config import experiments, options, plain_values, resolve
from src.pipeline.masks import warn_of_idle
from src.pipeline.schema import Config, Pyramid
from src.runs import identity
from src.runs.identity import config_hash, run_metadata
from tests import monodepth2_files
from tests.conftest import Command
from tests.running import SMALL, TINY_DEPTH, Intruder, TinyDepthNet, compose

GROUPS = ("distance", "loss", "mask", "depth_net", "optimizer", "trainer", "tracking", "styles")


PYRAMID = ("pyramid.levels=2", "pyramid.steps_per_level=1")


def composed(*overrides: str) -> Config:
    return resolve(compose(*SMALL, *overrides))


def plain(*overrides: str) -> dict[str, Any]:
    return plain_values(compose(*SMALL, *overrides))


def job(*overrides: str) -> jobs.Job:
    return build(composed(*overrides))


@pytest.fixture
def offline_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights that would be fetched are random ones of the right names and shapes."""
    original = chain.match

    def match(state: State, expected: State, **kwargs: Any) -> State:
        if state:
            return original(state, expected, **kwargs)
        generator = torch.Generator().manual_seed(0)
        return {
            name: torch.randn(tensor.shape, generator=generator) * tensor[0].numel() ** -0.5
            for name, tensor in expected.items()
        }

    read = weights.read
    fetched = tmp_path / "fetched"

    def fetch(url: str, *_: Any, **__: Any) -> Path:
        if url.endswith("/mono_640x192.zip"):
            return monodepth2_files.save(tmp_path / "monodepth2")
        return fetched

    monkeypatch.setattr(weights, "fetch", fetch)
    monkeypatch.setattr(weights, "read", lambda p, key: {} if p == fetched else read(p, key))
    monkeypatch.setattr(chain, "match", match)


@pytest.mark.usefixtures("offline_networks")
@pytest.mark.parametrize("experiment", experiments())
def test_every_experiment_builds(experiment: str) -> None:
    made = job(f"+experiment={experiment}")
    total, _ = made.stylization.terms()
    assert torch.isfinite(total)
    assert made.stylization.pastiche.shape[-2:] == (32, 48)
    masked = {name.removeprefix("mask_") for name in made.images if name.startswith("mask_")}
    expected = {"style": {"main"}, "content": {"content"}, "styles": {"near", "far"}}
    expected |= {"structure": {"structure"}, "naive": set(), "depth": set()}
    expected |= {"strokes_by_depth": {"main_2", "main_3"}}  # of four octaves, at this size
    assert masked == (
        expected.get(experiment) or expected.get(experiment.rpartition("_")[2], set())
    )


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in GROUPS for option in options(group)]
)
def test_every_option_of_every_group_builds(group: str, option: str) -> None:
    overrides = [f"{group}={option}"]
    if (group, option) == ("mask", "file"):
        overrides.append(f"mask.path={weights.in_package('skimage', 'data/motorcycle_left.png')}")
    if (group, option) == ("loss", "paper"):
        overrides.append("loss.style.layer_weights=null")
    experiment = "two_styles" if (group, option) == ("styles", "two") else "masked_style"
    assert torch.isfinite(job(f"+experiment={experiment}", *overrides).stylization.terms()[0])


@pytest.mark.usefixtures("offline_networks")
@pytest.mark.parametrize("backbone", options("backbone"))
def test_every_backbone_builds_with_its_own_layers(backbone: str) -> None:
    made = job("+experiment=masked_style", f"backbone={backbone}")
    assert torch.isfinite(made.stylization.terms()[0])


def test_the_papers_experiments_carry_the_papers_numbers() -> None:
    paper = resolve(compose("+experiment=paper_masked_style", "tracking=off"))
    assert (paper.short_side, paper.style_short_side, paper.steps) == (192, 224, 300)
    style = paper.loss.terms["style"]
    assert style["layer_weights"] == [200000, 800, 12, 1]
    assert style["distance"]["normalizer"] == "paper"
    assert paper.restart.step == 180
    assert paper.restart.lr is not None
    assert paper.restart.lr / paper.optimizer["lr"] == pytest.approx(0.1 / 3, rel=2e-3)
    assert paper.mask is not None
    assert (paper.mask["center"], paper.mask["slope"]) == (0.8, 20)
    assert paper.mask["invert"] is True
    assert paper.styles["main"].mask == paper.mask


def test_size_wins_over_short_side_and_512_over_neither() -> None:
    both = job("+experiment=naive", "size=60", "short_side=48")
    assert both.stylization.pastiche.shape[-2:] == (40, 60)
    short = job("+experiment=naive", "size=null", "short_side=48")
    assert short.stylization.pastiche.shape[-2:] == (48, 71)


def test_style_fills_the_main_style() -> None:
    assert composed("+experiment=naive", "style=ink").styles["main"].path == "ink"


def test_two_styles_are_shares_of_one_whole() -> None:
    pictures = job("+experiment=two_styles", "mask=linear").images
    near, far = pictures["mask_near"], pictures["mask_far"]
    assert torch.allclose(near**2 + far**2, torch.ones_like(near))
    assert near[pictures["depth"] == 0].min() == 1
    assert far[pictures["depth"] == 1].min() == 1


def test_the_papers_two_masks_are_left_as_they_are() -> None:
    pictures = job("+experiment=two_styles", "mask=linear", "loss.normalize_masks=false").images
    assert torch.allclose(pictures["mask_near"] + pictures["mask_far"], torch.ones(()))


def test_any_number_of_named_styles() -> None:
    made = job(
        "+experiment=two_styles",
        "+styles.mid.path=ink",
        "+styles.mid.weight=0.5",
        "+mask@styles.mid.mask=band",
    )
    assert {"style_near", "style_mid", "style_far"} < set(made.stylization.terms()[1])
    squares = sum(made.images[f"mask_{name}"] ** 2 for name in ("near", "mid", "far"))
    assert torch.allclose(squares, torch.ones_like(squares))


def test_auto_is_the_threshold_of_this_pictures_depth() -> None:
    made = job("+experiment=masked_style", "mask=step")
    assert 0.1 < made.mask_border < 0.9
    depth, mask = made.images["depth"], made.images["mask_main"]
    assert torch.equal(mask, (depth >= made.mask_border).float())


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture without depth, brighter to the left."""
    pixels = np.random.default_rng(0).integers(0, 20, (32, 48, 3), np.uint8)
    pixels += np.linspace(150, 0, 48).astype(np.uint8)[:, None]
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_photo_without_depth_has_its_depth_estimated(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(photo.parent / "cache"))
    made = job("+experiment=masked_style", f"content={photo}", *TINY_DEPTH)
    depth = made.images["depth"]
    assert depth[..., :8].mean() < 0.2  # bright is near
    assert depth[..., -8:].mean() > 0.7
    assert (depth.min(), depth.max()) == (0, 1)
    assert 0 < made.mask_border < 1
    assert "depth_estimated" not in made.images  # no depth term

    def refuse(*_: object) -> None:
        raise AssertionError("estimated again")

    monkeypatch.setattr(TinyDepthNet, "disparity", refuse)
    again = job("+experiment=masked_style", f"content={photo}", *TINY_DEPTH)
    assert torch.equal(again.images["depth"], depth)
    with pytest.raises(AssertionError, match="estimated again"):  # another picture
        job("+experiment=masked_style", f"content={photo}", "size=40", *TINY_DEPTH)


def test_estimate_wins_over_the_depth_that_a_picture_carries() -> None:
    carried = job("+experiment=masked_style").images["depth"]
    estimated = job("+experiment=masked_style", "depth.source=estimate", *TINY_DEPTH)
    assert not torch.allclose(estimated.images["depth"], carried, atol=0.1)


@pytest.mark.parametrize("network", [TINY_DEPTH, (*TINY_DEPTH, "+depth_net.layer=relu1_1")])
def test_depth_term_compares_with_the_contents_own_depth(network: tuple[str, ...]) -> None:
    made = job("+experiment=depth_loss", *network)
    _, terms = made.stylization.terms()
    assert list(terms) == ["content", "style", "style_main", "tv", "depth"]
    assert float(terms["depth"]) == pytest.approx(0, abs=1e-6)  # it starts from the content
    assert made.predict_depth is not None
    assert torch.equal(
        made.predict_depth(made.stylization.pastiche), made.images["depth_estimated"]
    )
    noise = job("+experiment=depth_loss", "init=noise", *network).stylization
    total, terms = noise.objective(noise.pastiche)
    assert terms["depth"] > 0.1
    total.backward()
    assert noise.pastiche.grad is not None


def test_depth_weight_null_is_no_term_and_0_is_only_reported() -> None:
    assert "depth" not in job("+experiment=naive").stylization.terms()[1]
    settings = ("+experiment=naive", "init=noise", *TINY_DEPTH)
    plain = job(*settings).stylization
    reported = job(*settings, "loss.depth.weight=0").stylization
    assert reported.terms()[1]["depth"] > 0
    assert float(reported.terms()[0]) == float(plain.terms()[0])


def test_depth_term_goes_with_masks() -> None:
    made = job("+experiment=masked_style", "loss.depth.weight=1e4", *TINY_DEPTH)
    assert {"mask_main", "depth", "depth_estimated"} < set(made.images)
    assert "depth" in made.stylization.terms()[1]


def test_seed_decides_the_noise() -> None:
    noise = [
        job("+experiment=naive", "init=noise", f"seed={s}").stylization.pastiche for s in (0, 0, 1)
    ]
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])


def test_init_from_a_picture(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (255, 0, 51)).save(tmp_path / "start.png")
    start = job("+experiment=naive", f"init={tmp_path}/start.png").stylization.pastiche
    assert torch.allclose(start[0, :, 5, 5], torch.tensor([1, 0, 0.2]))


BAD = [
    ("+foo=1", r"^foo: got an unknown key; expected "),
    ("+stesp=1", r"^stesp: got an unknown key; expected steps, perhaps"),
    ("+loss.style.wieght=1", r"^loss.style.wieght: .* expected weight, perhaps"),
    ("+mask.centre=1", r"^styles.main.mask.centre: got an unknown key; expected center, perhaps"),
    ("+styles.main.wieght=1", r"^styles.main.wieght: .* expected weight, perhaps"),
    ("steps=0", r"^steps: got 0; expected a whole number, 1 or more"),
    ("steps=ten", r"^steps: got 'ten'"),
    ("seed=-1", r"^seed: got -1"),
    ("log_every_n_steps=0", r"^log_every_n_steps: got 0"),
    ("size=-5", r"^size: got -5; expected a whole number of pixels"),
    ("size=12", r"^size: got a picture of 12 x 8 pixels; .* at least 16 pixels .* relu5_1"),
    ("style_size=60000", r"^style_size: got 60000 for a picture of 640 x 512 pixels, swirls; expe"),
    ("style_size=10", r"^style_size: got a picture of 10 x 8 pixels; .* relu5_1"),
    ("styles.main.scale=0.2", r"^styles.main.scale: got a picture of 10 x 8 pixels; .* relu5_1"),
    ("styles.main.scale=0", r"^styles.main.scale: got 0; expected a number above 0"),
    ("loss.style.layers=[relu6_1]", r"^loss.style.layers: got the layer 'relu6_1'; .*VGG-19"),
    ("loss.content.layers=[]", r"^loss.content.layers: got \[\]; expected a list"),
    ("loss.content.layers=[99]", r"^loss.content.layers: got the layer 99; .* from 0 to 36"),
    ("loss.style.layer_weights=[1,2]", r"^loss.style.layer_weights: got 2 numbers; .* 5 layers"),
    ("loss.content.weight=-1", r"^loss.content.weight: got -1; expected a number, 0 or more"),
    ("loss.style.weight=much", r"^loss.style.weight: got 'much'"),
    ("loss.style.normalizer=mean", r"^loss.style.normalizer: got 'mean'; .* mean_square, paper"),
    ("loss.tv.reduction=max", r"^loss.tv.reduction: got 'max'; expected one of sum, mean"),
    ("mask.center=2", r"^styles.main.mask.center: got 2; expected a number from 0 to 1"),
    ("mask.slope=-3", r"^styles.main.mask.slope: got -3; expected a number, 0 or more"),
    ("steps=1.5", r"^steps: got 1.5; expected a whole number"),
    ("mask.center=middle", r"^styles.main.mask.center: got 'middle'; expected a number"),
    ("mask._target_=src.masks.none", r"^styles.main.mask._target_: got 'src.masks.none'"),
    ("backbone._target_=src.nets.vgg", r"^backbone._target_: got 'src.nets.vgg'"),
    ("backbone.weights=none.bin", r"^backbone.weights: got no such file: none.bin"),
    ("backbone.pooling=mean", r"^backbone.pooling: got 'mean'; expected one of max, avg"),
    ("optimizer.lr=-1", r"^optimizer: got .*-1"),
    ("init=nose", r"^init: got 'nose'; expected content, noise, or a picture's path"),
    ("style=swirl", r"^style: got 'swirl'.*swirls"),
    ("styles.main.path=null", r"^styles.main.path: got nothing"),
    ("restart.step=5", r"^restart: got step 5, lr None"),
    ("loss.depth.weight=-1", r"^loss.depth.weight: got -1; expected a number, 0 or more"),
    ("loss.depth.gradient=yes", r"^loss.depth.gradient: got 'yes'"),
    ("loss.depth.mode=metric", r"^loss.depth.mode: got 'metric'; expected one of aligned, raw"),
    ("loss.depth.size=0", r"^loss.depth.size: got 0; expected a whole number, 1 or more"),
    ("tile_size=0", r"^tile_size: got 0; expected a whole number, 1 or more"),
    ("precision=half", r"^precision: got .half.; expected one of auto, float32, bfloat16"),
    (
        "optimizer.range_penalty_weight=-1",
        r"^optimizer.range_penalty_weight: got -1; expected a number, 0 or more",
    ),
    ("tile_size=small", r"^tile_size: got 'small'; expected a whole number"),
    ("optimizer.preconditioner_exponent=-1", r"^optimizer.preconditioner_exponent: got -1"),
    ("+loss.depth.wieght=1", r"^loss.depth.wieght: got an unknown key; expected weight, perhaps"),
    ("depth.source=embeded", r"^depth.source: got 'embeded'; expected one of auto, file, embed"),
    ("content=nobody.jpg", r"^content: got 'nobody.jpg'.*motorcycle"),
    ("pyramid=2", r"^pyramid: got 2; expected pyramid.KEY=VALUE"),
    ("+pyramid.lvels=2", r"^pyramid.lvels: got an unknown key; expected levels, perhaps"),
    ("pyramid.levels=0", r"^pyramid.levels: got 0; expected a whole number, 1 or more"),
    ("pyramid.levels=2.5", r"^pyramid.levels: got 2.5; expected a whole number"),
    ("pyramid.scale_factor=1", r"^pyramid.scale_factor: got 1; expected a number above 1"),
    ("pyramid.scale_factor=nan", r"^pyramid.scale_factor: got nan; expected a number above 1"),
    ("pyramid.residual=-1", r"^pyramid.residual: got -1; expected a number, 0 or more"),
    ("pyramid.residual=some", r"^pyramid.residual: got 'some'; expected a number, 0 or more"),
    (
        "pyramid.steps_per_level=0",
        r"^pyramid.steps_per_level: got 0; expected a whole number, 1 or more",
    ),
    (
        "pyramid.levels=2",
        r"^pyramid.steps_per_level: got 40 x 1 at smaller sizes; expected less than steps=3",
    ),
]


@pytest.mark.parametrize(("override", "message"), BAD, ids=[override for override, _ in BAD])
def test_what_cannot_be_used_is_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        job("+experiment=masked_style", override)
    assert "\n" not in str(caught.value)


TOO_SMALL = [
    (
        ("+experiment=naive", "pyramid.levels=3"),
        r"^pyramid.levels: got 3, for which the size 12 x 8 is too small \(size: a picture .* at "
        r"least 16 pixels for the layer relu5_1; or fewer levels, or a smaller pyramid.scale_",
    ),
    (
        ("+experiment=naive", "pyramid.levels=2", "size=96", "style_size=24"),
        r"^pyramid.levels: got 2, for which the size 48 x 32 is too small \(style_size: a picture",
    ),
    (
        ("+experiment=masked_style", "pyramid.levels=2", "mask=step", "mask.threshold=0.8"),
        r"^pyramid.levels: got 2, .*\(styles.main.mask: a mask that selects .* or fewer levels",
    ),
    (
        (
            *("+experiment=depth_loss", "pyramid.levels=4", *TINY_DEPTH),
            *("loss.style.layers=[relu1_1]", "loss.content.layers=[relu1_1]"),
        ),
        r"^pyramid.levels: got 4, for which the size 6 x 4 is too small .* least 8 pixels for tiny",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), TOO_SMALL)
def test_a_coarse_size_that_is_too_small_is_said(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        job("pyramid.steps_per_level=1", "steps=9", *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["content", "tv"])
def test_coarse_to_fine_needs_weights_that_mean_the_same_at_every_size(part: str) -> None:
    with pytest.raises(InputError, match=rf"^loss.{part}.reduction: got sum beside pyramid"):
        job(
            "+experiment=naive",
            f"loss.{part}.reduction=sum",
            "pyramid.levels=2",
            "pyramid.steps_per_level=1",
        )


def test_levels_end_with_the_objective_of_a_run_without_them() -> None:
    settings = ("+experiment=masked_style", "size=91", "loss.depth.weight=1", *TINY_DEPTH)
    plain, made = job(*settings), job(*settings, *PYRAMID)
    assert made.stylization.size_after(1) == (30, 46)
    assert made.stylization.size_after(2) == plain.stylization.pastiche.shape[-2:] == (61, 91)
    assert made.mask_border == plain.mask_border
    assert all(torch.equal(made.images[name], picture) for name, picture in plain.images.items())
    (last,) = made.stylization._levels
    noise = torch.rand(plain.stylization.pastiche.shape)
    total, terms = last.objective(noise)
    expected, expected_terms = plain.stylization.objective(noise)
    assert (float(total), terms) == (float(expected), expected_terms)


def test_coarse_objectives_are_of_the_same_pictures_made_smaller(photo: Path) -> None:
    made = job("+experiment=naive", f"content={photo}", f"style={photo}", *PYRAMID)
    start = made.stylization.pastiche
    assert torch.equal(start, resize(made.images["content"], 16, 24))
    _, terms = made.stylization.terms()
    assert terms["content"] == 0
    assert float(terms["style"]) == pytest.approx(0, abs=1e-6)


def test_coarse_depth_and_threshold_are_those_of_the_whole_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    @functools.wraps(masks.sigmoid)
    def spy(depth: torch.Tensor, center: float, slope: float, invert: bool) -> torch.Tensor:
        seen.append((depth, center))
        return torch.ones_like(depth)

    monkeypatch.setattr(masks, "sigmoid", spy)
    job("+experiment=masked_style", "size=64", *PYRAMID)
    (fine, threshold), (coarse, same_threshold) = seen
    assert same_threshold == threshold
    assert torch.equal(coarse, resize(fine, 22, 32))


def test_noise_and_a_given_picture_start_at_the_coarse_size(tmp_path: Path) -> None:
    noise = job("+experiment=naive", "init=noise", *PYRAMID).stylization.pastiche.detach()
    assert noise.shape == (1, 3, 16, 24)
    assert float(noise.std()) == pytest.approx(12**-0.5, rel=0.05)  # not made calmer
    Image.new("RGB", (30, 20), (255, 0, 51)).save(tmp_path / "start.png")
    start = job("+experiment=naive", f"init={tmp_path}/start.png", *PYRAMID).stylization.pastiche
    assert start.shape == (1, 3, 16, 24)


def test_the_photos_detail_comes_back_with_each_size(tmp_path: Path) -> None:
    made = job("+experiment=naive", "pyramid.residual=0.5", *PYRAMID)
    (level,) = made.stylization._levels
    content = made.images["content"]
    smaller = resize(content, 16, 24)
    lost = content - resize(smaller, 32, 48)
    painted = 0.25 + 0.5 * torch.rand(1, 3, 16, 24)
    expected = (resize(painted, 32, 48) + 0.5 * lost).clamp(0, 1)
    assert float(lost.std()) > 0.01
    assert torch.allclose(level.upsample(painted), expected, atol=1e-6)
    # The photo itself grows to what it was.
    (whole,) = job("+experiment=naive", *PYRAMID).stylization._levels
    assert torch.allclose(whole.upsample(smaller), content, atol=1e-6)
    # A start that is not the photo has its own detail, and noise none.
    save_png(torch.rand(1, 3, 32, 48), tmp_path / "start.png")
    (own,) = job("+experiment=naive", f"init={tmp_path}/start.png", *PYRAMID).stylization._levels
    assert own.laplacian_residual is not None
    assert not torch.equal(own.laplacian_residual, content)
    for setting in ("init=noise", "pyramid.residual=0"):
        (plain,) = job("+experiment=naive", setting, *PYRAMID).stylization._levels
        assert torch.equal(plain.upsample(painted), resize(painted, 32, 48))


def test_with_one_level_the_other_keys_of_levels_change_nothing() -> None:
    settings = ("+experiment=naive", "pyramid.scale_factor=3", "pyramid.steps_per_level=500")
    assert job(*settings).stylization.size_after(3) == (32, 48)
    one = config_hash(plain("+experiment=naive"))
    assert config_hash(plain(*settings)) == one
    three, two = (
        config_hash(
            plain("+experiment=naive", "pyramid.levels=2", f"pyramid.scale_factor={factor}")
        )
        for factor in (3, 2)
    )
    assert len({three, two, one}) == 3


def test_a_picture_too_small_for_the_depth_network_is_refused(photo: Path) -> None:
    Image.new("RGB", (96, 12)).save(photo)
    with pytest.raises(InputError, match=r"^size: got a picture of 48 x 6 .* at least 8 .* tiny"):
        job("+experiment=masked_style", f"content={photo}", *TINY_DEPTH)


def test_a_mask_that_selects_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"^styles.main.mask: got a mask that selects 0 of the"):
        job("+experiment=masked_style", "mask=uniform", "mask.invert=true")


def test_without_an_experiment_the_choice_is_listed() -> None:
    with pytest.raises(InputError, match=r"^experiment: got nothing; .*masked_style, naive"):
        resolve(compose())


def test_the_hash_ignores_what_cannot_change_the_pastiche() -> None:
    base = config_hash(plain("+experiment=naive"))
    assert base == config_hash(plain("+experiment=naive", "output_dir=x", "log_every_n_steps=5"))
    assert base != config_hash(plain("+experiment=naive", "seed=1"))
    assert base != config_hash(plain("+experiment=naive", "loss.style.weight=2"))


def test_a_sweeps_runs_are_told_apart_by_what_varies() -> None:
    config = plain("+experiment=masked_style")
    identity = run_metadata(
        config, ["+experiment=masked_style", "mask.slope=5", "tracking=off"], "2026-01-01"
    )
    assert identity.name == "mask.slope=5"
    assert identity.group == "masked_style/2026-01-01"
    assert identity.job_type == "sweep"
    assert "mask:sigmoid" in identity.tags
    assert run_metadata(config).name == "masked_style motorcycle"


def test_tags_name_the_masks_that_are_used() -> None:
    def tags(*overrides: str) -> set[str]:
        found = run_metadata(plain_values(compose(*overrides))).tags
        return {tag for tag in found if tag.startswith("mask:")}

    second = ("+styles.mid.path=ink", "+mask@styles.mid.mask=band")
    assert tags("+experiment=naive", *second) == {"mask:band"}
    assert tags("+experiment=masked_style", *second) == {"mask:band", "mask:sigmoid"}
    assert tags("+experiment=masked_content", "mask=step") == {"mask:step"}
    assert tags("+experiment=naive", "mask=step") == set()


def test_names_in_a_sweep_are_short() -> None:
    config = plain_values(compose("+experiment=masked_style"))
    varied = [
        "mask={_target_:src.masks.band,near:0.1,far:0.4}",
        "loss.style.weight=251751501.85907653",
        "loss.depth.weight=1.2345678e-05",
        "optimizer.lr=0.02",
        "+sweep=pareto",
        "resume=outputs/1",
    ]
    assert run_metadata(config, varied, "x").name == (
        "mask={band,near:0.1,far:0.4} loss.style.weight=2.518e+08 "
        "loss.depth.weight=1.235e-05 optimizer.lr=0.02"
    )


def checkpoint(pastiche: torch.Tensor, step: int) -> dict[str, Any]:
    """As much of one as is looked at before the run."""
    parts = {"optimizer_states": [{"state": {0: {}}}], "loops": {"fit_loop": {}}}
    return {"state_dict": {"pastiche": pastiche}, "global_step": step, **parts}


def test_a_checkpoint_must_fit(tmp_path: Path) -> None:
    made = job("+experiment=naive")
    with pytest.raises(InputError, match=r"^resume: got .*, where no checkpoint is"):
        checkpoints.find(str(tmp_path))
    file = tmp_path / "last.ckpt"
    file.write_bytes(b"no")
    with pytest.raises(InputError, match=r"^resume: got .* not a run's checkpoint"):
        checkpoints.check(file, made.stylization, 10)
    torch.save(checkpoint(torch.zeros(1, 3, 4, 5), 5), file)
    with pytest.raises(InputError, match=r"^resume: got a pastiche of 5 x 4 pixels; expected 48"):
        checkpoints.check(file, made.stylization, 10)
    state = checkpoint(torch.zeros(made.stylization.pastiche.shape), 5)
    torch.save(state, file)
    assert checkpoints.check(file, made.stylization, 6) == 5
    assert checkpoints.check(file, made.stylization, 5) == 5  # there is no picture yet
    (tmp_path / "pastiche.png").touch()
    for steps in (4, 5):
        with pytest.raises(InputError, match=rf"^steps: got {steps}; expected more than the 5 st"):
            checkpoints.check(file, made.stylization, steps)
    intruder = Intruder(tmp_path / "was_here")
    torch.save(state | {"callbacks": intruder}, file)
    with pytest.raises(InputError, match=r"^resume: got .* not a run's checkpoint"):
        checkpoints.check(file, made.stylization, 6)
    assert not intruder.victim.exists()


def optimizer_region(*overrides: str) -> torch.Tensor | None:
    found = job(*overrides).stylization.configure_optimizers()
    assert isinstance(found, LBFGS)
    return found._region


def test_the_optimizer_works_where_a_style_goes() -> None:
    assert optimizer_region("+experiment=naive") is None
    region = optimizer_region("+experiment=masked_style")
    mask = job("+experiment=masked_style").images["mask_main"]
    assert region is not None
    assert torch.allclose(region, mask, atol=1e-6)
    both = optimizer_region("+experiment=two_styles")  # shares of one whole
    assert both is not None
    assert torch.allclose(both, torch.ones_like(both), atol=1e-5)


def test_tiles_come_by_themselves_with_large_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiles(*overrides: str) -> int:
        return len(job("+experiment=naive", *overrides).stylization.objective._tiles)

    monkeypatch.setattr(jobs, "TILE_SIZE", 32)
    assert tiles() == 1
    monkeypatch.setattr(jobs, "MAX_UNTILED", 1)
    assert tiles("tile_size=null") == 1
    assert tiles() > 1


def test_a_depth_network_sees_a_small_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    inside = TinyDepthNet.disparity

    def disparity(self: TinyDepthNet, image: torch.Tensor, features: Any) -> torch.Tensor:
        sizes.append(tuple(image.shape[-2:]))
        return inside(self, image, features)

    monkeypatch.setattr(TinyDepthNet, "disparity", disparity)
    for given, side in (
        ("loss.depth.size=24", 24),
        ("tile_size=16", 48),
        ("tile_size=null", 48),
    ):
        sizes.clear()
        monkeypatch.setattr(terms, "DEPTH_BESIDE_TILES", 48)
        targets.disparity.cache_clear()
        made = job("+experiment=depth_loss", given, *TINY_DEPTH).stylization
        total, _ = made.objective(made.pastiche)
        total.backward()
        assert made.pastiche.grad is not None
        assert {max(size) for size in sizes} <= {side, 48}
        assert max(sizes[-1]) == side


def test_a_copy_too_small_for_the_depth_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"^loss.depth.size: got a picture of 4 x 3 pixels"):
        job("+experiment=depth_loss", "loss.depth.size=4", *TINY_DEPTH)


def test_a_checkpoint_must_have_the_size_of_its_step(tmp_path: Path) -> None:
    settings = ("+experiment=naive", "steps=9", "pyramid.levels=2", "pyramid.steps_per_level=4")
    made, file = job(*settings).stylization, tmp_path / "last.ckpt"
    coarse, fine = torch.zeros(1, 3, 16, 24), torch.zeros(1, 3, 32, 48)
    for step, right, wrong in ((3, coarse, fine), (4, coarse, fine), (5, fine, coarse)):
        torch.save(checkpoint(right, step), file)
        assert checkpoints.check(file, made, 9) == step
        torch.save(checkpoint(wrong, step), file)
        size = f"{right.shape[-1]} x {right.shape[-2]}, as .* levels make it after {step} steps"
        with pytest.raises(InputError, match=f"^resume: .* expected {size}"):
            checkpoints.check(file, made, 9)


@pytest.mark.parametrize(
    ("has", "accelerator", "gpu", "found"),
    [
        ({"avx512_bf16": True}, "auto", False, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "cpu", True, "bfloat16"),
        ({"avx2": True}, "auto", False, "float32"),
        ({"avx512_bf16": True}, "auto", True, "float32"),
        ({"avx512_bf16": True}, "gpu", True, "float32"),
    ],
)
def test_bfloat16_comes_by_itself_where_the_processor_is_made_for_it(
    has: dict[str, bool],
    accelerator: str,
    gpu: bool,
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    config = plain("+experiment=naive", f"trainer.accelerator={accelerator}")
    assert identity.precision("auto", accelerator) == found
    for name in identity.PRECISIONS:
        assert identity.precision(name, accelerator) == name
    assert config_hash(config) == config_hash({**config, "precision": found})
    other = "float32" if found == "bfloat16" else "bfloat16"
    assert config_hash(config) != config_hash({**config, "precision": other})


def test_a_run_in_bfloat16_compares_with_targets_in_bfloat16(photo: Path) -> None:
    """Else its rounding, a noise that the targets then lack, is most of the loss near them."""
    for precision in identity.PRECISIONS:
        given = ("+experiment=naive", f"content={photo}", f"style={photo}")
        stylization = job(*given, f"precision={precision}").stylization
        _, parts = stylization.objective(stylization.pastiche.detach())
        assert parts["content"] == 0
        assert parts["style"] < 1e-12


def test_jobs_of_one_process_share_no_targets_between_precisions() -> None:
    styles = {}
    for precision in (*identity.PRECISIONS, *identity.PRECISIONS):
        stylization = job("+experiment=naive", f"precision={precision}").stylization
        _, parts = stylization.objective(stylization.pastiche.detach())
        assert parts["content"] == 0
        assert styles.setdefault(precision, float(parts["style"])) == float(parts["style"])
    assert styles["bfloat16"] == pytest.approx(styles["float32"], rel=0.05)


def test_the_depth_of_masks_does_not_depend_on_the_precision(photo: Path) -> None:
    depths = [
        job("+experiment=masked_style", f"content={photo}", f"precision={precision}").images
        for precision in identity.PRECISIONS
    ]
    assert torch.equal(depths[0]["depth"], depths[1]["depth"])


EARLIER = {  # keys as release 0.4 had them
    "levels": {"count": 2, "factor": 1.2, "steps": 1, "detail": 0.5},
    "tile": 64,
    "log_every": 5,
    "picture_every": 7,
    "objectives": ["style"],
}


def earlier_configuration(tmp_path: Path, **changes: Any) -> Path:
    """config.yaml of a run of release 0.4, made of today's."""
    config = OmegaConf.to_container(compose(*SMALL, "+experiment=two_styles"), resolve=True)
    assert isinstance(config, dict)
    for key in legacy.RENAMED.values():
        config.pop(key, None)
    loss = config["loss"]
    for term in ("content", "style", "tv", "depth"):
        del loss[term]["_target_"]
    del loss["style"]["distance"]
    loss["mask_shares"] = not loss.pop("normalize_masks")
    loss["depth"] |= {"warmup": 0, "every": 1}
    optimizer = config["optimizer"]
    optimizer["smoothing"] = 2 * optimizer.pop("preconditioner_exponent")
    optimizer["range_penalty"] = 2 * optimizer.pop("range_penalty_weight")
    OmegaConf.save({**config, **EARLIER, **changes}, tmp_path / "config.yaml")
    return tmp_path


def upgraded(folder: Path, *overrides: str) -> Config:
    copy = folder / "copy"
    copy.mkdir()
    arguments = ["--config-path", str(folder), "--config-name", "config", *overrides]
    found = upgraded_arguments(arguments, copy)
    assert found == ["--config-path", str(copy), *arguments[2:]]
    with initialize_config_dir(str(copy), version_base="1.3"):
        return resolve(hydra_compose("config", list(overrides)))


def test_a_configuration_of_release_0_4_does_what_it_did(tmp_path: Path) -> None:
    config = upgraded(earlier_configuration(tmp_path))
    assert config.pyramid == Pyramid(2, 1.2, 1, 0.5)
    assert (config.tile_size, config.optimized_metric) == (64, ["style"])
    assert (config.log_every_n_steps, config.save_every_n_steps) == (5, 7)
    assert config.loss.normalize_masks is False
    assert config.optimizer["preconditioner_exponent"] == 2
    assert config.optimizer["range_penalty_weight"] == 200
    assert torch.isfinite(build(config).stylization.terms()[0])


def test_a_group_in_a_repeated_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"distance: got a group, which a repeated run does not"):
        upgraded(earlier_configuration(tmp_path), "+distance=gram")


def test_a_configuration_before_release_0_4_does_what_it_did(tmp_path: Path) -> None:
    folder = earlier_configuration(tmp_path)
    config = OmegaConf.load(folder / "config.yaml")
    del config["tile"], config["precision"], config["levels"], config["loss"]["depth"]["size"]
    OmegaConf.save(config, folder / "config.yaml")
    found = upgraded(folder)
    assert (found.precision, found.tile_size, found.pyramid.levels) == ("float32", None, 1)
    assert torch.isfinite(build(found).stylization.terms()[0])


def test_another_painting_or_mask_goes_where_that_of_the_repeated_run_went(tmp_path: Path) -> None:
    run = plain("+experiment=two_styles", "styles.near.path=swirls")
    OmegaConf.save(run, tmp_path / "config.yaml")
    found = upgraded(tmp_path, "style=ink", "mask.center=0.3")
    assert (found.styles["far"].path, found.styles["near"].path) == ("ink", "swirls")
    assert [style.mask and style.mask["center"] for style in found.styles.values()] == [0.3, 0.3]


def test_an_upgraded_configuration_is_upgraded_already(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(compose(*SMALL, "+experiment=naive")))
    assert upgraded(tmp_path) == composed("+experiment=naive")


def test_a_setting_that_no_release_has_any_more_is_refused(tmp_path: Path) -> None:
    folder = earlier_configuration(tmp_path, loss={"depth": {"every": 2}})
    with pytest.raises(InputError, match=r"^loss.depth.every: got 2; expected 1"):
        upgraded(folder)


@pytest.mark.parametrize(("old", "new"), legacy.RENAMED.items())
def test_an_old_key_on_the_command_line_names_the_new_one(
    old: str, new: str, tmp_path: Path
) -> None:
    for plus in ("", "+", "++"):
        with pytest.raises(InputError, match=rf"^{old}: got a key .*; expected {new}=VALUE"):
            upgraded_arguments([f"{plus}{old}=2"], tmp_path)


def term_weights(strength: float, *overrides: str) -> dict[str, float]:
    settings = ["loss.depth.weight=3", f"strength={strength}", *overrides]
    objective = job("+experiment=masked_style", *TINY_DEPTH, *settings).stylization.objective
    return {term.name: term.weight for term in objective._terms}


def test_strength_multiplies_weights_by_powers_of_its_odds() -> None:
    middle = term_weights(0.5)
    assert middle == {"content": 500, "style": 1e5, "tv": 1e5, "depth": 3}
    weak, strong = term_weights(0.2), term_weights(0.8)
    assert weak == {**middle, "style": pytest.approx(1e5 / 16), "tv": pytest.approx(1e5 / 16)}
    assert strong == {**middle, "content": pytest.approx(500 / 8)}
    assert term_weights(0) == {**middle, "style": 0, "tv": 0}
    assert term_weights(1) == {**middle, "content": 0}


def test_strength_0_leaves_the_photo_as_it_is() -> None:
    stylization = job("+experiment=naive", "strength=0").stylization
    before, optimizer = stylization.pastiche.detach().clone(), stylization.configure_optimizers()

    def closure() -> float:
        total, _ = stylization.objective(stylization.pastiche)
        stylization.pastiche.grad = torch.autograd.grad(total, stylization.pastiche)[0]
        return float(total.detach())

    optimizer.step(closure)
    assert torch.equal(stylization.pastiche, before)


@pytest.mark.parametrize("value", [-0.1, 1.1, "a lot"])
def test_strength_is_a_share(value: float | str) -> None:
    with pytest.raises(InputError) as refused:
        composed("+experiment=naive", f"strength={value}")
    assert str(refused.value) == f"strength: got {value!r}; expected a number from 0 to 1"


def test_the_weights_go_with_the_distance_but_for_the_papers() -> None:
    def found(*overrides: str) -> list[Any]:
        terms = plain("+experiment=naive", *overrides)["loss"]
        return [terms[name]["weight"] for name in ("content", "style", "tv")]

    assert found() == found("distance=wasserstein") == [500, 1e5, 1e5]
    assert found("distance=gram") == [100, 6.6e8, 1e6]
    assert found("loss=paper") == found("loss=paper", "distance=gram") == [0.06, 4, 0.393]
    assert found("distance=gram", "loss.tv.weight=7") == [100, 6.6e8, 7]


def test_a_scale_is_of_one_paintings_size() -> None:
    settings = ["style=swirls", "styles.near.scale=2", "styles.far.scale=0.75"]
    images = job("+experiment=two_styles", *settings).images
    assert max(images["style_near"].shape[-2:]) == 96
    assert max(images["style_far"].shape[-2:]) == 36


def test_whole_numbers_may_be_written_with_an_exponent() -> None:
    config = composed("+experiment=naive", "steps=1e3", "size=4.8e1", "tile_size=1e3")
    assert (config.steps, config.size, config.tile_size) == (1000, 48, 1000)
    assert [type(x) for x in (config.steps, config.size, config.tile_size)] == [int, int, int]
    assert composed("+experiment=naive", "strength=1.0").strength == 1.0


def test_a_mask_of_nearly_nothing_or_nearly_all_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    job("+experiment=masked_style", "mask=step", "mask.threshold=0.5")
    assert caplog.text == ""
    depth = job("+experiment=masked_style").images["depth"]
    half = f"styles.main.mask.threshold={float(depth.median()):.2f} would part it in halves"
    border = round(float(depth.quantile(0.05)), 3)
    share = 100 * float((depth >= border).float().mean())
    job("+experiment=masked_style", "mask=step", f"mask.threshold={border}")
    assert caplog.messages == [f"styles.main.mask selects {share:.1f} % of the picture; {half}"]
    caplog.clear()
    job("+experiment=masked_content", "mask.center=0.95", "mask.slope=200")
    assert caplog.messages[0].startswith("loss.content.mask selects ")
    caplog.clear()
    job("+experiment=masked_style", "mask=uniform")
    assert caplog.text == ""


@pytest.mark.parametrize(
    "typo", ["sise=3", "content=", "steps=none", "loss.tv.wieght=1", "size=-3"]
)
def test_a_typo_leaves_no_folder(typo: str, command: Command, tmp_path: Path) -> None:
    ran = command("+experiment=masked_style", typo, f"output_dir={tmp_path / 'out'}")
    assert ran.code == 1
    assert ran.err.startswith("error: ")
    assert not list((tmp_path / "out").glob("*"))


def test_of_a_folder_that_was_named_the_reason_stays(command: Command, tmp_path: Path) -> None:
    ran = command("+experiment=masked_style", "steps=none", f"hydra.run.dir={tmp_path / 'mine'}")
    assert ran.code == 1
    assert (tmp_path / "mine" / "FAILED").read_text().startswith("steps: got 'none'")


def test_a_mask_that_nothing_uses_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    for experiment in experiments():
        warn_of_idle(composed(f"+experiment={experiment}"))
    job("+experiment=masked_style", "mask=band")
    assert caplog.text == ""
    job("+experiment=naive", "mask=step")
    assert caplog.messages[0].startswith("mask: nothing in this run uses it; +experiment=masked_")


@pytest.mark.parametrize("key", ["content", "output_dir"])
def test_an_empty_path_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=f"^{key}: got nothing; expected a path"):
        composed("+experiment=naive", f"{key}=")
