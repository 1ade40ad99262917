"""The configuration: composed, resolved, known keys only; the names and the hash of a run."""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
)

from src.errors import InputError
from src.tracking import Identity

Config = dict[str, Any]

PROJECT = Path(__file__).resolve().parent.parent
CONF = PROJECT / "conf"
# For the files in conf/ and sweeps/, which would otherwise have to be started from one folder.
OmegaConf.register_new_resolver("project", lambda: str(PROJECT), replace=True)
OmegaConf.register_new_resolver(
    "at", lambda key, table, default: table.get(key, default), replace=True
)
OmegaConf.register_new_resolver("cores", lambda n=-1: cores(n), replace=True)
DEFAULT_SIZE = 512  # px, long side
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# What runs of earlier releases did, by keys that their config.yaml does not have.
EARLIER: Config = {
    "tile": None,
    "precision": "float32",
    "levels": {"count": 1, "factor": 2.0, "steps": 40, "detail": 0.0},
    "loss": {"depth": {"size": None}},
}
# Keys that cannot change a pastiche: two runs that differ in these alone are the same experiment.
WITHOUT_EFFECT = (
    "name",
    "output_dir",
    "tracking",
    "trainer",
    "log_every",
    "picture_every",
    "evaluate",
    "resume",
    "objectives",
)


def cores(wanted: int = -1) -> int:
    """A number of cores; as joblib counts, -1 is all that this process may use."""
    if wanted > 0:
        return wanted
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def compose(*overrides: str) -> Config:
    """The resolved configuration of a command line, for other commands than run's."""
    hydras = GlobalHydra.instance()
    running = hydras.hydra  # that of a run which measures itself
    hydras.clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return resolve(hydra.compose("config", list(overrides)))
    finally:
        GlobalHydra.instance().hydra = running


def experiments() -> list[str]:
    """The names that +experiment= takes."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def resolve(cfg: DictConfig) -> Config:
    """A composed configuration as plain values, its top-level keys known and nothing missing.

    Raises:
        InputError: an unknown key (with the nearest known one), or a value that is missing.
    """
    known = _base_keys()
    for key in cfg:
        if key not in known and key != "hydra":
            known |= {"experiment", "sweep"}
            raise InputError(str(key), "an unknown key", nearest(str(key), known))
    for group in _groups():
        if not OmegaConf.is_dict(cfg.get(group)):
            option = repr(cfg.get(group))
            raise InputError(group, option, f"{group}.KEY=VALUE, in a configuration without groups")
    if OmegaConf.is_missing(cfg, "name"):
        raise _no_experiment()
    cfg = DictConfig(OmegaConf.merge(EARLIER, cfg))
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
        raise InputError(str(error.full_key or "a key"), "nothing", "a value") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


def explain(error: Exception, arguments: Iterable[str]) -> str:
    """Hydra's own errors in this program's form: key, what it got, what it expects.

    Args:
        error: what composing or running raised.
        arguments: the command line.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError | FloatingPointError):
        return text
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return str(InputError(group, repr(option), nearest(option, error.options)))
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        parent = cause.parent_node if isinstance(cause.parent_node, DictConfig) else {}
        known = nearest(str(cause.key), [str(key) for key in parent if key != "hydra"])
        return str(InputError(str(cause.full_key), "an unknown key", known))
    if isinstance(error, InterpolationToMissingValueError) and "name" in text:
        known_keys = _base_keys() | {"experiment", "sweep"}
        for argument in arguments:
            key = argument.lstrip("+~").partition("=")[0].partition(".")[0]
            if "=" in argument and not key.startswith("hydra") and key not in known_keys:
                return str(InputError(key, "an unknown key", nearest(key, known_keys)))
        return str(_no_experiment())
    if type(error).__module__.startswith(("sqlalchemy", "optuna")):
        got = f"a study that cannot be used ({str(error).splitlines()[0]})"
        return str(InputError("hydra.sweeper.storage", got, "a whole one that nobody else holds"))
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        where = f"{file} ({error.strerror})" if file else error.strerror
        return str(InputError("output_dir", where, "a folder that can be written, with room"))
    return text if isinstance(error, HydraException) else f"{type(error).__name__}: {text}"


def _no_experiment() -> InputError:
    return InputError("experiment", "nothing", f"+experiment=NAME of {', '.join(experiments())}")


def _base_keys() -> set[str]:
    return ({str(key) for key in _base()} | _groups() | {"clamp"}) - {"defaults", "hydra"}


def _groups() -> set[str]:
    return {str(group) for entry in _base().defaults if entry != "_self_" for group in entry}


def _base() -> DictConfig:
    base = OmegaConf.load(CONF / "config.yaml")
    assert isinstance(base, DictConfig)
    return base


def nearest(word: str, known: Iterable[str]) -> str:
    """The known words nearest to one that is not, or all of them, as a phrase."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"{near[0]}, perhaps" if near else f"one of {', '.join(known)}"


def config_hash(config: Config) -> str:
    """Twelve hexadecimal digits that are equal for configurations that make the same pastiche."""
    config = {**EARLIER, **config}
    kept = {key: value for key, value in config.items() if key not in WITHOUT_EFFECT}
    kept["precision"] = precision(config)  # `auto` is not the same on every machine
    if config["levels"]["count"] == 1:
        del kept["levels"]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def precision(config: Config) -> str:
    """What the network computes in, of `PRECISIONS`.

    `auto` leaves float32 only where that was seen to pay (docs/performance.md).
    """
    name = str(config["precision"])
    if name != "auto":
        return name
    accelerator = config["trainer"].get("accelerator", "auto")
    if accelerator != "cpu" and (accelerator != "auto" or torch.accelerator.is_available()):
        return "float32"
    can = torch.cpu.get_capabilities()
    return "bfloat16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"


def identify(config: Config, overrides: Iterable[str] = (), sweep: str | None = None) -> Identity:
    """The run's names in W&B.

    Args:
        config: the resolved configuration.
        overrides: what the command line set for this run.
        sweep: the sweep's folder name, where it belongs to one.
    """
    same = ("+experiment=", "+sweep=", "tracking", "output_dir", "resume=")
    varied = [_short(override) for override in overrides if not override.startswith(same)]
    name = config["name"]
    target = str(config["backbone"].get("_target_", "")).rpartition(".")[2]
    used = [config["loss"]["content"]["mask"], *(s.get("mask") for s in config["styles"].values())]
    functions = {str(m["_target_"]).rpartition(".")[2] for m in used if isinstance(m, dict)}
    optimizer = str(config["optimizer"].get("_target_", "")).rpartition(".")[2].lower()
    content = Path(str(config["content"])).stem
    tags = [target, *(f"mask:{m}" for m in sorted(functions)), optimizer, f"content:{content}"]
    return Identity(
        name=(" ".join(varied) or f"{name} {content}")[:120],
        group=f"{name}/{sweep}" if sweep else name,
        job_type="sweep" if sweep else "single",
        tags=[tag[:64] for tag in tags],
    )


def _short(override: str) -> str:
    """An override as a name shows it: masks by their function, numbers to four digits."""
    text = override.replace("_target_:src.masks.", "")
    return re.sub(r"\d+\.\d{4,}(e[+-]?\d+)?", lambda found: f"{float(found[0]):.4g}", text)
