"""Drawn masks: alone, by colour, and times a mask of depth."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.colors import to_oklab
from src.core.errors import InputError
from src.core.images import load_png
from src.masks import file, step
from src.metrics.evaluation import DepthEvaluator, measure_run_folder
from src.pipeline.build import build
from src.pipeline.config import resolve
from src.runs.reader import read_json
from tests.running import SMALL, compose, run

DEPTH = torch.zeros(1, 1, 32, 48)


def drawn(path: Path, size: tuple[int, int] = (96, 64), mode: str = "RGB") -> str:
    """White on the left, red in the middle third, black on the right."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 3] = 255
    pixels[:, size[0] // 3 : 2 * size[0] // 3, 0] = 255
    Image.fromarray(pixels).convert(mode).save(path)
    return str(path)


def mask(*overrides: str) -> torch.Tensor:
    job = build(resolve(compose(*SMALL, "+experiment=masked_style", *overrides)))
    return job.images["mask_main"]


def thirds(values: torch.Tensor) -> list[float]:
    """The mean of each third, without its borders."""
    return [round(float(values[..., 16 * i + 4 : 16 * i + 12].mean()), 2) for i in range(3)]


def test_white_is_one_and_a_colour_is_a_region() -> None:
    picture = torch.zeros(1, 3, 4, 6)
    picture[..., :2], picture[:, 0, :, 2:4] = 1, 1
    assert thirds(file(DEPTH, picture)) == pytest.approx([1, 0.33, 0], abs=0.02)
    assert thirds(file(DEPTH, picture, invert=True)) == pytest.approx([0, 0.67, 1], abs=0.02)
    assert thirds(file(DEPTH, picture, color="red")) == [0, 1, 0]
    assert thirds(file(DEPTH, picture, color="#ffffff")) == [1, 0, 0]
    assert file(DEPTH, picture).shape == DEPTH.shape


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGB"), ("a.jpg", "RGB"), ("a.png", "P"), ("a.webp", "RGB")]
)
def test_any_size_and_kind_of_picture(name: str, mode: str, tmp_path: Path) -> None:
    path = drawn(tmp_path / name, (333, 225), mode)
    assert thirds(mask("mask=file", f"mask.path={path}")) == pytest.approx([1, 0.33, 0], abs=0.03)


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    pixels = np.full((32, 48, 4), 255, np.uint8)
    pixels[:, 16:, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert thirds(mask("mask=file", f"mask.path={tmp_path}/a.png")) == [1, 0, 0]


def test_it_is_multiplied_with_a_mask_of_depth(tmp_path: Path) -> None:
    path = drawn(tmp_path / "a.png")
    times = f"+mask.times={{_target_:src.masks.file,path:{path}}}"
    product = mask("mask=step", "mask.threshold=0.5", times)
    alone = mask("mask=step", "mask.threshold=0.5")
    torch.testing.assert_close(product, alone * mask("mask=file", f"mask.path={path}"))
    job = build(resolve(compose(*SMALL, "+experiment=masked_style")))
    assert torch.equal(alone, step(job.images["depth"], 0.5))


def test_regions_of_one_picture_for_several_styles(tmp_path: Path) -> None:
    path = drawn(tmp_path / "a.png")
    node = f"_target_:src.masks.file,path:{path}"
    overrides = [f"styles.near.mask={{{node},color:red}}", f"styles.far.mask={{{node}}}"]
    settings = [*overrides, "styles.near.invert=false", "loss.normalize_masks=false"]
    images = build(resolve(compose(*SMALL, "+experiment=two_styles", *settings))).images
    assert thirds(images["mask_near"]) == [0, 1, 0]
    assert thirds(images["mask_far"]) == [1, 0.33, 0]


def test_a_photo_without_depth_needs_none(tmp_path: Path) -> None:
    Image.new("RGB", (48, 32), (90, 120, 200)).save(tmp_path / "photo.png")
    settings = [
        f"content={tmp_path}/photo.png",
        "mask=file",
        f"mask.path={drawn(tmp_path / 'a.png')}",
    ]
    settings.append("depth_net.weights=nowhere")  # an estimate would fail
    job = build(resolve(compose(*SMALL, "+experiment=masked_style", *settings)))
    assert "depth" not in job.images
    assert thirds(job.images["mask_main"]) == [1, 0.33, 0]


def test_bad_drawings_are_one_line(tmp_path: Path) -> None:
    Image.new("L", (48, 32), 0).save(tmp_path / "black.png")
    Image.new("L", (48, 32), 99).save(tmp_path / "grey.png")
    Image.new("L", (48, 48), 255).save(tmp_path / "square.png")
    colours = Image.new("RGB", (48, 32), (255, 0, 0))
    colours.paste((0, 0, 255), (0, 0, 24, 32))
    colours.save(tmp_path / "colours.png")
    (tmp_path / "text.png").write_text("no picture")
    path = "styles.main.mask.path: got "
    for settings, message in {
        (f"mask.path={tmp_path}/black.png",): "styles.main.mask: got a mask that selects 0 of the",
        (f"mask.path={tmp_path}/grey.png",): f"{path}'{tmp_path}/grey.png', one grey everywhere",
        (f"mask.path={tmp_path}/square.png",): f"{path}'{tmp_path}/square.png', a picture of 48 x",
        (f"mask.path={tmp_path}/text.png",): path,
        (f"mask.path={tmp_path}/nobody.png",): path,
        ("mask.path=null",): f"{path}nothing; expected a picture",
        (f"mask.path={drawn(tmp_path / 'a.png')}", "mask.color=readish"): (
            "styles.main.mask.color: got 'readish'; expected a colour's name, or #rrggbb"
        ),
        (f"mask.path={tmp_path}/colours.png",): "styles.main.mask.color: got nothing, and a pict",
    }.items():
        with pytest.raises(InputError) as refused:
            mask("mask=file", *settings)
        assert str(refused.value).startswith(message)
        assert "\n" not in str(refused.value)


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    """Red strokes on the left, blue ones on the right."""
    pixels = np.random.default_rng(0).integers(0, 120, (64, 96, 3)).astype(np.uint8)
    pixels[:, :48, 0] += 130
    pixels[:, 48:, 2] += 130
    Image.fromarray(pixels).save(tmp_path / "painting.png")
    return tmp_path / "painting.png"


def left(path: Path) -> str:
    """White on the left half."""
    Image.new("L", (96, 64), 0).save(path)
    with Image.open(path) as picture:
        picture.paste(255, (0, 0, 48, 64))
        picture.save(path)
    return str(path)


def test_a_region_of_a_painting_is_the_painting(tmp_path: Path, painting: Path) -> None:
    keys = ("+experiment=naive", f"style={painting}", "steps=8", "evaluate=true", "size=64")
    means = []
    for name, extra in {
        "all": [],
        "left": [f"styles.main.region={left(tmp_path / 'l.png')}"],
    }.items():
        folder = run(tmp_path / name, *keys, *extra, "strength=0.9")
        red, _, blue = load_png(folder / "pastiche.png")[0, :3].flatten(1).mean(1).tolist()
        means.append(red - blue)
    assert means[1] > means[0] + 0.1
    numbers = read_json(tmp_path / "left" / "metrics.json")
    drawing = load_png(tmp_path / "left" / "inputs" / "region_main.png")
    assert drawing.mean() == pytest.approx(0.5, abs=0.02)
    assert numbers["style_gram"] < 0.8
    (tmp_path / "left" / "inputs" / "region_main.png").unlink()
    again = measure_run_folder(tmp_path / "left", DepthEvaluator())
    assert again["style_gram"] > numbers["style_gram"] + 0.1  # of the whole painting


def test_a_recoloured_region_has_the_colours_of_where_it_goes(
    tmp_path: Path, painting: Path
) -> None:
    region = left(tmp_path / "l.png")
    settings = [f"style={painting}", f"styles.main.region={region}", "colors=match"]
    images = build(resolve(compose(*SMALL, "+experiment=naive", *settings))).images
    half = to_oklab(images["style_main"])[..., : images["style_main"].shape[-1] // 2 - 1]
    wanted = to_oklab(images["content"]).mean((2, 3))
    torch.testing.assert_close(half.mean((2, 3)), wanted, atol=0.03, rtol=0)


def test_bad_regions_are_one_line(tmp_path: Path, painting: Path) -> None:
    Image.new("L", (96, 64), 0).save(tmp_path / "black.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "square.png")
    Image.new("L", (96, 64), 0).save(tmp_path / "dot.png")
    with Image.open(tmp_path / "dot.png") as picture:
        picture.putpixel((40, 30), 255)
        picture.save(tmp_path / "dot.png")
    for name, message in {
        "black": f"'{tmp_path}/black.png', black everywhere; expected white where the painting",
        "square": f"'{tmp_path}/square.png', a picture of 64 x 64 pixels; expected one of the",
        "dot": "a mask that selects",
        "none": f"'{tmp_path}/none.png', which does not exist",
    }.items():
        settings = [f"style={painting}", f"styles.main.region={tmp_path}/{name}.png"]
        with pytest.raises(InputError) as error:
            build(resolve(compose(*SMALL, "+experiment=naive", *settings)))
        assert str(error.value).startswith(f"styles.main.region: got {message}")
