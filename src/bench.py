"""`python -m src.bench [--quick]`: what a step costs, as ratios within one run, beside a peer.

Machines are noisy, so everything is measured in turn, step by step, inside one fit: the bare
network, the objectives without and with masks and depth, the peer's step, and the program's own
step with Lightning, the terms and the progress bar. Beside a figure stands its limit: what it
would be if convolutions and matrix products ran at the best rate that the machine was seen to have,
and nothing else took time.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from src import config as configuration
from src import images, jobs
from src.backbones import Backbone, vgg19
from src.config import PRECISIONS
from src.depth_nets import DepthNet
from src.depth_nets.monodepth2 import Monodepth2, Network
from src.lightning import Callback, LightningModule, Trainer, quiet
from src.memory import keep_freed_memory
from src.objective import DepthTerm, Objective
from src.peer import SAME_LOSS, Peer
from src.run_folder import RunFolder, TermsFile
from src.stylization import Stylization
from src.tracking import NoTracker, ProgressBar, Terms

DEEPEST = "relu5_1"
EXPERIMENTS = ("naive", "masked_style", "masked_content", "two_styles", "depth_loss")
# What is timed over what, by the figure's name in bench.json.
RATIOS = {
    "step_over_bare": ("step", "bare"),
    "step_over_peer": ("step", "peer"),
    "masked_style_over_naive": ("masked_style", "naive"),
    "masked_content_over_naive": ("masked_content", "naive"),
    "two_styles_over_naive": ("two_styles", "naive"),
    "depth_head_over_naive": ("depth_loss", "naive"),
    "monodepth2_over_naive": ("monodepth2", "naive"),
}
PEER_STEPS = 300
CURVE = 10  # steps between two looks at the peer's loss, outside its clock
SWEEP = 4  # jobs
RUNS = 3  # of each command whose memory is measured
CHANNELS = 256  # of the convolution that the machine's rate is measured with
TILE = 512  # px, for the peak of memory that a run in tiles takes
LARGE = (1024, 2048, 4096)  # px, long sides to be tried for `largest_picture`


def bare(backbone: Backbone, image: Tensor) -> Callable[[], None]:
    """One pass to the deepest layer and back to the pixels, and nothing else."""
    gradient = torch.randn_like(backbone.features(image, [DEEPEST])[DEEPEST])

    def run() -> None:
        pixels = image.clone().requires_grad_()
        backbone.features(pixels, [DEEPEST])[DEEPEST].backward(gradient)

    return run


def evaluation(objective: Objective, image: Tensor) -> Callable[[], None]:
    """One evaluation of an objective with its gradient."""

    def run() -> None:
        pixels = image.clone().requires_grad_()
        total, _ = objective(pixels)
        total.backward()

    return run


def with_depth(objective: Objective, net: DepthNet, image: Tensor) -> Callable[[], None]:
    """An objective's evaluation with a depth network that looks at the picture itself."""
    term = DepthTerm(net, net.estimate(image), 1.0)

    def run() -> None:
        pixels = image.clone().requires_grad_()
        total, _ = objective(pixels)
        (total + term(pixels, {})["depth"]).backward()

    return run


def untrained_monodepth2() -> DepthNet:
    """Monodepth2 without its weights, which take no part in what a step costs."""
    network = Network().to_empty(device="cpu")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return Monodepth2(network, 192, 640)


class InTurn(Callback):
    """Before every step of a fit times other work once, and the step itself.

    Args:
        others: by name.
    """

    def __init__(self, others: Mapping[str, Callable[[], None]]) -> None:
        self._others = others
        self._began: float | None = None
        self.seconds: dict[str, list[float]] = {name: [] for name in [*others, "step"]}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The step before has ended, everything that follows it included."""
        if self._began is not None:
            self.seconds["step"].append(time.perf_counter() - self._began)
        for name, run in self._others.items():
            began = time.perf_counter()
            run()
            self.seconds[name].append(time.perf_counter() - began)
        self._began = time.perf_counter()


class Race(Callback):
    """Step by step the peer's turn and ours, each on its own clock, both judged by the peer's loss.

    Args:
        peer: whose turn it is.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._clock = 0.0
        self._began = 0.0
        self.peer_seconds = 0.0
        self.ours: list[tuple[float, float]] = []  # seconds and loss after so many steps
        self.peers: list[tuple[float, float]] = []  # every `CURVE` steps

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The peer's turn, outside our clock, and both losses, outside both."""
        began = time.perf_counter()
        if self._began:
            self._clock += began - self._began
        picture = pl_module.get_parameter("pastiche").detach()
        self.ours.append((self._clock, self._peer.loss(picture)))
        if batch_idx % CURVE == 0:
            self.peers.append((self.peer_seconds, self._peer.loss()))
        began = time.perf_counter()
        self._peer.step()
        self._began = time.perf_counter()
        self.peer_seconds += self._began - began


