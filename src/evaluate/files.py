"""Runs on disk: their pictures in, their metrics.json out."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from src.config import DEFAULT_SIZE, WITHOUT_EFFECT
from src.depth_nets import DepthNet
from src.errors import InputError
from src.evaluate.measure import LAYERS, Measurer, Pictures, Sensor
from src.images import load_png, resize
from src.inputs import Scene, load_scene
from src.runs import METRICS, Run, write_text

PHOTO = "photo itself"
PAINTING = "painting itself"
VERSION = 1  # of what metrics.json means; a file of another one is measured again


@dataclass(frozen=True)
class Judge:
    """Who says what depth is seen.

    Attributes:
        name: in conf/depth_net/; None for nobody.
        net: the network.
    """

    name: str | None = None
    net: DepthNet | None = None

    def entries(self) -> dict[str, str | None]:
        """What metrics.json says of it; other weights are another judge."""
        return {
            "judge": self.name,
            "judge_name": None if self.net is None else self.net.name,
            "judge_weights": None if self.net is None else self.net.fingerprint(),
        }


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


def pictures_of(run: Run, sensor: Sensor | None = None) -> Pictures:
    """The pictures of a run, as it used them and wrote them.

    Raises:
        InputError: one cannot be read, or has another size than the pastiche.
    """
    assert run.pastiche is not None
    files = run.inputs
    pastiche = _picture(run.pastiche)
    whole = {
        name: _picture(file)
        for name, file in files.items()
        if name in ("content", "depth") or name.startswith("mask_")
    }
    for name, image in whole.items():
        if image.shape[-2:] != pastiche.shape[-2:]:
            height, width = pastiche.shape[-2:]
            got = f"{image.shape[-1]} x {image.shape[-2]} pixels"
            raise InputError(f"inputs/{name}.png", got, f"{width} x {height}, as the pastiche")
    styles = {
        name.removeprefix("style_"): _picture(file)
        for name, file in files.items()
        if name.startswith("style_")
    }
    masks = {name.removeprefix("mask_"): x[:, :1] for name, x in whole.items() if "mask_" in name}
    depth = whole.get("depth")
    if sensor is not None and sensor.depth.shape[-2:] != pastiche.shape[-2:]:
        sensor = None
    return Pictures(
        pastiche=pastiche,
        content=whole["content"],
        styles=styles,
        style_masks={name: mask for name, mask in masks.items() if name in styles},
        content_mask=masks.get("content"),
        depth=None if depth is None else depth[:, :1],
        sensor=sensor,
    )


def _picture(file: Path) -> Tensor:
    try:
        image = load_png(file)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a broken PNG
        got = "a file that cannot be read"
        raise InputError(str(file), got, "a picture that a run wrote") from error
    return image[:, :3] if image.shape[1] >= 3 else image[:, :1]


class Sensors:
    """Measured depth of the runs' photos, read again from where the runs had it; the last is kept.

    A run writes its depth with the holes filled and in 8 bits, which is no measurement any more.
    """

    def __init__(self) -> None:
        self._last: tuple[str, Sensor | None] | None = None

    def of(self, config: Mapping[str, Any]) -> Sensor | None:
        """What a sensor measured of a run's photo; None where none did, or where it is not found.

        Args:
            config: the run's.
        """
        keys = ("content", "content_index", "depth", "size", "short_side")
        wanted = json.dumps({key: config.get(key) for key in keys}, sort_keys=True, default=str)
        if self._last is None or self._last[0] != wanted:
            self._last = wanted, _measured(config)
        return self._last[1]


def _measured(config: Mapping[str, Any]) -> Sensor | None:
    if _at(config, "depth", "source") == "estimate":
        return None
    try:
        scene = load_photo(config)
    except InputError:  # the photo is elsewhere by now; what the run wrote is enough for the rest
        return None
    if scene.depth is None or scene.valid is None or scene.depth_span is None:
        return None
    low, high = scene.depth_span
    depth = low + (high - low) * scene.depth
    valid = scene.valid & (depth > 0)
    return Sensor(depth, valid, scene.depth_unit) if valid.any() else None


def load_photo(config: Mapping[str, Any]) -> Scene:
    """The photo of a configuration with its measured depth; nothing is estimated.

    Raises:
        InputError: it cannot be had.
    """
    size, short_side = config.get("size"), config.get("short_side")
    return load_scene(
        str(config.get("content")),
        index=config.get("content_index"),
        depth_source=_at(config, "depth", "source") or "auto",
        depth_path=_at(config, "depth", "path"),
        depth_kind=_at(config, "depth", "kind") or "auto",
        depth_scale=_at(config, "depth", "scale") or "auto",
        depth_preset=_at(config, "depth", "preset"),
        size=size if size or short_side else DEFAULT_SIZE,
        short_side=short_side,
        need_depth=False,
    )


def without_masks(config: Mapping[str, Any]) -> str:
    """What two runs have in common that differ in their masks alone; one without any is naive."""
    kept = {k: v for k, v in config.items() if k not in (*WITHOUT_EFFECT, "mask", "objectives")}
    styles = kept.get("styles") or {}
    kept["styles"] = {n: {**s, "mask": None, "invert": None} for n, s in styles.items()}
    loss = kept.get("loss") or {}
    kept["loss"] = {**loss, "content": {**(loss.get("content") or {}), "mask": None}}
    return json.dumps(kept, sort_keys=True, default=str)


def naive_runs(runs: Iterable[Run]) -> dict[str, Run]:
    """The runs without masks, by what masked ones would have in common with them."""
    found = {}
    for run in runs:
        if run.status == "done" and run.config and not any("mask_" in name for name in run.inputs):
            found[without_masks(run.config)] = run
    return found


def naive_partner(run: Run, naive: Mapping[str, Run]) -> Tensor | None:
    """The pastiche of the same settings without masks, (1, 3, H, W); None where there is none.

    Args:
        run: one with masks; any other has no partner.
        naive: `naive_runs`.
    """
    partner = naive.get(without_masks(run.config))
    if partner is None or partner.path == run.path or partner.pastiche is None:
        return None
    return _picture(partner.pastiche)


def judge_is_loss(config: Mapping[str, Any], judge: str) -> bool:
    """Whether a run was steered by the network that judges it.

    Args:
        config: the run's.
        judge: the network's name in conf/depth_net/.
    """
    return bool(_at(config, "loss", "depth", "weight")) and _target(config, "depth_net") == judge


def layers_in_loss(config: Mapping[str, Any]) -> list[str]:
    """Those of the metrics' layers that the loss of a run used, too."""
    if _target(config, "backbone") != "vgg19":
        return []
    used = [_at(config, "loss", part, "layers") or [] for part in ("content", "style")]
    return [layer for layer in LAYERS if layer in used[0] + used[1]]


