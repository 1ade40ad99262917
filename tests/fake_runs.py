"""Folders as runs leave them, made in no time: for tests of what reads them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

TERMS = {"content": 90.0, "style": 0.004, "style_main": 0.004, "tv": 0.015}


def fake_run(
    path: Path,
    settings: Mapping[str, Any] | None = None,
    terms: Mapping[str, float] | None = None,
    colour: tuple[int, int, int] = (160, 90, 40),
    metrics: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """A run that is done, with pictures of one colour, 24 x 16.

    `settings` are keys of config.yaml beside name, steps and seed (dots make trees), `overrides`
    its command line.
    """
    config: dict[str, Any] = {"name": "masked_style", "steps": 20, "seed": 0}
    for key, value in (settings or {}).items():
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    config["styles"] = {"main": {"path": "swirls", "mask": config.get("mask")}}
    terms = {**TERMS, **(terms or {})}
    for folder in ("inputs", "steps"):
        (path / folder).mkdir(parents=True)
    Image.new("RGB", (24, 16), colour).save(path / "pastiche.png")
    for i, name in enumerate(("content", "style_main", "depth", "mask_main")):
        Image.new("RGB", (24, 16), (60 * i, 60, 120)).save(path / "inputs" / f"{name}.png")
    (path / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    total = sum(terms.values())
    rows = [f"step,total,{','.join(terms)}"]
    for step in (0, 10, 20):
        share = 4 - step / 10
        values = [share * value for value in (total, *terms.values())]
        rows.append(",".join([str(step), *(repr(value) for value in values)]))
    (path / "terms.csv").write_text("\n".join(rows) + "\n")
    summary = {"experiment": config["name"], "status": "done", "steps": 20, "seconds": 8.0}
    summary |= {"seconds_per_step": 0.25, "total": total, "terms": terms}
    (path / "summary.json").write_text(json.dumps(summary))
    if metrics is not None:
        (path / "metrics.json").write_text(json.dumps(metrics))
    if overrides:
        (path / ".hydra").mkdir()
        (path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    return path


def fake_sweep(path: Path, **keys: list[Any]) -> Path:
    """A sweep over every pair of values of two keys (`mask__center` is `mask.center`)."""
    (first, firsts), (second, seconds) = ((k.replace("__", "."), v) for k, v in keys.items())
    pairs = [(a, b) for a in firsts for b in seconds]
    for i, (a, b) in enumerate(pairs):
        share = i / len(pairs)
        terms = {"content": 100 - 60 * share, "style": 0.002 + 0.01 * share}
        colour = (int(255 * share), 120, int(255 * (1 - share)))
        overrides = ["+experiment=masked_style", f"{first}={a}", f"{second}={b}"]
        fake_run(path / str(i), {first: a, second: b}, terms, colour, overrides=overrides)
    task = ["+experiment=masked_style"]
    task += [f"{key}={','.join(map(str, v))}" for key, v in ((first, firsts), (second, seconds))]
    text = yaml.safe_dump({"hydra": {"overrides": {"task": task}, "sweeper": {"params": None}}})
    (path / "multirun.yaml").write_text(text)
    return path
