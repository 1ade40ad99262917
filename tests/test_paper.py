"""The paper, claim by claim: verdicts on made-up numbers, measurements by hand, the report."""

import json
import re
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from src import config as configuration
from src import jobs
from src.backbones import vgg19
from src.errors import InputError
from src.evaluate import benchmark
from src.images import save_png
from src.inputs import Scene
from src.jobs import depth_network
from src.paper import __main__ as command
from src.paper import figures, measure, page, plan, timing
from src.paper.claims import CLAIMS, VERDICTS, Verdict, decide
from src.paper.measure import Part, Unmeasurable, gather
from src.paper.plan import Choice, Scale, Setting
from src.runs import Run
from tests.fake_runs import fake_run
from tests.running import tiny_backbone

NASTY = """</script><script>alert(1)</script> "quoted" <b>&amp; ünï"""
SMALL = Scale(short_side=48, steps=3, samples=3, rounds=1)

# With these every claim that can hold does.
GOOD: dict[str, float] = {
    "steps": 300,
    "short_side": 192,
    "naive_step_seconds": 0.1,
    "total_naive": 3195,
    "total_masked_style": 3353,
    "total_masked_content": 2911,
    "shape_masked_style": 0.99,
    "shape_masked_content": 0.98,
    "fall_naive": 0.01,
    "fall_masked_style": 0.01,
    "fall_masked_content": 0.02,
    "style_mask_overhead": 0.0132,
    "content_mask_overhead": 0.0168,
    "style_mask_step_overhead": 0.01,
    "content_mask_step_overhead": 0.01,
    "mask_samples": 300,
    "style_where_masked": 0.1,
    "content_where_masked": -0.1,
    "masked_share": 0.06,
    "content_distance_ratio": 0.5,
    "style_distance_ratio": 0.9,
    "far_to_far": 1.0,
    "far_to_near": 2.0,
    "near_to_near": 1.0,
    "near_to_far": 2.0,
    "gram_of_ones_off": 0.0,
    "inflation_half": 1.01,
    "inflation_quarter": 0.99,
    "mean_square_half": 1.0,
    "mean_square_quarter": 1.0,
    "share_half": 0.5,
    "share_quarter": 0.25,
    "undecided_share": 0.05,
    "otsu_agreement": 0.95,
    "photos": 1,
    "depth_settings_differ": 0,
    "depth_with": 0.1,
    "depth_without": 0.2,
    "depth_most": 0.05,
    "depth_total": 10000,
    "depth_steps": 300,
    "rises_with": 0.05,
    "rises_without": 0.01,
    "settled_with": 250,
    "settled_without": 150,
    "monodepth2_over_naive": 75.6,
    "depth_head_over_naive": 1.1,
    "naive_depth_seconds": 0.1,
    "near_over_far_with": 1.5,
    "near_over_far_without": 1.0,
    "detail_with": 0.3,
    "detail_without": 0.6,
    "outside_range": 0,
    "depth_span": 1.0,
    "masks_fit": 1,
    "mask_difference": 0.02,
    "experiments": 5,
    "experiments_as_said": 5,
    "runs_as_said": 5,
}
NEVER = {"C1", "C5"}  # times and totals of other machines and photos

# ---------------------------------------------------------------- verdicts


