"""`python -m src.bench.depth_curves`: is the depth of a pastiche seen, and at what cost of style?

Photos with measured depth x paintings x ways to keep depth, each at several weights. A way is
better only above the curve that plain style transfer draws with its content weight: more depth at
the same style distance, at layers that no loss uses. Depth by numbers without a network and, with
--judge-file, by one that no loss used. A run is a JSON file, so that the command goes on where it
was; then come a table of all that is in the folder, and depth_curves.png.
"""

import argparse
import itertools
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from src.backbones import vgg19
from src.bench.front import Ours
from src.core import images
from src.core.errors import InputError
from src.core.files import write_text
from src.depth_nets import judge_file
from src.metrics.measurer import Measurer, Pictures
from src.metrics.run_pictures import ground_truth_depth
from src.pipeline.config import compose, compose_plain

STRUCTURE = "loss.structure.weight={}"
DEPTH = ("+experiment=depth_loss", "loss.depth.weight={}")
BASE = "content"  # the way that the others are compared with
# What a run is told, and the weights that it is told.
WAYS: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    BASE: (
        ("+experiment=naive", "loss.content.weight={}"),
        (250, 500, 1000, 2000, 4000, 8000),
    ),
    "structure": (("+experiment=structure", STRUCTURE), (50, 150, 500)),
    "structure everywhere": (("+experiment=structure", STRUCTURE, "mask=uniform"), (15, 50, 150)),
    "depth": (DEPTH, (1e5, 1e6, 1e7)),
    "raw depth": ((*DEPTH, "loss.depth.mode=raw"), (100, 1000)),
    "structure and depth": (
        ("+experiment=structure", "loss.structure.weight=150", "loss.depth.weight={}"),
        (1e5,),
    ),
}
STYLE = "style_swd"
MEASURES = {
    "sensor_spearman": "judge",
    "occlusion_edge_recall": "edges",
    "occlusion_tone_separation": "tone",
}
KEPT = (STYLE, "style_gram", "feature_distance", "edge_f1", *MEASURES)  # of a run's numbers
DRAWS = 2000  # of a bootstrap
Row = dict[str, Any]


def measure(arguments: argparse.Namespace) -> None:
    """Write what is missing in the folder: each run's numbers, with its picture beside them."""
    judge = judge_file(arguments.judge_file, "--judge-file") if arguments.judge_file else None
    measurer = Measurer(vgg19(), judge)
    for photo, painting in itertools.product(arguments.photos, arguments.paintings):
        for way, weight in ((name, x) for name in arguments.ways for x in WAYS[name][1]):
            overrides = [text.format(weight) for text in WAYS[way][0]]
            overrides += [*shlex.split(photo), f"style={painting}", f"size={arguments.size}"]
            config = compose(*overrides, f"steps={arguments.steps}")
            key = {"way": way, "weight": weight, "size": arguments.size, "steps": arguments.steps}
            key |= {"photo": Path(str(config.content)).stem, "painting": Path(painting).stem}
            file = arguments.folder / ("-".join(map(str, key.values())) + ".json")
            if file.exists():
                continue
            run, truth = Ours(config), ground_truth_depth(compose_plain(*overrides))
            if truth is None:
                raise InputError("--photos", f"'{photo}'", "a photo with measured depth")
            for _ in range(arguments.steps):
                run.step()
            pastiche = run.image.clamp(0, 1)
            content, style = run.images["content"], run.images["style_main"]
            pictures = Pictures(pastiche, content, {"main": style}, ground_truth=truth)
            numbers = measurer.measure(pictures)
            images.save_png(pastiche, file.with_suffix(".png"))
            kept = {name: numbers[name] for name in KEPT if name in numbers}
            write_text(file, json.dumps({**key, **kept}, indent=1) + "\n")


