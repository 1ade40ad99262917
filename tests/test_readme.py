"""README.md: its commands run as they stand, on small pictures, and its links lead somewhere."""

import re
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.core import video
from src.inputs.__main__ import main as inputs
from src.pipeline.config import compose
from tests.conftest import Command

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
LINES = [line.partition("  #")[0] for block in BLOCKS for line in block.splitlines()]
RUNS = [line for line in LINES if line.startswith("python -m src.run ")]
QUICK = (
    "size=96",
    "pyramid.scale_factor=1.3",
    "steps=3",
    "pyramid.steps_per_level=1",
    "clip.steps=1",
    "tracking=off",
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the commands name."""
    rng = np.random.default_rng(0)
    for name in ("photo.jpg", "painting.jpg"):
        small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        small.resize((96, 72)).save(tmp_path / name)
    ramp = np.tile(np.linspace(20, 255, 96), (72, 1)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "depth.png")
    photo = np.asarray(Image.open(tmp_path / "photo.jpg"))
    video.write([photo, photo], tmp_path / "clip.mp4", "mp4", Fraction(25))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_commands() -> None:
    assert len(RUNS) >= 6


@pytest.mark.parametrize("line", RUNS)
def test_runs(line: str, files: Path, command: Command) -> None:
    words = [word.replace("starry_night", "swirls") for word in shlex.split(line)[3:]]
    ran = command(*words, *QUICK, f"output_dir={files / 'out'}")
    assert ran.code == 0, ran.err
    assert list((files / "out").glob("*/*/pastiche.png"))


@pytest.mark.usefixtures("files")
def test_the_preview() -> None:
    (line,) = (line for line in LINES if line.startswith("python -m src.inputs"))
    assert inputs(shlex.split(line)[3:]) == 0


@pytest.mark.parametrize(
    "name",
    sorted(set(re.findall(r"\+experiment=(\w+)", PAGE)) | set(re.findall(r"paper_\w+", PAGE))),
)
def test_experiments_are_there(name: str) -> None:
    if not name.endswith("_"):
        assert compose(f"+experiment={name}").name == name


@pytest.mark.parametrize("page", ["README.md", *sorted(x.name for x in ROOT.glob("docs/*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target
