"""The configuration: composed from conf/ and the command line, resolved, validated; its errors."""

import dataclasses
import os
import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
)

from src.core.errors import InputError, did_you_mean
from src.pipeline import legacy
from src.pipeline.schema import Config, validate
from src.pipeline.targets import TRUST
from src.runs.reader import flatten, read_yaml

PROJECT = Path(__file__).resolve().parents[2]
CONF = PROJECT / "conf"
# For the files in conf/ and sweeps/, which would otherwise have to be started from one folder.
OmegaConf.register_new_resolver("project", lambda: str(PROJECT), replace=True)
OmegaConf.register_new_resolver(
    "at", lambda key, table, default: table.get(key, default), replace=True
)
OmegaConf.register_new_resolver("cores", lambda n=-1: cores(n), replace=True)
COMMAND_LINE_ONLY = ("defaults", TRUST, "tracking.entity")  # in a file that is repeated, no
# Neither a key nor a resolver of ours: ${oc.env:TOKEN} would put a secret into a folder's name.
FOREIGN_RESOLVER = r"\$\{(?!\s*[\w.\[\]]+\s*\}|(project|at|cores):)"


def cores(count: int = -1) -> int:
    """A number of cores; as joblib counts, -1 is all that this process may use."""
    if count > 0:
        return count
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def compose(*overrides: str) -> Config:
    """The validated configuration of a command line, for other commands than run's.

    Raises:
        InputError: what Hydra or `schema.validate` refuses.
    """
    return validate(compose_plain(*overrides))


def compose_plain(*overrides: str) -> dict[str, Any]:
    """The same as plain values."""
    hydras = GlobalHydra.instance()
    running = hydras.hydra  # that of a run which evaluates itself
    hydras.clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return plain_values(hydra.compose("config", list(overrides)))
    except HydraException as error:
        text = " ".join(str(error).split())
        found = _input_error(error, text, overrides)
        raise found or InputError("overrides", text, "keys as of python -m src.run") from error
    finally:
        GlobalHydra.instance().hydra = running


def experiments() -> list[str]:
    """The names that +experiment= takes."""
    return options("experiment")


