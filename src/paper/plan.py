"""What the report is made with: networks, photos, paintings; and the runs that it needs."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from src.core.errors import InputError
from src.inputs import Scene, load_scene, load_style
from src.inputs.folders import find_rgbd_pairs
from src.pipeline.config import compose, compose_plain
from src.pipeline.networks import depth_network, instantiate
from src.runs import identity
from src.runs.reader import Run

Overrides = Mapping[str, Any]
MASK_RUNS = ("naive", "masked_style", "masked_content")
DECAY = 0.6  # share of the steps after which the paper takes a smaller rate: 180 of 300
NYU = tuple(f"nyu:{index:04d}" for index in (0, 281, 500, 750, 1000, 1300))
# The paper's networks first, then their substitutes, with what else has to change for those:
# another network's layers and the weights that go with them.
MASK_NETWORKS: Mapping[str, Overrides] = {
    "squeezenet": {},
    "squeezenet_caffe": {"backbone": "squeezenet_caffe"},
    "vgg19": {
        "backbone": "vgg19",
        "loss.content.layers": ["relu3_1"],
        "loss.style.layers": ["relu1_1", "relu2_1", "relu3_1", "relu4_1"],
        "loss.style.layer_weights": [300000, 1000, 15, 3],  # as in paper_depth_loss
    },
}
DEPTH_LOSS_NETWORKS: Mapping[str, Overrides] = {
    "vgg16": {},
    "vgg19": {"backbone": "vgg19", "loss.content.layers": ["conv5_3"]},
}
DEPTH_NETS = ("monodepth2", "vgg_head")


class Scale(NamedTuple):
    """How large everything is."""

    short_side: int  # px, of the pastiches
    steps: int  # of every run
    rounds: int  # of what a step costs


FULL = Scale(short_side=192, steps=300, rounds=20)
QUICK = Scale(short_side=80, steps=100, rounds=5)


class Choice(NamedTuple):
    """What the paper has, by its name in the configuration, what is used, and why not the same."""

    what: str
    paper: str
    used: str
    reason: str = ""


class Setting(NamedTuple):
    """What the runs are made with."""

    scale: Scale
    photos: Mapping[str, Overrides]  # the first is that of all figures but one
    masks: Choice  # the network of section 3.2
    depth: Choice  # the network of section 3.3
    depth_net: Choice
    far: Choice  # the painting of the background, and of all runs with one painting
    near: Choice


def find_setting(scale: Scale, pairs: Path | None) -> Setting:
    """What of the paper's networks and paintings, and which photos, are available."""

    def load(name: str) -> Any:
        return instantiate("backbone", compose("+experiment=naive", f"backbone={name}").backbone)

    return Setting(
        scale,
        _find_photos(pairs),
        _choose("the network of the masks", [*MASK_NETWORKS], load),
        _choose("the network of the depth loss", [*DEPTH_LOSS_NETWORKS], load),
        _choose("the depth network", DEPTH_NETS, depth_network),
        _choose("the first painting", ("the_scream", "swirls"), load_style),
        _choose("the second painting", ("starry_night", "mosaic"), load_style),
    )


def _choose(what: str, names: Sequence[str], load: Callable[[str], Any]) -> Choice:
    """The first that can be loaded, and why the paper's, which is the first of all, cannot."""
    reasons: list[str] = []
    for name in names:
        try:
            load(name)
            return Choice(what, names[0], name, *reasons[:1])
        except InputError as error:
            reasons.append(str(error))
    raise InputError(names[0], "; ".join(reasons), f"one of {', '.join(names)}")


def _find_photos(pairs: Path | None) -> dict[str, Overrides]:
    """By name: one's own, else NYU's where they are on this machine, else the built-in one."""
    if pairs is None:
        try:
            load_scene(NYU[0], size=64)
        except InputError:
            return {"motorcycle": {"content": "motorcycle"}}
        return {name.replace(":", ""): {"content": name} for name in NYU}
    photos = find_rgbd_pairs(pairs)
    if not photos:
        expected = "a folder of pictures NAME_rgb.* with their depth NAME_depth.*"
        raise InputError("--pairs", f"{pairs}, without any", expected)
    return {
        name: {"content": str(photo), "depth.path": str(depth)}
        for name, (photo, depth) in photos.items()
    }