def _at(config: Mapping[str, Any], *keys: str) -> Any:
    """A setting of a run's configuration; None where an older run has none."""
    found: Any = config
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _target(config: Mapping[str, Any], group: str) -> str:
    return str(_at(config, group, "_target_")).rpartition(".")[2]


def is_measured(run: Run, judge: Judge) -> bool:
    """Whether a run has metrics newer than its pastiche, of this version and by this judge."""
    known = read_metrics(run)
    if run.pastiche is None or not known:
        return False
    newer = (run.path / METRICS).stat().st_mtime >= run.pastiche.stat().st_mtime
    return newer and known.items() >= {"version": VERSION, **judge.entries()}.items()


def read_metrics(run: Run) -> dict[str, Any]:
    """What metrics.json holds; empty where it is missing or broken."""
    try:
        known = json.loads((run.path / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def measure_run(
    run: Run, measurer: Measurer, judge: Judge, sensor: Sensor | None, naive: Tensor | None
) -> dict[str, Any]:
    """Measure a run and write its metrics.json.

    Args:
        run: the run, not `unusable`.
        measurer: what measures.
        judge: whose network it has.
        sensor: measured depth of the run's photo.
        naive: the pastiche of the same run without masks.

    Returns:
        What was written: numbers by name, and what they were made with.

    Raises:
        InputError: a picture of the run cannot be used.
    """
    pictures = pictures_of(run, sensor)
    if naive is not None and naive.shape != pictures.pastiche.shape:
        naive = None
    values: dict[str, Any] = {
        **measurer.measure(pictures, naive),
        **judge.entries(),
        "judge_is_loss": judge.name is not None and judge_is_loss(run.config, judge.name),
        "sensor_unit": None if pictures.sensor is None else pictures.sensor.unit,
        "backbone": measurer.backbone.name,
        "layers_in_loss": layers_in_loss(run.config),
        "version": VERSION,
    }
    write_text(run.path / METRICS, json.dumps(values, indent=2) + "\n")
    return values


def measure_controls(
    run: Run, measurer: Measurer, sensor: Sensor | None
) -> dict[str, dict[str, float]]:
    """The numbers of what is no pastiche: the ends of the scale that pastiches lie on.

    Returns:
        By name: those of the photo, with which every run begins, and those of the first painting,
        stretched to the photo's size, in which nothing of it is left.
    """
    pictures = pictures_of(run, sensor)
    painting = resize(next(iter(pictures.styles.values())), *pictures.content.shape[-2:])
    instead = {PHOTO: pictures.content, PAINTING: painting}
    return {name: measurer.measure(replace(pictures, pastiche=x)) for name, x in instead.items()}
