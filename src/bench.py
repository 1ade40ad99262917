"""`python -m src.bench [--quick]`: what a step costs, as ratios within one run.

Machines are noisy, so everything is measured in turn, step by step, inside one fit: the bare
network, the objectives without and with masks, and the program's own step with Lightning, the
terms and the progress bar.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from src import config as configuration
from src.backbones import Backbone, vgg19
from src.lightning import Callback, LightningModule, Trainer, quiet
from src.memory import keep_freed_memory
from src.objective import Objective
from src.run_folder import RunFolder, TermsFile
from src.stylization import Stylization
from src.tracking import NoTracker, ProgressBar, Terms

DEEPEST = "relu5_1"
EXPERIMENTS = ("naive", "masked_style", "masked_content", "two_styles")


def bare(backbone: Backbone, image: Tensor) -> Callable[[], None]:
    """One pass to the deepest layer and back to the pixels, and nothing else."""
    features = backbone.features(image, [DEEPEST])[DEEPEST]
    gradient = torch.randn_like(features)

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


class InTurn(Callback):
    """Before every step of a fit times other work once, and the step itself.

    Args:
        others: by name.
    """

    def __init__(self, others: dict[str, Callable[[], None]]) -> None:
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


def built(experiment: str, size: int) -> configuration.Job:
    """An experiment at a size, as the command would build it."""
    return configuration.build(configuration.compose(f"+experiment={experiment}", f"size={size}"))


def measure(size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of the bare network, of every objective, and of the program's step, in turn.

    Args:
        size: long side in pixels.
        rounds: how many of each; the first three are left out.
    """
    keep_freed_memory()
    jobs = {name: built(name, size) for name in EXPERIMENTS}
    image = jobs["naive"].pictures["content"]
    others = {"bare": bare(vgg19(), image)} | {
        name: evaluation(job.stylization.objective, image) for name, job in jobs.items()
    }
    in_turn = InTurn(others)
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        progress = ProgressBar(f"bench {size}")
        file = TermsFile(RunFolder(Path(folder)))
        trainer = Trainer(
            accelerator="cpu",
            max_steps=rounds + 4,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[in_turn, Terms(file, NoTracker(), 10, progress), progress],
        )
        stylization: Stylization = jobs["naive"].stylization
        trainer.fit(stylization, itertools.count())
    return {name: values[3 : 3 + rounds] for name, values in in_turn.seconds.items()}


def startup(rounds: int) -> list[float]:
    """Seconds from the command to its first step, as its summary.json says."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["+experiment=masked_style", "steps=1", f"output_dir={folder}"]
            command = [sys.executable, "-m", "src.run", *arguments]
            subprocess.run(command, check=True, capture_output=True)
            (summary,) = Path(folder).glob("*/*/summary.json")
            found.append(json.loads(summary.read_text())["startup_seconds"])
    return found


def ratio(seconds: dict[str, list[float]], of: str, to: str) -> float:
    """The median of the ratios round by round."""
    return median(a / b for a, b in zip(seconds[of], seconds[to], strict=True))


def main() -> None:
    """Measure, print a table, write bench.json."""
    parser = argparse.ArgumentParser(prog="python -m src.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under two minutes")
    parser.add_argument("--output-dir", default="outputs", help="default: outputs")
    quick = parser.parse_args().quick
    rounds = {256: 8, 512: 0} if quick else {256: 40, 512: 20}

    figures: dict[str, float] = {}
    table = Table("figure", "value")
    for size, count in rounds.items():
        if count == 0:
            continue
        seconds = measure(size, count)
        figures[f"bare_seconds_{size}"] = median(seconds["bare"])
        figures[f"step_seconds_{size}"] = median(seconds["step"])
        figures[f"step_over_bare_{size}"] = ratio(seconds, "step", "bare")
        for name in EXPERIMENTS[1:]:
            figures[f"{name}_over_naive_{size}"] = ratio(seconds, name, "naive")
    largest = max(size for size, count in rounds.items() if count)
    for name in EXPERIMENTS[1:]:
        figures[f"{name}_over_naive"] = figures[f"{name}_over_naive_{largest}"]
    figures["startup_seconds"] = median(startup(2 if quick else 5))

    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)
    output = parser.parse_args().output_dir
    folder = RunFolder(Path(output) / "bench" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    device = f"cpu, {torch.get_num_threads()} threads"
    folder.json("bench.json", {"device": device, "torch": torch.__version__, "figures": figures})
    print(f"done: {folder.path / 'bench.json'}")


if __name__ == "__main__":
    main()
