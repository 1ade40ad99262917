"""Many runs, one after another, by networks that are loaded once."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from src import jobs
from src.backbones import vgg19
from src.errors import InputError
from src.evaluate.files import (
    Judge,
    Sensors,
    is_measured,
    measure_controls,
    measure_run,
    naive_partner,
    naive_runs,
    read_metrics,
    unusable,
)
from src.evaluate.measure import Measurer
from src.runs import Run

JUDGE = "vgg_head"  # the default: the one that needs no download
NO_JUDGE = "none"


class Evaluation:
    """Measures runs; the networks are loaded when the first one needs them.

    Args:
        judge: a depth network's name in conf/depth_net/, or "none".
        weights: its weights; None for its own.
        screen: where progress is shown.
    """

    def __init__(self, judge: str, weights: str | None, screen: Console) -> None:
        self._asked = judge, weights
        self._screen = screen
        self._sensors = Sensors()

    @cached_property
    def judge(self) -> Judge:
        """Who says what depth is seen; an InputError where its network or weights are missing."""
        name, weights = self._asked
        if name == NO_JUDGE:
            return Judge()
        return Judge(name, jobs.depth_network(name, weights, "--judge"))

    @cached_property
    def measurer(self) -> Measurer:
        """What measures."""
        return Measurer(vgg19(), self.judge.net)

    def runs(
        self, runs: Sequence[Run], again: bool = False
    ) -> tuple[dict[Path, Mapping[str, Any]], dict[Path, str]]:
        """Measure runs, or read what was measured before.

        Args:
            runs: done, failed or otherwise.
            again: whether runs that have metrics are measured once more.

        Returns:
            What metrics.json holds by run, and why others were left out.
        """
        rows: dict[Path, Mapping[str, Any]] = {}
        without: dict[Path, str] = {}
        judge, naive = self.judge, naive_runs(runs)
        for run in runs:
            problem = unusable(run)
            if problem is not None:
                without[run.path] = problem
            elif not again and is_measured(run, judge):
                rows[run.path] = read_metrics(run)
        left = [run for run in runs if run.path not in rows and run.path not in without]
        with self._progress() as progress:
            for run in progress.track(left, description="measuring"):
                try:
                    rows[run.path] = self._one(run, naive)
                except (InputError, OSError) as error:
                    without[run.path] = str(error)
        return rows, without

    def _one(self, run: Run, naive: Mapping[str, Run]) -> dict[str, Any]:
        sensor, partner = self._sensors.of(run.config), naive_partner(run, naive)
        return measure_run(run, self.measurer, self.judge, sensor, partner)

    def controls(self, run: Run) -> dict[str, dict[str, float]]:
        """The numbers of a run's photo and of its painting in place of the pastiche."""
        return measure_controls(run, self.measurer, self._sensors.of(run.config))

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._screen,
            transient=True,
        )


def measure_one(folder: Path) -> Mapping[str, Any]:
    """Measure a single run by the default judge, as the last thing that it does.

    Raises:
        InputError: it cannot be measured.
    """
    rows, without = Evaluation(JUDGE, None, Console(quiet=True)).runs([Run(folder)], again=True)
    if folder in without:
        raise InputError("evaluate", without[folder], "a run that can be measured")
    return rows[folder]
