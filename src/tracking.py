"""What is recorded of a run: the W&B run, terms, pictures on the way, checkpoints, progress."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from src.errors import InputError
from src.images import to_uint8
from src.lightning import STEP_OUTPUT, Callback, LightningModule, Trainer
from src.run_folder import CHECKPOINT, RunFolder, TermsFile
from src.stylization import Stylization


class NoTracker:
    """`tracking=off`."""

    def log(self, values: Mapping[str, Any]) -> None:
        """Record nothing."""

    def picture(self, name: str, image: Tensor, step: int) -> None:
        """Record nothing."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record nothing."""

    def row(self, name: str, image: Tensor, values: Mapping[str, float]) -> None:
        """Record nothing."""


class WandbTracker(NoTracker):
    """A W&B run, opened in the background.

    Importing W&B and starting its service takes over a second, in which the network can be loaded.

    Args:
        opening: gives the run as `wandb.init` does, or its error.
    """

    def __init__(self, opening: Future[Any]) -> None:
        self._opening = opening

    @property
    def run(self) -> Any:
        """The run, once it is open."""
        return self._opening.result()

    @property
    def opened(self) -> bool:
        """Whether there is a run, after waiting for it."""
        return self._opening.exception() is None

    def log(self, values: Mapping[str, Any]) -> None:
        """Record values; `step` is among them."""
        self.run.log(dict(values))

    def picture(self, name: str, image: Tensor, step: int) -> None:
        """Record a (1, 3 or 1, H, W) picture in [0, 1], clipped there."""
        run = self.run
        import wandb

        # Of floats W&B guesses the range, differently from release to release; of uint8 it cannot.
        pixels: np.ndarray = to_uint8(image)
        run.log({name: wandb.Image(pixels, caption=f"step {step}"), "step": step})

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the numbers that W&B's table of runs shows."""
        self.run.summary.update(dict(values))

    def row(self, name: str, image: Tensor, values: Mapping[str, float]) -> None:
        """A table of one row, the final picture and its numbers; W&B joins those of a group."""
        run = self.run
        import wandb

        columns: list[str | int] = ["run", "pastiche", *values]
        data = [[name, wandb.Image(to_uint8(image)), *values.values()]]
        # A table waits for its upload in the user's home, unless it is told to in the run's folder.
        with _environment("WANDB_DATA_DIR", str(Path(run.dir).parent)):
            run.log({"result": wandb.Table(columns=columns, data=data)})


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable for a while; one that the user set stays."""
    missing = name not in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if missing:
            del os.environ[name]


@dataclass(frozen=True)
class Identity:
    """How a run is found again among many.

    Attributes:
        name: what tells it from its neighbours: the settings that vary in a sweep.
        group: the experiment, and the sweep where it belongs to one.
        job_type: "single" or "sweep".
        tags: backbone, mask and the like.
    """

    name: str
    group: str
    job_type: str = "single"
    tags: Sequence[str] = ()


@contextmanager
def tracked(
    mode: str,
    folder: Path,
    identity: Identity,
    config: Mapping[str, Any],
    project: str | None = None,
    entity: str | None = None,
) -> Iterator[NoTracker]:
    """A tracked run, closed on leaving and marked failed if an error passes through.

    Args:
        mode: "offline", "online" or "off".
        folder: where W&B writes its files.
        identity: name, group, tags.
        config: the resolved configuration, plain values.
        project: W&B's project.
        entity: W&B's user or team.

    Raises:
        InputError: W&B refuses the run.
    """
    if mode == "off":
        yield NoTracker()
        return
    if mode not in ("offline", "online"):
        raise InputError("tracking.mode", repr(mode), "one of offline, online, off")

    def open_run() -> Any:
        import wandb

        try:
            run = wandb.init(
                mode="offline" if mode == "offline" else "online",
                dir=folder,
                project=project,
                entity=entity,
                name=identity.name,
                group=identity.group,
                job_type=identity.job_type,
                tags=list(identity.tags),
                config=dict(config),
                # Else the second job of a sweep would write into the first one's run.
                reinit="finish_previous",
                settings=wandb.Settings(
                    silent=mode == "offline", console="off", x_disable_stats=True
                ),
            )
        except wandb.Error as error:
            raise InputError(
                "tracking",
                f"{mode}, which W&B refuses ({str(error).splitlines()[0]})",
                "`wandb login` once, or tracking=offline and `make sync` later",
            ) from error
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return run

    with ThreadPoolExecutor(1) as background:
        tracker = WandbTracker(background.submit(open_run))
        try:
            yield tracker
        except BaseException:
            if tracker.opened:
                tracker.run.finish(exit_code=1)
            raise
        tracker.run.finish()


def _stylization(module: LightningModule) -> Stylization:
    assert isinstance(module, Stylization)
    return module


class Terms(Callback):
    """Every `every` steps the total and the terms: to terms.csv, to W&B, to the screen.

    Reads values back from the device only then. Stops the run when one is not finite.

    Args:
        file: the run's terms.csv.
        tracker: the tracked run.
        every: steps between rows.
        progress: the bar on the screen.
    """

    def __init__(
        self, file: TermsFile, tracker: NoTracker, every: int, progress: "ProgressBar"
    ) -> None:
        self._file, self._tracker, self._every, self._progress = file, tracker, every, progress
        self.total = math.nan
        self.terms: dict[str, float] = {}

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Row k, which belongs to the pastiche before this step."""
        step = trainer.global_step - 1
        if step % self._every == 0:
            assert isinstance(outputs, Mapping)
            self._add(step, outputs["loss"], outputs["terms"], trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last row: the pastiche as it is left."""
        total, terms = _stylization(pl_module).terms()
        self._add(trainer.global_step, total, terms, trainer)

    def _add(self, step: int, total: Tensor, terms: Mapping[str, Tensor], trainer: Trainer) -> None:
        self.total = float(total)
        self.terms = {name: float(value) for name, value in terms.items()}
        for name, value in {"total": self.total, **self.terms}.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the term {name} is {value} after {step} steps; expected a finite number: "
                    "lower optimizer.lr or the weights (the last good pictures are in steps/)"
                )
        self._file.add(step, self.total, self.terms)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._tracker.log({"step": step, "total": self.total, "lr": rate, **self.terms})
        self._progress.show(self.total, self.terms)


class Pictures(Callback):
    """Every `every` steps the pastiche: to steps/, to W&B, and the checkpoint to last.ckpt.

    Args:
        folder: the run's folder.
        tracker: the tracked run.
        every: steps between pictures.
        alpha: (1, 1, H, W), the content's transparency, kept in the pictures.
        inputs: what went in, by file name in inputs/; written after the first step, which then
            need not wait for them.
    """

    def __init__(
        self,
        folder: RunFolder,
        tracker: NoTracker,
        every: int,
        alpha: Tensor | None,
        inputs: Mapping[str, Tensor],
    ) -> None:
        self._folder, self._tracker, self._every, self._alpha = folder, tracker, every, alpha
        self._inputs = dict(inputs)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Picture k is the pastiche after k steps."""
        step = trainer.global_step
        while self._inputs:
            name, picture = self._inputs.popitem()
            self._folder.picture(f"inputs/{name}.png", picture)
            self._tracker.picture(f"inputs/{name}", picture, step)
        if step % self._every == 0:
            pastiche = _stylization(pl_module).picture
            if not bool(torch.isfinite(pastiche).all()):
                return  # `Terms` stops the run at its next row; the last good picture stays
            self._folder.picture(f"steps/step_{step:06d}.png", pastiche, self._alpha)
            self._tracker.picture("pastiche", pastiche, step)
            if step < (trainer.max_steps or 0):
                save_checkpoint(trainer, self._folder)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last checkpoint."""
        save_checkpoint(trainer, self._folder)


def save_checkpoint(trainer: Trainer, folder: RunFolder) -> None:
    """Write last.ckpt, whole or not at all."""
    part = folder.path / f".{CHECKPOINT}.part"
    try:
        trainer.save_checkpoint(part)
        os.replace(part, folder.path / CHECKPOINT)
    finally:
        part.unlink(missing_ok=True)


class StopOnSignal(Callback):
    """Ctrl-C, or a scheduler's SIGTERM, ends the fit after the step at hand; a second one at once.

    Takes the signals when training starts, after Lightning took them for its own way of ending,
    which would write nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals; in a launcher's thread, where they go elsewhere, do without."""

        def stop(number: int, _: Any) -> None:
            if self._came:
                raise KeyboardInterrupt
            self._came = trainer.should_stop = True
            print("stopping after this step; once more: at once", file=sys.stderr, flush=True)

        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)
            }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give them back."""
        self.on_train_end(trainer, pl_module)


@dataclass
class Clock(Callback):
    """When the first step began, and how long each took.

    On a GPU a step's call returns before its work is done, so the figure there is the time between
    two calls, which the queue keeps honest but for the first few.
    """

    first_step: float | None = None
    seconds: list[float] = field(default_factory=list)
    _began: float = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """A step begins."""
        if self.first_step is None:
            self.first_step = time.time()
        self._began = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """A step ends. First among the callbacks, so that their work does not count."""
        self.seconds.append(time.perf_counter() - self._began)

    @property
    def seconds_per_step(self) -> float | None:
        """The median of all but the first three; None where there were no more."""
        return median(self.seconds[3:]) if len(self.seconds) > 3 else None


def _of_steps(trainer: Trainer) -> str:
    return f"{trainer.global_step}/{trainer.max_steps}"


class ProgressBar(Callback):
    """A bar with the terms and the time left; plain lines where the screen is a file.

    Args:
        title: what is shown in front.
        console: where; by default the standard error.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._title = title
        self._values = ""
        self._printed = 0.0
        self._trainer: Trainer | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
            console=self._console,
            refresh_per_second=2,  # drawing takes time from the steps
            transient=False,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar."""
        self._trainer, self._work = trainer, _stylization(pl_module).work
        self._began, self._before = time.perf_counter(), self._work(trainer.global_step)
        self._task = self._bar.add_task(
            self._title,
            total=self._work(trainer.max_steps),
            completed=self._before,
            steps=_of_steps(trainer),
            values="",
        )
        if self._console.is_terminal:
            self._bar.start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """One step further, by as much as the picture is large."""
        self._bar.update(
            self._task,
            completed=self._work(trainer.global_step),
            steps=_of_steps(trainer),
            values=self._values,
        )

    def show(self, total: float, terms: Mapping[str, float]) -> None:
        """New values to show; in a file a line, at most every five seconds."""
        shown = {"total": total, **{k: v for k, v in terms.items() if "_" not in k}}
        self._values = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        trainer = self._trainer
        now = time.perf_counter()
        if trainer is None or self._console.is_terminal or now - self._printed < 5:
            return
        self._printed = now
        done, whole = self._work(trainer.global_step), self._work(trainer.max_steps)
        left = (now - self._began) * (whole - done) / max(done - self._before, 1)
        print(
            f"{self._title} {_of_steps(trainer)}, {left:.0f} s left  {self._values}",
            file=sys.stderr,
            flush=True,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the finished bar."""
        self.stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the screen back."""
        self.stop()

    def stop(self) -> None:
        """Stop drawing."""
        if self._console.is_terminal:
            self._bar.stop()
