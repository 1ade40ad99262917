"""What identifies a run: the hash of its settings, its names in W&B."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

Config = dict[str, Any]
DEFAULT_SIZE = 512  # px, long side
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Keys that cannot change a pastiche: two runs that differ in these alone are the same experiment.
NON_RESULT_KEYS = (
    "name",
    "output_dir",
    "trusted_modules",
    "tracking",
    "trainer",
    "log_every_n_steps",
    "save_every_n_steps",
    "evaluate",
    "output",
    "resume",
    "optimized_metric",
    "forecast",
    "views",
)


class RunMetadata(NamedTuple):
    """A run's name, group, job type ("single" or "sweep") and tags in W&B."""

    name: str
    group: str
    job_type: str = "single"
    tags: Sequence[str] = ()


def config_hash(config: Config) -> str:
    """Twelve hexadecimal digits, equal for configurations that make the same pastiche."""
    settings = {key: value for key, value in config.items() if key not in NON_RESULT_KEYS}
    # `auto` is not the same on every machine.
    accelerator = str(config["trainer"].get("accelerator", "auto"))
    settings["precision"] = precision(str(config["precision"]), accelerator)
    if config["pyramid"]["levels"] == 1:
        del settings["pyramid"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def precision(name: str, accelerator: str = "auto") -> str:
    """What the network computes in; `auto`: where it was seen to pay (docs/performance.md)."""
    if name != "auto":
        return name
    if accelerator != "cpu" and (accelerator != "auto" or torch.accelerator.is_available()):
        return "float32"
    cpu = torch.cpu.get_capabilities()
    return "bfloat16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "float32"


def run_metadata(
    config: Config, overrides: Iterable[str] = (), sweep: str | None = None
) -> RunMetadata:
    """The run's names in W&B; `overrides` is what the command line set for it."""
    name, content = config["name"], Path(str(config["content"])).stem
    shared = ("+experiment=", "+sweep=", "tracking", "output_dir", "resume=")
    settings = " ".join(_abbreviate(text) for text in overrides if not text.startswith(shared))
    masks = [config["loss"]["content"]["mask"], *(s.get("mask") for s in config["styles"].values())]
    functions = {_class_name(mask) for mask in masks if isinstance(mask, dict)}
    tags = [_class_name(config["backbone"]), *(f"mask:{mask}" for mask in sorted(functions))]
    tags += [_class_name(config["optimizer"]).lower(), f"content:{content}"]
    group, job_type = (f"{name}/{sweep}", "sweep") if sweep else (name, "single")
    title = (settings or f"{name} {content}")[:120]
    return RunMetadata(title, group, job_type, [tag[:64] for tag in tags])


def _class_name(node: Config) -> str:
    return str(node.get("_target_", "")).rpartition(".")[2]


def _abbreviate(override: str) -> str:
    """An override as a name shows it: masks by their function, numbers to four digits."""
    text = override.replace("_target_:src.masks.", "")
    return re.sub(r"\d+\.\d{4,}(e[+-]?\d+)?", lambda number: f"{float(number[0]):.4g}", text)