def options(group: str) -> list[str]:
    """The names that a group of conf/ takes."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def plain_values(cfg: DictConfig) -> dict[str, Any]:
    """A composed configuration resolved to plain values, without Hydra's own part.

    Raises:
        InputError: an unknown top-level key (with the nearest known one), or a missing value.
    """
    known = _base_keys()
    for key in cfg:
        if key not in known and key != "hydra":
            raise InputError(
                str(key), "an unknown key", did_you_mean(str(key), known | {"experiment", "sweep"})
            )
    if OmegaConf.is_missing(cfg, "name"):
        raise _no_experiment()
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
        raise InputError(str(error.full_key or "a key"), "nothing", "a value") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


def resolve(cfg: DictConfig) -> Config:
    """A composed configuration as typed values.

    Raises:
        InputError: what `plain_values` and `schema.validate` refuse.
    """
    return validate(plain_values(cfg))


def run_config(folder: Path) -> Config:
    """The configuration of a finished run by its folder.

    Raises:
        InputError: there is none, or one that a file may not have.
    """
    config = _load_config(folder / "config.yaml")
    config.tracking.entity = None
    _check_repeated(config, ())
    upgraded = legacy.upgrade(config)
    upgraded.pop("hydra", None)
    return resolve(upgraded)


def upgraded_arguments(arguments: Sequence[str], folder: Path) -> list[str]:
    """The command line with the run's folder of --config-path replaced by a copy for Hydra.

    A run's folder as `resume`, without an experiment, is that of --config-path, too.

    The copy has today's keys, and Hydra's own settings as conf/ has them, whatever the file says:
    they can name functions to call. Hydra would also read a relative path from src/, and take a
    run's folder `steps` for a group of options.

    Args:
        arguments: the command line.
        folder: where the copy goes.

    Raises:
        InputError: an unknown option or a key of an earlier release on the command line, no run's
            configuration in the folder, or a setting in it that is gone, or that a file may not
            have.
    """
    legacy.refuse_renamed(arguments)
    _check_options(arguments)
    flags = ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--config-path", "-cp", type=Path)
    flags.add_argument("--config-name", "-cn", default="config")
    found, others = flags.parse_known_args(arguments)
    found.config_path = found.config_path or _resumed_run(arguments)
    if found.config_path is None:
        return list(arguments)
    file = found.config_path / f"{found.config_name.removesuffix('.yaml')}.yaml"
    config = _load_config(file)
    _check_repeated(config, arguments)
    config = legacy.upgrade(config)
    _restore_references(config)
    config.hydra = OmegaConf.load(CONF / "config.yaml").hydra
    OmegaConf.save(config, folder / file.name)
    return ["--config-path", str(folder), "--config-name", file.stem, *others]


def forecast_arguments(arguments: Sequence[str], folder: Path) -> list[str]:
    """What a command line with forecast=true needs beside it, for a run that leaves no folder.

    Args:
        arguments: the command line.
        folder: where Hydra makes the run's folder, gone when the process ends.

    Raises:
        InputError: it is a sweep.
    """
    values = [
        a.partition("=")[2].lower() for a in arguments if a.lstrip("+").startswith("forecast=")
    ]
    if not values or values[-1] == "false":
        return []
    if {"-m", "--multirun"} & set(arguments):
        raise InputError("forecast", f"{values[-1]} beside -m", "one run, without -m")
    path = str(folder / "run").replace("'", "\\'")
    return [f"hydra.run.dir='{path}'"]


def _resumed_run(arguments: Iterable[str]) -> Path | None:
    """The folder of the run that `resume` goes on with by its own settings."""
    values = {key.lstrip("+"): value for key, _, value in (a.partition("=") for a in arguments)}
    if "experiment" in values or not values.get("resume"):
        return None
    path = Path(values["resume"].strip("'\"")).expanduser()
    folder = path.parent if path.is_file() else path
    if not (folder / "config.yaml").exists():
        raise InputError("resume", f"'{path}', where no run's config.yaml is", "a run's folder")
    return folder


def check_trust(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Refuse modules that a file names as trusted: `overrides` of the command line do."""
    if cfg.trusted_modules and not any(o.lstrip("+").startswith(f"{TRUST}=") for o in overrides):
        raise InputError(TRUST, f"{cfg.trusted_modules} in a file", "it on the command line")


def _load_config(file: Path) -> DictConfig:
    expected = "a run's folder, with its config.yaml"
    if not read_yaml(file):  # also what is too large, or refers to itself
        problem = "cannot be read" if file.exists() else "is not there"
        raise InputError("--config-path", f"'{file}', which {problem}", expected)
    config = OmegaConf.load(file)
    if not isinstance(config, DictConfig) or "backbone" not in config or "loss" not in config:
        raise InputError("--config-path", f"'{file}', which is no run's", expected)
    return config


def _restore_references(config: DictConfig) -> None:
    """Let `style` and `mask` of a run's file, which has values, go again where they went.

    Otherwise another one on the command line would change nothing.
    """
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    for group in ("styles", "loss"):
        nodes = values.get(group)
        for name, node in nodes.items() if isinstance(nodes, dict) else ():
            if not isinstance(node, dict):
                continue
            for entry, source in (("path", "style"), ("mask", "mask")):
                value = values.get(source)
                is_other = entry == "path" and node.get("invert")  # `near`, which has its own
                if value and "${" not in str(value) and node.get(entry) == value and not is_other:
                    config[group][name][entry] = f"${{{source}}}"


def _check_repeated(config: DictConfig, arguments: Sequence[str]) -> None:
    """Refuse what would import, read or send something that the command line does not name."""
    keys = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    for key in COMMAND_LINE_ONLY:
        value = OmegaConf.select(config, key)
        if value and key not in keys:
            raise InputError(key, f"{value!r} in a file", "it on the command line, or not at all")
    for top, node in plain.items():
        if top != "hydra" and re.search(FOREIGN_RESOLVER, str(node)):
            found = {k: v for k, v in flatten({top: node}).items() if "${" in str(v)}
            name = next((k for k in found if re.search(FOREIGN_RESOLVER, str(found[k]))), str(top))
            got = repr(found.get(name, "one"))
            raise InputError(name, got, "no resolver but project, at and cores in a file")


