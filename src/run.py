"""`python -m src.run +experiment=NAME [key=value ...]`: one stylization, or a sweep with -m."""

import functools
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src import checkpoints, jobs
from src import config as configuration
from src import sweep as sweeps
from src.errors import InputError
from src.lightning import LightningEnvironment, Trainer, quiet, seed_everything
from src.memory import give_back_freed_memory, keep_freed_memory, release
from src.run_folder import RunFolder, TermsFile
from src.tracking import Clock, Identity, Pictures, ProgressBar, StopOnSignal, Terms, tracked

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "wandb", "numpy")


def stylize(
    cfg: DictConfig,
    path: Path,
    began: float,
    overrides: Sequence[str] = (),
    sweep: str | None = None,
) -> float | tuple[float, ...]:
    """One run: compose, build, fit, write.

    Args:
        cfg: the composed configuration.
        path: the run's folder.
        began: when the process started, in seconds since 1970.
        overrides: what the command line set for this run: its name in W&B.
        sweep: the sweep's name, where the run belongs to one: its group in W&B.

    Returns:
        The total of the final pastiche, or those of its terms that `objectives` names.

    Raises:
        InputError: something in the configuration cannot be used.
        KeyboardInterrupt: after everything was written, if Ctrl-C ended the run.
    """
    quiet()
    keep_freed_memory()
    folder = RunFolder(path)
    try:
        config = configuration.resolve(cfg)
        identity = configuration.identify(config, overrides, sweep)
        return _stylize(cfg, config, folder, began, identity)
    except Exception as error:
        folder.fail(configuration.explain(error, sys.argv[1:]))
        raise


def _stylize(
    cfg: DictConfig, config: dict[str, Any], folder: RunFolder, began: float, identity: Identity
) -> float | tuple[float, ...]:
    seed_everything(config["seed"] if isinstance(config["seed"], int) else 0)
    _write_config(cfg, folder)
    where = config["tracking"]
    with tracked(
        str(where["mode"]), folder.path, identity, config, where["project"], where["entity"]
    ) as tracker:
        resume = checkpoints.find(config["resume"])
        job = jobs.build(config)
        give_back_freed_memory()  # pictures and targets were made of other blocks than steps are
        first = 0
        if resume is not None:
            first = checkpoints.check(resume, job.stylization, config["steps"])
        clock = Clock()
        progress = ProgressBar(config["name"])
        earlier = None if resume is None else resume.parent / "terms.csv"
        terms = Terms(
            TermsFile(folder, earlier, first), tracker, int(config["log_every"]), progress
        )
        trainer = Trainer(
            **config["trainer"],
            max_steps=config["steps"],
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            plugins=[LightningEnvironment()],  # one process: else SLURM's would want to be srun
            callbacks=[
                clock,
                terms,
                Pictures(folder, tracker, int(config["picture_every"]), job.alpha, job.pictures),
                progress,
                StopOnSignal(),
            ],
        )
        trainer.fit(job.stylization, itertools.count(), ckpt_path=resume)
        picture = job.stylization.picture
        pastiche = folder.picture("pastiche.png", picture, job.alpha)
        interrupted = trainer.global_step < config["steps"]
        if picture.shape != job.stylization.pastiche.shape:
            _say_enlarged(job.stylization.pastiche.shape, picture.shape)
        tracker.picture("pastiche", picture, trainer.global_step)
        if job.look is not None:
            depth = job.look(picture)
            folder.picture("depth_pastiche.png", depth)
            tracker.picture("depth_pastiche", depth, trainer.global_step)
        if config["evaluate"]:
            tracker.summary(_measured(folder.path))
        summary = {
            "experiment": config["name"],
            "status": "interrupted" if interrupted else "done",
            "steps": trainer.global_step,
            "seconds": round(time.time() - began, 3),
            "seconds_per_step": clock.seconds_per_step,
            "startup_seconds": None if clock.first_step is None else clock.first_step - began,
            "device": str(trainer.strategy.root_device),
            "precision": configuration.precision(config),
            "size": list(picture.shape[-2:]),
            "seed": config["seed"],
            "backbone": str(config["backbone"]["_target_"]).rpartition(".")[2],
            "depth_net": None
            if job.look is None
            else config["depth_net"]["_target_"].split(".")[-1],
            "total": terms.total,
            "terms": terms.terms,
            "found": job.found,
            "versions": {"python": sys.version.split()[0]}
            | {package: metadata.version(package) for package in PACKAGES},
            "git_commit": _git_commit(),
            "config_hash": configuration.config_hash(config),
        }
        folder.json("summary.json", summary)
        tracker.summary({**summary, **terms.terms})
        values = {"total": terms.total, **terms.terms}
        tracker.row(identity.name, picture, values)
    print(f"{'interrupted' if interrupted else 'done'}: {pastiche}", flush=True)
    if interrupted:
        raise KeyboardInterrupt
    if config["objectives"] is None:
        return terms.total
    return tuple(values[name] for name in config["objectives"])


