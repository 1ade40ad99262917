"""The W&B run: opened in the background, closed with the run's exit code."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from src.core.errors import InputError
from src.core.images import to_uint8
from src.runs.identity import RunMetadata


class RunLogger:
    """A W&B run that a thread opens, for that takes over a second; without one: nothing."""

    def __init__(self, opening: Future[Any] | None = None) -> None:
        self._opening = opening  # gives what `wandb.init` does, or its error

    def log(self, values: Mapping[str, Any]) -> None:
        """Record values; `step` is among them."""
        if self._opening:
            self._opening.result().log(dict(values))

    def log_image(self, name: str, image: Tensor, step: int) -> None:
        """Record a (1, 3 or 1, H, W) image as its 8-bit pixels: of floats W&B guesses the range."""
        if self._opening:
            run = self._opening.result()
            import wandb

            run.log({name: wandb.Image(to_uint8(image), caption=f"step {step}"), "step": step})

    def log_video(self, path: Path, step: int) -> None:
        """Record an MP4 file; W&B takes no animated WebP."""
        if self._opening and path.suffix == ".mp4":
            run = self._opening.result()
            import wandb

            run.log({"clip": wandb.Video(str(path)), "step": step})

    def log_table(self, name: str, image: Tensor, values: Mapping[str, float]) -> None:
        """Record a table of one row, the final image and its numbers; W&B joins a group's."""
        if not self._opening:
            return
        run = self._opening.result()
        import wandb

        columns: list[str | int] = ["run", "pastiche", *values]
        data = [[name, wandb.Image(to_uint8(image)), *values.values()]]
        # A table waits for its upload in the user's home, unless it is told to in the run's folder.
        missing = "WANDB_DATA_DIR" not in os.environ
        os.environ.setdefault("WANDB_DATA_DIR", str(Path(run.dir).parent))
        try:
            run.log({"result": wandb.Table(columns=columns, data=data)})
        finally:
            if missing:
                del os.environ["WANDB_DATA_DIR"]

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the numbers that W&B's table of runs shows."""
        if self._opening:
            self._opening.result().summary.update(dict(values))


@contextmanager
def tracked(
    mode: str,
    folder: Path,
    metadata: RunMetadata,
    config: Mapping[str, Any],
    project: str | None = None,
    entity: str | None = None,
) -> Iterator[RunLogger]:
    """A tracked run, closed on leaving and marked failed if an error passes through.

    W&B's files go to `folder`. An InputError: `mode` is none of offline, online, off, or W&B
    refuses the run.
    """
    if mode == "off":
        yield RunLogger()
        return
    if mode not in ("offline", "online"):
        raise InputError("tracking.mode", repr(mode), "one of offline, online, off")

    def open_run() -> Any:
        import wandb

        silent = mode == "offline"
        try:
            run = wandb.init(
                mode=cast(Any, mode),
                dir=folder,
                project=project,
                entity=entity,
                **metadata._asdict(),
                config=dict(config),
                # Else the second job of a sweep would write into the first one's run.
                reinit="finish_previous",
                settings=wandb.Settings(silent=silent, console="off", x_disable_stats=True),
            )
        except wandb.Error as error:
            got = f"{mode}, which W&B refuses ({str(error).splitlines()[0]})"
            expected = "`wandb login` once, or tracking=offline and `make sync` later"
            raise InputError("tracking", got, expected) from error
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return run

    with ThreadPoolExecutor(1) as background:
        opening = background.submit(open_run)
        try:
            yield RunLogger(opening)
        except BaseException:
            if opening.exception() is None:
                opening.result().finish(exit_code=1)
            raise
        opening.result().finish()
