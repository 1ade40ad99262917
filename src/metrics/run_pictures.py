"""What is measured of a run, read from disk: its pictures, measured depth, naive partner."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from src.core.errors import InputError
from src.inputs import load_scene
from src.inputs.clips import find_clip
from src.metrics.measurer import GroundTruthDepth, Pictures
from src.runs.identity import DEFAULT_SIZE, NON_RESULT_KEYS
from src.runs.reader import Run, flatten
from src.runs.result import read_picture


def pictures_of(run: Run, ground_truth: GroundTruthDepth | None = None) -> Pictures:
    """The pictures of a run, as it used them and wrote them.

    Raises:
        InputError: one cannot be read, or has another size than the pastiche.
    """
    assert run.pastiche is not None
    pastiche = read_picture(run.pastiche)
    height, width = pastiche.shape[-2:]
    images = {}
    for name, file in run.inputs.items():
        if name.startswith("style_") or name.startswith("region_"):
            images[name] = read_picture(file)
        elif name in ("content", "depth") or name.startswith("mask_"):
            images[name] = image = read_picture(file)
            if image.shape[-2:] != (height, width):
                got = f"{image.shape[-1]} x {image.shape[-2]} pixels"
                raise InputError(f"inputs/{name}.png", got, f"{width} x {height}, as the pastiche")
    maps = {name: image[:, :1] for name, image in images.items()}
    styles = [name.removeprefix("style_") for name in images if name.startswith("style_")]
    if ground_truth is not None and ground_truth.depth.shape[-2:] != (height, width):
        ground_truth = None
    return Pictures(
        pastiche=pastiche,
        content=images["content"],
        styles={name: images[f"style_{name}"] for name in styles},
        style_masks={name: maps[f"mask_{name}"] for name in styles if f"mask_{name}" in maps},
        style_regions={name: maps[f"region_{name}"] for name in styles if f"region_{name}" in maps},
        content_mask=maps.get("mask_content"),
        depth=maps.get("depth"),
        ground_truth=ground_truth,
        is_one_painting=_is_one_painting(run.config),
    )


def _is_one_painting(config: Mapping[str, Any]) -> bool:
    styles = config.get("styles")
    paths = [style.get("path") for style in styles.values()] if isinstance(styles, Mapping) else []
    return len(paths) == 1 and isinstance(paths[0], str | int | float)


def ground_truth_depth(config: Mapping[str, Any]) -> GroundTruthDepth | None:
    """What a sensor measured of a run's content image; None where none did, or it is gone.

    It is read from where the run had it: a run writes its depth with the holes filled and in 8
    bits, which is no measurement any more.
    """
    depth = config.get("depth")
    if not isinstance(depth, Mapping) or depth.get("source") == "estimate":
        return None
    size, short_side = config.get("size"), config.get("short_side")
    names = ("source", "path", "kind", "scale", "preset")
    settings = {f"depth_{name}": depth[name] for name in names if depth.get(name) is not None}
    content, index = str(config.get("content")), config.get("content_index")
    try:
        if index is None and (clip := find_clip(content, settings.get("depth_path"))):
            content, index, path = vars(clip.frames[0]).values()  # whose pastiche is measured
            settings["depth_path"] = path
        scene = load_scene(
            content,
            index=index,
            **settings,
            size=size if size or short_side else DEFAULT_SIZE,
            short_side=short_side,
            need_depth=False,
        )
    except InputError:  # it is elsewhere by now; what the run wrote is enough for the rest
        return None
    if scene.depth is None or scene.valid is None or scene.depth_span is None:
        return None
    low, high = scene.depth_span
    metric = low + (high - low) * scene.depth
    valid = scene.valid & (metric > 0)
    return GroundTruthDepth(metric, valid, scene.depth_unit) if valid.any() else None


def _without_masks(config: Mapping[str, Any]) -> str:
    """What two runs have in common that differ in their masks alone; one without any is naive."""
    settings = flatten({k: v for k, v in config.items() if k not in NON_RESULT_KEYS})
    mask = re.compile(r"(^|\.)(mask|invert)(\.|$)")
    common = {key: value for key, value in settings.items() if not mask.search(key)}
    return json.dumps(common, sort_keys=True, default=str)


def naive_runs(runs: Iterable[Run]) -> dict[str, Run]:
    """The runs without masks, by what masked ones would have in common with them."""
    done = [run for run in runs if run.status == "done" and run.config]
    unmasked = [run for run in done if not any("mask_" in name for name in run.inputs)]
    return {_without_masks(run.config): run for run in unmasked}


def naive_partner(run: Run, naive: Mapping[str, Run]) -> Tensor | None:
    """The pastiche of the same settings without masks, (1, 3, H, W), if `naive_runs` have it."""
    partner = naive.get(_without_masks(run.config))
    if partner is None or partner.path == run.path or partner.pastiche is None:
        return None
    return read_picture(partner.pastiche)
