"""The progress of a run on the screen."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from src.core.lightning import Callback, LightningModule, Trainer


class PasticheModule(Protocol):
    """What these callbacks use of the module that is fitted."""

    current_image: Tensor  # the pastiche, (1, 3, H, W), at its last size
    pixel_steps: Callable[[int], int]  # pixels that so many steps process: their time goes with it
    terms: Callable[[], tuple[Tensor, dict[str, Tensor]]]  # total and terms of the pastiche


class ProgressBar(Callback):
    """A bar with title, terms and the time left; plain lines where the screen is a file.

    `later_steps` are those, at the last size, of other fits that follow: their time counts, too.
    """

    def __init__(self, title: str, later_steps: int = 0) -> None:
        self._later_steps = later_steps
        self._title, self._values, self._printed = title, "", 0.0
        self._trainer: Trainer | None = None
        self._console = Console(stderr=True)
        name, steps = TextColumn("{task.description}"), TextColumn("{task.fields[steps]}")
        values = TextColumn("{task.fields[values]}")
        columns = name, BarColumn(), steps, TimeRemainingColumn(), values
        # Drawing takes time from the steps.
        self._bar = Progress(
            *columns, console=self._console, refresh_per_second=2, transient=later_steps > 0
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar."""
        self._trainer, self._pixel_steps = trainer, cast(PasticheModule, pl_module).pixel_steps
        self._start_time = time.perf_counter()
        self._start = self._pixel_steps(trainer.global_step)
        fields: dict[str, Any] = {"steps": _count(trainer), "values": self._values}
        steps = trainer.max_steps
        pixels = self._pixel_steps(steps) - self._pixel_steps(steps - 1)  # of the last one
        self._end = total = self._pixel_steps(steps) + self._later_steps * pixels
        self._task = self._bar.add_task(self._title, total=total, completed=self._start, **fields)
        if self._console.is_terminal:
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Advance by the pixels of one step."""
        done = self._pixel_steps(trainer.global_step)
        self._bar.update(self._task, completed=done, steps=_count(trainer), values=self._values)

    def show(self, values: Mapping[str, float]) -> None:
        """Total and terms to show; in a file a line, at most every five seconds."""
        self._values = "  ".join(f"{k} {v:.4g}" for k, v in values.items() if "_" not in k)
        trainer, now = self._trainer, time.perf_counter()
        if trainer is None or self._console.is_terminal or now - self._printed < 5:
            return
        self._printed = now
        done = self._pixel_steps(trainer.global_step)
        rate = (now - self._start_time) / max(done - self._start, 1)
        left = rate * (self._end - done)
        line = f"{self._title} {_count(trainer)}, {left:.0f} s left  {self._values}"
        print(line, file=sys.stderr, flush=True)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Leave the finished bar."""
        if self._console.is_terminal:
            self._bar.stop()

    on_exception = on_train_end


def _count(trainer: Trainer) -> str:
    return f"{trainer.global_step}/{trainer.max_steps}"
