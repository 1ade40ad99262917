"""Which runs the report is made from, and making those that are missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from src import backbones, jobs
from src import config as configuration
from src.backbones import Backbone
from src.errors import InputError
from src.evaluate import benchmark
from src.evaluate.files import load_photo
from src.inputs import Scene, load_style
from src.inputs.nyu import PREFIX, prepared_file
from src.runs import Run, find_runs

DECAY = 0.6  # share of the steps after which the paper takes a smaller rate: 180 of 300
PAINTINGS = (("the_scream", "swirls"), ("starry_night", "mosaic"))  # wanted, built in


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        short_side: of the pastiches in pixels.
        steps: of every run.
        samples: of what a masked loss costs.
        rounds: of what a step costs.
    """

    short_side: int
    steps: int
    samples: int
    rounds: int


FULL = Scale(short_side=192, steps=300, samples=300, rounds=20)
QUICK = Scale(short_side=80, steps=100, samples=300, rounds=5)


@dataclass(frozen=True)
class Choice:
    """What was wanted, and what is there.

    Attributes:
        wanted: its name in the configuration.
        used: likewise.
        reason: why it is not the wanted one, if it is not.
    """

    wanted: str
    used: str
    reason: str = ""


# Networks that may stand in for the paper's, with what else has to change for them: another
# network's layers and the weights that go with them.
OF_MASKS: dict[str, dict[str, Any]] = {
    "squeezenet": {},
    "squeezenet_caffe": {"backbone": "squeezenet_caffe"},
    "vgg19": {
        "backbone": "vgg19",
        "loss.content.layers": ["relu3_1"],
        "loss.style.layers": ["relu1_1", "relu2_1", "relu3_1", "relu4_1"],
        "loss.style.layer_weights": [300000, 1000, 15, 3],  # as in paper_depth_loss
    },
}
OF_DEPTH: dict[str, dict[str, Any]] = {
    "vgg16": {},
    "vgg19": {"backbone": "vgg19", "loss.content.layers": ["conv5_3"]},
}
DEPTH_NETS = ("monodepth2", "vgg_head")
WEIGHT, MOST = 10000, 200000  # of the depth loss, with Monodepth2's disparity


@dataclass(frozen=True)
class Setting:
    """What the runs are made with.

    Attributes:
        scale: how large.
        photos: overrides by name; the first is the photo of all figures but one.
        far: the painting of the background, and of all runs with one painting.
        near: the painting of the foreground.
        masks: the network of section 3.2.
        depth: the network of section 3.3.
        depth_net: the depth network.
    """

    scale: Scale
    photos: Mapping[str, Mapping[str, Any]]
    far: Choice
    near: Choice
    masks: Choice
    depth: Choice
    depth_net: Choice

    @property
    def choices(self) -> dict[str, Choice]:
        """By what they are, in words."""
        return {
            "the network of the masks": self.masks,
            "the network of the depth loss": self.depth,
            "the depth network": self.depth_net,
            "the first painting": self.far,
            "the second painting": self.near,
        }


def find_setting(scale: Scale, pairs: Path | None) -> Setting:
    """What of the paper's networks, photos and paintings is on this machine or can be fetched.

    Args:
        scale: how large.
        pairs: one's own photos with depth (see `benchmark.read_plan`), instead of NYU's.

    Raises:
        InputError: no such pairs.
    """
    plan = benchmark.read_plan(pairs=pairs)
    photos = dict(plan.photos)
    if pairs is None:
        from_nyu = {k: v for k, v in photos.items() if str(v["content"]).startswith(PREFIX)}
        is_there = prepared_file() is not None and bool(from_nyu)
        photos = from_nyu if is_there else {"motorcycle": {"content": "motorcycle"}}
    far, near = (_painting(wanted, built_in) for wanted, built_in in PAINTINGS)
    return Setting(
        scale,
        photos,
        far,
        near,
        _network("paper_naive", OF_MASKS),
        _network("paper_depth_loss", OF_DEPTH),
        _depth_net(),
    )


def load_network(config: Mapping[str, Any]) -> Backbone:
    """The style network of a configuration.

    Raises:
        InputError: its weights cannot be had.
    """
    node = dict(config["backbone"])
    loader = getattr(backbones, str(node.pop("_target_")).rpartition(".")[2])
    network: Backbone = loader(**node)
    return network


def _network(experiment: str, candidates: Mapping[str, Mapping[str, Any]]) -> Choice:
    wanted, *_ = candidates
    reasons = []
    for name in candidates:
        try:
            load_network(configuration.compose(f"+experiment={experiment}", f"backbone={name}"))
        except InputError as error:
            reasons.append(str(error))
            continue
        return Choice(wanted, name, reasons[0] if reasons else "")
    raise InputError("backbone", "; ".join(reasons), f"one of {', '.join(candidates)}")


def _depth_net() -> Choice:
    wanted, built_in = DEPTH_NETS
    try:
        jobs.depth_network(wanted)
    except InputError as error:
        return Choice(wanted, built_in, str(error))
    return Choice(wanted, wanted)


def _painting(wanted: str, built_in: str) -> Choice:
    try:
        load_style(wanted)
    except InputError as error:
        return Choice(wanted, built_in, str(error))
    return Choice(wanted, wanted)


def photo_of(overrides: Mapping[str, Any], short_side: int) -> Scene:
    """A photo as its runs will have it.

    Raises:
        InputError: it cannot be had, or has no depth.
    """
    config: dict[str, Any] = {"short_side": short_side}
    for key, value in overrides.items():
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    scene = load_photo(config)
    if scene.depth is None:
        raise InputError("content", str(overrides.get("content")), "a photo with depth")
    return scene


# Those that a second photo gets, too: Figure 10 beside Figure 9.
DEPTH_RUNS = ("depth_none", "depth_paper")