def test_every_claim_that_can_hold_holds() -> None:
    verdicts = decide(GOOD, {})
    assert [*verdicts] == [f"C{i}" for i in range(1, 19)]
    for key, verdict in verdicts.items():
        assert verdict.verdict == ("untestable" if key in NEVER else "holds"), key
        assert verdict.paper
        assert verdict.measured
        assert verdict.why


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("C2", {"total_masked_style": 3100}),
        ("C2", {"total_masked_content": 3200}),
        ("C3", {"shape_masked_content": 0.9}),
        ("C3", {"fall_masked_style": 0.06}),
        ("C4", {"style_mask_overhead": 0.051}),
        ("C4", {"content_mask_overhead": 0.3}),
        ("C6", {"style_where_masked": 0.26}),
        ("C6", {"content_where_masked": 0.5}),
        ("C7", {"content_distance_ratio": 1.1}),
        ("C7", {"style_distance_ratio": 1.1}),
        ("C8", {"far_to_far": 2.1}),
        ("C8", {"near_to_near": 2.1}),
        ("C9", {"gram_of_ones_off": 1e-7}),
        ("C10", {"inflation_half": 2.0}),
        ("C10", {"inflation_quarter": 0.9}),
        ("C11", {"undecided_share": 0.2}),
        ("C11", {"otsu_agreement": 0.8}),
        ("C12", {"depth_with": 0.3}),
        ("C12", {"depth_settings_differ": 1}),
        ("C13", {"rises_with": 0.012}),
        ("C13", {"settled_with": 150}),
        ("C14", {"monodepth2_over_naive": 2.5}),
        ("C15", {"near_over_far_with": 1.0}),
        ("C16", {"detail_with": 0.58}),
        ("C17", {"outside_range": 2}),
        ("C17", {"depth_span": 0.5}),
        ("C17", {"masks_fit": 0}),
        ("C18", {"experiments_as_said": 4}),
    ],
)
def test_every_claim_can_fail_alone(claim: str, change: dict[str, float]) -> None:
    before, after = decide(GOOD, {}), decide({**GOOD, **change}, {})
    assert after[claim].verdict == "fails"
    assert after[claim].why != before[claim].why
    changed = {key for key in before if before[key].verdict != after[key].verdict}
    assert changed == {claim}


@pytest.mark.parametrize(
    ("claim", "change", "why"),
    [
        ("C2", {"steps": 60, "fall_naive": 0.2}, "after 60 of 300 steps"),
        ("C3", {"steps": 60, "fall_naive": 0.2}, "60 steps are fewer than 300"),
        ("C6", {"steps": 60, "fall_naive": 0.2}, "without --quick"),
        ("C7", {"steps": 60, "fall_naive": 0.2}, "without --quick"),
        ("C13", {"depth_steps": 60, "settled_without": 58}, "60 steps are too few"),
        ("C16", {"detail_without": 0.05}, "none of that detail to lose"),
        ("C18", {"runs_as_said": 4}, "weights are not on this machine"),
    ],
)
def test_what_cannot_be_told_says_why(claim: str, change: dict[str, float], why: str) -> None:
    verdict = decide({**GOOD, **change}, {})[claim]
    assert verdict.verdict == "untestable"
    assert why in verdict.why


def test_short_runs_that_have_settled_decide() -> None:
    assert decide({**GOOD, "steps": 60}, {})["C2"].verdict == "holds"


def test_numbers_that_are_not_there_make_a_claim_untestable() -> None:
    numbers = {name: value for name, value in GOOD.items() if name != "near_to_far"}
    numbers["detail_with"] = float("nan")
    verdicts = decide(numbers, {"near_to_far": "the run two_styles failed: no mask"})
    assert verdicts["C8"] == Verdict(
        CLAIMS["C8"].paper, "nothing", "untestable", "the run two_styles failed: no mask"
    )
    assert verdicts["C16"].why == "detail_with was not measured"
    assert verdicts["C7"].verdict == "holds"


# ---------------------------------------------------------------- measuring


def test_curves_by_hand() -> None:
    assert measure.rises([8, 4, 2, 1]) == 0
    e = 2.718281828459045
    assert measure.rises([1, e, 1]) == pytest.approx(0.5)
    assert measure.rises([1, 100, *[1] * 18]) == 0  # the first tenth is left out
    assert measure.settled([100, 50, 11, 10, 10]) == 2
    assert measure.settled([10, 10]) == 0
    assert measure.settled([10, 5, 10]) == 2
    assert measure.fall([*[5] * 9, 2, 1]) == pytest.approx(1)
    assert measure.likeness([1, 10, 100], [2, 20, 200]) == pytest.approx(1)
    assert measure.likeness([1, 10, 100], [100, 10, 1]) == pytest.approx(-1)