def format_error(error: Exception, arguments: Iterable[str]) -> str:
    """Hydra's own errors in this program's form: key, what it got, what it expects.

    Args:
        error: what composing or running raised.
        arguments: the command line.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError | FloatingPointError):
        return text
    found = _input_error(error, text, arguments)
    if found is not None:
        return str(found)
    if type(error).__module__.startswith(("sqlalchemy", "optuna")):
        got = f"a study that cannot be used ({str(error).splitlines()[0]})"
        return str(InputError("hydra.sweeper.storage", got, "a whole one that nobody else holds"))
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        where = f"{file} ({error.strerror})" if file else error.strerror
        return str(InputError("output_dir", where, "a folder that can be written, with room"))
    return text if isinstance(error, HydraException) else f"{type(error).__name__}: {text}"


def _input_error(error: Exception, text: str, arguments: Iterable[str]) -> InputError | None:
    """What Hydra has against a command line, in our words; None where we have none."""
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    bare = re.match(r"Could not override '(\w+)'\. No match in the defaults list", text)
    if bare is not None:
        key = bare.group(1)
        return InputError(key, "no + before it", f"+{key}=NAME")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return InputError(group, repr(option), did_you_mean(option, error.options))
    several = re.match(r"Ambiguous value for argument '([^=']+)=(.*?)' 1\.", text)
    if several is not None:
        key, value = several.groups()
        two = "; two in one picture: +experiment=two_styles styles.near.path=A styles.far.path=B"
        two += "; blended: 'style=[A,B]'"
        if Path(value).exists():
            return InputError(key, repr(value), f"quotes around it: {_quoted(key, value)}")
        expected = f"one value; each in turn: -m{two if key == 'style' else ''}"
        return InputError(key, repr(value), expected)
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        parent, key = cause.parent_node, str(cause.full_key)
        if not isinstance(parent, DictConfig) or not parent:  # of a word, which has none
            top = key.rpartition(".")[0]
            hint = f"; of a painting: styles.main.{cause.key}=VALUE" if top == "style" else ""
            return InputError(key, "an unknown key", f"{top}=VALUE{hint}")
        known = did_you_mean(str(cause.key), [str(key) for key in parent if key != "hydra"])
        return InputError(key, "an unknown key", known)
    if isinstance(error, InterpolationToMissingValueError) and "name" in text:
        known_keys = _base_keys() | {"experiment", "sweep"}
        for argument in arguments:
            key = argument.lstrip("+~").partition("=")[0].partition(".")[0]
            if "=" in argument and not key.startswith("hydra") and key not in known_keys:
                return InputError(key, "an unknown key", did_you_mean(key, known_keys))
        return _no_experiment()
    return None


def _unreadable(argument: str) -> InputError:
    """Of an argument that Hydra's grammar does not take."""
    key, equals, value = argument.partition("=")
    if argument in experiments():
        return InputError(argument, "nothing", f"+experiment={argument}")
    if not equals:
        hint = f"{key}=VALUE without blanks, or in quotes: {_quoted('content', 'my photo.jpg')}"
        return InputError(key, "no value", hint)
    expected = f"a plain name, or quotes around it: {_quoted(key, value)}"
    if value[:1] in ("[", "{"):
        expected = "brackets that close, in quotes: 'style=[A,B]'"
    elif value.endswith(","):
        expected = f"no blanks between several: {key}=A,B"
    return InputError(key.lstrip("+~"), repr(value), expected)


def _quoted(key: str, value: str) -> str:
    """An argument as a shell passes it on, with quotes for Hydra's grammar inside."""
    inner = value.replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{key}="{inner}"')


def _check_options(arguments: Iterable[str]) -> None:
    """Refuse an option that Hydra lacks; it would complete --experiment to one of its own."""
    known = get_args_parser()._option_string_actions
    for argument in arguments:
        option = argument.partition("=")[0]
        is_option = option.startswith("--") or (option.startswith("-") and "=" in argument)
        if is_option and option not in known:
            expected = "keys without dashes: +experiment=NAME size=256"
            raise InputError(option, "an unknown option", expected)


def _no_experiment() -> InputError:
    return InputError("experiment", "nothing", f"+experiment=NAME of {', '.join(experiments())}")


def _base_keys() -> set[str]:
    return {field.name for field in dataclasses.fields(Config)}
