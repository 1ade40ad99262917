"""Several paintings blended everywhere, by weight."""

import shutil
from pathlib import Path

import pytest
import torch

from src.core.errors import InputError
from src.inputs import samples
from src.pipeline.build import Job, build
from src.pipeline.config import resolve
from tests.running import SMALL, compose, run, terms


def job(*overrides: str) -> Job:
    return build(resolve(compose(*SMALL, "+experiment=naive", *overrides)))


def shares(made: Job) -> dict[str, float]:
    (term,) = [term for term in made.stylization.objective._terms if term.name == "style"]
    return {name: round(style.share, 3) for name, style in term._styles.items()}


def value(made: Job) -> float:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(made.images["content"].shape, generator=generator)
    return float(made.stylization.objective(image)[1]["style"])


def test_weights_are_shares_of_one_style() -> None:
    assert shares(job("style=[swirls,mosaic]")) == {"main_swirls": 0.5, "main_mosaic": 0.5}
    by_weight = job("style={swirls:3,mosaic:1}")
    assert shares(by_weight) == {"main_swirls": 0.75, "main_mosaic": 0.25}
    one, other = value(job("style=swirls")), value(job("style=mosaic"))
    assert value(by_weight) == pytest.approx(0.75 * one + 0.25 * other, rel=1e-4)
    assert {"style_main_swirls", "style_main_mosaic"} <= set(by_weight.images)


def test_a_painting_and_its_copy_are_that_painting(tmp_path: Path) -> None:
    painting = samples.paintings()["swirls"]
    for name in ("a", "b c"):
        (tmp_path / name).mkdir()
        shutil.copy(painting, tmp_path / name / "same name.png")
    blend = job(f"style=['{tmp_path}/a/same name.png','{tmp_path}/b c/same name.png']")
    assert shares(blend) == {"main_same_name_1": 0.5, "main_same_name_2": 0.5}
    assert value(blend) == pytest.approx(value(job("style=swirls")), rel=1e-5)


def test_blends_go_with_masks_and_bands(tmp_path: Path) -> None:
    keys = ("+experiment=masked_style", "style=[swirls,mosaic]", "styles.main.octaves=2", "size=80")
    folder = run(tmp_path / "run", *keys)
    assert {name for name in terms(folder)[0] if "style_" in name} == {"style_main"}
    names = {file.stem for file in (folder / "inputs").glob("style_*.png")}
    assert {"style_main_1_swirls", "style_main_1_mosaic"} <= names
    config = (folder / "config.yaml").read_text()
    assert "- swirls" in config


def test_bad_blends_are_one_line() -> None:
    for override, message in {
        "style={swirls:-2}": r"path\.swirls: got -2; expected a number, 0 or more",
        "style=[]": r"path: got \[\]; expected a list of at least one",
        "style=[swirls,nobody]": "style: got 'nobody', neither a file nor a built-in name",
        "style=[[swirls]]": r"path\[0\]: got \['swirls'\]",
    }.items():
        with pytest.raises(InputError, match=message):
            job(override)