def test_numbers_of_runs(tmp_path: Path) -> None:
    runs = [Run(fake_run(tmp_path / name)) for name in "abc"]
    for run, factor in zip(runs, (1, 1.5, 0.5), strict=True):
        summary = json.loads((run.path / "summary.json").read_text())
        summary |= {"total": 10 * factor, "size": [16, 24]}
        (run.path / "summary.json").write_text(json.dumps(summary))
        rows = [f"{step},{factor * value}" for step, value in ((0, 40), (10, 20), (20, 10))]
        (run.path / "terms.csv").write_text("\n".join(["step,total", *rows]) + "\n")
    found = measure.curves(*runs)
    assert found["total_masked_style"] == 15
    assert found["total_masked_content"] == 5
    assert found["shape_masked_content"] == pytest.approx(1)
    assert found["fall_naive"] == 0
    assert (found["short_side"], found["steps"], found["naive_step_seconds"]) == (16, 20, 0.25)
    assert set(found) >= {n for key in ("C1", "C2", "C3", "C5") for n in CLAIMS[key].needs}


def picture_run(path: Path, pastiche: torch.Tensor, **inputs: torch.Tensor) -> Run:
    """A run with these pictures."""
    fake_run(path)
    for file in (path / "inputs").iterdir():
        file.unlink()
    save_png(pastiche, path / "pastiche.png")
    for name, image in inputs.items():
        save_png(image, path / "inputs" / f"{name}.png")
    return Run(path)


@pytest.fixture(scope="module")
def two() -> dict[str, torch.Tensor]:
    """A photo and a painting of different texture, and a mask that is 0 on the right."""
    generator = torch.Generator().manual_seed(1)
    down = torch.linspace(0, 1, 64)[:, None].expand(64, 64)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    stripes = (torch.arange(64) % 8 < 4).float().expand(64, 64)
    noise = torch.rand(1, 3, 64, 64, generator=generator)
    return {"photo": torch.stack([down, down, stripes])[None], "painting": noise, "mask": mask}


def test_obedience_of_pastiches_that_obey_and_that_do_not(
    tmp_path: Path, two: dict[str, torch.Tensor]
) -> None:
    photo, painting, mask = two["photo"], two["painting"], two["mask"]
    inputs = {"content": photo, "style_main": painting}
    naive = picture_run(tmp_path / "naive", (photo + painting) / 2, **inputs)
    half = (photo + painting) / 2
    styled, kept = mask * half + (1 - mask) * photo, mask * half + (1 - mask) * painting
    obeys = measure.obedience(vgg19())(
        naive,
        picture_run(tmp_path / "style", styled, mask_main=mask, **inputs),
        picture_run(tmp_path / "content", kept, mask_content=mask, **inputs),
    )
    assert obeys["masked_share"] == 0.5
    assert abs(obeys["style_where_masked"]) < 0.1
    assert abs(obeys["content_where_masked"]) < 0.1
    assert obeys["content_distance_ratio"] < 0.2
    assert obeys["style_distance_ratio"] < 0.5
    unmoved = measure.obedience(vgg19())(
        naive,
        picture_run(tmp_path / "style2", half, mask_main=mask, **inputs),
        picture_run(tmp_path / "content2", half, mask_content=mask, **inputs),
    )
    assert unmoved["style_where_masked"] == pytest.approx(1)
    assert unmoved["content_where_masked"] == pytest.approx(1)
    assert unmoved["content_distance_ratio"] == pytest.approx(1)
    with pytest.raises(Unmeasurable, match="too little to measure"):
        measure.obedience(vgg19())(
            naive,
            picture_run(tmp_path / "style3", half, mask_main=torch.ones_like(mask), **inputs),
            picture_run(tmp_path / "content3", half, mask_content=mask, **inputs),
        )


