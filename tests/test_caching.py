"""What the runs of a process share: computed once, never stale, never changed by a run."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from src.core.files import file_signature
from src.objective import targets
from src.pipeline import build, networks, pictures
from tests.running import TINY_DEPTH, pastiche, run

SETTINGS = ("+experiment=masked_style", "init=noise", "seed=3")
CACHES = (
    networks._load_backbone,
    networks._load_depth_net,
    pictures._read_scene,
    pictures._read_style,
    build._resized,
    targets.content_features,
    targets.style_statistics,
    targets.disparity,
)


@pytest.fixture(autouse=True)
def empty_caches() -> None:
    for cache in CACHES:
        cache.cache_clear()


def misses() -> list[int]:
    return [cache.cache_info().misses for cache in CACHES]


def test_a_signature_changes_with_the_file(tmp_path: Path) -> None:
    assert file_signature(None) is None
    assert file_signature("swirls") == "swirls"
    file = tmp_path / "a.png"
    file.write_bytes(b"1")
    first = file_signature(file)
    assert first == file_signature(str(file))
    os.utime(file, ns=(0, 0))
    assert file_signature(file) != first
    second = file_signature(file)
    file.write_bytes(b"22")
    os.utime(file, ns=(0, 0))
    assert file_signature(file) != second


def test_a_job_after_others_is_the_job_alone_bit_for_bit(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone", *SETTINGS)
    for number, other in enumerate(
        (
            ("+experiment=two_styles", "seed=1", "loss.content.layers=[relu3_1]"),
            ("+experiment=naive", "optimizer=adam", "backbone.pooling=avg", "seed=9", "style=ink"),
        )
    ):
        run(tmp_path / str(number), *other)
    after = run(tmp_path / "after", *SETTINGS)
    assert torch.equal(pastiche(after), pastiche(alone))
    assert (after / "terms.csv").read_bytes() == (alone / "terms.csv").read_bytes()


def test_networks_images_and_targets_are_computed_once_and_not_changed(tmp_path: Path) -> None:
    first = run(tmp_path / "first", *SETTINGS)
    before = misses()
    run(tmp_path / "second", *SETTINGS, "loss.style.weight=1e8", "mask.slope=5", "optimizer=adam")
    again = run(tmp_path / "third", *SETTINGS)
    assert misses() == before
    assert torch.equal(pastiche(again), pastiche(first))


def test_three_sizes_and_three_styles_share_what_a_sweep_has_in_common(tmp_path: Path) -> None:
    pyramid = ("levels=3", "scale_factor=1.2", "steps_per_level=1")
    settings = [f"pyramid.{setting}" for setting in pyramid]
    settings += ["+experiment=two_styles", "+styles.mid.path=ink", "+mask@styles.mid.mask=band"]
    settings += [*TINY_DEPTH, "loss.depth.weight=1", "size=96", "steps=4"]
    first = run(tmp_path / "first", *settings)
    before = misses()
    second = run(tmp_path / "second", *settings, "loss.style.weight=1e8")
    third = run(tmp_path / "third", *settings)
    assert misses() == before
    assert not torch.equal(pastiche(second), pastiche(first))
    assert torch.equal(pastiche(third), pastiche(first))


def test_a_changed_style_image_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "style.png"
    runs = []
    for number, colour in enumerate(((250, 20, 20), (20, 20, 250))):
        Image.new("RGB", (40, 40), colour).save(file)
        os.utime(file, ns=(number, number))
        runs.append(run(tmp_path / str(number), *SETTINGS, f"style={file}"))
    assert not torch.equal(pastiche(runs[0]), pastiche(runs[1]))
    with Image.open(runs[1] / "inputs" / "style_main.png") as picture:
        assert picture.getpixel((0, 0)) == (20, 20, 250)
