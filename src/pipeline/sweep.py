"""A sweep: the list of its jobs in its folder, and resuming those that are not done.

Hydra's sweepers make the jobs and its launchers run them; `ResumableLauncher` stands between.
"""

import itertools
import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import OmegaConf

from src.core.errors import InputError
from src.core.files import read_regular, write_json, write_text
from src.core.settings import from_mapping
from src.inputs.folders import pictures_in
from src.pipeline import config as configuration
from src.pipeline import legacy
from src.pipeline.arguments import COMMAND_LINE_ONLY, FOREIGN_RESOLVER, HARMLESS_HYDRA_KEY
from src.pipeline.targets import TRUST
from src.runs.reader import CHECKPOINT, CLIP_CHECKPOINT, FAILED, MOST_BYTES, SWEEP, Run

RECORD = "sweep.json"
SWEEP_LOCK = ".sweep.lock"
RUN_LOCK = ".running"
ARCHIVE = ".earlier"  # attempts at jobs that were stopped or failed
RESUME = "resume_sweep"
TRIALS = "hydra.sweeper.n_trials"
STOPPED = ("interrupted", "unfinished")
MULTIRUN = ("-m", "--multirun")
PARAMETERS = "hydra.sweeper.params."
OF_FOLDER = {"folder": "content", "styles": "style"}  # sweeps: the key that is a folder there


@dataclass
class Record:
    """A sweep, as its folder records it."""

    arguments: list[str]  # the command line that makes it
    search: int | None = None  # number of trials, where a search chooses its jobs on the way
    swept_keys: list[str] = field(default_factory=list)  # that differ between jobs
    jobs: list[list[str]] = field(default_factory=list)  # overrides by number


def read_record(folder: Path) -> Record:
    """The record in a sweep's folder; InputError where there is none, or a broken one."""
    try:
        values = json.loads(read_regular(folder / RECORD, 8 * MOST_BYTES))
        if "varied" in values:  # until release 0.4
            values["swept_keys"] = values.pop("varied")
        record = from_mapping(RECORD, values, Record)
        record.arguments = [legacy.rename(argument) for argument in record.arguments]
        record.jobs = [[legacy.rename(override) for override in job] for job in record.jobs]
        return record
    except OSError:
        problem = "which is no sweep's folder"
    except (ValueError, TypeError, RecursionError):
        problem = f"whose {RECORD} is broken"
    raise InputError(RESUME, f"'{folder}', {problem}", f"a sweep's folder, with its {RECORD}")