def test_two_styles_in_their_places_and_exchanged(
    tmp_path: Path, two: dict[str, torch.Tensor]
) -> None:
    far, near, mask = two["photo"], two["painting"], two["mask"]
    inputs = {"content": far, "style_far": far, "style_near": near}
    inputs |= {"mask_far": mask, "mask_near": 1 - mask}
    right = mask * far + (1 - mask) * near
    measured = measure.two_styles(vgg19())
    found = measured(picture_run(tmp_path / "a", right, **inputs))
    assert found["far_to_far"] < found["far_to_near"] / 2
    assert found["near_to_near"] < found["near_to_far"] / 2
    wrong = measured(picture_run(tmp_path / "b", mask * near + (1 - mask) * far, **inputs))
    assert wrong["far_to_far"] > wrong["far_to_near"]
    with pytest.raises(Unmeasurable, match="no style or mask far and near"):
        measured(picture_run(tmp_path / "c", right, content=far, style_main=far))


def scene(depth: torch.Tensor) -> Scene:
    image = torch.rand(1, 3, *depth.shape[-2:])
    return Scene(image, depth, torch.ones_like(depth, dtype=torch.bool), None, "made up")


def test_eta_on_a_half_and_a_quarter() -> None:
    depth = torch.arange(1024.0).view(1, 1, 32, 32) / 1023
    found = measure.gram_facts(tiny_backbone(), ["relu1", "relu2"], scene(depth))
    assert found["gram_of_ones_off"] == 0
    assert found["share_half"] == pytest.approx(0.5)
    assert found["inflation_half"] == pytest.approx(2, rel=1e-4)
    assert found["inflation_quarter"] == pytest.approx(4, rel=1e-4)
    assert found["mean_square_quarter"] == pytest.approx(1, rel=1e-4)


def test_separation_of_two_walls_and_of_a_slope() -> None:
    walls = torch.zeros(1, 1, 32, 32)
    walls[..., 16:] = 1
    found = measure.separation([scene(walls)])
    assert found == {"photos": 1, "undecided_share": 0, "otsu_agreement": 1}
    slope = torch.linspace(0, 1, 1000).view(1, 1, 10, 100)
    # sigma is between 0.1 and 0.9 where |d - 0.5| < ln(9) / 20 = 0.11.
    found = measure.separation([scene(slope)])
    assert found["undecided_share"] == pytest.approx(0.22, abs=0.005)
    near = torch.where(torch.arange(32) < 30, 0.1, 0.3).expand(1, 1, 32, 32).contiguous()
    assert measure.separation([scene(near)])["otsu_agreement"] == pytest.approx(30 / 32)


def test_detail_that_depth_does_not_show(tmp_path: Path, two: dict[str, torch.Tensor]) -> None:
    photo = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    flat = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(1, 1, 64, 64)
    inputs = {"content": photo, "style_main": two["painting"], "depth": flat}
    same = picture_run(tmp_path / "same", photo, **inputs)
    gone = picture_run(tmp_path / "gone", two["painting"], **inputs)
    found = measure.flat_detail(same, gone)
    assert found["detail_without"] == pytest.approx(1, abs=1e-3)
    assert abs(found["detail_with"]) < 0.3
    sharp = measure.sharpness(same, gone)
    assert sharp["near_over_far_without"] == pytest.approx(1, abs=1e-3)


def test_ranges_and_masks_at_layers() -> None:
    found = measure.ranges(tiny_backbone(), ["relu1", "relu2"], scene(torch.eye(32)[None, None]))
    assert (found["outside_range"], found["depth_span"], found["masks_fit"]) == (0, 1, 1)
    deep = scene(torch.full((1, 1, 32, 32), 1.5))
    assert measure.ranges(tiny_backbone(), ["relu1"], deep)["outside_range"] == 32 * 32


def setting(masks: str = "vgg19", depth: str = "vgg19", net: str = "vgg_head") -> Setting:
    return Setting(
        SMALL,
        {"motorcycle": {"content": "motorcycle"}},
        Choice("the_scream", "swirls", "not here"),
        Choice("starry_night", "mosaic", "not here"),
        Choice("squeezenet", masks, "not here"),
        Choice("vgg16", depth, "not here"),
        Choice("monodepth2", net, "not here"),
    )


