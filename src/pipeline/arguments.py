"""A run's command line as Hydra gets it: settings of earlier runs, options, what is trusted."""

import re
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from src.core.errors import InputError
from src.pipeline import legacy
from src.pipeline.config import CONF, resolve
from src.pipeline.schema import Config
from src.pipeline.targets import TRUST
from src.runs.reader import flatten, read_yaml

COMMAND_LINE_ONLY = ("defaults", TRUST, "tracking.entity")  # in a file that is repeated, no
# Neither a key nor a resolver of ours: ${oc.env:TOKEN} would put a secret into a folder's name.
FOREIGN_RESOLVER = r"\$\{(?!\s*[\w.\[\]]+\s*\}|(project|at|cores):)"
# Of Hydra's own settings those that cannot name a program, a file or a server.
HARMLESS_HYDRA_KEY = (
    r"hydra/(launcher|sweeper)|hydra\.sweeper\.params\.(?!hydra)[^@]*"
    r"|hydra\.launcher\.(n_jobs|timeout_min|cpus_per_task|gpus_per_node|mem_gb|array_parallelism)"
    r"|hydra\.sweeper\.(n_trials|n_jobs|max_failure_rate|study_name|direction)"
)


def run_config(folder: Path) -> Config:
    """The configuration of a finished run by its folder.

    Raises:
        InputError: there is none, or one that a file may not have.
    """
    config = _load_config(folder / "config.yaml")
    OmegaConf.update(config, "tracking.entity", None)  # nothing is sent
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


def _check_options(arguments: Iterable[str]) -> None:
    """Refuse an option that Hydra lacks; it would complete --experiment to one of its own."""
    known = get_args_parser()._option_string_actions
    for argument in arguments:
        option = argument.partition("=")[0]
        is_option = option.startswith("--") or (option.startswith("-") and "=" in argument)
        if is_option and option not in known:
            expected = "keys without dashes: +experiment=NAME size=256"
            raise InputError(option, "an unknown option", expected)
