"""Folders as runs leave them, made in no time: for tests of what reads them."""

import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
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


_LAUGHS = [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghij")]
_MERGES = [f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}" for a, b in pairwise("abcdefghij")]
HOSTILE = {
    "config.yaml": [
        *("a: &a [*a]", "\n".join(["a: &a [x]", *_LAUGHS]), "\n".join(["a: &a {x: 1}", *_MERGES])),
        *("[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000, f"a: 1{':1' * 500_000}"),
        *("styles: abc", "styles: {a: b}", "loss: 3", "depth: x", "size: x\nname: {}", "- 1"),
        *("1: 2\nnull: .nan\n2020-01-01: 2020-01-01\n[1]: 2", "? {a: b}\n: c", "a: !!set {x}"),
        *(
            f"seed: {'9' * 400}",
            f"seed: {'9' * 5000}",
            f"seed: 0x{'f' * 4000}",
            f"a: '{'9' * 5000}'",
        ),
        *("a: !!int ''", "a: !!timestamp x", "a: !!bool x", 'name: "\\e[31m"', "\ufeffa: b", "\0"),
    ],
    "summary.json": [
        *("[" * 100_000, '{"a":' * 100_000, "1", '{"status": ["done"]}', '{"status": {}}'),
        *(f'{{"status": "done", "total": {"9" * digits}}}' for digits in (400, 5000)),
        *('{"status": "done", "terms": [1]}', '{"status": "done", "experiment": {"a": [NaN]}}'),
        *('{"status": "done", "experiment": "\\ud800\\u001b"}', '{"status": "interrupted"}'),
        f'{{"status": "done", "terms": {json.dumps({f"t{i}": 1 for i in range(9000)})}}}',
    ],
    "terms.csv": [
        *("step,step,a\n0,1,2", "step,a\n0,\0\0", f"step,a\n0,{'1' * 200_000}", "step\ninf\nnan"),
        *(
            "\x1b,\ud800\n0,1",
            ",".join(map(str, range(9000))) + "\n0" + ",0" * 8999,
            "a\n1e999",
            "step,a\n0,1\n" + "1" * 2**24,
        ),
    ],
    "metrics.json": ["[1]", '{"ssim": "high"}', '{"ssim": [1]}', '{"toString": 1, "": 2}'],
    "FAILED": ["", "\x1b]0;owned\x07\x9b2J\n\ud800", "x" * 300_000],
    ".hydra/overrides.yaml": ["- {a: 1}\n- [x]\n- null\n- 3\n- =", "a: b", "- +a@=\n- '~'"],
    "inputs/content.png": ["not a picture"],
}


def hostile_runs(folder: Path) -> list[str]:
    """Runs that each have one file as no run of this program has it; their names."""
    names = []
    for file, contents in ({"pastiche.png": []} | HOSTILE).items():
        for i, content in enumerate([*contents, "pipe", "/dev/zero"]):
            names.append(f"{i} {file.replace('/', ' ')}")
            path = fake_run(folder / names[-1], overrides=["size=9"], metrics={"ssim": 1}) / file
            path.unlink(missing_ok=True)
            if content == "pipe":
                os.mkfifo(path)
            elif content == "/dev/zero":
                path.symlink_to(content)
            else:
                path.write_text(content, encoding="utf-8", errors="surrogatepass")
    names.append("huge")
    Image.new("1", (14_000, 14_000)).save(fake_run(folder / "huge") / "pastiche.png")
    return names