def test_the_experiments_have_the_papers_settings() -> None:
    assert measure.depth_settings() == {"depth_settings_differ": 0}
    assert measure.networks(setting("squeezenet", "vgg16"))["runs_as_said"] == 5
    assert measure.networks(setting("squeezenet_caffe", "vgg19"))["runs_as_said"] == 4
    found = measure.networks(setting("vgg19", "vgg19"))
    assert found == {"experiments": 5, "experiments_as_said": 5, "runs_as_said": 0}


def test_gathering_says_what_is_missing(tmp_path: Path) -> None:
    def fails(run: Run) -> Mapping[str, float]:
        raise Unmeasurable("nothing of it is near")

    run = Run(fake_run(tmp_path / "a"))
    parts = [
        Part(["a"], (), lambda: {"a": 1.0}),
        Part(["b", "c"], ("gone",), lambda run: {"b": 1.0}),
        Part(["d"], ("there",), fails),
        Part(["e"], ("there",), lambda run: {"e": run.summary["nothing"]}),
        Part(["step_time", "g"], (), lambda: {"step_time": float("nan"), "g": 2.0}),
    ]
    numbers, reasons = gather(parts, {"there": run}, {"gone": "the run gone failed: x"})
    assert numbers == {"a": 1.0, "g": 2.0}
    assert reasons["step_time"] == "these runs give no step time"
    assert reasons["b"] == reasons["c"] == "the run gone failed: x"
    assert reasons["d"] == "nothing of it is near"
    assert "nothing" in reasons["e"]


# ---------------------------------------------------------------- times


def test_in_turn_goes_there_and_back() -> None:
    seen: list[str] = []
    work = {name: (lambda name=name: seen.append(name)) for name in "ab"}
    seconds = timing.in_turn(work, 2)
    assert "".join(seen) == "abbaabbaab"
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_masked_losses_are_timed() -> None:
    mask = torch.rand(1, 1, 32, 32)
    layers = {"content": ["relu1"], "style": ["relu1", "relu2"]}
    found = timing.of_masks(tiny_backbone(), layers, torch.rand(1, 3, 32, 32), mask, 5)
    assert found["mask_samples"] == 5
    assert found["style_mask_overhead"] > -1
    assert found["content_ms"] > 0


def test_times_are_kept_for_the_same_settings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(timing, "of_masks", lambda *_: calls.append(1) or {"a": 1.0})
    monkeypatch.setattr(timing, "of_steps", lambda *_: {"b": 2.0})
    image, mask = torch.rand(1, 3, 48, 48), torch.rand(1, 1, 48, 48)
    for photo, count in (("motorcycle", 1), ("motorcycle", 1), ("other", 2)):
        found = timing.measured(tmp_path, setting(), {"content": photo}, image, mask)
        assert found == {"a": 1.0, "b": 2.0}
        assert len(calls) == count
    (tmp_path / timing.FILE).write_text("{")
    timing.measured(tmp_path, setting(), {"content": "other"}, image, mask)
    assert len(calls) == 3


