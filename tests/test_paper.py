"""The paper, claim by claim: verdicts on made-up runs and pictures, the plan, the report."""

import json
import math
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from src import masks
from src.backbones import vgg19
from src.core.errors import InputError
from src.core.images import save_png
from src.inputs import Scene
from src.losses import gram_matrix
from src.paper import __main__ as command
from src.paper import claims_depth, claims_masks, figures, measures, page, plan, timing
from src.paper.evidence import Evidence
from src.paper.measures import Undefined
from src.paper.plan import Choice, Scale, Setting
from src.paper.verdict import CLAIMS, JUDGES, Judgement, decide
from src.pipeline import config as configuration
from src.pipeline.networks import depth_network
from src.runs import identity
from src.runs.reader import Run
from tests.fake_runs import fake_run
from tests.running import tiny_backbone
from tests.test_file_limits import png

NASTY = """</script><script>alert(1)</script> "quoted" <b>&amp; ünï"""
SMALL = Scale(short_side=48, steps=3, rounds=1)
KEYS = [f"C{i}" for i in range(1, 19)]


def scene(depth: torch.Tensor) -> Scene:
    image = torch.rand(1, 3, *depth.shape[-2:])
    return Scene(image, depth, torch.ones_like(depth, dtype=torch.bool), None, "made up")


def setting(mask: str = "vgg19", depth: str = "vgg19", net: str = "vgg_head") -> Setting:
    papers = ("squeezenet", "vgg16", "monodepth2", "the_scream", "starry_night")
    used = (mask, depth, net, "swirls", "mosaic")
    choices = [Choice("it", *names, "not here") for names in zip(papers, used, strict=True)]
    return Setting(SMALL, {"motorcycle": {"content": "motorcycle"}}, *choices)


SLOPE = torch.arange(1024.0).view(1, 1, 32, 32) / 1023


def evidence_of(
    runs: Mapping[str, Run] | None = None, *depths: torch.Tensor, **missing: str
) -> Evidence:
    """Of these runs and of photos of these depths, with a tiny network."""
    found = Evidence(setting(), [scene(x) for x in depths or (SLOPE,)], runs or {}, missing)
    features = tiny_backbone().features(found.scenes[0].image, ["relu1", "relu2"])
    found.__dict__["features"] = features["relu1"], features
    return found


def judge(key: str, evidence: Evidence) -> Judgement:
    return JUDGES[key](evidence)