def swept_overrides(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Of a job's overrides those that differ between the jobs of its sweep; all, if none do."""
    keys: list[str] = []
    with suppress(InputError):
        keys = read_record(folder).swept_keys
    return [override for override in overrides if _key(override) in keys] or list(overrides)


def swept_keys(jobs: Sequence[Sequence[str]], space: Sequence[str] = ()) -> list[str]:
    """The keys whose values differ between jobs, and those of a search's space."""
    values: dict[str, set[str]] = {}
    for override in itertools.chain(*jobs):
        values.setdefault(_key(override), set()).add(override.partition("=")[2])
    return [key for key, texts in values.items() if len(texts) > 1 or key in space]


def archive_attempt(folder: Path) -> Path | None:
    """Move an attempt at a job to the archive, so that the next one begins in an empty folder.

    Returns its new path if the next attempt can resume it: not if it failed or made all its steps.
    """
    run = Run(folder)
    logged, steps = run.terms.get("step"), run.config.get("steps")
    unfinished = run.status in STOPPED and (folder / CHECKPOINT).is_file()
    paths = (folder.parent / ARCHIVE / f"{folder.name}_{n}" for n in itertools.count(1))
    attempt = next(path for path in paths if not path.exists())
    attempt.parent.mkdir(exist_ok=True)
    os.rename(folder, attempt)
    left = isinstance(steps, int) and logged and logged[-1] < steps
    return attempt if unfinished and (left or (attempt / CLIP_CHECKPOINT).is_file()) else None


def run_lock(folder: Path) -> ExitStack:
    """Hold a run's folder while it runs; InputError where it is running already."""
    key, got = "hydra.run.dir", f"'{folder}', where a run is going on"
    if (folder.parent / RECORD).exists():
        key, got = RESUME, f"'{folder.parent}', whose job {folder.name} is running"
    stack = ExitStack()
    stack.enter_context(_lock(folder / RUN_LOCK, InputError(key, got, "its end")))
    stack.callback((folder / RUN_LOCK).unlink, missing_ok=True)
    return stack


def _lock(file: Path, error: InputError) -> AbstractContextManager[Any]:
    """Take a lock, which also ends with its process; raise `error` if another holds it."""
    from filelock import FileLock, Timeout  # 0.1 s

    try:
        return FileLock(file).acquire(timeout=0)
    except Timeout:
        raise error from None


def prepare(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """Arguments for Hydra, and the folder of the sweep that they resume, if they do."""
    if _values(arguments, RESUME):
        return _resuming(arguments)
    # Hydra takes flags first only. Of groups the last wins: a sweep's file changes the experiment.
    arguments = sorted(arguments, key=lambda a: (a not in MULTIRUN, _values([a], "sweep") != []))
    for sweep in OF_FOLDER.keys() & _values(arguments, "sweep"):
        arguments = [_all_pictures(argument, sweep) for argument in arguments]
    return arguments, None


def _resuming(arguments: Sequence[str]) -> tuple[list[str], Path]:
    """The recorded command line, with Hydra's own settings as they are now."""
    folder = Path(_values(arguments, RESUME)[-1]).expanduser()
    record = read_record(folder)
    if links := [path for path in folder.iterdir() if path.is_symlink()]:
        raise InputError(RESUME, f"'{links[0]}', a link", "a sweep's own files and folders")
    flags = [a for a in arguments if a.startswith("-") or "=" not in a]
    changes = [a for a in arguments if a not in flags and _key(a) != RESUME]
    for change in changes:
        if not _key(change).startswith("hydra") and _key(change) != TRUST:
            got = f"{change} beside {RESUME}"
            raise InputError(_key(change), got, "nothing that changes its jobs")
    if record.search is not None:
        trials = int((_values(changes, TRIALS) or [str(record.search)])[-1])
        done = sum(Run(folder / str(n)).status == "done" for n in range(len(record.jobs)))
        changes = [a for a in changes if _key(a) != TRIALS]
        changes.append(f"{TRIALS}={max(trials - done, 0)}")
    changes.append(f"hydra.sweep.dir={_quote(folder.absolute())}")
    keys = {_key(change) for change in changes}
    recorded = [a for a in record.arguments if a in arguments or _key(a) not in keys]
    for argument in recorded:
        if argument not in arguments and not _is_harmless(argument):
            got = f"{argument!r} in '{folder / RECORD}'"
            raise InputError(RESUME, got, "that on the command line, too, or not at all")
    added = [[a for a in kind if a not in recorded] for kind in (flags, changes)]
    return [*added[0], *recorded, *added[1]], folder


def _is_harmless(argument: str) -> bool:
    """Whether a recorded argument can only do what this program does, with its own files."""
    key, value = _key(argument), argument.partition("=")[2]
    group = key.removeprefix(PARAMETERS).partition("@")[0]
    names_file = group == "sweep" or "/" in group or (configuration.CONF / group).is_dir()
    return argument in MULTIRUN or (
        "=" in argument
        and not (
            re.fullmatch(r"[\w./]+(@[\w.]+)?", key) is None
            or ("hydra" in key and re.fullmatch(HARMLESS_HYDRA_KEY, key) is None)
            or key in COMMAND_LINE_ONLY
            or (names_file and ".." in value)
            or re.search(FOREIGN_RESOLVER, value)
        )
    )


def _all_pictures(argument: str, sweep: str) -> str:
    """A `content` or `style` that is a folder as the list of its pictures."""
    key = _key(argument)
    folder = Path(*_values([argument], key)[:1]).expanduser()
    if key not in OF_FOLDER.values() or (key != OF_FOLDER[sweep] and not folder.is_dir()):
        return argument
    files = pictures_in(folder) if folder.is_dir() else []
    if not files:
        got = f"'{folder}', without pictures" if folder.is_dir() else f"'{folder}'"
        raise InputError(key, got, f"a folder of pictures, for +sweep={sweep}")
    return f"{key}=" + ",".join(map(_quote, files))


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0] if not argument.startswith("-") else ""


def _values(arguments: Sequence[str], key: str) -> list[str]:
    """What arguments set a key to, without quotes."""
    texts = [a.partition("=")[2] for a in arguments if _key(a) == key and "=" in a]
    for i, text in enumerate(texts):
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            texts[i] = text[1:-1].replace(f"\\{text[0]}", text[0])
    return texts


def _quote(path: Path) -> str:
    return QuotedString(str(path), Quote.single).with_quotes()


class ResumableLauncher:
    """Hydra's launcher behind the list of jobs: leaves out what is done, names what is not."""

    def __init__(self, arguments: list[str], resumed: Path | None, stack: ExitStack) -> None:
        self._record, self._resumed, self._stack = Record(arguments), resumed, stack
        self._numbers: list[int] = []  # of the jobs that this command put on the list

    def instantiate(self, **context: Any) -> "ResumableLauncher":
        """Make Hydra's launcher, and take the folder, in which no other sweep may be."""
        plugins = Plugins.instance()
        vars(plugins).pop("instantiate_launcher", None)  # it travels to the jobs' processes
        self._launcher = plugins.instantiate_launcher(**context)
        self._loader = context["hydra_context"].config_loader
        self._config = config = context["config"]
        self._folder = folder = Path(str(config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        key = RESUME if self._resumed else "hydra.sweep.dir"
        got = f"'{folder}', where a sweep is running"
        error = InputError(key, got, "its end, or another folder")
        self._stack.enter_context(_lock(folder / SWEEP_LOCK, error))
        if self._resumed:
            self._record = read_record(folder)
        elif (folder / RECORD).exists():
            expected = f"a new folder, or {RESUME}={folder}"
            raise InputError(key, f"'{folder}', which holds a sweep", expected)
        elif "n_trials" in config.hydra.sweeper:
            self._record.search = int(config.hydra.sweeper.n_trials)
        write_json(folder / RECORD, asdict(self._record))
        if not (folder / SWEEP).exists():  # not every sweeper writes it
            OmegaConf.save(config, folder / SWEEP)
        return self

    def launch(self, job_overrides: Sequence[list[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs that are not done."""
        if initial_job_idx == 0 and job_overrides:
            # Refuses a misspelt key before there is anything of the sweep.
            composed = self._loader.load_sweep_config(self._config, list(job_overrides[0]))
            keys = [str(key) for key in composed if key != "hydra"]
            configuration.resolve(OmegaConf.masked_copy(composed, keys))
        record = self._record
        first = initial_job_idx if record.search is None else len(record.jobs)
        for number, job in enumerate(map(list, job_overrides), first):
            if number == len(record.jobs):
                record.jobs.append(job)
            elif job != record.jobs[number]:
                got = f"'{self._folder}', whose job {number} was {shlex.join(record.jobs[number])}"
                raise InputError(RESUME, got, f"what its command gives now: {shlex.join(job)}")
        numbers = range(first, first + len(job_overrides))
        self._numbers += numbers
        space = () if record.search is None else self._config.hydra.sweeper.get("params") or ()
        record.swept_keys = swept_keys(record.jobs, list(space))
        write_json(self._folder / RECORD, asdict(record))
        self._run([number for number in numbers if self._job(number).status != "done"])
        return [self._job_return(number) for number in numbers]

    def failures(self) -> str:
        """One line on the jobs that are not done, by reason; empty if all are."""
        reasons: dict[str, list[str]] = {}
        for number in self._numbers:
            if reason := self._job(number).reason:
                reasons.setdefault(reason, []).append(self._title(number))
        if not reasons:
            return ""
        count = sum(map(len, reasons.values()))
        jobs = "; ".join(f"{', '.join(titles)}: {reason}" for reason, titles in reasons.items())
        again = f"{RESUME}={shlex.quote(str(self._folder))} runs what is missing"
        return f"{count} of {len(self._numbers)} jobs are not done: {jobs} | {again}"

    def _title(self, number: int) -> str:
        keys = self._record.swept_keys
        overrides = " ".join(o for o in self._record.jobs[number] if _key(o) in keys)
        return f"{number} ({overrides})" if overrides else str(number)

    def _job(self, number: int) -> Run:
        return Run(self._folder / str(number))

    def _run(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        for job in map(self._job, numbers):
            if job.path.exists():
                run_lock(job.path).close()  # none may be running, before anything is moved
        overrides = [self._overrides(number) for number in numbers]
        try:
            self._launcher.launch(overrides, initial_job_idx=min(numbers))
        except Exception as error:
            statuses = {number: self._job(number).status for number in numbers}
            begun = [number for number in numbers if statuses[number] in STOPPED]
            if not begun:
                raise
            if not isinstance(error, BrokenProcessPool):  # other launchers' jobs may go on
                name, text = type(error).__name__, str(error).partition("\n")[0]
                raise HydraException(f"the launcher broke off ({name}: {text})") from error
            if len(numbers) == 1:
                reason = f"its process died ({' '.join(str(error).split())})\n"
                write_text(self._job(numbers[0]).path / FAILED, reason)
                return
            # With joblib, one of the jobs that had begun ended all processes: run alone, it shows.
            for number in begun:
                self._run([number])
            self._run([number for number in numbers if statuses[number] == "missing"])

    def _overrides(self, number: int) -> list[str]:
        """A job with its empty folder, and with the checkpoint that it resumes."""
        folder = self._folder / str(number)
        attempt = archive_attempt(folder) if folder.exists() else None
        resume = [f"resume={_quote(attempt)}"] if attempt else []
        return [*self._record.jobs[number], f"hydra.sweep.subdir={number}", *resume]

    def _job_return(self, number: int) -> JobReturn:
        """A job's value for the sweeper, from its folder: whichever process ran it, and when."""
        run = self._job(number)
        job = JobReturn(overrides=self._record.jobs[number], status=JobStatus.COMPLETED)
        if run.status == "done":
            values = {"total": run.summary["total"], **run.summary["terms"]}
            names = self._config.get("optimized_metric")
            job.return_value = [values[name] for name in names] if names else values["total"]
        elif self._record.search is not None:  # a grid's sweeper would stop at the first failure
            job.status, job.return_value = JobStatus.FAILED, HydraException(run.reason)
        return job


@contextmanager
def resumable_sweep(arguments: list[str], resumed: Path | None) -> Iterator[ResumableLauncher]:
    """Put a `ResumableLauncher` in front of Hydra's launcher, for as long as this lasts.

    Hydra takes launchers from its own packages only, and its callbacks do not see the jobs.
    """
    attributes = vars(Plugins.instance())
    with ExitStack() as stack:
        launcher = ResumableLauncher(arguments, resumed, stack)
        attributes["instantiate_launcher"] = launcher.instantiate
        stack.callback(attributes.pop, "instantiate_launcher", None)
        yield launcher