def built(*overrides: str) -> jobs.Job:
    """A run, as the command would build it."""
    return jobs.build(configuration.compose(*overrides))


def fit(stylization: Stylization, steps: int, *callbacks: Callback) -> None:
    """The program's own loop with its terms and its bar, on the processor."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        progress = ProgressBar("bench")
        file = TermsFile(RunFolder(Path(folder)))
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[*callbacks, Terms(file, NoTracker(), 10, progress), progress],
        )
        trainer.fit(stylization, itertools.count())


def pictures(size: int, folder: Path) -> dict[str, Path]:
    """The built-in photo and painting as files of exactly the pixels that a run would use."""
    job = built("+experiment=naive", f"size={size}")
    files = {name: folder / f"{name}.png" for name in ("content", "style")}
    images.save_png(job.pictures["content"], files["content"])
    images.save_png(job.pictures["style_main"], files["style"])
    return files


def like(peer_files: Mapping[str, Path], size: int) -> list[str]:
    """Overrides of a run with the peer's pictures and the peer's loss."""
    files = [f"{name}={file}" for name, file in peer_files.items()]
    return [*SAME_LOSS, *files, f"size={size}", f"style_size={size}"]


class Timed(NamedTuple):
    """Pieces of work by name: how long each took in every round, and what it has to compute.

    Attributes:
        seconds: one number a round.
        operations: see `operations`.
    """

    seconds: dict[str, list[float]]
    operations: dict[str, float]


def steps(size: int, rounds: int, precision: str) -> Timed:
    """The bare network, every objective with its gradient, the peer's step and ours, in turn.

    Args:
        size: long side in pixels.
        rounds: how many of each; three more come first and are left out.
        precision: of all networks but Monodepth2 and the peer's, which know float32 alone.
    """
    given = (f"size={size}", f"precision={precision}")
    made = {name: built(f"+experiment={name}", *given) for name in EXPERIMENTS}
    image = made["naive"].pictures["content"]
    naive = made["naive"].stylization.objective
    others = {"bare": bare(vgg19().at(PRECISIONS[precision]), image)} | {
        name: evaluation(job.stylization.objective, image) for name, job in made.items()
    }
    others["monodepth2"] = with_depth(naive, untrained_monodepth2(), image)
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(size, Path(folder))
        others["peer"] = Peer(files["content"], files["style"], "lbfgs").step
        work = {name: operations(run) for name, run in others.items()}
    in_turn = InTurn(others)
    fit(made["naive"].stylization, rounds + 4, in_turn)
    seconds = {name: values[3 : 3 + rounds] for name, values in in_turn.seconds.items()}
    return Timed(seconds, work | {"step": work["naive"]})


def time_to_peer(optimizer: str, size: int, count: int) -> dict[str, Any]:
    """How long until our loop has the loss that the peer has after so many steps.

    Both start from the content, at their default settings, with the same loss (see `peer.py`);
    start-up does not count.

    Args:
        optimizer: the peer's, "adam" or "lbfgs"; ours is our default.
        size: long side in pixels.
        count: the peer's steps, and the most of ours.

    Returns:
        `ratio` of the times (infinite where it is not reached), both times in seconds, the steps
        that ours took, both losses, and both `curves` of (seconds, loss).
    """
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(size, Path(folder))
        peer = Peer(files["content"], files["style"], optimizer)
        ours = built(*like(files, size)).stylization
    race = Race(peer)
    fit(ours, count, race)
    loss = peer.loss()
    reached = [(i, seconds, total) for i, (seconds, total) in enumerate(race.ours) if total <= loss]
    step, seconds, total = reached[0] if reached else (count, float("inf"), race.ours[-1][1])
    return {
        "ratio": seconds / race.peer_seconds,
        "seconds": seconds,
        "peer_seconds": race.peer_seconds,
        "steps": step,
        "loss": total,
        "peer_loss": loss,
        "curves": {"ours": race.ours, "peer": [*race.peers, (race.peer_seconds, loss)]},
    }


Figures = dict[str, float]


def operations(run: Callable[[], None]) -> float:
    """Floating-point operations of some work, its matrix products and convolutions alone."""
    with FlopCounterMode(display=False) as counted:
        run()
    return float(counted.get_total_flops())


def rate(precision: torch.dtype, rounds: int = 5) -> float:
    """Floating-point operations per second in a wide convolution, at best."""
    shapes = (1, CHANNELS, 130, 130), (CHANNELS, CHANNELS, 3, 3)
    image, kernel = (
        torch.rand(shape).to(precision, memory_format=torch.channels_last) for shape in shapes
    )
    best = math.inf
    for _ in range(rounds):
        began = time.perf_counter()
        functional.conv2d(image, kernel)
        best = min(best, time.perf_counter() - began)
    return 2 * CHANNELS**2 * 9 * 128**2 / best


def figures_of(timed: Timed, rates: Mapping[str, float], end: str) -> tuple[Figures, Figures]:
    """What times become in bench.json: medians and ratios, and the limit of each.

    Args:
        timed: see `steps`.
        rates: operations per second at best, of ours and of the peer's.
        end: of the figures' names.
    """
    seconds, work = timed
    least = {
        name: count / rates["peer" if name == "peer" else "ours"] for name, count in work.items()
    }
    figures = {f"{name}_seconds{end}": median(values) for name, values in seconds.items()}
    limits = {f"{name}_seconds{end}": least[name] for name in seconds}
    for figure, (of, to) in RATIOS.items():
        figures[figure + end] = ratio(seconds, of, to)
        limits[figure + end] = least[of] / least[to]
    return figures, limits


def sweep_job(size: int) -> float:
    """Seconds that a later job of a sweep takes beside its one step, the median."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["+experiment=naive", f"size={size}", "steps=1", "tracking=off"]
        weights = ",".join(f"{1e8 * (i + 1):g}" for i in range(SWEEP))
        varied = f"loss.style.weight={weights}"
        _run(["-m", "src.run", "-m", *given, varied, f"output_dir={folder}"])
        summaries = [json.loads(f.read_text()) for f in sorted(Path(folder).rglob("summary.json"))]
    return median(job["seconds"] for job in summaries[1:])


