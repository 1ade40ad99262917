"""`python -m src.run +experiment=NAME [key=value ...]`: one stylization, or a sweep with -m."""

import math
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src.core.errors import InputError
from src.core.memory import release
from src.pipeline import arguments
from src.pipeline import config as configuration
from src.pipeline import sweep as sweeps
from src.pipeline.forecast import forecast
from src.pipeline.stylize import stylize
from src.runs.summary import process_start

_errors: list[Exception] = []  # of a single run, over which Hydra would write a line of its own


@hydra.main(version_base="1.3", config_path=str(configuration.CONF), config_name="config")
def _job(cfg: DictConfig) -> float | tuple[float, ...]:
    facts = HydraConfig.get()
    later_job = not OmegaConf.is_missing(facts.job, "num") and facts.job.num
    overrides = list(facts.overrides.task)
    sweep = Path(facts.sweep.dir) if facts.mode == hydra.types.RunMode.MULTIRUN else None
    if sweep is not None:
        overrides = sweeps.swept_overrides(sweep, overrides)
    folder = Path(facts.runtime.output_dir)
    began = time.time() if later_job else process_start()
    arguments.check_trust(cfg, facts.overrides.task)
    try:
        if sweep is None and not any(x.startswith("hydra.run.dir=") for x in facts.overrides.hydra):
            _check_settings(cfg, folder)
        if cfg.get("forecast") is True:
            print(forecast(configuration.resolve(cfg)), flush=True)
            return math.nan
        with sweeps.run_lock(folder):
            return stylize(cfg, folder, began, overrides, sweep.name if sweep else None)
    except Exception as error:
        if sweep is not None:
            raise
        _errors.append(error)
        return math.nan
    finally:
        if sweep is not None:
            release()


def _check_settings(cfg: DictConfig, folder: Path) -> None:
    """Refuse a mistyped setting, and leave no folder of a run that never began."""
    try:
        configuration.resolve(cfg)
    except InputError:
        if [path.name for path in folder.iterdir()] == [".hydra"]:
            shutil.rmtree(folder)
            with suppress(OSError):  # where there is another run
                folder.parent.rmdir()
        raise


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
            command_line, resumed = sweeps.prepare(sys.argv[1:])
            sys.argv[1:] = arguments.upgraded_arguments(command_line, Path(folder))
            sys.argv[1:] += arguments.forecast_arguments(command_line, Path(folder))
            with sweeps.resumable_sweep(command_line, resumed) as sweep:
                try:
                    _job()
                    if _errors:
                        raise _errors.pop()
                finally:
                    not_done = sweep.failures()
    except KeyboardInterrupt:
        if not_done:
            print(f"stopped: {not_done}", file=sys.stderr, flush=True)
        sys.exit(130)
    except Exception as error:
        if asked not in ("", "0"):
            raise
        reason = configuration.format_error(error, sys.argv[1:])
        _fail(f"{reason} | {not_done}" if not_done else reason)
    else:
        if not_done:
            _fail(not_done)
        if resumed is not None:  # which is silent where nothing was missing
            print(f"all jobs are done in {resumed}", flush=True)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = asked


if __name__ == "__main__":
    # Launchers send the job to other processes, which know this file as src.run alone.
    from src import run

    run.main()