def numbers(found: Judgement) -> list[float]:
    """The numbers in what was measured."""
    return [float(x) for x in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?", found.measured)]


def test_curves_by_hand() -> None:
    assert measures.roughness([8, 4, 2, 1]) == 0
    assert measures.roughness([1, math.e, 1]) == pytest.approx(0.5)
    assert measures.roughness([1, 100, *[1] * 18]) == 0  # the first tenth is left out
    assert measures.settling_step([100, 50, 11, 10, 10]) == 2
    assert measures.settling_step([10, 10]) == 0
    assert measures.settling_step([10, 5, 10]) == 2
    assert measures.late_fall([*[5] * 9, 2, 1]) == pytest.approx(1)
    assert measures.log_correlation([1, 10, 100], [2, 20, 200]) == pytest.approx(1)
    assert measures.log_correlation([1, 10, 100], [100, 10, 1]) == pytest.approx(-1)


def falling(end: float, pace: float = 20, wobble: float = 0, steps: int = 300) -> list[float]:
    """A total by step that settles at `end`, or rises at every other step."""
    decay = [1 + 9 * math.exp(-step / pace) for step in range(steps + 1)]
    return [end * value * (1 + wobble * (step % 2)) for step, value in enumerate(decay)]


# With these every claim on curves holds.
GOOD: dict[str, Any] = {
    "naive": falling(3195),
    "masked_style": falling(3353),
    "masked_content": falling(2911),
    "depth_none": falling(3000),
    "depth_paper": falling(10000, 40, 0.05),
    "depth_most": falling(20000),
}
DEPTH_TERMS = {"depth_none": 0.2, "depth_paper": 0.1, "depth_most": 0.05}
SHORT = {name: falling(10, pace=40, steps=60) for name in ("naive", "masked_style")}
SHORT["masked_content"] = falling(5, pace=40, steps=60)
SETTLED = {name: falling(values[-1], 5, steps=60) for name, values in GOOD.items()}


def curve_runs(folder: Path, lines: Mapping[str, Sequence[float]], **depth: float) -> Evidence:
    """Runs with these totals by step and these depth terms at the end."""
    runs = {}
    for name, values in lines.items():
        path = fake_run(folder / name, terms={"depth": {**DEPTH_TERMS, **depth}.get(name, 0)})
        summary = json.loads((path / "summary.json").read_text())
        summary |= {"total": values[-1], "steps": len(values) - 1, "size": [192, 256]}
        (path / "summary.json").write_text(json.dumps(summary))
        rows = [f"{step},{value!r}" for step, value in enumerate(values[:-1])]
        (path / "terms.csv").write_text("\n".join(["step,total", *rows]) + "\n")
        runs[name] = Run(path)
    return evidence_of(runs)


def test_claims_on_curves_that_hold(tmp_path: Path) -> None:
    evidence = curve_runs(tmp_path, GOOD)
    found = {key: judge(key, evidence) for key in ("C1", "C2", "C3", "C5", "C12", "C13")}
    assert [one.holds for one in found.values()] == [None, True, True, None, True, True]
    assert found["C1"].measured == "total 3195 after 300 steps, 75.0 s, 250 ms per step"
    assert found["C2"].measured.startswith("style mask 1.049, content mask 0.911 of naive")
    assert "correlation with naive 1.000" in found["C3"].measured
    assert found["C5"].measured == "75.0 s for 300 steps at 192 pixels short side"
    assert "0.5 is left at weight 10000 and 0.25 at 200000" in found["C12"].measured
    *_, settled_with, settled_without = numbers(found["C13"])
    assert settled_without < settled_with


@pytest.mark.parametrize(
    ("key", "lines", "holds", "why"),
    [
        ("C2", {"masked_style": falling(3100)}, False, "style mask does not end higher"),
        ("C2", {"masked_content": falling(3200)}, False, "content mask does not end lower"),
        ("C2", SHORT, None, "after 60 of 300 steps"),
        ("C2", SETTLED, True, "the style mask ends higher; the content mask ends lower. Only"),
        ("C3", {"masked_content": falling(10, 20, 2)}, False, "a shape differs"),
        ("C3", {"masked_style": falling(10, 90)}, False, "one has not settled"),
        ("C3", SHORT, None, "60 steps are fewer than 300"),
        ("C13", {"depth_paper": falling(10000, 40)}, False, "not less stable"),
        ("C13", {"depth_none": falling(1, 20, 0.04)}, False, "not less stable"),
        ("C13", {"depth_paper": falling(10000, 20, 0.05)}, False, "no more steps"),
        (
            "C13",
            {"depth_none": falling(1, 40, 0, 60), "depth_paper": falling(1, 40, 0, 60)},
            None,
            "60 steps are too few",
        ),
    ],
)
def test_claims_on_curves_that_do_not_or_are_short(
    tmp_path: Path, key: str, lines: dict[str, list[float]], holds: bool | None, why: str
) -> None:
    found = judge(key, curve_runs(tmp_path, {**GOOD, **lines}))
    assert found.holds is holds
    assert why in found.why


def test_the_depth_loss_has_the_papers_settings_and_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not judge("C12", curve_runs(tmp_path / "a", GOOD, depth_paper=0.3)).holds
    config = configuration.compose("+experiment=paper_depth_loss", "short_side=191")
    monkeypatch.setattr(claims_depth, "compose", lambda *_: config)
    found = judge("C12", curve_runs(tmp_path / "b", GOOD))
    assert not found.holds
    assert found.why.startswith("the experiment has other settings;")


def picture_run(path: Path, pastiche: torch.Tensor, **inputs: torch.Tensor) -> Run:
    """A run with these pictures."""
    fake_run(path)
    for file in (path / "inputs").iterdir():
        file.unlink()
    save_png(pastiche, path / "pastiche.png")
    for name, image in inputs.items():
        save_png(image, path / "inputs" / f"{name}.png")
    return Run(path)


def two() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A photo and a painting of different texture, and a mask that is 0 on the right."""
    down = torch.linspace(0, 1, 64)[:, None].expand(64, 64)
    stripes = (torch.arange(64) % 8 < 4).float().expand(64, 64)
    painting = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(64) < 32).float().expand(1, 1, 64, 64)
    return torch.stack([down, down, stripes])[None], painting, mask


PHOTO, PAINTING, LEFT = two()
HALF = (PHOTO + PAINTING) / 2
INPUTS = {"content": PHOTO, "style_main": PAINTING}


def masked_runs(
    folder: Path, style: torch.Tensor, content: torch.Tensor, mask: torch.Tensor = LEFT
) -> Evidence:
    """A naive run halfway, and runs with a style and with a content mask; all have settled."""
    evidence = evidence_of(
        {
            "naive": picture_run(folder / "naive", HALF, **INPUTS),
            "masked_style": picture_run(folder / "style", style, mask_main=mask, **INPUTS),
            "masked_content": picture_run(folder / "content", content, mask_content=LEFT, **INPUTS),
        }
    )
    evidence.__dict__["largest_late_fall"] = 0.0
    return evidence


def test_masks_that_are_obeyed_and_that_are_not(tmp_path: Path) -> None:
    kept, gone = (LEFT * HALF + (1 - LEFT) * image for image in (PHOTO, PAINTING))
    obeyed = masked_runs(tmp_path / "a", kept, gone)
    there, other = judge("C6", obeyed), judge("C7", obeyed)
    assert there.holds
    assert other.holds
    assert numbers(there)[:2] == [0.1, 50]
    assert numbers(there)[2:] == pytest.approx([0, 0], abs=10)  # per cent
    content, style = numbers(other)
    assert content < 0.2
    assert style < 0.5
    obeyed.__dict__["largest_late_fall"] = 0.2
    for key in ("C6", "C7"):
        found = judge(key, obeyed)
        assert found.holds is None
        assert "without --quick" in found.why
    ignored = masked_runs(tmp_path / "b", HALF, HALF)
    for key in ("C6", "C7"):
        found = judge(key, ignored)
        assert not found.holds
        assert numbers(found)[-2:] == ([100, 100] if key == "C6" else [1, 1])
    with pytest.raises(Undefined, match="too little to measure"):
        judge("C6", masked_runs(tmp_path / "c", HALF, HALF, torch.ones_like(LEFT)))


def test_two_styles_in_their_places_and_exchanged(tmp_path: Path) -> None:
    inputs = {"content": PHOTO, "style_far": PHOTO, "style_near": PAINTING}
    inputs |= {"mask_far": LEFT, "mask_near": 1 - LEFT}
    right, wrong = (
        evidence_of({"two_styles": picture_run(tmp_path / name, image, **inputs)})
        for name, image in (
            ("right", LEFT * PHOTO + (1 - LEFT) * PAINTING),
            ("wrong", LEFT * PAINTING + (1 - LEFT) * PHOTO),
        )
    )
    assert judge("C8", right).holds
    assert max(numbers(judge("C8", right))) < 0.5
    assert not judge("C8", wrong).holds
    one = evidence_of({"two_styles": picture_run(tmp_path / "one", HALF, **INPUTS)})
    with pytest.raises(Undefined, match="no style or mask far and near"):
        judge("C8", one)


def depth_runs(folder: Path, without: torch.Tensor, with_it: torch.Tensor) -> Evidence:
    """Runs without and with the depth loss of a photo of noise on a slope."""
    depth = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    inputs = {"content": PAINTING, "style_main": PHOTO, "depth": depth}
    pastiches = {"depth_none": without, "depth_paper": with_it}
    return evidence_of({k: picture_run(folder / k, x, **inputs) for k, x in pastiches.items()})


def test_detail_near_and_far_and_where_depth_shows_none(tmp_path: Path) -> None:
    near = torch.arange(64) < 32
    sharp = torch.where(near, PAINTING, 0.5 + PAINTING / 8)
    other = torch.rand(1, 3, 64, 64)
    evidence = depth_runs(tmp_path / "a", PAINTING, sharp)
    assert judge("C15", evidence).holds
    assert numbers(judge("C15", evidence))[-1] == 1
    assert not judge("C16", evidence).holds
    evidence = depth_runs(tmp_path / "b", PAINTING, other)
    assert judge("C16", evidence).holds
    detail_with, detail_without = numbers(judge("C16", evidence))
    assert detail_without == 1
    assert abs(detail_with) < 0.3
    found = judge("C16", depth_runs(tmp_path / "c", 1 - PAINTING, other))
    assert (found.holds, "none of that detail to lose" in found.why) == (None, True)
    assert not judge("C15", depth_runs(tmp_path / "d", sharp, PAINTING)).holds


def patch_gram(patch: pytest.MonkeyPatch, masked: Callable[..., torch.Tensor]) -> None:
    def fake(
        features: torch.Tensor, mask: torch.Tensor | None = None, normalizer: str = "mean_square"
    ) -> torch.Tensor:
        return gram_matrix(features) if mask is None else masked(features, mask, normalizer)

    patch.setattr(claims_masks, "gram_matrix", fake)


def test_gram_matrices_under_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = evidence_of()
    assert judge("C9", evidence).holds
    found = judge("C10", evidence)
    assert not found.holds
    assert numbers(found) == [2, 50, 4, 25, 2, 1, 1]
    patch_gram(monkeypatch, lambda x, mask, normalizer: gram_matrix(x, mask))
    assert judge("C10", evidence).holds
    patch_gram(monkeypatch, lambda x, mask, normalizer: gram_matrix(x, mask, normalizer) + 1e-6)
    assert not judge("C9", evidence).holds


def test_a_border_between_two_walls_and_on_a_slope() -> None:
    walls = (torch.arange(32) >= 16).float().expand(1, 1, 32, 32)
    found = judge("C11", evidence_of({}, walls))
    assert found.holds
    assert numbers(found) == [0, 0.1, 0.9, 100, 1]
    # sigma is between 0.1 and 0.9 where |d - 0.5| < ln(9) / 20 = 0.11.
    slope = judge("C11", evidence_of({}, torch.linspace(0, 1, 1000).view(1, 1, 10, 100)))
    assert (slope.holds, slope.why.partition(";")[0]) == (False, "many pixels lie between")
    assert numbers(slope)[0] == pytest.approx(22, abs=0.5)
    near = torch.where(torch.arange(32) < 28, 0.1, 0.3).expand(1, 1, 32, 32).contiguous()
    found = judge("C11", evidence_of({}, near))
    assert (found.holds, "0.5 is not where" in found.why) == (False, True)
    assert numbers(found)[3] == 87.5
    assert "medians of 3 photo(s)" in judge("C11", evidence_of({}, walls, near, walls)).measured


def test_ranges_and_masks_at_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge("C17", evidence_of()).holds
    outside = judge("C17", evidence_of({}, torch.full((1, 1, 32, 32), 1.5)))
    assert (outside.holds, numbers(outside)[0]) == (False, 32 * 32)
    assert "some lie outside" in outside.why
    assert "depth does not reach from 0 to 1" in outside.why
    assert not judge("C17", evidence_of({}, SLOPE / 2)).holds
    monkeypatch.setattr(masks, "downsample_mask", lambda mask, *_: mask[..., :1, :1])
    assert "a mask has another size" in judge("C17", evidence_of()).why


@pytest.mark.parametrize(
    ("mask", "depth", "ran"),
    [
        ("squeezenet", "vgg16", 5),
        ("squeezenet_caffe", "vgg16", 5),
        ("squeezenet_caffe", "vgg19", 4),
        ("vgg19", "vgg19", 0),
    ],
)
def test_which_runs_used_the_papers_networks(mask: str, depth: str, ran: int) -> None:
    found = judge("C18", replace(evidence_of(), setting=setting(mask, depth)))
    assert found.holds is (True if ran == 5 else None)
    assert found.measured == (
        f"5 of 5 paper_* experiments name these; {ran} of 5 ran with them here"
    )


def test_an_experiment_with_another_network_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    other = configuration.compose("+experiment=naive")
    monkeypatch.setattr(claims_depth, "compose", lambda *_: other)
    assert not judge("C18", evidence_of()).holds


@pytest.mark.parametrize(
    ("key", "losses", "times", "holds"),
    [
        ("C4", (0.0132, 0.0168), 1, True),
        ("C4", (0.051, 0), 1, False),
        ("C4", (0, 0.3), 1, False),
        ("C14", (0, 0), 75.6, True),
        ("C14", (0, 0), 2.5, False),
    ],
)
def test_costs_of_masks_and_depth(
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    losses: tuple[float, float],
    times: float,
    holds: bool,
) -> None:
    monkeypatch.setattr(timing, "masked_losses", lambda _: losses)
    monkeypatch.setattr(timing, "masked_steps", lambda _: (0.5, -0.5))
    monkeypatch.setattr(timing, "depth_steps", lambda _: (0.1, 1.1, times))
    found = judge(key, evidence_of())
    assert found.holds is holds
    assert ("whole step +50.00 % and -50.00 %" in found.measured) == (key == "C4")


def test_masked_losses_are_timed() -> None:
    assert all(share > -1 for share in timing.masked_losses(evidence_of()))


def test_what_is_missing_makes_a_claim_untestable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object) -> Any:
        raise InputError("backbone.weights", "nothing", "a network, once")

    monkeypatch.setattr(timing, "masked_losses", no_network)
    monkeypatch.setattr(timing, "depth_steps", no_network)
    evidence = curve_runs(tmp_path, {"naive": falling(10, steps=20)})
    evidence.runs["naive"].summary["seconds_per_step"] = None
    del evidence.runs["naive"].summary["size"]
    evidence = replace(evidence, missing={"masked_style": "the run masked_style failed: x"})
    evidence.__dict__["features"] = evidence_of().features
    verdicts = decide(evidence)
    assert [*verdicts] == [*CLAIMS] == sorted(JUDGES, key=KEYS.index) == KEYS
    assert verdicts["C1"]["why"] == "these runs give no naive step seconds"
    assert verdicts["C2"]["measured"] == "nothing"
    assert verdicts["C2"]["why"] == "the run masked_style failed: x"
    assert verdicts["C4"]["why"].startswith("backbone.weights: got nothing")
    assert verdicts["C5"]["why"] == "not measured: KeyError('size')"
    assert verdicts["C8"]["why"] == "the run two_styles is not there"
    tested = {key for key, verdict in verdicts.items() if verdict["verdict"] != "untestable"}
    assert tested == {"C9", "C10", "C11", "C17"}
    assert verdicts["C9"]["verdict"] == "holds"
    assert verdicts["C10"]["verdict"] == "fails"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what ships is there, and nothing is asked of a network."""

    def only(shipped: str, load: Callable[..., Any]) -> Callable[[str], Any]:
        def loads(name: str) -> Any:
            if name not in shipped.split():
                raise InputError("weights", f"no answer for {name}", "a network, once")
            return load(name)

        return loads

    network = only("vgg19", lambda _: vgg19())
    by_target = lambda _, node: network(node["_target_"].rpartition(".")[2])  # noqa: E731
    monkeypatch.setattr(plan, "instantiate", by_target)
    monkeypatch.setattr(plan, "depth_network", only("vgg_head", depth_network))
    monkeypatch.setattr(plan, "load_style", only("swirls mosaic", str))
    monkeypatch.setenv("NYU_DEPTH_V2", "nowhere")


@pytest.mark.usefixtures("offline")
def test_what_is_used_when_nothing_can_be_fetched() -> None:
    found = plan.find_setting(SMALL, None)
    used = [choice.used for choice in found[2:]]
    assert used == ["vgg19", "vgg19", "vgg_head", "swirls", "mosaic"]
    assert [*found.photos] == ["motorcycle"]
    assert found.masks.reason.startswith("weights: got no answer for squeezenet;")


def test_photos_are_ones_own_or_nyus_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b_rgb.jpg", "b_depth.png", "a_rgb.png", "a_depth.npy", "c_rgb.png"):
        (tmp_path / name).touch()
    photos = plan._find_photos(tmp_path)
    assert [*photos] == ["a", "b"]
    assert photos["a"]["depth.path"] == str(tmp_path / "a_depth.npy")
    monkeypatch.setattr(plan, "load_scene", lambda *_, **__: None)
    photos = plan._find_photos(None)
    assert len(photos) > 1
    assert all(photo["content"].startswith("nyu:") for photo in photos.values())


@pytest.mark.parametrize("mask", [*plan.MASK_NETWORKS])
def test_every_run_composes_and_starts_are_few(mask: str) -> None:
    chosen = setting(mask, "vgg16" if mask == "squeezenet" else "vgg19")
    photo = {"content": "it's here/über.jpg", "depth.path": "a b.png"}
    wanted = plan.sweeps(chosen, photo, 10.0)
    assert len(wanted) == 3
    configs = {
        name: configuration.compose_plain(*plan.arguments({**sweep.fixed, sweep.key: value}))
        for sweep in wanted
        for name, value in sweep.values.items()
    }
    assert len({identity.config_hash(config) for config in configs.values()}) == 7
    assert configs["naive"]["content"] == photo["content"]
    assert configs["naive"]["name"] == "paper_naive"
    weights = [configs[f"depth_{name}"]["loss"]["depth"]["weight"] for name in ("none", "paper")]
    assert weights == [0, 100]  # disparity is measured in its own span


def test_disparity_is_measured_in_its_own_span() -> None:
    photo = scene(torch.rand(1, 1, 64, 64))
    assert plan.disparity_span(setting(net="monodepth2"), photo) == 1
    assert plan.disparity_span(setting(), photo) > 0


def test_failed_runs_are_one_line_each_and_done_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def pretend(line: list[str], check: bool) -> None:
        """Naive is done, the masked style fails, nothing is left of the masked content."""
        started.append(line)
        target = Path(line[-2].partition("=")[2].strip('"'))
        settings = [word for word in line[4:-2] if not word.startswith("hydra")]
        for i, name in enumerate(re.findall(r"paper_(\w+)", line[-1])[:2]):
            folder = fake_run(target / str(i))
            config = configuration.compose_plain(*settings, f"+experiment=paper_{name}")
            summary = json.loads((folder / "summary.json").read_text())
            summary["config_hash"] = identity.config_hash(config)
            (folder / "summary.json").write_text(json.dumps(summary))
            if name != "naive":
                (folder / "FAILED").write_text("mask: got <nothing>; expected [more]\n")

    monkeypatch.setattr(subprocess, "run", pretend)
    screen = Console(record=True, width=200)
    wanted = plan.sweeps(setting(), {"content": "motorcycle"}, 1.0)[:1]
    runs, without = plan.make_runs(wanted, tmp_path / "runs", screen)
    assert [*runs] == ["naive"]
    reason = "the run masked_style failed: mask: got <nothing>; expected [more]"
    assert [*without] == ["masked_style", "masked_content"]
    assert without["masked_style"] == reason
    assert screen.export_text().count(reason) == 1
    plan.make_runs(wanted, tmp_path / "runs", screen)
    assert started[1][-1] == '+experiment="paper_masked_style","paper_masked_content"'


class Loads(HTMLParser):
    """What a page would load, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data") or (name == "href" and tag != "a"):
                self.loads.append(value or "")


def write(tmp_path: Path, text: str = "plain") -> Path:
    Image.new("RGB", (24, 16), "red").save(tmp_path / "red.png")
    shown = figures.Figure("Figure 1", text, {text: figures.data_uri(tmp_path / "red.png")})
    lines = figures.Figure("Figure 6", text, lines={"naive": [3.0, 2.0], "mask": [4.0, 1.0]})
    row = {"paper": text, "measured": text, "why": text}
    report = {
        "claims": {key: {**row, "verdict": "fails" if key == "C2" else "holds"} for key in KEYS},
        "facts": {"photo": text},
        "substitutions": [text],
        "problems": {"naive": text},
        "command": text,
        "made": "2026-01-01 12:00",
    }
    absent = figures.Figure("Figure 7", text, missing=text)
    return page.write(report, [shown, lines, absent], tmp_path / "out")


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    text = write(tmp_path).read_text(encoding="utf-8")
    seen = Loads()
    seen.feed(text)
    assert seen.loads
    assert all(where.startswith("data:") for where in seen.loads)
    assert not re.search(r"url\(|@import", (page.HERE / "page.css").read_text())
    assert text.count("data:image/jpeg;base64,") == 1
    assert "Of 18 claims 17 hold, 1 fail and 0 cannot be tested here." in text


def test_texts_are_whole_and_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    plain, nasty = Loads(), Loads()
    plain.feed(write(tmp_path).read_text(encoding="utf-8"))
    report = write(tmp_path, NASTY)
    text = report.read_text(encoding="utf-8")
    nasty.feed(text)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert nasty.tags == plain.tags
    found = json.loads((report.parent / page.DATA).read_text(encoding="utf-8"))
    row = {"paper": NASTY, "measured": NASTY, "verdict": "fails", "why": NASTY}
    assert found["claims"]["C2"] == row
    assert {file.name for file in report.parent.iterdir()} == {page.DATA, page.REPORT}


def test_figures_say_what_is_missing(tmp_path: Path) -> None:
    run = Run(fake_run(tmp_path / "run"))
    evidence = evidence_of({"naive": run}, masked_style="it failed")
    drawn = figures.of_paper(evidence, None)
    titles = [figure.title for figure in drawn]
    assert titles == [f"Figure {i}" for i in range(1, 9)] + ["Figures 9 and 10"]
    by_title = {figure.title: figure for figure in drawn}
    assert [*by_title["Figure 1"].pictures] == ["content", "style", "pastiche"]
    assert by_title["Figure 4"].missing == "style mask: it failed"
    assert by_title["Figure 6"].lines == {"naive": evidence.curve("naive")}
    assert "it failed" in by_title["Figure 6"].missing
    for content in (b"no picture", png(60_000, 60_000), png(12_000, 12_000, colour=6)):
        (run.path / "pastiche.png").write_bytes(content)
        broken = figures.of_paper(evidence, evidence_of({"depth_none": run}))
        assert "pastiche" in broken[0].missing
        assert broken[-1].title == "Figure 10"


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
        raise Undefined("no time")

    monkeypatch.setattr(command, "QUICK", SMALL)
    monkeypatch.setattr(plan, "subprocess", SimpleNamespace(run=lambda *_, **__: None))
    monkeypatch.setattr(timing, "masked_losses", no_times)
    monkeypatch.setattr(timing, "depth_steps", no_times)
    assert command.main(["--quick", "--output-dir", str(tmp_path)]) == 0
    assert "done: " in capsys.readouterr().out
    found = json.loads((tmp_path / "paper" / "report.json").read_text())
    assert [*found["claims"]] == KEYS
    for row in found["claims"].values():
        assert [*row] == ["paper", "measured", "verdict", "why"]
    assert "the run naive missing: it was not reached" in found["claims"]["C2"]["why"]
    assert found["claims"]["C17"]["verdict"] == "holds"
    assert len(found["substitutions"]) == 5
    assert len(found["problems"]) == 7
    assert "Missing:" in (tmp_path / "paper" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_a_small_report_and_a_second_one_from_the_same_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "QUICK", SMALL)
    arguments = ["--quick", "--output-dir", str(tmp_path)]
    assert command.main(arguments) == 0
    found = json.loads((tmp_path / "paper" / "report.json").read_text())
    assert not found["problems"]
    assert all("not measured" not in row["why"] for row in found["claims"].values())
    assert "Missing:" not in (tmp_path / "paper" / "report.html").read_text()

    def nothing_new(*_: object, **__: object) -> None:
        raise AssertionError("a run was made again")

    monkeypatch.setattr(plan, "subprocess", SimpleNamespace(run=nothing_new))
    assert command.main(arguments) == 0
    again = json.loads((tmp_path / "paper" / "report.json").read_text())
    for report in (found, again):
        del report["claims"]["C4"], report["claims"]["C14"]  # times
    assert again["claims"] == found["claims"]