def above(rows: Sequence[Row], way: str, weight: float, name: str) -> dict[str, list[float]]:
    """By photo, how far a way's numbers are above `BASE`'s at the same style distance.

    That is on the line through `BASE`'s weights; beyond its ends a pair is left out.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if (row["way"], row["weight"]) != (way, weight) or name not in row:
            continue
        pair = {key: row[key] for key in ("photo", "painting", "size", "steps")}
        base = [x for x in rows if x["way"] == BASE and pair.items() <= x.items() and name in x]
        base.sort(key=lambda x: x[STYLE])
        style = [x[STYLE] for x in base]
        if len(base) > 1 and style[0] <= row[STYLE] <= style[-1]:
            at_equal_style = np.interp(row[STYLE], style, [x[name] for x in base])
            found.setdefault(row["photo"], []).append(row[name] - float(at_equal_style))
    return found


def interval(by_photo: Mapping[str, Sequence[float]]) -> tuple[float, float, float]:
    """Mean over photos, and the ends of its 95 % bootstrap interval (photos are drawn)."""
    if not by_photo:
        return (math.nan,) * 3
    means = np.array([np.mean(x) for x in by_photo.values()])
    drawn = np.random.default_rng(0).choice(means, (DRAWS, len(means))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(means.mean()), float(low), float(high)


def _kinds(rows: Sequence[Row]) -> list[tuple[str, float]]:
    found = {(row["way"], row["weight"]) for row in rows}
    return sorted(found, key=lambda kind: (list(WAYS).index(kind[0]), kind[1]))


def _mean(rows: Sequence[Row], kind: tuple[str, float], name: str) -> float:
    values = [x[name] for x in rows if (x["way"], x["weight"]) == kind and name in x]
    return float(np.mean(values)) if values else math.nan


def report(rows: Sequence[Row]) -> str:
    """The table in Markdown: means, and how far above `BASE` at equal style, with intervals."""
    measures = [name for name in MEASURES if any(name in row for row in rows)]
    head = ["way", "weight", "runs", "style swd", *(MEASURES[name] for name in measures)]
    head += [f"{MEASURES[name]} above {BASE}" for name in measures]
    lines = [head, ["---"] * len(head)]
    for way, weight in _kinds(rows):
        runs = sum((row["way"], row["weight"]) == (way, weight) for row in rows)
        line = [way, f"{weight:g}", str(runs)]
        line += [f"{_mean(rows, (way, weight), name):.3f}" for name in (STYLE, *measures)]
        for name in measures:
            mean, low, high = interval(above(rows, way, weight, name))
            is_empty = way == BASE or math.isnan(mean)
            line.append("" if is_empty else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(rows: Sequence[Row], file: Path) -> None:
    """Each measure against style distance.

    A point's height over the curve of `BASE` is the mean difference at equal style, of its own
    pairs, and its bar the interval of that.
    """
    from matplotlib.figure import Figure  # 0.3 s

    measures = [name for name in MEASURES if any(name in row for row in rows)]
    figure = Figure(figsize=(6 * len(measures), 5), layout="tight")
    (panels,) = figure.subplots(1, len(measures), squeeze=False)
    for axes, name in zip(panels, measures, strict=True):
        kinds = [kind for kind in _kinds(rows) if kind[0] == BASE]
        curve = sorted((_mean(rows, kind, STYLE), _mean(rows, kind, name)) for kind in kinds)
        style, base = (list(x) for x in zip(*curve, strict=True)) if curve else ([], [])
        axes.plot(style, base, marker="o", label=BASE)
        for color, way in enumerate(WAYS):
            points = []
            for kind in _kinds(rows) if curve and way != BASE else ():
                mean, low, high = interval(above(rows, *kind, name))
                if kind[0] == way and not math.isnan(mean):
                    x = _mean(rows, kind, STYLE)
                    y = float(np.interp(x, style, base)) + mean
                    points.append((x, y, mean - low, high - mean))
            if points:
                across, heights, down, up = zip(*points, strict=True)
                axes.errorbar(across, heights, (down, up), marker="o", color=f"C{color}", label=way)
        axes.set(xlabel="style distance (swd); lower is more style", ylabel=MEASURES[name])
        axes.legend()
    figure.savefig(file, dpi=80)


def main() -> int:
    """Make what is missing, then report; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m src.bench.depth_curves", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the runs are, or go to")
    photos = "each the keys of one in quotes: 'content=a.png depth.path=b.png depth.preset=tum'"
    parser.add_argument("--photos", nargs="+", default=["content=motorcycle"], help=photos)
    paintings = "names or files"
    parser.add_argument("--paintings", nargs="+", default=["swirls", "mosaic"], help=paintings)
    parser.add_argument("--size", type=int, default=256, help="px; default: 256")
    parser.add_argument("--steps", type=int, default=40, help="of every run; default: 40")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    judge = "a depth network that no loss uses: FILE[:depth][:imagenet], .onnx or .tflite"
    parser.add_argument("--judge-file", metavar="FILE", help=judge)
    arguments = parser.parse_args()
    try:
        if find_spec("matplotlib") is None:  # before the work, not after it
            raise InputError("depth_curves.png", "no matplotlib", "the extra `report`")
        arguments.folder.mkdir(parents=True, exist_ok=True)
        measure(arguments)
        rows = [json.loads(file.read_text()) for file in sorted(arguments.folder.glob("*.json"))]
        if not rows:
            raise InputError("FOLDER", f"'{arguments.folder}', without a run", "at least one way")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report(rows))
    draw(rows, arguments.folder / "depth_curves.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
