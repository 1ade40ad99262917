"""`python -m src.bench.front`: style against content and against seconds, by style distance.

Photos x paintings x sizes x ways of making a pastiche x content weights, each judged on its way at
layers that no loss uses. A run's curve is a JSON file, so that the command goes on where it was;
then come a table of all that is in the folder, and front.png.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from src.backbones import vgg19
from src.bench.peer import Peer
from src.bench.timing import time_interleaved
from src.core import images
from src.core.errors import InputError
from src.core.files import write_text
from src.inputs import load_scene, load_style
from src.metrics.measurer import Measurer, Pictures
from src.pipeline.build import build
from src.pipeline.config import compose
from src.pipeline.schema import Config

Make = Callable[[Mapping[str, Path], int, float], "Ours | Peer"]
FACTORS = (0.3, 1.0, 3.0)  # of every way's own content weight
STYLE = ("style_gram", "style_swd")
MEASURES = (*STYLE, "feature_distance")
Key = tuple[str, float, int, str, str]  # way, factor, size, photo, painting
Curves = Mapping[Key, Mapping[str, np.ndarray]]
BASE = "gram"  # the way that the others are compared with
SECONDS, ROUNDS = "seconds_", 10  # of a step: a file for each size, from so many rounds in turn
FIRST = 5  # steps after which a run is judged for the first time, then after twice as many ...


class Ours:
    """A stylization of ours step by step, without all that a run writes."""

    def __init__(self, config: Config) -> None:
        job = build(config)
        self.stylization, self.images = job.stylization, job.images
        self.optimizer = self.stylization.configure_optimizers()

    @property
    def image(self) -> Tensor:
        """The pastiche, (1, 3, H, W)."""
        return self.stylization.current_image

    def step(self) -> None:
        """One step of its optimiser."""
        self.optimizer.step(self._closure)

    def _closure(self) -> float:
        self.optimizer.zero_grad()
        total, _ = self.stylization.objective(self.stylization.pastiche)
        total.backward()
        return float(total.detach())


def _with_distance(name: str, files: Mapping[str, Path], size: int, factor: float) -> Ours:
    inputs = [f"{key}={file}" for key, file in files.items()]
    sizes = [f"size={size}", f"style_size={size}"]
    config = ["+experiment=naive", f"distance={name}", *inputs, *sizes]
    weight = compose(*config).loss.terms["content"]["weight"]
    return Ours(compose(*config, f"loss.content.weight={factor * weight}"))


def _plain(files: Mapping[str, Path], size: int, factor: float) -> Ours:
    run = _with_distance("gram", files, size, factor)
    run.optimizer = torch.optim.LBFGS([run.stylization.pastiche], max_iter=1)
    return run


WAYS: Mapping[str, Make] = {
    "wasserstein": partial(_with_distance, "wasserstein"),
    "gram": partial(_with_distance, "gram"),
    "gram, torch's L-BFGS": _plain,
    "pastiche": lambda files, size, factor: Peer(files, "lbfgs", factor),
}


def start(way: str, factor: float, photo: Tensor, painting: Tensor) -> Ours | Peer:
    """A way's run of (1, 3, H, W) pictures in [0, 1], before its first step."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.png" for name in ("content", "style")}
        for file, image in zip(files.values(), (photo, painting), strict=True):
            images.save_png(image, file)
        return WAYS[way](files, max(photo.shape[-2:]), factor)


def curve(
    way: str, factor: float, photo: Tensor, painting: Tensor, steps: int, measurer: Measurer
) -> tuple[list[dict[str, float]], Tensor]:
    """A row after 5, 10, 20 ... steps: `step` and `MEASURES`.

    And the last pastiche. All three pictures are (1, 3, H, W) in [0, 1], it is of the photo's size.
    """
    run = start(way, factor, photo, painting)
    rows = []
    judged = {steps, *(FIRST * 2**n for n in range(20))}
    for step in range(1, steps + 1):
        run.step()
        if step in judged:
            pictures = Pictures(run.image.clamp(0, 1), photo, {"main": painting})
            numbers = measurer.measure(pictures)
            rows.append({"step": step, **{name: numbers[name] for name in MEASURES}})
    return rows, run.image.clamp(0, 1)


def measure(arguments: argparse.Namespace) -> None:
    """Write the curves that are missing in the folder, each with its last picture beside it."""
    measurer = Measurer(vgg19(), None)

    def load(size: int, photo: str, painting: str) -> tuple[Tensor, Tensor]:
        scene = load_scene(photo, size=size, need_depth=False)
        return scene.image, load_style(painting, size=size)

    for size in arguments.sizes:
        file = arguments.folder / f"{SECONDS}{size}.json"
        if not file.exists():
            pair = load(size, arguments.photos[0], arguments.paintings[0])
            works = {way: start(way, 1, *pair).step for way in WAYS}
            seconds = time_interleaved(works, ROUNDS)
            write_text(file, json.dumps({way: median(x) for way, x in seconds.items()}) + "\n")
    grid = (arguments.sizes, arguments.photos, arguments.paintings, arguments.factors)
    for size, photo, painting, factor, way in itertools.product(*grid, arguments.ways):
        key = {"way": way, "factor": factor, "size": size, "steps": arguments.steps}
        key |= {"photo": Path(photo).stem, "painting": Path(painting).stem}
        file = arguments.folder / ("-".join(map(str, key.values())) + ".json")
        if not file.exists():
            pair = load(size, photo, painting)
            rows, image = curve(way, factor, *pair, arguments.steps, measurer)
            images.save_png(image, file.with_suffix(".png"))
            write_text(file, json.dumps({**key, "rows": rows}, indent=1) + "\n")


