"""Configurations: every option composes and builds; what cannot be used is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from src import checkpoints, jobs, masks, weights
from src import config as configuration
from src.backbones import chain
from src.config import CONF, config_hash, experiments, identify, resolve
from src.errors import InputError
from src.images import resize, save_png
from src.jobs import build
from src.optimizers import LBFGS
from src.weights import State
from tests import monodepth2_files
from tests.running import SMALL, TINY_DEPTH, TinyDepthNet, compose

GROUPS = {
    group: sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    for group in ("loss", "mask", "depth_net", "optimizer", "trainer", "tracking", "styles")
}


def composed(*overrides: str) -> dict[str, Any]:
    return resolve(compose(*SMALL, *overrides))


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
    masked = {name.removeprefix("mask_") for name in made.pictures if name.startswith("mask_")}
    expected = {"style": {"main"}, "content": {"content"}, "styles": {"near", "far"}}
    assert masked == expected.get(experiment.rpartition("_")[2] if "_" in experiment else "", set())


@pytest.mark.parametrize(
    ("group", "option"), [(g, o) for g, names in GROUPS.items() for o in names]
)
def test_every_option_of_every_group_builds(group: str, option: str) -> None:
    overrides = [f"{group}={option}"]
    if (group, option) == ("loss", "paper"):
        overrides.append("loss.style.layer_weights=null")
    experiment = "two_styles" if (group, option) == ("styles", "two") else "masked_style"
    assert torch.isfinite(job(f"+experiment={experiment}", *overrides).stylization.terms()[0])


@pytest.mark.usefixtures("offline_networks")
@pytest.mark.parametrize("backbone", sorted(p.stem for p in (CONF / "backbone").glob("*.yaml")))
def test_every_backbone_builds_with_its_own_layers(backbone: str) -> None:
    made = job("+experiment=masked_style", f"backbone={backbone}")
    assert torch.isfinite(made.stylization.terms()[0])


def test_the_papers_experiments_carry_the_papers_numbers() -> None:
    paper = resolve(compose("+experiment=paper_masked_style", "tracking=off"))
    assert (paper["short_side"], paper["style_short_side"], paper["steps"]) == (192, 224, 300)
    assert paper["loss"]["style"]["layer_weights"] == [200000, 800, 12, 1]
    assert paper["restart"]["step"] == 180
    assert paper["restart"]["lr"] / paper["optimizer"]["lr"] == pytest.approx(0.1 / 3, rel=2e-3)
    assert (paper["mask"]["center"], paper["mask"]["slope"]) == (0.8, 20)
    assert paper["mask"]["invert"] is True
    assert paper["loss"]["style"]["normalizer"] == "paper"
    assert paper["styles"]["main"]["mask"] == paper["mask"]


def test_size_wins_over_short_side_and_512_over_neither() -> None:
    both = job("+experiment=naive", "size=60", "short_side=48")
    assert both.stylization.pastiche.shape[-2:] == (40, 60)
    short = job("+experiment=naive", "size=null", "short_side=48")
    assert short.stylization.pastiche.shape[-2:] == (48, 71)


def test_style_fills_the_main_style() -> None:
    assert composed("+experiment=naive", "style=ink")["styles"]["main"]["path"] == "ink"


def test_two_styles_are_shares_of_one_whole() -> None:
    pictures = job("+experiment=two_styles", "mask=linear").pictures
    near, far = pictures["mask_near"], pictures["mask_far"]
    assert torch.allclose(near**2 + far**2, torch.ones_like(near))
    assert near[pictures["depth"] == 0].min() == 1
    assert far[pictures["depth"] == 1].min() == 1


def test_the_papers_two_masks_are_left_as_they_are() -> None:
    pictures = job("+experiment=two_styles", "mask=linear", "loss.mask_shares=false").pictures
    assert torch.allclose(pictures["mask_near"] + pictures["mask_far"], torch.ones(()))


def test_any_number_of_named_styles() -> None:
    made = job(
        "+experiment=two_styles",
        "+styles.mid.path=ink",
        "+styles.mid.weight=0.5",
        "+mask@styles.mid.mask=band",
    )
    assert {"style_near", "style_mid", "style_far"} < set(made.stylization.terms()[1])
    squares = sum(made.pictures[f"mask_{name}"] ** 2 for name in ("near", "mid", "far"))
    assert torch.allclose(squares, torch.ones_like(squares))


def test_auto_is_the_threshold_of_this_pictures_depth() -> None:
    made = job("+experiment=masked_style", "mask=step")
    assert 0.1 < made.found["auto"] < 0.9
    depth, mask = made.pictures["depth"], made.pictures["mask_main"]
    assert torch.equal(mask, (depth >= made.found["auto"]).float())


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
    depth = made.pictures["depth"]
    assert depth[..., :8].mean() < 0.2  # bright is near
    assert depth[..., -8:].mean() > 0.7
    assert (depth.min(), depth.max()) == (0, 1)
    assert 0 < made.found["auto"] < 1
    assert "depth_estimated" not in made.pictures  # no depth term

    def refuse(*_: object) -> None:
        raise AssertionError("estimated again")

    monkeypatch.setattr(TinyDepthNet, "disparity", refuse)
    again = job("+experiment=masked_style", f"content={photo}", *TINY_DEPTH)
    assert torch.equal(again.pictures["depth"], depth)
    with pytest.raises(AssertionError, match="estimated again"):  # another picture
        job("+experiment=masked_style", f"content={photo}", "size=40", *TINY_DEPTH)


def test_estimate_wins_over_the_depth_that_a_picture_carries() -> None:
    carried = job("+experiment=masked_style").pictures["depth"]
    estimated = job("+experiment=masked_style", "depth.source=estimate", *TINY_DEPTH)
    assert not torch.allclose(estimated.pictures["depth"], carried, atol=0.1)


@pytest.mark.parametrize("network", [TINY_DEPTH, (*TINY_DEPTH, "+depth_net.layer=relu1_1")])
def test_depth_term_compares_with_the_contents_own_depth(network: tuple[str, ...]) -> None:
    made = job("+experiment=depth_loss", *network)
    _, terms = made.stylization.terms()
    assert list(terms) == ["content", "style", "style_main", "depth", "tv"]
    assert float(terms["depth"]) == pytest.approx(0, abs=1e-6)  # it starts from the content
    assert made.look is not None
    assert torch.equal(made.look(made.stylization.pastiche), made.pictures["depth_estimated"])
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
    assert {"mask_main", "depth", "depth_estimated"} < set(made.pictures)
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
    ("+loss.style.nomalizer=1", r"^loss.style.nomalizer: .* expected normalizer, perhaps"),
    ("+mask.centre=1", r"^styles.main.mask.centre: got an unknown key; expected center, perhaps"),
    ("+styles.main.wieght=1", r"^styles.main.wieght: .* expected weight, perhaps"),
    ("steps=0", r"^steps: got 0; expected a whole number, 1 or more"),
    ("steps=ten", r"^steps: got 'ten'"),
    ("seed=-1", r"^seed: got -1"),
    ("log_every=0", r"^log_every: got 0"),
    ("size=-5", r"^size: got -5; expected a whole number of pixels"),
    ("size=12", r"^size: got a picture of 12 x 8 pixels; .* at least 16 pixels .* relu5_1"),
    ("style_size=10", r"^style_size: got a picture of 10 x 8 pixels; .* relu5_1"),
    ("loss.style.layers=[relu6_1]", r"^loss.style.layers: got the layer 'relu6_1'; .*VGG-19"),
    ("loss.content.layers=[]", r"^loss.content.layers: got \[\]; expected a list"),
    ("loss.content.layers=[99]", r"^loss.content.layers: got the layer 99; .* from 0 to 36"),
    ("loss.style.layer_weights=[1,2]", r"^loss.style.layer_weights: got 2 numbers; .* 5 layers"),
    ("loss.content.weight=-1", r"^loss.content.weight: got -1; expected a number, 0 or more"),
    ("loss.style.weight=much", r"^loss.style.weight: got 'much'"),
    ("loss.style.normalizer=mean", r"^loss.style.normalizer: got 'mean'; .* mean_square, paper"),
    ("loss.tv.reduction=max", r"^loss.tv.reduction: got 'max'; expected one of sum, mean"),
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
    ("loss.depth.warmup=-1", r"^loss.depth.warmup: got -1; expected a whole number, 0 or more"),
    ("loss.depth.every=0", r"^loss.depth.every: got 0; expected a whole number, 1 or more"),
    ("loss.depth.size=0", r"^loss.depth.size: got 0; expected a whole number, 1 or more"),
    ("tile=0", r"^tile: got 0; expected a whole number, 1 or more"),
    ("precision=half", r"^precision: got .half.; expected one of auto, float32, bfloat16"),
    (
        "optimizer.range_penalty=-1",
        r"^optimizer: got .* \(range_penalty: got -1; expected 0 or more\)",
    ),
    ("tile=small", r"^tile: got 'small'; expected a whole number"),
    ("optimizer.smoothing=-1", r"^optimizer: got .* \(smoothing: got -1; expected 0 or more\)"),
    ("loss.depth.every=2", r"^loss.depth.every: got 2; expected 1, or optimizer=adam"),
    ("+loss.depth.wieght=1", r"^loss.depth.wieght: got an unknown key; expected weight, perhaps"),
    ("depth.source=embeded", r"^depth.source: got 'embeded'; expected one of auto, file, embed"),
    ("content=nobody.jpg", r"^content: got 'nobody.jpg'.*motorcycle"),
    ("levels=2", r"^levels: got 2; expected levels.count=2"),
    ("+levels.cuont=2", r"^levels.cuont: got an unknown key; expected count, perhaps"),
    ("levels.count=0", r"^levels.count: got 0; expected a whole number, 1 or more"),
    ("levels.count=2.0", r"^levels.count: got 2.0; expected a whole number"),
    ("levels.factor=1", r"^levels.factor: got 1; expected a number above 1"),
    ("levels.factor=nan", r"^levels.factor: got nan; expected a number above 1"),
    ("levels.detail=-1", r"^levels.detail: got -1; expected a number, 0 or more"),
    ("levels.detail=some", r"^levels.detail: got 'some'; expected a number, 0 or more"),
    ("levels.steps=0", r"^levels.steps: got 0; expected a whole number, 1 or more"),
    ("levels.count=2", r"^levels.steps: got 40 x 1 at smaller sizes; expected less than steps=3"),
]


@pytest.mark.parametrize(("override", "message"), BAD, ids=[override for override, _ in BAD])
def test_what_cannot_be_used_is_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        job("+experiment=masked_style", override)
    assert "\n" not in str(caught.value)


TOO_SMALL = [
    (
        ("+experiment=naive", "levels.count=3"),
        r"^levels.count: got 3, for which the size 12 x 8 is too small \(size: a picture .* at "
        r"least 16 pixels for the layer relu5_1; or fewer levels, or a smaller levels.factor",
    ),
    (
        ("+experiment=naive", "levels.count=2", "size=96", "style_size=24"),
        r"^levels.count: got 2, for which the size 48 x 32 is too small \(style_size: a picture of",
    ),
    (
        ("+experiment=masked_style", "levels.count=2", "mask=step", "mask.threshold=0.8"),
        r"^levels.count: got 2, .*\(styles.main.mask: a mask that selects .* or fewer levels",
    ),
    (
        (
            *("+experiment=depth_loss", "levels.count=4", *TINY_DEPTH),
            *("loss.style.layers=[relu1_1]", "loss.content.layers=[relu1_1]"),
        ),
        r"^levels.count: got 4, for which the size 6 x 4 is too small .* least 8 pixels for tiny",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), TOO_SMALL)
def test_a_coarse_size_that_is_too_small_is_said(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        job("levels.steps=1", "steps=9", *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["content", "tv"])
def test_coarse_to_fine_needs_weights_that_mean_the_same_at_every_size(part: str) -> None:
    with pytest.raises(InputError, match=rf"^loss.{part}.reduction: got sum beside levels"):
        job("+experiment=naive", f"loss.{part}.reduction=sum", "levels.count=2", "levels.steps=1")


LEVELS = ("levels.count=2", "levels.steps=1")


def test_levels_end_with_the_objective_of_a_run_without_them() -> None:
    settings = ("+experiment=masked_style", "size=91", "loss.depth.weight=1", *TINY_DEPTH)
    plain, made = job(*settings), job(*settings, *LEVELS)
    assert made.stylization.size_after(1) == (30, 46)
    assert made.stylization.size_after(2) == plain.stylization.pastiche.shape[-2:] == (61, 91)
    assert made.found == plain.found
    assert all(
        torch.equal(made.pictures[name], picture) for name, picture in plain.pictures.items()
    )
    (last,) = made.stylization._finer
    noise = torch.rand(plain.stylization.pastiche.shape)
    total, terms = last.objective(noise)
    expected, expected_terms = plain.stylization.objective(noise)
    assert (float(total), terms) == (float(expected), expected_terms)


def test_coarse_objectives_are_of_the_same_pictures_made_smaller(photo: Path) -> None:
    made = job("+experiment=naive", f"content={photo}", f"style={photo}", *LEVELS)
    start = made.stylization.pastiche
    assert torch.equal(start, resize(made.pictures["content"], 16, 24))
    _, terms = made.stylization.terms()
    assert (terms["content"], terms["style"]) == (0, 0)


def test_coarse_depth_and_threshold_are_those_of_the_whole_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def spy(depth: torch.Tensor, center: float, slope: float, invert: bool) -> torch.Tensor:
        seen.append((depth, center))
        return torch.ones_like(depth)

    monkeypatch.setattr(masks, "sigmoid", spy)
    job("+experiment=masked_style", "size=64", *LEVELS)
    (fine, threshold), (coarse, same_threshold) = seen
    assert same_threshold == threshold
    assert torch.equal(coarse, resize(fine, 22, 32))


def test_noise_and_a_given_picture_start_at_the_coarse_size(tmp_path: Path) -> None:
    noise = job("+experiment=naive", "init=noise", *LEVELS).stylization.pastiche.detach()
    assert noise.shape == (1, 3, 16, 24)
    assert float(noise.std()) == pytest.approx(12**-0.5, rel=0.05)  # not made calmer
    Image.new("RGB", (30, 20), (255, 0, 51)).save(tmp_path / "start.png")
    start = job("+experiment=naive", f"init={tmp_path}/start.png", *LEVELS).stylization.pastiche
    assert start.shape == (1, 3, 16, 24)


def test_the_photos_detail_comes_back_with_each_size(tmp_path: Path) -> None:
    made = job("+experiment=naive", "levels.detail=0.5", *LEVELS)
    (level,) = made.stylization._finer
    content = made.pictures["content"]
    smaller = resize(content, 16, 24)
    lost = content - resize(smaller, 32, 48)
    painted = 0.25 + 0.5 * torch.rand(1, 3, 16, 24)
    expected = (resize(painted, 32, 48) + 0.5 * lost).clamp(0, 1)
    assert float(lost.std()) > 0.01
    assert torch.allclose(level.enlarged(painted), expected, atol=1e-6)
    # The photo itself grows to what it was.
    (whole,) = job("+experiment=naive", *LEVELS).stylization._finer
    assert torch.allclose(whole.enlarged(smaller), content, atol=1e-6)
    # A start that is not the photo has its own detail, and noise none.
    save_png(torch.rand(1, 3, 32, 48), tmp_path / "start.png")
    (own,) = job("+experiment=naive", f"init={tmp_path}/start.png", *LEVELS).stylization._finer
    assert own.detail is not None
    assert not torch.equal(own.detail, content)
    for setting in ("init=noise", "levels.detail=0"):
        (plain,) = job("+experiment=naive", setting, *LEVELS).stylization._finer
        assert torch.equal(plain.enlarged(painted), resize(painted, 32, 48))


def test_with_one_level_the_other_keys_of_levels_change_nothing() -> None:
    plain = composed("+experiment=naive")
    other = composed("+experiment=naive", "levels.factor=3", "levels.steps=500")
    assert build(other).stylization.size_after(3) == (32, 48)
    assert config_hash(other) == config_hash(plain)
    three, two = (
        config_hash(composed("+experiment=naive", "levels.count=2", f"levels.factor={factor}"))
        for factor in (3, 2)
    )
    assert len({three, two, config_hash(plain)}) == 3


def test_a_picture_too_small_for_the_depth_network_is_refused(photo: Path) -> None:
    Image.new("RGB", (96, 12)).save(photo)
    with pytest.raises(InputError, match=r"^size: got a picture of 48 x 6 .* at least 8 .* tiny"):
        job("+experiment=masked_style", f"content={photo}", *TINY_DEPTH)


def test_a_mask_that_selects_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"^styles.main.mask: got a mask that selects 0 of the"):
        job("+experiment=masked_style", "mask=step", "mask.threshold=1.5")


def test_without_an_experiment_the_choice_is_listed() -> None:
    with pytest.raises(InputError, match=r"^experiment: got nothing; .*masked_style, naive"):
        resolve(compose())


def test_the_hash_ignores_what_cannot_change_the_pastiche() -> None:
    base = config_hash(composed("+experiment=naive"))
    assert base == config_hash(composed("+experiment=naive", "output_dir=x", "log_every=5"))
    assert base != config_hash(composed("+experiment=naive", "seed=1"))
    assert base != config_hash(composed("+experiment=naive", "loss.style.weight=2"))


def test_a_sweeps_runs_are_told_apart_by_what_varies() -> None:
    config = composed("+experiment=masked_style")
    identity = identify(
        config, ["+experiment=masked_style", "mask.slope=5", "tracking=off"], "2026-01-01"
    )
    assert identity.name == "mask.slope=5"
    assert identity.group == "masked_style/2026-01-01"
    assert identity.job_type == "sweep"
    assert "mask:sigmoid" in identity.tags
    assert identify(config).name == "masked_style motorcycle"


def test_tags_name_the_masks_that_are_used() -> None:
    def tags(*overrides: str) -> set[str]:
        found = identify(resolve(compose(*overrides))).tags
        return {tag for tag in found if tag.startswith("mask:")}

    second = ("+styles.mid.path=ink", "+mask@styles.mid.mask=band")
    assert tags("+experiment=naive", *second) == {"mask:band"}
    assert tags("+experiment=masked_style", *second) == {"mask:band", "mask:sigmoid"}
    assert tags("+experiment=masked_content", "mask=step") == {"mask:step"}
    assert tags("+experiment=naive", "mask=step") == set()


def test_names_in_a_sweep_are_short() -> None:
    config = resolve(compose("+experiment=masked_style"))
    varied = [
        "mask={_target_:src.masks.band,near:0.1,far:0.4}",
        "loss.style.weight=251751501.85907653",
        "loss.depth.weight=1.2345678e-05",
        "optimizer.lr=0.02",
        "+sweep=pareto",
        "resume=outputs/1",
    ]
    assert identify(config, varied, "x").name == (
        "mask={band,near:0.1,far:0.4} loss.style.weight=2.518e+08 "
        "loss.depth.weight=1.235e-05 optimizer.lr=0.02"
    )


def test_a_checkpoint_must_fit(tmp_path: Path) -> None:
    made = job("+experiment=naive")
    with pytest.raises(InputError, match=r"^resume: got .*, where no checkpoint is"):
        checkpoints.find(str(tmp_path))
    file = tmp_path / "last.ckpt"
    file.write_bytes(b"no")
    with pytest.raises(InputError, match=r"^resume: got .* not a run's checkpoint"):
        checkpoints.check(file, made.stylization, 10)
    torch.save({"state_dict": {"pastiche": torch.zeros(1, 3, 4, 5)}, "global_step": 5}, file)
    with pytest.raises(InputError, match=r"^resume: got a pastiche of 5 x 4 pixels; expected 48"):
        checkpoints.check(file, made.stylization, 10)
    state = {"pastiche": torch.zeros(made.stylization.pastiche.shape)}
    torch.save({"state_dict": state, "global_step": 5}, file)
    with pytest.raises(InputError, match=r"^steps: got 5; expected more than the 5 steps"):
        checkpoints.check(file, made.stylization, 5)
    assert checkpoints.check(file, made.stylization, 6) == 5


def optimizer_where(*overrides: str) -> torch.Tensor | None:
    found = job(*overrides).stylization.configure_optimizers()
    assert isinstance(found, LBFGS)
    return found._where


def test_the_optimizer_smooths_where_a_style_goes() -> None:
    assert optimizer_where("+experiment=naive") is None
    where = optimizer_where("+experiment=masked_style")
    mask = job("+experiment=masked_style").pictures["mask_main"]
    assert where is not None
    assert torch.allclose(where, mask, atol=1e-6)
    both = optimizer_where("+experiment=two_styles")  # shares of one whole
    assert both is not None
    assert torch.allclose(both, torch.ones_like(both), atol=1e-5)


def test_tiles_come_by_themselves_with_large_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = []
    monkeypatch.setattr(jobs, "TILE", 32)
    inside = jobs.cut
    monkeypatch.setattr(
        jobs, "cut", lambda *given: cuts.append(len(inside(*given))) or inside(*given)
    )
    job("+experiment=naive")
    assert set(cuts) == {1}
    monkeypatch.setattr(jobs, "LARGEST_AT_ONCE", 1)
    cuts.clear()
    job("+experiment=naive", "tile=null")
    assert set(cuts) == {1}
    cuts.clear()
    job("+experiment=naive")
    assert min(cuts) > 1


def test_a_depth_network_sees_a_small_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    inside = TinyDepthNet.disparity

    def disparity(self: TinyDepthNet, image: torch.Tensor, features: Any) -> torch.Tensor:
        sizes.append(tuple(image.shape[-2:]))
        return inside(self, image, features)

    monkeypatch.setattr(TinyDepthNet, "disparity", disparity)
    for given, side in (("loss.depth.size=24", 24), ("tile=16", 48), ("tile=null", 48)):
        sizes.clear()
        monkeypatch.setattr(jobs, "DEPTH_BESIDE_TILES", 48)
        jobs.SHARED.clear()
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
    settings = ("+experiment=naive", "steps=9", "levels.count=2", "levels.steps=4")
    made, file = job(*settings).stylization, tmp_path / "last.ckpt"
    coarse, fine = torch.zeros(1, 3, 16, 24), torch.zeros(1, 3, 32, 48)
    for step, right, wrong in ((3, coarse, fine), (4, coarse, fine), (5, fine, coarse)):
        torch.save({"state_dict": {"pastiche": right}, "global_step": step}, file)
        assert checkpoints.check(file, made, 9) == step
        torch.save({"state_dict": {"pastiche": wrong}, "global_step": step}, file)
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
    config = composed("+experiment=naive", f"trainer.accelerator={accelerator}")
    assert configuration.precision(config) == found
    for name in configuration.PRECISIONS:
        assert configuration.precision({**config, "precision": name}) == name
    assert config_hash(config) == config_hash({**config, "precision": found})
    other = "float32" if found == "bfloat16" else "bfloat16"
    assert config_hash(config) != config_hash({**config, "precision": other})


def test_a_run_in_bfloat16_compares_with_targets_in_bfloat16(photo: Path) -> None:
    """Else its rounding, a noise that the targets then lack, is most of the loss near them."""
    for precision in configuration.PRECISIONS:
        given = ("+experiment=naive", f"content={photo}", f"style={photo}")
        stylization = job(*given, f"precision={precision}").stylization
        _, parts = stylization.objective(stylization.pastiche.detach())
        assert parts["content"] == 0
        assert parts["style"] < 1e-12


def test_jobs_of_one_process_share_no_targets_between_precisions() -> None:
    styles = {}
    for precision in (*configuration.PRECISIONS, *configuration.PRECISIONS):
        stylization = job("+experiment=naive", f"precision={precision}").stylization
        _, parts = stylization.objective(stylization.pastiche.detach())
        assert parts["content"] == 0
        assert styles.setdefault(precision, float(parts["style"])) == float(parts["style"])
    assert styles["bfloat16"] == pytest.approx(styles["float32"], rel=0.05)


def test_the_depth_of_masks_does_not_depend_on_the_precision(photo: Path) -> None:
    depths = [
        job("+experiment=masked_style", f"content={photo}", f"precision={precision}").pictures
        for precision in configuration.PRECISIONS
    ]
    assert torch.equal(depths[0]["depth"], depths[1]["depth"])


def test_configurations_of_earlier_releases_do_what_they_did() -> None:
    cfg = compose("+experiment=naive", *SMALL)
    OmegaConf.set_struct(cfg, False)
    del cfg["tile"], cfg["precision"], cfg["levels"], cfg["loss"]["depth"]["size"]
    found = resolve(cfg)
    assert configuration.precision(found) == "float32"
    assert found["tile"] is None
    without = {key: found[key] for key in found.keys() - {"tile", "precision", "levels"}}
    assert config_hash(without) == config_hash(found)
    assert found["levels"]["count"] == 1
    assert build(found).stylization.objective is not None
    assert resolve(compose("+experiment=naive", "tile=64", "precision=auto"))["tile"] == 64