def disparity_span(setting: Setting, scene: Scene) -> float:
    """What the paper's squared difference of disparities has to be measured in.

    Monodepth2's disparity lies in [0, 1]; that of a network that stands in for it has a scale of
    its own, so its range on this photo counts as 1.
    """
    if setting.depth_net.used == DEPTH_NETS[0]:
        return 1.0
    seen = jobs.depth_network(setting.depth_net.used).estimate(scene.image)
    return float(seen.max() - seen.min())


def methods(
    setting: Setting, median_depth: float, third_quartile: float, span: float
) -> dict[str, Any]:
    """Every run's overrides by its name; what is last may differ between runs of one sweep.

    Args:
        setting: the networks and paintings.
        median_depth: of the photo: a border that leaves half of it.
        third_quartile: of the photo's depth: a border that leaves a quarter of it.
        span: `disparity_span`.
    """
    scale = setting.scale
    schedule = {"restart.step": max(1, round(DECAY * scale.steps))}
    masks = {
        **OF_MASKS[setting.masks.used],
        **schedule,
        "style_short_side": round(224 / 192 * scale.short_side),  # as in paper_naive
    }
    depth = {
        **OF_DEPTH[setting.depth.used],
        **schedule,
        "depth_net": setting.depth_net.used,
        "style_short_side": scale.short_side,
        "+experiment": "paper_depth_loss",
    }
    found: dict[str, Any] = {
        name: {**masks, "+experiment": f"paper_{name}"}
        for name in ("naive", "masked_style", "masked_content")
    }
    found["two_styles"] = {
        **masks,
        "styles.near.path": setting.near.used,
        "+experiment": "paper_two_styles",
    }
    # A border as sharp as a step; the far part gets the style.
    border = {"+experiment": "paper_masked_style", "mask.slope": 1000, "mask.invert": False}
    for eta in ("paper", "mean_square"):
        for name, center in (("half", median_depth), ("quarter", third_quartile)):
            normalizer = {"loss.style.normalizer": eta, "mask.center": round(center, 4)}
            found[f"eta_{eta}_{name}"] = {**masks, **border, **normalizer}
    for name, rate in (("", 0.677), ("_slow", 0.02)):  # the paper's; the program's for Adam
        at_rate = {**depth, "optimizer.lr": rate}
        found[f"depth_none{name}"] = {**at_rate, "loss.depth.weight": 0}
        found[f"depth_paper{name}"] = {**at_rate, "loss.depth.weight": in_span(WEIGHT, span)}
    most = {"optimizer.lr": 0.677, "loss.depth.weight": in_span(MOST, span)}
    found["depth_most"] = {**depth, **most}
    found["depth_aligned"] = {**depth, "loss.depth.mode": "aligned"}
    found["depth_ours"] = {
        "depth_net": setting.depth_net.used,
        "steps": min(scale.steps, 120),  # the experiment's own
        "+experiment": "depth_loss",
    }
    return found


def in_span(weight: float, span: float) -> float:
    """A weight of squared disparities for those that span so much, to four digits."""
    return float(f"{weight / span**2:.4g}")


def plans(setting: Setting, scene: Scene, span: float) -> list[tuple[str, benchmark.Plan]]:
    """What to run: by photo, everything on the first, and the depth loss on a second.

    Args:
        setting: what to run with.
        scene: the first photo.
        span: `disparity_span`.
    """
    assert scene.depth is not None
    median, quartile = (float(scene.depth.flatten().quantile(q)) for q in (0.5, 0.75))
    everything = methods(setting, median, quartile, span)
    settings = {
        "short_side": setting.scale.short_side,
        "steps": setting.scale.steps,
        "tracking": "off",
        "log_every": 1,
        "picture_every": setting.scale.steps,
    }
    styles = {"main": {"style": setting.far.used}}
    made = []
    for i, (name, photo) in enumerate(list(setting.photos.items())[:2]):
        wanted = everything if i == 0 else {key: everything[key] for key in DEPTH_RUNS}
        made.append((name, benchmark.Plan(settings, {name: photo}, styles, wanted)))
    return made


def make_runs(
    plan: benchmark.Plan, folder: Path, screen: Console
) -> tuple[dict[str, Run], dict[str, str]]:
    """Run what is missing of a plan with one photo.

    Args:
        plan: what.
        folder: where the runs are.
        screen: where it is said how many are missing.

    Returns:
        The finished runs by method, and why others are not.
    """
    jobs, without = benchmark.jobs(plan)
    if without:
        reason = next(iter(without.values()))
        return {}, {method: f"no run of it: {reason}" for method in plan.methods}
    there = benchmark.done(folder)
    missing = [job for job in jobs if job.config_hash not in there]
    screen.print(f"{jobs[0].photo}: {len(jobs)} runs, {len(missing)} of them missing")
    for line in benchmark.commands(missing, plan, folder):
        benchmark.run(line)
    there, failed = benchmark.done(folder), _failed(folder)
    runs = {job.method: there[job.config_hash] for job in jobs if job.config_hash in there}
    reasons = {
        job.method: f"the run {job.method} {failed.get(job.config_hash, 'left nothing')}"
        for job in jobs
        if job.method not in runs
    }
    for reason in reasons.values():
        screen.print(reason, markup=False, highlight=False, soft_wrap=True)
    return runs, reasons


def _failed(folder: Path) -> dict[str, str]:
    """Why runs are not done, by the hash of their configuration; the latest of each."""
    try:
        runs = find_runs(folder) if folder.is_dir() else []
    except InputError:  # none yet
        return {}
    return {
        configuration.config_hash(run.config): f"{run.status}: {run.reason}"
        for run in runs
        if run.status != "done" and run.config
    }
