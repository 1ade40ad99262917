"""The configuration: composed from conf/ and the command line, resolved, validated; its errors."""

import dataclasses
import json
import os
import re
import shlex
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir
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
from src.pipeline.schema import Config, validate

PROJECT = Path(__file__).resolve().parents[2]
CONF = PROJECT / "conf"
_COMPOSE_LOCK = threading.Lock()  # Hydra has one state for all threads
# A value that Hydra's grammar reads as the very same text, and a shell leaves alone.
PLAIN = r"/?[A-Za-z_][A-Za-z0-9_./-]*"
YAML_WORDS = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")
# For the files in conf/ and sweeps/, which would otherwise have to be started from one folder.
OmegaConf.register_new_resolver("project", lambda: str(PROJECT), replace=True)
OmegaConf.register_new_resolver(
    "at", lambda key, table, default: table.get(key, default), replace=True
)
OmegaConf.register_new_resolver("cores", lambda n=-1: cores(n), replace=True)


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
    with _COMPOSE_LOCK:
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
        if key not in known and (CONF / str(key)).is_dir() and key != "hydra":
            expected = (
                f"keys, as in the run's config.yaml, or a new run with +experiment=NAME {key!s}="
            )
            raise InputError(str(key), "a group, which a repeated run does not have", expected)
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


def exit_status(command: Callable[[], int | None]) -> int:
    """Run another command than run's; on an error one line, or all with HYDRA_FULL_ERROR=1.

    Returns:
        What the command returns, 1 after an error, 130 after Ctrl-C.
    """
    try:
        return command() or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0"):
            raise
        print(f"error: {format_error(error, [])}", file=sys.stderr)
        return 1


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


def override(key: str, value: str | float) -> str:
    """An argument of a command line, in quotes for Hydra's grammar where it needs them."""
    if not isinstance(value, str):
        return f"{key}={json.dumps(value)}"
    if re.fullmatch(PLAIN, value) and value.lower() not in YAML_WORDS:
        return f"{key}={value}"
    # Inside quotes a backslash stands for itself, but before a quote.
    inner = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + '\\"' * bool(found[2]), value)
    return f'{key}="{inner}"'


def _quoted(key: str, value: str) -> str:
    return shlex.quote(override(key, value))


def _no_experiment() -> InputError:
    return InputError("experiment", "nothing", f"+experiment=NAME of {', '.join(experiments())}")


def _base_keys() -> set[str]:
    return {field.name for field in dataclasses.fields(Config)}