# ---------------------------------------------------------------- the plan


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what ships is there, and nothing is asked of a network."""

    def network(config: Mapping[str, Any]) -> Any:
        name = config["backbone"]["_target_"].rpartition(".")[2]
        if name != "vgg19":
            raise InputError("backbone.weights", f"no answer for {name}", "a network, once")
        return vgg19()

    def depth_net(name: str, *_: object) -> Any:
        if name != "vgg_head":
            raise InputError("depth_net.weights", f"no answer for {name}", "a network, once")
        return depth_network(name)

    def painting(name: str) -> None:
        raise InputError("style", f"'{name}', which is not on this machine", "a network, once")

    monkeypatch.setattr(plan, "load_network", network)
    monkeypatch.setattr(jobs, "depth_network", depth_net)
    monkeypatch.setattr(plan, "load_style", painting)
    monkeypatch.setattr(plan, "prepared_file", lambda: None)


@pytest.mark.usefixtures("offline")
def test_what_stands_in_when_nothing_can_be_fetched() -> None:
    found = plan.find_setting(SMALL, None)
    used = [choice.used for choice in found.choices.values()]
    assert used == ["vgg19", "vgg19", "vgg_head", "swirls", "mosaic"]
    assert [*found.photos] == ["motorcycle"]
    lines = command.stand_ins(found)
    assert len(lines) == 5
    assert lines["vgg19 stands in for squeezenet as the network of the masks."].startswith(
        "backbone.weights: got no answer for squeezenet;"
    )


def test_nyu_is_taken_where_it_is_prepared(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "prepared_file", lambda: Path("nyu.h5"))
    photos = plan.find_setting(SMALL, None).photos
    assert len(photos) > 1
    assert all(photo["content"].startswith("nyu:") for photo in photos.values())


@pytest.mark.parametrize("masks", [*plan.OF_MASKS])
def test_every_run_composes_and_starts_are_few(masks: str, tmp_path: Path) -> None:
    chosen = setting(masks, "vgg16" if masks == "squeezenet" else "vgg19")
    depth = torch.linspace(0, 1, 100).view(1, 1, 10, 10)
    ((name, wanted),) = plan.plans(chosen, scene(depth), 10.0)
    assert name == "motorcycle"
    jobs, without = benchmark.jobs(wanted)
    assert not without
    assert len({job.config_hash for job in jobs}) == len(jobs) == 15
    lines = benchmark.commands(jobs, wanted, tmp_path)
    assert len(lines) == 8
    assert "+experiment=paper_naive,paper_masked_style,paper_masked_content" in lines[0]
    weights = [value for line in lines for value in line if value.startswith("loss.depth.weight")]
    assert weights == ["loss.depth.weight=0,100.0,2000.0", "loss.depth.weight=0,100.0"]
    assert wanted.methods["eta_paper_quarter"]["mask.center"] == pytest.approx(0.75, abs=0.01)


def test_a_second_photo_gets_the_depth_loss_only() -> None:
    chosen = setting()
    photos = {"a": {"content": "motorcycle"}, "b": {"content": "motorcycle"}, "c": {}}
    chosen = Setting(**{**vars(chosen), "photos": photos})
    first, second = plan.plans(chosen, scene(torch.rand(1, 1, 8, 8)), 1.0)
    assert (first[0], second[0]) == ("a", "b")
    assert [*second[1].methods] == ["depth_none", "depth_paper"]
    assert second[1].methods["depth_paper"]["loss.depth.weight"] == 10000


def test_disparity_is_measured_in_its_own_span(offline: None) -> None:
    photo = scene(torch.rand(1, 1, 64, 64))
    assert plan.disparity_span(setting(net="monodepth2"), photo) == 1
    assert plan.disparity_span(setting(), photo) > 0
    assert plan.in_span(10000, 2.0) == 2500


def test_failed_runs_are_one_line_each_and_done_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = benchmark.Plan(
        {"size": 48, "steps": 3, "tracking": "off"},
        {"motorcycle": {"content": "motorcycle"}},
        {"main": {"style": "swirls"}},
        {name: {"+experiment": name} for name in ("naive", "masked_style")},
    )
    started: list[list[str]] = []

    def pretend(line: list[str]) -> bool:
        started.append(line)
        for i, experiment in enumerate(("naive", "masked_style")):
            folder = fake_run(tmp_path / "runs" / str(len(started)) / str(i))
            overrides = ["size=48", "steps=3", "tracking=off", "style=swirls"]
            config = configuration.compose(f"+experiment={experiment}", *overrides)
            (folder / "config.yaml").write_text(json.dumps(config))
            summary = json.loads((folder / "summary.json").read_text())
            summary["config_hash"] = configuration.config_hash(config)
            if i:
                (folder / "FAILED").write_text("mask: got <nothing>; expected [more]\n")
            (folder / "summary.json").write_text(json.dumps(summary))
        return False

    monkeypatch.setattr(benchmark, "run", pretend)
    screen = Console(record=True, width=200)
    runs, without = plan.make_runs(wanted, tmp_path / "runs", screen)
    assert [*runs] == ["naive"]
    reason = "the run masked_style failed: mask: got <nothing>; expected [more]"
    assert without == {"masked_style": reason}
    assert screen.export_text().count(reason) == 1
    plan.make_runs(wanted, tmp_path / "runs", screen)
    assert any("+experiment=masked_style" in word for word in started[1])  # naive is not made again


# ---------------------------------------------------------------- the page


class Loads(HTMLParser):
    """What a page would load, and its text outside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data") or (name == "href" and tag != "a"):
                self.loads.append(value or "")


