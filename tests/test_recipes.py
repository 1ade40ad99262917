"""docs/architecture.md: its recipes are followed as they stand, its picture is the imports'."""

import importlib
import re
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from torch import Tensor, nn

from src.core.settings import Weight
from src.depth_nets import DepthNet
from src.pipeline.build import Job, build
from src.pipeline.config import CONF, resolve
from tests.running import SMALL
from tests.test_layers import ROOMS, floor

PAGE = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text()
_, *PARTS = re.split(r"^### (.*)\n", PAGE, flags=re.M)
RECIPES = dict(zip(PARTS[::2], PARTS[1::2], strict=True))
NAMES = {"nn": nn, "Tensor": Tensor, "Mapping": Mapping, "DepthNet": DepthNet, "Weight": Weight}
LINES = 10
Follow = Callable[..., Job]


def code(recipe: str, language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", RECIPES[recipe], flags=re.S)
    return text


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Follow a recipe, and build a run of it."""

    def followed(recipe: str, *overrides: str) -> Job:
        file = re.search(r"`src/([\w/]+)\.py`", RECIPES[recipe])
        yaml = re.search(r"`conf/([\w/]+\.yaml)`", RECIPES[recipe])
        assert file is not None
        assert yaml is not None
        name = "src." + file[1].replace("/", ".")
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            module = types.ModuleType(name)
            monkeypatch.setitem(sys.modules, name, module)
            monkeypatch.setattr(
                sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], module, False
            )
        names = NAMES | vars(module) | {"__name__": name}
        exec(code(recipe, "python"), names)
        for key in names.keys() - vars(module).keys():
            monkeypatch.setattr(module, key, names[key], raising=False)
        (tmp_path / yaml[1]).parent.mkdir(parents=True)
        (tmp_path / yaml[1]).write_text(code(recipe, "yaml"))
        search = f"hydra.searchpath=[file://{tmp_path}]"
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return build(resolve(hydra_compose("config", [*SMALL, search, *overrides])))

    return followed


def test_a_mask(follow: Follow) -> None:
    job = follow("A mask", "+experiment=masked_style", "mask=ring")
    depth, mask = job.images["depth"], job.images["mask_main"]
    assert torch.equal(mask, ((depth - 0.5).abs() < 0.2).float())


def test_a_style_distance(follow: Follow) -> None:
    job = follow("A style distance", "+experiment=two_styles", "distance=mean")
    total, terms = job.stylization.objective(job.stylization.pastiche)
    total.backward()
    assert terms["style_near"] > 0
    assert job.stylization.pastiche.grad is not None


def test_a_term(follow: Follow) -> None:
    job = follow("A term of the loss", "+experiment=naive", "init=noise", "+term=brightness")
    terms = job.stylization.terms()[1]
    expected = (job.stylization.pastiche.mean() - job.images["content"].mean()).square()
    assert float(terms["brightness"]) == pytest.approx(float(expected.detach()))


def test_a_network(follow: Follow) -> None:
    job = follow("A network", "+experiment=depth_loss", "depth_net=brightness", "init=noise")
    assert job.stylization.terms()[1]["depth"] > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_short(recipe: str) -> None:
    for language in ("python", "yaml"):
        lines = [line for line in code(recipe, language).splitlines() if line.strip()]
        assert len(lines) <= LINES, recipe


def test_the_picture_of_the_floors_is_that_of_the_imports() -> None:
    drawn = {}
    for number, names in re.findall(r"^(\d)  ((?:\w+ )*\w+(?:  \w+)*)", PAGE, flags=re.M):
        drawn |= {name: int(number) for name in names.split() if name in ROOMS}
    assert drawn == {name: floor(name) for name in ROOMS}
