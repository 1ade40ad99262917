"""docs/artists.md: its commands run as they stand, and its script makes its pictures."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from src.core.images import load_png
from tests.running import run

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "artists.md").read_text()
SPEC = importlib.util.spec_from_file_location("artists", ROOT / "docs" / "artists.py")
assert SPEC is not None
artists = importlib.util.module_from_spec(SPEC)
assert SPEC.loader is not None
SPEC.loader.exec_module(artists)
EXAMPLES = {name: command for command, name in artists.EXAMPLE.findall(PAGE)}


def test_every_picture_has_its_command_and_is_there() -> None:
    shown = re.findall(r"\(artists/(\w+)\.jpg\)", PAGE)
    assert shown == list(EXAMPLES)
    assert sorted(path.stem for path in (ROOT / "docs" / "artists").glob("*.jpg")) == sorted(shown)


@pytest.mark.parametrize("name", EXAMPLES)
def test_commands_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    overrides = shlex.split(EXAMPLES[name])[3:]
    made = load_png(run(tmp_path / "run", *overrides, "size=64", "steps=1") / "pastiche.png")
    assert not torch.equal(made, load_png(tmp_path / "run" / "inputs" / "content.png"))


def test_the_script_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(command: list[str], **_: Any) -> None:
        assert command[1:3] == ["-m", "src.run"]
        assert command[-1] == "size=64"
        (folder,) = (Path(x.partition("=")[2]) for x in command if x.startswith("output_dir="))
        (folder / "a" / "b").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "a" / "b" / "pastiche.png")

    monkeypatch.setattr(subprocess, "run", fake)
    artists.main(["size=64", f"out={tmp_path}"])
    assert {path.stem for path in tmp_path.glob("*.jpg")} == set(EXAMPLES)
