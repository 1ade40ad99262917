"""A sweep: its list of jobs, what became of them, and going on with those that are missing.

Hydra's sweepers make the jobs and its launchers run them; between the two this room keeps the list
in the sweep's folder, so that a job is known by its number whatever runs it, and whether it is done
is read from what it left there.
"""

import json
import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from src import config as configuration
from src.errors import InputError
from src.inputs.pictures import pictures_in
from src.runs import CHECKPOINT, FAILED, PASTICHE, SWEEP, Run, write_text

if TYPE_CHECKING:
    from filelock import FileLock

RECORD = "sweep.json"
LOCK = ".sweep.lock"
JOB_LOCK = ".running"
EARLIER = ".earlier"  # attempts at jobs that were stopped or failed
RESUME = "resume_sweep"
TRIALS = "hydra.sweeper.n_trials"


@dataclass
class Record:
    """What a sweep is, as its folder says.

    Attributes:
        arguments: the command line that makes it.
        search: how many jobs there are to be, where a search makes them up on its way; else the
            command line alone says which there are.
        varied: the keys that differ between its jobs.
        jobs: the overrides of every job so far, in the order of their numbers.
    """

    arguments: list[str]
    search: int | None = None
    varied: list[str] = field(default_factory=list)
    jobs: list[list[str]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_text(folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")


def read_record(folder: Path, key: str = RESUME) -> Record:
    """The record in a sweep's folder.

    Raises:
        InputError: there is none, or it is broken.
    """
    expected = f"a sweep's folder, with its {RECORD}"
    try:
        record = Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
        texts = [record.arguments, record.varied, *record.jobs]
        if not all(isinstance(text, str) for texts_ in texts for text in texts_):
            raise TypeError
    except OSError as error:
        raise InputError(key, f"'{folder}', which is no sweep's folder", expected) from error
    except (ValueError, TypeError) as error:
        raise InputError(key, f"'{folder}', whose {RECORD} is broken", expected) from error
    return record


def varied_overrides(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Of a job's overrides those that differ between the jobs of its sweep; all, if none do."""
    try:
        varied = set(read_record(folder).varied)
    except InputError:
        varied = set()
    return [text for text in overrides if _key(text) in varied] or list(overrides)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a run's status, or "missing"; and why it is not done, if it began."""

    status: str
    reason: str = ""


def outcome(folder: Path) -> Outcome:
    """What a job's folder says of it."""
    run = Run(folder)
    if not folder.is_dir():
        return Outcome("missing", "it was not reached")
    if run.status == "done" and run.pastiche is None:
        return Outcome("unfinished", f"no {PASTICHE}")
    return Outcome(run.status, run.reason)


def set_aside(folder: Path) -> Path | None:
    """Move an attempt at a job out of the way, so that the next one begins in an empty folder.

    Returns:
        Where it is now, if the next attempt can go on from its checkpoint: not where it failed,
        nor where all of its steps were made.
    """
    stopped = outcome(folder).status in ("interrupted", "unfinished")
    earlier = folder.parent / EARLIER
    earlier.mkdir(exist_ok=True)
    number = 1
    while (earlier / f"{folder.name}_{number}").exists():
        number += 1
    aside = earlier / f"{folder.name}_{number}"
    os.rename(folder, aside)
    return aside if stopped and _has_steps_left(Run(aside)) else None


def _has_steps_left(run: Run) -> bool:
    steps, wanted = run.terms.get("step", []), run.config.get("steps")
    if not (run.path / CHECKPOINT).is_file() or not isinstance(wanted, int):
        return False
    return bool(steps) and steps[-1] < wanted


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Hold a job's folder while the job runs, wherever it runs.

    Raises:
        InputError: it is running already.
    """
    lock = _taken(folder / JOB_LOCK)
    if lock is None:
        got = f"'{folder.parent}', whose job {folder.name} is running"
        raise InputError(RESUME, got, "its end")
    try:
        yield
    finally:
        (folder / JOB_LOCK).unlink(missing_ok=True)
        lock.release()


def _taken(file: Path) -> "FileLock | None":
    """A lock that its process holds until it lets go or ends; None if another holds it."""
    from filelock import FileLock, Timeout  # 0.1 s, and only sweeps need it

    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


@dataclass(frozen=True)
class Command:
    """A command line, ready for Hydra.

    Attributes:
        arguments: with what this program adds to it.
        folder: the sweep's folder that it goes on with, if it does.
    """

    arguments: list[str]
    folder: Path | None = None


def prepared(arguments: Sequence[str]) -> Command:
    """A command line with `resume_sweep=FOLDER` and `content=FOLDER` put into Hydra's terms.

    Raises:
        InputError: no such folder, or one without what it should hold.
    """
    given = list(arguments)
    if any(_key(argument) == RESUME for argument in given):
        return _resumed(given)
    # Hydra takes flags first only. Of groups the last wins: a sweep says how it differs from the
    # experiment.
    given.sort(key=lambda a: (a not in ("-m", "--multirun"), _key(a) == "sweep" and "=" in a))
    if "folder" in _values(given, "sweep"):
        given = [_every_picture(a) if _key(a) == "content" else a for a in given]
    return Command(given)


def _resumed(given: list[str]) -> Command:
    folder = Path(_values(given, RESUME)[-1]).expanduser()
    record = read_record(folder)
    mine = [a for a in given if "=" in a and _key(a) != RESUME]
    for argument in mine:
        if not _key(argument).startswith("hydra"):
            got = f"{argument} beside {RESUME}"
            raise InputError(_key(argument), got, "nothing that changes its jobs")
    keys = {_key(argument) for argument in mine} | {"hydra.sweep.dir"}
    kept = [a for a in record.arguments if _key(a) not in keys]
    arguments = [*kept, *mine, f"hydra.sweep.dir={_quoted(str(folder.absolute()))}"]
    if record.search is not None:
        trials = int((_values(mine, TRIALS) or [str(record.search)])[-1])
        done = sum(outcome(folder / str(n)).status == "done" for n in range(len(record.jobs)))
        arguments = [a for a in arguments if _key(a) != TRIALS]
        arguments.append(f"{TRIALS}={max(trials - done, 0)}")
    return Command(arguments, folder)


def _every_picture(argument: str) -> str:
    folder = Path(_unquoted(argument.partition("=")[2])).expanduser()
    if not folder.is_dir():
        raise InputError("content", f"'{folder}'", "a folder of pictures, for +sweep=folder")
    files = pictures_in(folder)
    if not files:
        raise InputError("content", f"'{folder}', without pictures", "a folder of pictures")
    return "content=" + ",".join(_quoted(str(file)) for file in files)


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0] if not argument.startswith("-") else ""


def _values(arguments: Sequence[str], key: str) -> list[str]:
    return [_unquoted(a.partition("=")[2]) for a in arguments if _key(a) == key and "=" in a]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\") if text.endswith("\\") else text
    return "'" + escaped.replace("'", "\\'") + "'"


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace(f"\\{text[0]}", text[0])
    return text


class Sweep:
    """The sweep that a command runs, once Hydra has asked for its launcher; none, if it does not.

    Args:
        command: the command line.
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._lock: FileLock | None = None
        self.folder: Path | None = None
        self.record = Record(command.arguments)
        self._numbers: list[int] = []

    def open(self, config: DictConfig) -> None:
        """Take the sweep's folder.

        Raises:
            InputError: another sweep is running in it, or it holds one already.
        """
        folder = Path(str(config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        key = RESUME if self._command.folder else "hydra.sweep.dir"
        self._lock = _taken(folder / LOCK)
        if self._lock is None:
            got = f"'{folder}', where a sweep is running"
            raise InputError(key, got, "its end, or another folder")
        if self._command.folder:
            self.record = read_record(folder)
        elif (folder / RECORD).exists():
            got = f"'{folder}', which holds a sweep"
            raise InputError(key, got, f"a new folder, or {RESUME}={folder}")
        elif "n_trials" in config.hydra.sweeper:
            self.record.search = int(config.hydra.sweeper.n_trials)
        self.folder = folder
        self.record.write(folder)
        if not (folder / SWEEP).exists():  # not every sweeper writes it
            OmegaConf.save(config, folder / SWEEP)

    def close(self) -> None:
        """Let the folder go."""
        if self._lock is not None:
            self._lock.release()

    def number(self, jobs: Sequence[Sequence[str]], first: int, space: Sequence[str]) -> list[int]:
        """Put jobs on the list.

        Args:
            jobs: their overrides.
            first: the number that the sweeper gives the first of them.
            space: the keys over which a search goes.

        Returns:
            Their numbers; they may be on the list already, of a sweep that goes on.

        Raises:
            InputError: other jobs are there under these numbers.
        """
        assert self.folder is not None
        record = self.record
        start = first if record.search is None else len(record.jobs)
        for number, job in enumerate(jobs, start):
            if number < len(record.jobs) and list(job) != record.jobs[number]:
                raise InputError(
                    RESUME,
                    f"'{self.folder}', whose job {number} was {shlex.join(record.jobs[number])}",
                    f"what its command gives now: {shlex.join(job)}",
                )
        record.jobs[start : start + len(jobs)] = [list(job) for job in jobs]
        record.varied = _varied(record.jobs, () if record.search is None else space)
        record.write(self.folder)
        numbers = list(range(start, start + len(jobs)))
        self._numbers += numbers
        return numbers

    def job(self, number: int) -> Path:
        """The folder of a job."""
        assert self.folder is not None
        return self.folder / str(number)

    def outcomes(self) -> dict[int, Outcome]:
        """What became of the jobs that this command put on the list."""
        return {number: outcome(self.job(number)) for number in self._numbers}

    def failures(self) -> str:
        """One line on the jobs that are not done, by reason; empty if all are."""
        found = self.outcomes()
        reasons: dict[str, list[int]] = {}
        for number, job in found.items():
            if job.status != "done":
                reasons.setdefault(job.reason, []).append(number)
        if not reasons:
            return ""
        left = sum(len(numbers) for numbers in reasons.values())
        listed = "; ".join(
            f"{', '.join(map(self._titled, numbers))}: {reason}"
            for reason, numbers in reasons.items()
        )
        again = f"{RESUME}={shlex.quote(str(self.folder))} runs what is missing"
        return f"{left} of {len(found)} jobs are not done: {listed} | {again}"

    def _titled(self, number: int) -> str:
        assert self.folder is not None
        varied = [o for o in self.record.jobs[number] if _key(o) in set(self.record.varied)]
        return f"{number} ({' '.join(varied)})" if varied else str(number)


def _varied(jobs: Sequence[Sequence[str]], space: Sequence[str]) -> list[str]:
    found: dict[str, set[str]] = {}
    for job in jobs:
        for override in job:
            found.setdefault(_key(override), set()).add(override.partition("=")[2])
    return [key for key, values in found.items() if len(values) > 1 or key in space]


class _Recording(Launcher):
    """A launcher that keeps the list: what is done is left out, what fails leaves the others.

    Args:
        launcher: the one that runs the jobs.
        sweep: the list.
        config: the sweep's configuration.
        context: Hydra's.
    """

    def __init__(
        self, launcher: Launcher, sweep: Sweep, config: DictConfig, context: HydraContext
    ) -> None:
        self._launcher, self._sweep, self._config, self._context = launcher, sweep, config, context

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Nothing: the launcher inside is set up."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs that are not done."""
        if initial_job_idx == 0 and job_overrides:
            self._check(job_overrides[0])
        space = list(self._config.hydra.sweeper.get("params") or ())
        numbers = self._sweep.number(job_overrides, initial_job_idx, space)
        found = self._sweep.outcomes()
        todo = {n: list(job) for n, job in zip(numbers, job_overrides, strict=True)}
        todo = {n: job for n, job in todo.items() if found[n].status != "done"}
        returned = self._run(todo)
        return [self._returned(n, returned.get(n)) for n in numbers]

    def _returned(self, number: int, job: JobReturn | None) -> JobReturn:
        """What the sweeper hears of a job."""
        failed = self._sweep.outcomes()[number].status != "done"
        if job is not None and (not failed or self._sweep.record.search is not None):
            return job
        # A grid's sweeper would stop at the first failure. Of what was done before, or by another
        # than the process that broke off, the folder says what it returned.
        job = JobReturn(status=JobStatus.COMPLETED)
        job.return_value = math.nan if failed else self._value(number)
        return job

    def _value(self, number: int) -> float | list[float]:
        summary = Run(self._sweep.job(number)).summary
        objectives = self._config.get("objectives")
        values = {"total": summary["total"], **summary["terms"]}
        return [values[name] for name in objectives] if objectives else values["total"]

    def _check(self, job: Sequence[str]) -> None:
        """Refuse a misspelt key before there is anything of the sweep."""
        loader = self._context.config_loader
        composed = loader.load_sweep_config(self._config, list(job))
        keys = [str(key) for key in composed if key != "hydra"]
        configuration.resolve(OmegaConf.masked_copy(composed, keys))

    def _run(self, todo: Mapping[int, list[str]]) -> dict[int, JobReturn]:
        if not todo:
            return {}
        jobs = {number: self._placed(number, job) for number, job in todo.items()}
        try:
            found = self._launcher.launch(list(jobs.values()), initial_job_idx=min(jobs))
        except Exception as error:
            return self._after(error, todo)
        return dict(zip(jobs, found, strict=True))

    def _after(self, error: Exception, todo: Mapping[int, list[str]]) -> dict[int, JobReturn]:
        """A launcher that broke off because the process of one of its jobs died."""
        found = {number: outcome(self._sweep.job(number)) for number in todo}
        begun = [n for n, job in found.items() if job.status in ("unfinished", "interrupted")]
        if type(self._launcher).__name__ != "JoblibLauncher" or not begun:
            raise error  # nothing began, or the jobs go on without the launcher
        returned: dict[int, JobReturn] = {}
        if len(todo) == 1:
            (number,) = begun
            reason = f"its process died ({' '.join(str(error).split())})"
            write_text(self._sweep.job(number) / FAILED, reason + "\n")
            dead = JobReturn(overrides=todo[number], status=JobStatus.FAILED)
            dead.return_value = RuntimeError(reason)
            return {number: dead}
        # One of those that had begun took the others' processes with it. Which one shows alone.
        for number in begun:
            returned |= self._run({number: todo[number]})
        rest = [n for n, job in found.items() if job.status == "missing"]
        return returned | self._run({number: todo[number] for number in rest})

    def _placed(self, number: int, job: list[str]) -> list[str]:
        """A job with its folder, which is empty, and with the checkpoint that it goes on from."""
        placed = [*job, f"hydra.sweep.subdir={number}"]
        folder = self._sweep.job(number)
        if folder.exists():
            with running(folder):
                pass
            checkpoint = set_aside(folder)
            if checkpoint is not None:
                placed.append(f"resume={_quoted(str(checkpoint))}")
        return placed


@contextmanager
def watched(command: Command) -> Iterator[Sweep]:
    """Put the list between Hydra's sweeper and launcher, for as long as this lasts.

    Hydra takes launchers from its own packages only, so that none of ours can be named in a file;
    the one that is named is wrapped where Hydra makes it.
    """
    plugins = Plugins.instance()
    sweep = Sweep(command)
    make: Callable[..., Launcher] = plugins.instantiate_launcher

    def instantiate_launcher(
        hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Launcher:
        vars(plugins).pop("instantiate_launcher", None)  # it travels to the jobs' processes
        launcher = make(hydra_context=hydra_context, task_function=task_function, config=config)
        sweep.open(config)
        return _Recording(launcher, sweep, config, hydra_context)

    vars(plugins)["instantiate_launcher"] = instantiate_launcher
    try:
        yield sweep
    finally:
        vars(plugins).pop("instantiate_launcher", None)
        sweep.close()