def disparity_span(setting: Setting, scene: Scene) -> float:
    """What the paper's squared difference of disparities has to be measured in.

    Monodepth2's disparity lies in [0, 1]; of its substitute's, the range on this photo counts as 1.
    """
    if setting.depth_net.used == DEPTH_NETS[0]:
        return 1.0
    disparity = depth_network(setting.depth_net.used).predict(scene.image)
    return float(disparity.max() - disparity.min())


class Sweep(NamedTuple):
    """Runs that differ in one setting: the overrides they share, its key, its values by name."""

    fixed: Overrides
    key: str
    values: Mapping[str, Any]


def sweeps(setting: Setting, photo: Overrides, span: float) -> list[Sweep]:
    """The runs that the claims need; the last sweep is that of the depth loss."""
    scale = setting.scale
    fixed = {
        **photo,
        "style": setting.far.used,
        "short_side": scale.short_side,
        "steps": scale.steps,
        "restart.step": max(1, round(DECAY * scale.steps)),
        "tracking": "off",
        "log_every_n_steps": 1,
        "save_every_n_steps": scale.steps,
    }
    masks = {
        **fixed,
        **MASK_NETWORKS[setting.masks.used],
        "style_short_side": round(224 / 192 * scale.short_side),  # as in paper_naive
    }
    two_styles = {**masks, "styles.near.path": setting.near.used}
    depth = {
        **fixed,
        **DEPTH_LOSS_NETWORKS[setting.depth.used],
        "depth_net": setting.depth_net.used,
        "style_short_side": scale.short_side,
        "+experiment": "paper_depth_loss",
    }
    weights = {"depth_paper": 10000, "depth_most": 200000}
    scaled = {name: float(f"{x / span**2:.4g}") for name, x in weights.items()}
    return [
        Sweep(masks, "+experiment", {name: f"paper_{name}" for name in MASK_RUNS}),
        Sweep(two_styles, "+experiment", {"two_styles": "paper_two_styles"}),
        Sweep(depth, "loss.depth.weight", {"depth_none": 0, **scaled}),
    ]


def arguments(overrides: Overrides) -> list[str]:
    """Overrides as `run` and `compose` take them: JSON is what Hydra reads back, too."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in overrides.items()]


def make_runs(
    wanted: Sequence[Sweep], folder: Path, screen: Console
) -> tuple[dict[str, Run], dict[str, str]]:
    """Make the runs that are not in a folder yet: those that are done, and why others are not."""
    runs, reasons = dict[str, Run](), dict[str, str]()
    old = [Run(file.parent) for file in sorted(folder.glob("*/*/summary.json"))]
    done = {run.summary.get("config_hash"): run for run in old if run.status == "done"}
    for sweep in wanted:
        for name, value in sweep.values.items():
            overrides = arguments({**sweep.fixed, sweep.key: value})
            config_hash = identity.config_hash(compose_plain(*overrides))
            if config_hash in done:
                runs[name] = done[config_hash]
        missing = [name for name in sweep.values if name not in runs]
        if not missing:
            continue
        screen.print(f"to make: {', '.join(missing)}")
        target = folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
        settings = arguments({**sweep.fixed, "hydra.sweep.dir": str(target)})
        values = ",".join(json.dumps(sweep.values[name]) for name in missing)
        command = [sys.executable, "-m", "src.run", "-m", *settings, f"{sweep.key}={values}"]
        subprocess.run(command, check=False)
        for number, name in enumerate(missing):
            run = Run(target / str(number))
            if run.status == "done":
                runs[name] = run
            else:
                reasons[name] = f"the run {name} {run.status}: {run.reason}"
                screen.print(reasons[name], markup=False, highlight=False, soft_wrap=True)
    return runs, reasons