def startup(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from the command to its first step, ours and the peer's, in turn.

    Ours is what summary.json says of `masked_style`; the peer's is its whole command with no steps.
    """
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(512, Path(folder))
        peer = ["-m", "pastiche", "--content", str(files["content"]), "--size", "512"]
        peer += ["--styles", str(files["style"]), "--output", f"{folder}/out.png"]
        for i in range(rounds):
            arguments = ["+experiment=masked_style", "steps=1", f"output_dir={folder}/{i}"]
            _run(["-m", "src.run", *arguments])
            (summary,) = Path(folder, str(i)).glob("*/*/summary.json")
            ours.append(json.loads(summary.read_text())["startup_seconds"])
            began = time.perf_counter()
            _run([*peer, "--num-steps", "0"])
            theirs.append(time.perf_counter() - began)
    return ours, theirs


def peak_memory(size: int, count: int, tile: int) -> dict[str, float]:
    """Most memory in GB that a run of some steps takes: the median of a few, in turn.

    It varies by some tenths of a GB from run to run, with how blocks fall in the heap.

    Returns:
        By "ours", "float32", "tiles", and "peer".
    """
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(size, Path(folder))
        ours = [*like(files, size), f"steps={count}", "tracking=off", f"output_dir={folder}"]
        peer = ["--content", str(files["content"]), "--styles", str(files["style"])]
        peer += ["--size", str(size), "--style-size", str(size), "--num-steps", str(count)]
        commands = {
            "ours": ["-m", "src.run", *ours, "tile=null"],
            "float32": ["-m", "src.run", *ours, "tile=null", "precision=float32"],
            "tiles": ["-m", "src.run", *ours, f"tile={tile}"],
            "peer": ["-m", "pastiche", *peer, "--output", f"{folder}/out.png"],
        }
        found = [{name: _run(command) for name, command in commands.items()} for _ in range(RUNS)]
    return {name: median(one[name] for one in found) for name in commands}


def largest_picture(sizes: Sequence[int]) -> int:
    """The longest side in pixels, of some that are tried, at which a run still fits."""
    found = 0
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            arguments = [f"size={size}", "style_size=512", "steps=1", "tracking=off"]
            try:
                _run(["-m", "src.run", "+experiment=naive", *arguments, f"output_dir={folder}"])
            except subprocess.CalledProcessError:
                return found
        found = size
    return found


# A small process that runs a command and says what it took: what a process is told to have taken
# includes what its parent had when it was started.
_MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def _run(arguments: Sequence[str]) -> float:
    """Run Python and wait; the most memory in GB that it took.

    Raises:
        CalledProcessError: it failed or was killed.
    """
    command = [sys.executable, "-c", _MEASURED, sys.executable, *arguments]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(found) / (2**30 if sys.platform == "darwin" else 2**20)


def ratio(seconds: Mapping[str, list[float]], of: str, to: str) -> float:
    """The median of the ratios round by round."""
    return median(a / b for a, b in zip(seconds[of], seconds[to], strict=True))


def plot(details: Mapping[str, Any]) -> str:
    """A page with the races: loss against seconds, ours and the peer's."""
    import plotly.graph_objects as go  # of the extra `report`

    lines = [
        go.Scatter(x=[x for x, _ in curve], y=[y for _, y in curve], name=f"{name}, {who}")
        for name, race in details.items()
        if "curves" in race
        for who, curve in race["curves"].items()
    ]
    figure = go.Figure(lines)
    figure.update_layout(
        title="The peer's loss, by two optimisers of the peer's and by ours",
        xaxis_title="seconds",
        yaxis={"title": "loss", "type": "log"},
    )
    return str(figure.to_html(include_plotlyjs=True))


def main() -> None:
    """Measure, print a table, write bench.json and, with the races, bench.html."""
    parser = argparse.ArgumentParser(prog="python -m src.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="steps and start-up only: two minutes")
    parser.add_argument("--output-dir", default="outputs", help="default: outputs")
    arguments = parser.parse_args()
    keep_freed_memory()

    figures: Figures = {}
    limits: Figures = {}
    details: dict[str, Any] = {}
    rounds = {256: 6} if arguments.quick else {256: 40, 512: 20}
    default = configuration.precision(configuration.compose("+experiment=naive"))
    for precision in [default] if arguments.quick else dict.fromkeys([default, "float32"]):
        tail = "" if precision == default else f"_{precision}"
        for size, count in rounds.items():
            timed = steps(size, count, precision)
            rates = {"ours": rate(PRECISIONS[precision]), "peer": rate(torch.float32)}
            end = f"_{size}{tail}"
            found, least = figures_of(timed, rates, end)
            figures |= found
            limits |= least
            if not tail:  # the larger size stands for both
                figures |= {
                    name: found[name + end] for name, (_, to) in RATIOS.items() if to == "naive"
                }
            details[f"steps{end}"] = {**timed._asdict(), "operations_per_second": rates}
    ours, theirs = startup(1 if arguments.quick else 5)
    figures["startup_seconds"] = median(ours)
    figures["startup_over_peer"] = median(a / b for a, b in zip(ours, theirs, strict=True))
    if not arguments.quick:
        for optimizer in ("adam", "lbfgs"):
            found = time_to_peer(optimizer, 384, PEER_STEPS)
            details[f"time_to_peer_{optimizer}"] = found
            figures[f"time_to_peer_{optimizer}"] = found["ratio"]
        memory = details["peak_memory_1024_gb"] = peak_memory(1024, 5, TILE)
        figures["peak_memory_over_peer_1024"] = memory["ours"] / memory["peer"]
        for name in ("float32", "tiles"):
            figures[f"peak_memory_{name}_over_peer_1024"] = memory[name] / memory["peer"]
        figures["sweep_job_seconds_256"] = sweep_job(256)
        figures["largest_picture"] = largest_picture(LARGE)

    table = Table("figure", "value", "limit")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}", f"{limits[name]:.4g}" if name in limits else "")
    Console().print(table)
    folder = RunFolder(Path(arguments.output_dir) / "bench" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    device = f"cpu, {torch.get_num_threads()} threads"
    report = {
        "device": device,
        "precision": default,
        "torch": torch.__version__,
        "figures": figures,
        "limits": limits,
        "details": details,
    }
    folder.json("bench.json", report)
    if not arguments.quick:
        folder.text("bench.html", plot(details))
    print(f"done: {folder.path / 'bench.json'}")


if __name__ == "__main__":
    main()