def read(folder: Path) -> Curves:
    """The curves of a folder, with the `seconds` since the start."""
    curves = {}
    for file in sorted(folder.glob("*-*-*-*.json")):
        run = json.loads(file.read_text())
        seconds = json.loads((folder / f"{SECONDS}{run['size']}.json").read_text())[run["way"]]
        rows = {name: np.array([row[name] for row in run["rows"]]) for name in ("step", *MEASURES)}
        key = run["way"], run["factor"], run["size"], run["photo"], run["painting"]
        curves[key] = {**rows, "seconds": seconds * rows["step"]}
    return curves


def after(rows: Mapping[str, np.ndarray], seconds: float) -> dict[str, float]:
    """`MEASURES` after so many seconds, between two rows by a line over the time's logarithm."""
    at = np.log(rows["seconds"])
    return {name: float(np.interp(np.log(seconds), at, rows[name])) for name in MEASURES}


def style_at_equal_content(curves: Curves, way: str, size: int) -> dict[str, list[float]]:
    """By measure, for each pair: a way's style distance over that of `BASE` at its own weight.

    At the seconds that `BASE` took and the content distance that it had, on the line through the
    factors. Where all of them are nearer to the photo it is the farthest one's, which is too much;
    where all are farther from it the pair is left out.
    """
    found: dict[str, list[float]] = {name: [] for name in STYLE}
    pairs = {key[3:] for key in curves if key[:3] == (BASE, 1, size)}
    for pair in sorted(pairs):
        rows = curves[BASE, 1, size, *pair]
        seconds, target = rows["seconds"][-1], {name: rows[name][-1] for name in MEASURES}
        ours = [after(x, seconds) for key, x in curves.items() if key == (way, key[1], size, *pair)]
        ours.sort(key=lambda numbers: numbers["feature_distance"])
        content = [numbers["feature_distance"] for numbers in ours]
        if not content or target["feature_distance"] < content[0]:
            continue
        for name, ratios in found.items():
            style = np.interp(target["feature_distance"], content, [x[name] for x in ours])
            ratios.append(float(style) / target[name])
    return found


def report(curves: Curves) -> str:
    """The table in Markdown: medians over the pairs at the ways' own weights."""
    head = ("way", "px", "seconds of a step", *MEASURES, *(f"{x} at equal content" for x in STYLE))
    lines = [head, ("---",) * len(head)]
    for size, way in itertools.product(sorted({key[2] for key in curves}), WAYS):
        rows = [x for key, x in curves.items() if key[:3] == (way, 1, size)]
        if rows:
            step = rows[0]["seconds"][0] / rows[0]["step"][0]
            last = [f"{median(x[name][-1] for x in rows):.3f}" for name in MEASURES]
            ratios = style_at_equal_content(curves, way, size).values()
            equal = [f"{median(x):.2f} ({len(x)} of {len(rows)})" if x else "" for x in ratios]
            lines.append((way, str(size), f"{step:.3f}", *last, *equal))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(curves: Curves, file: Path) -> None:
    """Medians over the pairs: style against content by factor, and against seconds."""
    from matplotlib.figure import Figure  # 0.3 s

    sizes = sorted({key[2] for key in curves})
    figure = Figure(figsize=(9 * len(sizes), 8), layout="tight")
    axes = figure.subplots(len(STYLE), 2 * len(sizes), squeeze=False)
    for (i, size), (j, name) in itertools.product(enumerate(sizes), enumerate(STYLE)):
        by_content, by_time = axes[j][2 * i : 2 * i + 2]
        # Medians of the pairs that have them all, so that they are of the same pairs.
        of_size = {key for key in curves if key[2] == size}
        kinds = {key[:2] for key in of_size}
        pairs = [
            pair
            for pair in {key[3:] for key in of_size}
            if of_size >= {(*x, size, *pair) for x in kinds}
        ]
        for color, way in enumerate(WAYS):
            factors = sorted(factor for name, factor in kinds if name == way)
            if 1 not in factors or not pairs:
                continue
            groups = {x: [curves[way, x, size, *pair] for pair in pairs] for x in factors}
            ends = [
                [median(rows[x][-1] for rows in groups[factor]) for x in (MEASURES[-1], name)]
                for factor in factors
            ]
            by_content.plot(*zip(*ends, strict=True), marker="o", color=f"C{color}", label=way)
            own = groups[1]
            style = np.median([rows[name] for rows in own], axis=0)
            by_time.plot(own[0]["seconds"], style, marker="o", color=f"C{color}")
        by_content.set(xlabel="content distance", ylabel=name, title=f"{size} px, in the end")
        by_time.set(xlabel="seconds", ylabel=name, title=f"{size} px, on the way")
        by_time.set_xscale("log", base=2)
        by_time.xaxis.set_major_formatter("{x:g}")
        by_content.legend()
    figure.savefig(file, dpi=80)


def main() -> int:
    """Make what is missing, then report; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m src.bench.front", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the curves are, or go to")
    parser.add_argument("--photos", nargs="+", default=["motorcycle"], help="names or files")
    parser.add_argument("--paintings", nargs="+", default=["swirls", "mosaic"], help="likewise")
    parser.add_argument("--sizes", nargs="+", type=int, default=[128], help="px; default: 128")
    parser.add_argument("--steps", type=int, default=40, help="of every run; default: 40")
    parser.add_argument(
        "--factors", nargs="*", type=float, default=FACTORS, help="of content weights"
    )
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    try:
        if find_spec("matplotlib") is None:  # before the work, not after it
            raise InputError("front.png", "no matplotlib", "the extra `report`")
        arguments.folder.mkdir(parents=True, exist_ok=True)
        measure(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    curves = read(arguments.folder)
    print(report(curves))
    draw(curves, arguments.folder / "front.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
