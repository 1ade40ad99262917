"""Monodepth2 gives what its authors' code gives, at any size, and takes its authors' files only."""

import copy
import hashlib
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Server
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.testing import assert_close

from src.core.errors import InputError
from src.depth_nets import monodepth2
from src.depth_nets.monodepth2 import Monodepth2, Network
from tests import depth_networks, monodepth2_files
from tests.depth_networks import refusal

KEY = "depth_net.weights"

# From the authors' code (commit b676244) with the weights of `monodepth2_files` and `picture`.
POINTS = [(0, 0), (5, 90), (20, 31), (33, 48), (63, 0), (63, 95)]
DISPARITIES = [0.576966, 0.199098, 0.500731, 0.704687, 0.564018, 0.507001]
# of sum(disparity * linspace(-1, 1, 96)), in red, green, blue, red, green, blue at these points
GRADIENTS = [0.781053, -0.844436, -4.39839, -5.46634, 1.46718, 0.23694]


def picture(height: int, width: int) -> Tensor:
    rows, columns = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    away = ((x - 0.5) ** 2 + (y - 0.4) ** 2).sqrt()
    return torch.stack([(3 * x + 2 * y).sin() ** 2, (5 * x * y).cos() ** 2, away])[None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return monodepth2_files.save(tmp_path_factory.mktemp("monodepth2"))


@pytest.fixture(scope="module")
def net(folder: Path) -> Monodepth2:
    return monodepth2(str(folder))


@pytest.fixture(scope="module")
def archive(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ZIP file like the authors', with more in it than is used."""
    path = tmp_path_factory.mktemp("archive") / "mono_640x192.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("encoder.pth", "depth.pth"):
            file.write(folder / name, name)
        file.writestr("pose.pth", b"not looked at")
    return path


def at(values: Tensor, channels: list[int]) -> list[float]:
    return [values[0, c, y, x].item() for c, (y, x) in zip(channels, POINTS, strict=True)]


def test_disparity_and_its_gradient_are_those_of_the_authors_code(net: Monodepth2) -> None:
    image = picture(64, 96).requires_grad_()
    found = Monodepth2(net.module, 64, 96).disparity(image, {})
    assert_close(at(found, [0] * 6), DISPARITIES, rtol=0, atol=2e-5)
    summary = [found.min().item(), found.max().item(), found.mean().item(), found.std().item()]
    assert_close(summary, [0.029472, 0.924328, 0.483880, 0.198652], rtol=0, atol=2e-5)
    (gradient,) = torch.autograd.grad((found * torch.linspace(-1, 1, 96)).sum(), image)
    assert_close(at(gradient, [0, 1, 2] * 2), GRADIENTS, rtol=1e-3, atol=1e-3)
    assert gradient.abs().mean().item() == pytest.approx(2.5605, rel=1e-3)


def test_a_picture_of_the_trained_size_is_looked_at_as_it_is(net: Monodepth2) -> None:
    image = picture(192, 640)
    assert net.resized_input(192, 640) == (192, 640)
    assert torch.equal(net.predict(image), net.module(image).detach())


@pytest.mark.parametrize(
    ("height", "width"), [(192, 256), (384, 512), (512, 384), (1080, 1920), (96, 96), (400, 1200)]
)
def test_a_picture_is_fed_at_the_trained_area_and_its_own_aspect(
    net: Monodepth2, height: int, width: int
) -> None:
    fed_height, fed_width = net.resized_input(height, width)
    assert fed_height % 32 == fed_width % 32 == 0
    assert fed_height * fed_width == pytest.approx(192 * 640, rel=0.12)
    assert fed_height / fed_width == pytest.approx(height / width, rel=0.12)


@pytest.mark.parametrize(("height", "width"), [(1, 10_000), (10_000, 1), (10, 1000)])
def test_a_strip_is_fed_at_two_positions_and_no_larger_an_area(
    net: Monodepth2, height: int, width: int
) -> None:
    sides = net.resized_input(height, width)
    assert min(sides) == 64
    assert 64 * max(sides) <= 192 * 640


@pytest.mark.parametrize("shape", depth_networks.SHAPES)
def test_any_size_comes_back_at_its_size(net: Monodepth2, shape: tuple[int, ...]) -> None:
    found = depth_networks.check_size(net, shape)
    assert 0 < found.min() <= found.max() < 1


def test_the_gradient_is_that_of_finite_differences(net: Monodepth2) -> None:
    exact = Monodepth2(copy.deepcopy(net.module).double(), 64, 64)
    # A small step, for the kinks of ReLU and of the pool.
    depth_networks.check_gradient(exact, torch.rand(1, 3, 45, 39), step=1e-7)


def test_nothing_of_it_learns(net: Monodepth2) -> None:
    depth_networks.check_frozen(net)
    assert len(list(net.module.parameters())) == len(net.module.state_dict()) == 62


def test_moving_takes_everything_along(net: Monodepth2) -> None:
    moved = Monodepth2(copy.deepcopy(net.module), 64, 64).to(torch.device("meta"))
    found = moved.disparity(torch.rand(1, 3, 50, 60, device="meta"), {})
    assert found.device.type == "meta"
    assert found.shape == (1, 1, 50, 60)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    """The tensors and numbers of both files; tests change copies."""
    found = monodepth2_files.encoder() | monodepth2_files.decoder()
    return {name: torch.as_tensor(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("encoder.layer3.1.bn2.running_var"), "1 missing (encoder.layer3.1.bn2."),
        (lambda s: s.pop("decoder.10.conv.bias"), "1 missing (decoder.10.conv.bias"),
        (lambda s: s.pop("height"), "1 missing (height"),
        (lambda s: s.update({"encoder.layer1.0.conv3.weight": torch.ones(1)}), "1 left over (enc"),
        (lambda s: s.update({"decoder.14.conv.bias": torch.ones(1)}), "1 left over (decoder.14."),
        (lambda s: s.update({"decoder.0.conv.conv.bias": torch.ones(8)}), "of shape (8,)"),
        (lambda s: s.update({"encoder.bn1.weight": torch.ones(8)}), "encoder.bn1.weight of shape"),
    ],
)
def test_weights_of_another_network_are_refused(
    state: dict[str, Any], change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    wrong = dict(state)
    change(wrong)
    with pytest.raises(InputError) as caught:
        Network().load(wrong)
    assert caught.value.key == KEY
    assert words in str(caught.value)
    assert "Monodepth2 (ResNet-18)" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["encoder.fc.weight", "encoder.bn1.num_batches_tracked", "use_stereo", "decoder.13."]
)
def test_what_is_of_no_use_here_may_be_missing(state: dict[str, Any], name: str) -> None:
    left = {key: value for key, value in state.items() if not key.startswith(name)}
    assert len(left) < len(state)
    assert Network().load(left) == (192, 640)


def test_the_yaml_says_what_it_takes(net: Monodepth2, folder: Path) -> None:
    settings = OmegaConf.load(ROOT / "conf" / "depth_net" / "monodepth2.yaml")
    assert settings.url.endswith("/mono_640x192.zip")
    found = instantiate(settings, weights=str(folder))
    assert found.fingerprint() == net.fingerprint()
    assert found.name == "Monodepth2 (ResNet-18), 640x192"


def test_a_folder_without_one_of_the_files_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "encoder.pth", tmp_path)
    assert f"no such file: {tmp_path / 'depth.pth'}" in refusal(monodepth2, tmp_path)
    assert "no such file or folder" in refusal(monodepth2, tmp_path / "nowhere")


def test_the_encoder_alone_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("encoder.pth", "depth.pth"):
        shutil.copy(folder / "encoder.pth", tmp_path / name)
    text = "weights of another network: 22 missing (decoder.0.conv.conv.weight"
    assert text in refusal(monodepth2, tmp_path)
    assert "cannot be read" in refusal(monodepth2, tmp_path / "encoder.pth")


def md5(path: Path) -> str:
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


def test_it_is_fetched_once_and_its_licence_said_once(
    net: Monodepth2,
    archive: Path,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    shutil.copy(archive, server.folder)
    url = f"{server.url}/{archive.name}"
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert monodepth2(url=url, checksum=md5(archive)).fingerprint() == net.fingerprint()
    assert [path.name for path in (tmp_path / "hub" / "checkpoints").iterdir()] == [archive.name]
    assert server.requests == [f"/{archive.name}"]
    (said,) = caplog.messages
    assert "non-commercial use only" in said
    assert "LICENSE" in said