def report(tmp_path: Path, text: str = "plain") -> page.Report:
    Image.new("RGB", (24, 16), "red").save(tmp_path / "red.png")
    shown = figures.Figure("Figure 1", text, [figures.picture(tmp_path / "red.png", text)])
    curves = figures.Figure("Figure 6", text, lines={"naive": [3.0, 2.0], "mask": [4.0, 1.0]})
    verdicts = decide(GOOD, {}) | {"C2": Verdict(text, text, "fails", text)}
    return page.Report(
        verdicts=verdicts,
        numbers=GOOD,
        facts={"photo": text},
        stand_ins={text: text},
        problems={"naive": text},
        figures=[shown, curves, figures.Figure("Figure 7", text, missing=text)],
        timings=[(text, text, text)],
        findings=[figures.Finding(text, [text], [text], [[text]], [])],
        command=text,
        made="2026-01-01 12:00",
    )


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    file = page.write(report(tmp_path), tmp_path / "out")
    text = file.read_text(encoding="utf-8")
    seen = Loads()
    seen.feed(text)
    assert seen.loads
    assert all(where.startswith("data:") for where in seen.loads)
    assert not re.search(r"url\(|@import", (page.HERE / "page.css").read_text())
    assert text.count("data:image/jpeg;base64,") == 1
    assert "17 claims" not in text
    assert "Of 18 claims 15 hold, 1 fail and 2 cannot be tested here." in text


def test_texts_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    plain, nasty = Loads(), Loads()
    plain.feed(page.render(report(tmp_path)))
    text = page.render(report(tmp_path, NASTY))
    nasty.feed(text)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert nasty.tags == plain.tags


def test_the_json_has_18_claims(tmp_path: Path) -> None:
    page.write(report(tmp_path, NASTY), tmp_path / "out")
    found = json.loads((tmp_path / "out" / page.DATA).read_text(encoding="utf-8"))
    assert [*found["claims"]] == [f"C{i}" for i in range(1, 19)]
    for row in found["claims"].values():
        assert set(row) == {"paper", "measured", "verdict", "why"}
        assert row["verdict"] in VERDICTS
    assert found["claims"]["C2"]["paper"] == NASTY
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith(".")]


def test_figures_say_what_is_missing(tmp_path: Path) -> None:
    run = Run(fake_run(tmp_path / "run"))
    made = figures.of_paper({"naive": run}, {"masked_style": "it failed"}, {})
    titles = [figure.title for figure in made]
    assert titles == [f"Figure {i}" for i in range(1, 9)] + ["Figures 9 and 10"]
    by_title = {figure.title: figure for figure in made}
    assert [p.label for p in by_title["Figure 1"].pictures] == ["content", "style", "pastiche"]
    assert by_title["Figure 4"].missing == "style mask: it failed"
    assert by_title["Figure 6"].lines == {"naive": measure.curve(run)}
    assert "it failed" in by_title["Figure 6"].missing
    (run.path / "pastiche.png").write_bytes(b"no picture")
    broken = figures.of_paper({"naive": run}, {}, {"depth_none": run})
    assert "pastiche" in broken[0].missing
    assert broken[-1].title == "Figure 10"


