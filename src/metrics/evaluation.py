"""Many runs, one after another, by networks that are loaded once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track

from src.backbones import vgg19
from src.core.errors import InputError
from src.core.files import write_json
from src.core.images import resize
from src.depth_nets import DepthNet
from src.metrics.measurer import LAYERS, GroundTruthDepth, Measurer
from src.metrics.run_pictures import ground_truth_depth, naive_partner, naive_runs, pictures_of
from src.runs.quantities import columns
from src.runs.reader import METRICS, Run, flatten, read_json

JUDGE = "vgg_head"  # the default: the one that needs no download
CONTROLS = ("photo itself", "painting itself")
Rows = dict[Path, Mapping[str, Any]]  # what metrics.json holds, by run
GROUND_TRUTH_KEYS = ("content", "content_index", "depth", "size", "short_side")
VERSION = 3  # of what metrics.json means; a file of another one is measured again


class DepthEvaluator(NamedTuple):
    """The network whose depth is compared, the judge of metrics.json; or none."""

    name: str | None = None  # in conf/depth_net/
    net: DepthNet | None = None

    def entries(self) -> dict[str, str | None]:
        """What metrics.json says of it; other weights are another judge."""
        net = self.net
        name, weights = (None, None) if net is None else (net.name, net.fingerprint())
        return {"judge": self.name, "judge_name": name, "judge_weights": weights}


def unusable(run: Run) -> str | None:
    """Why a run cannot be measured, in one line; None where it can."""
    if run.status == "failed":
        return f"failed: {run.reason}"
    if run.pastiche is None:
        return run.reason or "no pastiche.png"
    if "content" not in run.inputs:
        return "inputs/content.png is missing"
    if not any(name.startswith("style_") for name in run.inputs):
        return "inputs/style_<name>.png is missing"
    return None


class Evaluation:
    """Measures runs, with progress on a screen; VGG-19 is loaded when the first needs it."""

    def __init__(self, depth: DepthEvaluator, screen: Console) -> None:
        self.depth = depth
        self.screen = screen
        self._ground_truth: tuple[str, GroundTruthDepth | None] | None = None

    @cached_property
    def _measurer(self) -> Measurer:
        return Measurer(vgg19(), self.depth.net)

    def measure(self, runs: Sequence[Run], again: bool = False) -> tuple[Rows, dict[Path, str]]:
        """What metrics.json holds by run, and why others were left out.

        Runs are measured and it is written where it is missing or old, or, with `again`, always.
        """
        rows: Rows = {}
        problems, left = {}, []
        for run in runs:
            if (reason := unusable(run)) is not None:
                problems[run.path] = reason
            elif not again and is_measured(run, self.depth):
                rows[run.path] = read_json(run.path / METRICS)
            else:
                left.append(run)
        naive = naive_runs(runs)
        for run in track(left, "measuring", console=self.screen, transient=True):
            try:
                rows[run.path] = self._measure(run, naive)
            except Exception as error:  # of one run, whose files may hold anything
                known = isinstance(error, InputError | OSError)
                problems[run.path] = str(error) if known else f"{type(error).__name__}: {error}"
        return rows, problems

    def _measure(self, run: Run, naive: Mapping[str, Run]) -> dict[str, Any]:
        pictures = pictures_of(run, self._ground_truth_of(run))
        values: dict[str, Any] = {
            **self._measurer.measure(pictures, naive_partner(run, naive)),
            **self.depth.entries(),
            "judge_is_loss": self_evaluated(run.config, self.depth),
            "sensor_unit": pictures.ground_truth.unit if pictures.ground_truth else None,
            "backbone": self._measurer.backbone.name,
            "layers_in_loss": layers_in_loss(run.config),
            "version": VERSION,
        }
        if differences := run.frames.get("warped_difference"):
            values["warped_difference"] = mean(differences)
        write_json(run.path / METRICS, values)
        return values

    def _ground_truth_of(self, run: Run) -> GroundTruthDepth | None:
        """That of the last run's content image is kept: a sweep's runs mostly share it."""
        settings = {key: run.config.get(key) for key in GROUND_TRUTH_KEYS}
        key = json.dumps(settings, sort_keys=True, default=str)
        if self._ground_truth is None or self._ground_truth[0] != key:
            self._ground_truth = key, ground_truth_depth(run.config)
        return self._ground_truth[1]

    def controls(self, run: Run) -> dict[str, dict[str, float]]:
        """Content and first style image as if they were pastiches, by the names in `CONTROLS`."""
        try:
            pictures = pictures_of(run, self._ground_truth_of(run))
        except InputError:  # what is in its metrics.json was measured before
            return {}
        content, style = pictures.content, next(iter(pictures.styles.values()))
        images = content, resize(style, *content.shape[-2:])
        return {
            name: self._measurer.measure(replace(pictures, pastiche=image))
            for name, image in zip(CONTROLS, images, strict=True)
        }


def measure_run_folder(folder: Path, depth: DepthEvaluator) -> Mapping[str, Any]:
    """Write a run's metrics.json and return what it holds.

    Raises:
        InputError: it cannot be measured.
    """
    rows, problems = Evaluation(depth, Console(quiet=True)).measure([Run(folder)], again=True)
    if folder in problems:
        raise InputError("evaluate", problems[folder], "a run that can be measured")
    return rows[folder]


def self_evaluated(config: Mapping[str, Any], depth: DepthEvaluator) -> bool:
    """Whether the network that judges a run is the one that its depth loss used."""
    keys = flatten(config)
    return bool(keys.get("loss.depth.weight")) and _target(keys, "depth_net") == depth.name


def layers_in_loss(config: Mapping[str, Any]) -> list[str]:
    """Those of the metrics' layers that the loss of a run used, too."""
    keys = flatten(config)
    if _target(keys, "backbone") != "vgg19":
        return []
    used = [*(keys.get("loss.content.layers") or []), *(keys.get("loss.style.layers") or [])]
    return [layer for layer in LAYERS if layer in used]


def _target(keys: Mapping[str, Any], group: str) -> str:
    return str(keys.get(f"{group}._target_")).rpartition(".")[2]


def is_measured(run: Run, depth: DepthEvaluator) -> bool:
    """Whether a run has metrics newer than its pastiche, of this version and by this judge."""
    known = read_json(run.path / METRICS)
    numbers = [known[name] for name in columns() if name in known]
    if run.pastiche is None or not known or not all(isinstance(x, int | float) for x in numbers):
        return False
    newer = (run.path / METRICS).stat().st_mtime >= run.pastiche.stat().st_mtime
    return newer and known.items() >= {"version": VERSION, **depth.entries()}.items()
