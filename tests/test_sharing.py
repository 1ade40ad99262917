"""What runs share: made once, bounded, and never stale."""

import os
from pathlib import Path

import pytest
import torch

from src import jobs
from src.sharing import Shelf, stamp
from tests.running import TINY_DEPTH, pastiche, run


def test_a_value_is_made_once_for_each_key() -> None:
    shelf, made = Shelf(word=2), []
    for key in ("a", "a", "b", "a"):
        assert (
            shelf.get("word", key, lambda key=key: made.append(key) or key.upper()) == key.upper()
        )
    assert made == ["a", "b"]


def test_the_one_used_longest_ago_goes_first() -> None:
    shelf, made = Shelf(word=2), []
    for key in ("a", "b", "a", "c", "a", "b"):
        shelf.get("word", key, lambda key=key: made.append(key))
    assert made == ["a", "b", "c", "b"]


def test_kinds_are_apart() -> None:
    shelf = Shelf(one=1, other=1)
    assert shelf.get("one", "key", lambda: 1) == 1
    assert shelf.get("other", "key", lambda: 2) == 2
    assert shelf.get("one", "key", lambda: 3) == 1
    shelf.clear()
    assert shelf.get("one", "key", lambda: 3) == 3


def test_an_error_is_not_kept() -> None:
    shelf = Shelf(word=1)
    with pytest.raises(ZeroDivisionError):
        shelf.get("word", "key", lambda: 1 // 0)
    assert shelf.get("word", "key", lambda: 1) == 1


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    assert stamp(None) is None
    assert stamp("swirls") == "swirls"
    file = tmp_path / "a.png"
    file.write_bytes(b"1")
    first = stamp(file)
    assert first == stamp(str(file))
    os.utime(file, ns=(0, 0))
    assert stamp(file) != first
    second = stamp(file)
    file.write_bytes(b"22")
    os.utime(file, ns=(0, 0))
    assert stamp(file) != second


SETTINGS = ("+experiment=masked_style", "init=noise", "seed=3")


def test_a_job_after_others_is_the_job_alone_bit_for_bit(tmp_path: Path) -> None:
    jobs.SHARED.clear()
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


def test_nothing_of_a_run_is_changed_by_it(tmp_path: Path) -> None:
    def kept() -> list[torch.Tensor]:
        shelves = jobs.SHARED._kept
        scenes, paintings = shelves["scene"].values(), shelves["painting"].values()
        features = [f for made in shelves["features"].values() for f in made.values()]
        grams = [g for made in shelves["grams"].values() for g in made.values()]
        return [
            *(s.image for s in scenes),
            *(s.depth for s in scenes),
            *paintings,
            *features,
            *grams,
        ]

    jobs.SHARED.clear()
    run(tmp_path / "first", *SETTINGS)
    before = [tensor.clone() for tensor in kept()]
    assert len(before) == 2 + 1 + 1 + 5
    run(tmp_path / "second", *SETTINGS, "optimizer=adam")
    after = kept()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(tensor.requires_grad for tensor in after)


def test_the_network_and_the_pictures_are_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.SHARED.clear()
    run(tmp_path / "first", *SETTINGS)

    def not_again(*_: object, **__: object) -> None:
        raise AssertionError("loaded a second time")

    for name in ("src.backbones.vgg19", "src.jobs.load_scene", "src.jobs.load_style"):
        monkeypatch.setattr(name, not_again)
    monkeypatch.setattr("src.jobs.painting_grams", not_again)
    run(tmp_path / "second", *SETTINGS, "loss.style.weight=1e8", "mask.slope=5")


def test_a_changed_painting_is_read_again(tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "style.png"
    runs = []
    for number, colour in enumerate(((250, 20, 20), (20, 20, 250))):
        Image.new("RGB", (40, 40), colour).save(file)
        os.utime(file, ns=(number, number))
        runs.append(run(tmp_path / str(number), *SETTINGS, f"style={file}"))
    assert not torch.equal(pastiche(runs[0]), pastiche(runs[1]))
    with Image.open(runs[1] / "inputs" / "style_main.png") as picture:
        assert picture.getpixel((0, 0)) == (20, 20, 250)


def test_three_sizes_and_three_styles_share_what_a_sweep_has_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.SHARED.clear()
    levels = ("levels.count=3", "levels.factor=1.2", "levels.steps=1", "loss.depth.weight=1")
    styles = ("+experiment=two_styles", "+styles.mid.path=ink", "+mask@styles.mid.mask=band")
    settings = (*styles, *levels, *TINY_DEPTH, "size=96", "steps=4")
    first = run(tmp_path / "first", *settings)

    def not_again(*_: object, **__: object) -> None:
        raise AssertionError("made a second time")

    for name in ("src.jobs.painting_grams", "src.jobs.features", "src.jobs.load_scene"):
        monkeypatch.setattr(name, not_again)
    second = run(tmp_path / "second", *settings, "loss.style.weight=1e8")
    third = run(tmp_path / "third", *settings)
    assert not torch.equal(pastiche(second), pastiche(first))
    assert torch.equal(pastiche(third), pastiche(first))
