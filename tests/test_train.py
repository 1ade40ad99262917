"""Training of the depth head, on a dozen tiny pictures."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.backbones import Backbone
from src.backbones.chain import TORCHVISION
from src.backbones.vgg import OXFORD
from src.depth_nets import train as command
from src.depth_nets.augment import STYLED
from src.depth_nets.vgg_head import LAYERS, Head, vgg_head

head_module = sys.modules["src.depth_nets.vgg_head"]  # its name in the package is its function


def small_vgg(*_: object) -> Backbone:
    """The layers that the head and the styles want, at their strides, quick and random."""
    torch.manual_seed(1)
    channels = {**dict.fromkeys(STYLED, 8), **LAYERS}
    layers: list[tuple[str, torch.nn.Module]] = []
    before = 3
    for name in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"):
        if name.endswith("_1") and name != "relu1_1":
            layers.append((f"pool{name}", torch.nn.MaxPool2d(2, 2)))
        layers.append((f"conv{name}", torch.nn.Conv2d(before, channels[name], 1)))
        layers.append((name, torch.nn.ReLU()))
        before = channels[name]
    return Backbone(layers, TORCHVISION, OXFORD)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dozen tiny pictures with depth, and a network that is quick."""
    monkeypatch.setattr(command, "vgg19", small_vgg)
    monkeypatch.setattr(head_module, "vgg19", small_vgg)
    monkeypatch.setattr(command, "SIZES", ((48, 64), (64, 48)))
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
    return folder, command.files.read(folder / "vgg_head.safetensors", "depth_net.weights")


def test_leaves_weights_table_settings_and_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path / "out") == 0
    found, state = trained(tmp_path / "out")
    assert {path.name for path in found.iterdir()} == {
        "vgg_head.safetensors",
        "table.md",
        "settings.json",
        "last.ckpt",
    }
    assert all(tensor.dtype == torch.float16 for tensor in state.values())
    text = (found / "table.md").read_text()
    assert all(f"| data | {method} | 2 |" in text for method in ("head", "row prior", "constant"))
    assert json.loads((found / "settings.json").read_text())["rounds"] == 2
    out, err = capsys.readouterr()
    assert f"depth_net.weights={found}" in out
    assert "round 2/2" in err
    image = torch.rand(1, 3, 48, 64)
    net = vgg_head(str(found / "vgg_head.safetensors"))
    assert net.estimate(image).shape == (1, 1, 48, 64)


def test_a_resumed_training_equals_an_uninterrupted_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(folder, tmp_path / "whole", "--rounds", "3") == 0
    stop = command.Rounds.on_train_epoch_end

    def interrupted(self: command.Rounds, trainer: object, module: object) -> None:
        stop(self, trainer, module)  # type: ignore[arg-type]
        if trainer.current_epoch == 1:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command.Rounds, "on_train_epoch_end", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(folder, tmp_path / "parts", "--rounds", "3")
    (part,) = (tmp_path / "parts").iterdir()
    assert not (part / "vgg_head.safetensors").exists()
    assert run(folder, tmp_path / "parts", "--rounds", "3", "--resume", str(part)) == 0
    whole, parts = trained(tmp_path / "whole")[1], trained(tmp_path / "parts")[1]
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_fine_tuning_begins_with_the_weights_given(folder: Path, tmp_path: Path) -> None:
    begin = Head()
    command.save(begin, tmp_path / "begin.safetensors")
    assert (
        run(folder, tmp_path / "out", "--rate", "0", "--init", f"{tmp_path}/begin.safetensors") == 0
    )
    state = trained(tmp_path / "out")[1]
    assert all(torch.equal(state[name], x.half()) for name, x in begin.state_dict().items())


def test_training_lowers_the_loss(folder: Path, tmp_path: Path) -> None:
    given = command.pairs.load(f"{folder}:disparity", tmp_path)
    teacher = command.Teacher(given, small_vgg(), [], torch.device("cpu"))
    (lesson,) = teacher.lessons(0, 0, 4, 4)
    head = Head()
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    values = []
    for _ in range(6):
        value = command.loss(
            head.top_down([g.float() for g in lesson.grids]), lesson.inverse, lesson.known
        )
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.9 * values[0]


def test_tracked_offline(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path / "out", "--rounds", "1", "--tracking", "offline") == 0
    found, _ = trained(tmp_path / "out")
    assert list((found / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "data: got 'nowhere', which does not exist"),
        (["nowhere", "--rounds", "0"], "rounds: got 0; expected 1 or more"),
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
    right = command.loss(3 * inverse + 5, inverse, known)
    assert right.item() == pytest.approx(0, abs=1e-4)
    disparity = torch.rand(2, 1, 8, 8)
    wrong = command.loss(disparity, inverse, known)
    assert wrong > 0.5
    torch.testing.assert_close(command.loss(2 * disparity - 1, inverse, known), wrong)
    other = torch.where(known, inverse, 100.0)
    torch.testing.assert_close(command.loss(disparity, other, known), wrong)


def test_loss_by_hand() -> None:
    # Standardised: -1.5, 0, 0, 1.5 against 1.5, 0, 0, -1.5: off by 3, 0, 0, 3 in a row.
    row = torch.tensor([[[[0.0, 1.0, 1.0, 2.0]]]])
    known = torch.ones_like(row, dtype=torch.bool)
    off = np.array([2.0, 0, 0, 2.0])  # median 1, mean deviation 1/2: -2, 0, 0, 2
    values = 2 * off.mean()
    first = 2 * (2 + 0 + 2) / 4
    second = 2 * 2 / 2  # every second: -2, 0 against 2, 0
    expected = values + command.GRADIENT_WEIGHT * (first + second + 0)
    assert command.loss(-row, row, known).item() == pytest.approx(expected)
    assert math.isfinite(command.loss(torch.zeros_like(row), row, known).item())