def test_the_explanation_follows_the_numbers() -> None:
    step = {"depth_paper": 0.1, "depth_none": 0.09, "depth_paper_slow": 0.01, "depth_aligned": 0.08}
    text = figures.explanation(step)
    assert "What calms it most is a smaller rate." in text
    assert "the optimiser's step" in text
    text = figures.explanation({**step, "depth_none": 0.02, "depth_aligned": 0.005})
    assert "What calms it most is comparing depth up to scale and shift." in text
    assert "the optimiser's step" not in text
    assert "None of these calms it." in figures.explanation({"depth_paper": 0.1, "depth_none": 0.2})
    assert "never rises" in figures.explanation({"depth_paper": 0, "depth_none": 0.2})
    assert "not there" in figures.explanation({"depth_none": 0.2})


def test_contrast_is_that_of_the_selected_region(
    tmp_path: Path, two: dict[str, torch.Tensor]
) -> None:
    pastiche = two["mask"] * torch.tensor([0.0, 1.0]).repeat(32) + (1 - two["mask"]) * 0.5
    run = picture_run(
        tmp_path / "a",
        pastiche.expand(1, 3, 64, 64),
        content=two["photo"],
        style_main=two["painting"],
        mask_main=two["mask"],
    )
    assert figures.contrast(run) == pytest.approx(0.5, abs=1e-3)


# ---------------------------------------------------------------- the command


def test_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main(["--pairs", str(tmp_path), "--output-dir", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: --pairs: got {tmp_path}, without any")
    assert err.count("\n") == 1
    assert not (tmp_path / "paper").exists()

    def stopped(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make", stopped)
    assert command.main([]) == 130


@pytest.mark.usefixtures("offline")
def test_without_a_single_run_there_is_a_report_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_times(*_: object) -> None:
        raise InputError("backbone.weights", "nothing", "a network, once")

    monkeypatch.setattr(command, "load_network", plan.load_network)
    monkeypatch.setattr(command, "QUICK", SMALL)
    monkeypatch.setattr(benchmark, "run", lambda line: False)
    monkeypatch.setattr(timing, "measured", no_times)
    assert command.main(["--quick", "--output-dir", str(tmp_path)]) == 0
    assert f"done: {tmp_path / 'paper' / 'report.html'}" in capsys.readouterr().out.replace(
        "\n", ""
    ) + str(tmp_path)
    found = json.loads((tmp_path / "paper" / "report.json").read_text())
    verdicts = {key: row["verdict"] for key, row in found["claims"].items()}
    tested = {key for key, verdict in verdicts.items() if verdict != "untestable"}
    assert tested == {"C9", "C10", "C11", "C17"}
    assert verdicts["C9"] == "holds"
    assert verdicts["C10"] == "fails"
    assert found["claims"]["C2"]["why"] == "the run naive left nothing"
    assert found["claims"]["C4"]["why"].startswith("backbone.weights: got nothing")


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_a_small_report_and_a_second_one_from_the_same_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load_network", plan.load_network)
    monkeypatch.setattr(timing, "load_network", plan.load_network)
    monkeypatch.setattr(command, "QUICK", SMALL)
    arguments = ["--quick", "--output-dir", str(tmp_path)]
    assert command.main(arguments) == 0
    found = json.loads((tmp_path / "paper" / "report.json").read_text())
    assert not found["problems"]
    assert all("was not measured" not in row["why"] for row in found["claims"].values())
    text = (tmp_path / "paper" / "report.html").read_text()
    assert "Missing:" not in text

    def nothing_new(*_: object, **__: object) -> None:
        raise AssertionError("a run was made again")

    monkeypatch.setattr(subprocess, "run", nothing_new)
    assert command.main(arguments) == 0
    again = json.loads((tmp_path / "paper" / "report.json").read_text())
    assert again["claims"] == found["claims"]
