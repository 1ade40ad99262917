"""What happens between steps; only those that are logged or saved read from the device."""

import math
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor

from src.core.files import replace_whole
from src.core.lightning import STEP_OUTPUT, Callback, LightningModule, Trainer
from src.runs.reader import CHECKPOINT
from src.runs.writer import RunWriter, TermsLog
from src.tracking.progress import PasticheModule, ProgressBar
from src.tracking.wandb_run import RunLogger


class LossLogger(Callback):
    """Every `every` steps the total and the terms: to terms.csv, to W&B, to the screen.

    Stops the run when one is not finite; keeps those of the last row in `total` and `terms`.
    Without a file they are only shown and kept.
    """

    def __init__(
        self, file: TermsLog | None, logger: RunLogger, every: int, bar: ProgressBar
    ) -> None:
        self._file, self._logger, self._every, self._bar = file, logger, every, bar
        self.total = math.nan
        self.terms: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, *_: Any, **__: Any
    ) -> None:
        """Row k: the values of the pastiche before this step."""
        step = trainer.global_step - 1
        if step % self._every == 0:
            assert isinstance(outputs, Mapping)
            self._add(step, outputs["loss"], outputs["terms"], trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last row, of the final pastiche."""
        self._add(trainer.global_step, *cast(PasticheModule, pl_module).terms(), trainer)

    def _add(self, step: int, total: Tensor, terms: Mapping[str, Tensor], trainer: Trainer) -> None:
        self.total = float(total)
        self.terms = {name: float(value) for name, value in terms.items()}
        values = {"total": self.total, **self.terms}
        for name, value in values.items():
            if not math.isfinite(value):
                got = f"the term {name} is {value} after {step} steps; expected a finite number"
                hint = "lower optimizer.lr or the weights (the last good pictures are in steps/)"
                raise FloatingPointError(f"{got}: {hint}")
        if self._file is not None:
            self._file.add(step, values)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._logger.log({"step": step, "lr": rate, **values})
        self._bar.show(values)


@dataclass
class ImageSaver(Callback):
    """Every `every` steps the pastiche: to steps/, to W&B, and the checkpoint to last.ckpt."""

    folder: RunWriter
    logger: RunLogger
    every: int
    alpha: Tensor | None  # (1, 1, H, W), the content image's transparency, which the images get
    inputs: Mapping[str, Tensor]  # by name; for inputs/ after the first step, which need not wait

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Image k is the pastiche after k steps."""
        step = trainer.global_step
        self._save_inputs(step)
        if step % self.every == 0:
            pastiche = cast(PasticheModule, pl_module).current_image
            if not bool(torch.isfinite(pastiche).all()):
                return  # `LossLogger` stops the run at its next row; the last good image stays
            self.folder.image(f"steps/step_{step:06d}.png", pastiche, self.alpha)
            self.logger.log_image("pastiche", pastiche, step)
            if step < (trainer.max_steps or 0):
                save_checkpoint(trainer, self.folder)

    def on_train_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """The last checkpoint."""
        self._save_inputs(trainer.global_step)
        save_checkpoint(trainer, self.folder)

    def _save_inputs(self, step: int) -> None:
        for name, image in self.inputs.items():
            self.folder.image(f"inputs/{name}.png", image)
            self.logger.log_image(f"inputs/{name}", image, step)
        self.inputs = {}


def save_checkpoint(trainer: Trainer, folder: RunWriter) -> None:
    """Write last.ckpt, whole or not at all."""
    with replace_whole(folder.path / CHECKPOINT) as part:
        trainer.save_checkpoint(part)


class StopOnSignal(Callback):
    """Ctrl-C, or a scheduler's SIGTERM, ends the fit after the current step; a second one at once.

    It takes the signals after Lightning did, whose own way of ending would write nothing.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._received = False

    def on_train_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Take the signals, which only a process's main thread can: not in a launcher's thread."""

        def stop(number: int, _: Any) -> None:
            if self._received:
                raise KeyboardInterrupt
            self._received = trainer.should_stop = True
            print("stopping after this step; once more: at once", file=sys.stderr, flush=True)

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, stop)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    on_exception = on_train_end


@dataclass
class StepTimer(Callback):
    """When the first step began, and how long each took. First among the callbacks.

    On a GPU a step's call returns before its work is done, so the figure there is the time between
    two calls, which the queue keeps honest but for the first few.
    """

    first_step: float | None = None  # seconds since 1970
    seconds: list[float] = field(default_factory=list)

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """A step begins."""
        self.first_step = self.first_step or time.time()
        self._step_start = time.perf_counter()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """A step ends."""
        self.seconds.append(time.perf_counter() - self._step_start)

    @property
    def seconds_per_step(self) -> float | None:
        """The median of all but the first three; None where there were no more."""
        return median(self.seconds[3:]) if len(self.seconds) > 3 else None
