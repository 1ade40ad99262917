"""Training of the depth head, on a dozen tiny pictures."""

import json
import math
import re
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from src.core import weights
from src.depth_nets.vgg_head import Head, vgg_head
from src.training import __main__ as command
from src.training import batches
from src.training.module import GRADIENT_WEIGHT, HeadTraining, loss
from tests.depth_networks import small_vgg
from tests.running import Intruder

head_module = sys.modules["src.depth_nets.vgg_head"]  # its name in the package is its function


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dozen tiny pictures with depth, and a network that is quick."""
    monkeypatch.setattr(command, "vgg19", small_vgg)
    monkeypatch.setattr(head_module, "vgg19", small_vgg)
    monkeypatch.setattr(batches, "SIZES", ((48, 64), (64, 48)))
    random = np.random.default_rng(0)
    data = tmp_path / "data"
    data.mkdir()
    for i in range(12):
        rows = np.linspace(0.2, 1, 48)[:, None] * random.uniform(0.5, 1, (1, 64))
        pixels = (rows[..., None] * random.uniform(0.3, 1, 3) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(data / f"{i:02d}.jpg")
        Image.fromarray((rows * 60000).astype(np.uint16)).save(data / f"{i:02d}.png")
    return data


def run(folder: Path, output: Path, *more: str) -> int:
    settings = "--rounds 2 --pictures 8 --passes 2 --batch 4 --held-out 0.2 --tracking off"
    sources = [f"{folder}:disparity"]
    return command.main(
        [*sources, *settings.split(), "--paintings", "swirls", "--output", str(output), *more]
    )


def trained(output: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    (folder,) = output.iterdir()
    return folder, weights.read(folder / "vgg_head.safetensors", "depth_net.weights")


def test_leaves_weights_table_settings_and_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path / "out") == 0
    found, state = trained(tmp_path / "out")
    assert {path.name for path in found.iterdir()} == {
        "vgg_head.safetensors",
        "settings.json",
        "last.ckpt",
    }
    assert all(tensor.dtype == torch.float16 for tensor in state.values())
    assert json.loads((found / "settings.json").read_text())["rounds"] == 2
    out, err = capsys.readouterr()
    (spearman,) = re.findall(r"held out  spearman ([\d.]+)  abs_rel", out)
    assert float(spearman) > 0.5
    assert f"depth_net.weights={found}" in out
    first, second = re.findall(r"round \d/2  train ([\d.]+)  held out ([\d.]+)", err)
    assert float(second[0]) < 0.9 * float(first[0])  # it learns
    assert float(second[1]) < 0.9 * float(first[1])
    image = torch.rand(1, 3, 48, 64)
    net = vgg_head(str(found / "vgg_head.safetensors"))
    assert net.predict(image).shape == (1, 1, 48, 64)


def test_a_resumed_training_equals_an_uninterrupted_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(folder, tmp_path / "whole", "--rounds", "3") == 0
    complete = HeadTraining.on_train_epoch_end

    def interrupted(self: HeadTraining) -> None:
        complete(self)
        if self.trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(HeadTraining, "on_train_epoch_end", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(folder, tmp_path / "parts", "--rounds", "3")
    (part,) = (tmp_path / "parts").iterdir()
    assert not (part / "vgg_head.safetensors").exists()
    with mock.patch.object(torch, "load", wraps=torch.load) as load:
        assert run(folder, tmp_path / "parts", "--rounds", "3", "--resume", str(part)) == 0
    assert len(load.call_args_list) >= 2  # this program's check, and Lightning
    assert all(call.kwargs["weights_only"] is True for call in load.call_args_list)
    whole, parts = trained(tmp_path / "whole")[1], trained(tmp_path / "parts")[1]
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    intruder = Intruder(tmp_path / "was_here")
    torch.save({"epoch": 1, "loops": intruder}, part / "last.ckpt")
    assert run(folder, tmp_path / "parts", "--rounds", "3", "--resume", str(part)) == 1
    assert not intruder.victim.exists()


def test_fine_tuning_begins_with_the_weights_given_and_is_tracked(
    folder: Path, tmp_path: Path
) -> None:
    begin = Head()
    save_file(begin.state_dict(), tmp_path / "begin.safetensors")
    more = f"--rate 0 --rounds 1 --tracking offline --init {tmp_path}/begin.safetensors"
    assert run(folder, tmp_path / "out", *more.split()) == 0
    found, state = trained(tmp_path / "out")
    assert list((found / "wandb").glob("offline-run-*"))
    assert all(torch.equal(state[name], x.half()) for name, x in begin.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "data: got 'nowhere', which does not exist"),
        (["nowhere", "--rounds", "0"], "rounds: got 0; expected a whole number, 1 or more"),
        (["nowhere", "--held-out", "1"], "held_out: got 1.0; expected a share"),
        (["nowhere", "--resume", "here"], "resume: got 'here'; expected a folder with last.ckpt"),
        (["nowhere", "--init", "mine.pt"], "depth_net.weights: got no such file: mine.pt"),
    ],
)
def test_one_line_for_what_cannot_be(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith(text)
    assert err.count("\n") == 1


def test_loss_is_blind_to_scale_and_offset_and_to_what_is_unknown() -> None:
    inverse = torch.rand(2, 1, 8, 8)
    known = torch.rand(2, 1, 8, 8) > 0.2
    right = loss(3 * inverse + 5, inverse, known)
    assert right.item() == pytest.approx(0, abs=1e-4)
    disparity = torch.rand(2, 1, 8, 8)
    wrong = loss(disparity, inverse, known)
    assert wrong > 0.5
    torch.testing.assert_close(loss(2 * disparity - 1, inverse, known), wrong)
    other = torch.where(known, inverse, 100.0)
    torch.testing.assert_close(loss(disparity, other, known), wrong)


def test_loss_by_hand() -> None:
    # Standardised: -1.5, 0, 0, 1.5 against 1.5, 0, 0, -1.5: off by 3, 0, 0, 3 in a row.
    row = torch.tensor([[[[0.0, 1.0, 1.0, 2.0]]]])
    known = torch.ones_like(row, dtype=torch.bool)
    off = np.array([2.0, 0, 0, 2.0])  # median 1, mean deviation 1/2: -2, 0, 0, 2
    values = 2 * off.mean()
    first = 2 * (2 + 0 + 2) / 4
    second = 2 * 2 / 2  # every second: -2, 0 against 2, 0
    expected = values + GRADIENT_WEIGHT * (first + second + 0)
    assert loss(-row, row, known).item() == pytest.approx(expected)
    assert math.isfinite(loss(torch.zeros_like(row), row, known).item())