def _say_enlarged(made: Sequence[int], written: Sequence[int]) -> None:
    sizes = [f"{shape[-1]} x {shape[-2]}" for shape in (made, written)]
    text = (
        f"stopped at a smaller size: the pastiche of {sizes[0]} pixels was enlarged to {sizes[1]}"
    )
    print(text, file=sys.stderr, flush=True)


def _measured(path: Path) -> Mapping[str, Any]:
    """The run's metrics; a run that cannot be measured has its pastiche all the same."""
    from src.evaluate.evaluation import measure_one  # few runs want it

    try:
        return measure_one(path)
    except InputError as error:
        print(f"not measured: {error}", file=sys.stderr, flush=True)
        return {}


def _write_config(cfg: DictConfig, folder: RunFolder) -> None:
    """config.yaml, with the part of Hydra's own settings that a repeated run needs."""
    whole = OmegaConf.to_container(cfg, resolve=True)
    base = OmegaConf.load(configuration.CONF / "config.yaml")
    assert isinstance(whole, dict)
    assert isinstance(base, DictConfig)
    whole["hydra"] = OmegaConf.to_container(base.hydra, resolve=False)
    folder.text("config.yaml", OmegaConf.to_yaml(OmegaConf.create(whole)))


@functools.cache
def _git_commit() -> str | None:
    try:
        run = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


def process_start() -> float:
    """When this process started, in seconds since 1970; nearly, on systems without /proc."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.time() - time.process_time()  # starting up is mostly computing, not waiting


@hydra.main(version_base="1.3", config_path=str(configuration.CONF), config_name="config")
def _job(cfg: DictConfig) -> float | tuple[float, ...]:
    facts = HydraConfig.get()
    later_job = not OmegaConf.is_missing(facts.job, "num") and facts.job.num
    overrides = list(facts.overrides.task)
    sweep = Path(facts.sweep.dir) if facts.mode == hydra.types.RunMode.MULTIRUN else None
    if sweep is not None:
        overrides = sweeps.varied_overrides(sweep, overrides)
    folder = Path(facts.runtime.output_dir)
    began = time.time() if later_job else process_start()
    if sweep is None:
        return stylize(cfg, folder, began, overrides)
    try:
        with sweeps.running(folder):
            return stylize(cfg, folder, began, overrides, sweep.name)
    finally:
        release()


def _with_config_copied(arguments: list[str], folder: Path) -> list[str]:
    """The command line with --config-path read from where the user is, and steps= still a number.

    Hydra reads a relative path from src/, and takes a run's folder `steps` for a group of options.
    """
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in ("--config-path", "-cp") and (equals or arguments[i + 1 :]):
            path = Path(value if equals else arguments[i + 1])
            if path.is_dir():
                for file in path.glob("*.yaml"):
                    shutil.copy(file, folder)
                return [*arguments[:i], flag, str(folder), *arguments[i + (1 if equals else 2) :]]
    return arguments


def _fail(reason: str) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    sys.exit(1)


def main() -> None:
    """Run the command; on an error print one line, or the traceback with HYDRA_FULL_ERROR=1."""
    asked = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to here
    not_done = ""
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = sweeps.prepared(sys.argv[1:])
            sys.argv[1:] = _with_config_copied(command.arguments, Path(folder))
            with sweeps.watched(command) as sweep:
                try:
                    _job()
                finally:
                    not_done = sweep.failures()
    except KeyboardInterrupt:
        if not_done:
            print(f"stopped: {not_done}", file=sys.stderr, flush=True)
        sys.exit(130)
    except Exception as error:
        if asked not in ("", "0"):
            raise
        reason = configuration.explain(error, sys.argv[1:])
        _fail(f"{reason} | {not_done}" if not_done else reason)
    else:
        if not_done:
            _fail(not_done)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = asked


if __name__ == "__main__":
    # Launchers send the job to other processes, which know this file as src.run alone.
    from src import run

    run.main()
