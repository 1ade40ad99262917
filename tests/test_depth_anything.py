"""Depth Anything sees what the library's own preprocessing shows it, and takes its files only.

The network is the library's; here it is one of its smallest, with random weights.
"""

import copy
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Server
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from src.core.errors import InputError
from src.depth_nets import depth_anything_v2
from src.depth_nets.depth_anything import DepthAnything
from tests import depth_networks
from tests.depth_networks import refusal

KEY = "depth_net.weights"
FILES = ("config.json", "model.safetensors")
TINY_BACKBONE = {
    "model_type": "dinov2",
    "image_size": 56,
    "hidden_size": 12,
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "out_indices": [1, 2, 3, 4],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
    "reshape_hidden_states": False,
}
TINY = {
    "backbone_config": TINY_BACKBONE,
    "reassemble_hidden_size": 12,
    "neck_hidden_sizes": [4, 6, 8, 10],
    "fusion_hidden_size": 6,
    "head_hidden_size": 4,
}
# The preprocessor_config.json of Depth-Anything-V2-Small-hf.
PUBLISHED = {
    "do_normalize": True,
    "do_pad": False,
    "do_rescale": True,
    "do_resize": True,
    "ensure_multiple_of": 14,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "keep_aspect_ratio": True,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 518, "width": 518},
}


@pytest.fixture(scope="module")
def network() -> Any:
    """A tiny network of the library's own class, its weights large enough to matter."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    generator = torch.Generator().manual_seed(0)
    made = DepthAnythingForDepthEstimation(DepthAnythingConfig(**TINY)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        made.head.conv3.bias.fill_(4)  # above the ReLU
    return made


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its files as the library keeps them."""
    from transformers.utils import logging as library

    library.disable_progress_bar()
    path = tmp_path_factory.mktemp("tiny")
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def net(folder: Path) -> DepthAnything:
    return depth_anything_v2(str(folder), size=56)


def smooth(height: int, width: int) -> Tensor:
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


# preprocessing

SIZES = [(192, 256), (480, 640), (1080, 1920), (700, 500), (50, 37), (518, 518), (600, 20)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_preprocessing_is_the_librarys(folder: Path, height: int, width: int) -> None:
    from transformers import DPTImageProcessor

    image = smooth(height, width)
    found = depth_anything_v2(str(folder)).preprocess(image)
    processor = DPTImageProcessor(**PUBLISHED)
    exact = processor(image, do_rescale=False, return_tensors="pt").pixel_values
    assert_close(found, exact, rtol=0, atol=1e-5)
    pixels = (255 * image).round().to(torch.uint8)
    rounded = processor(pixels, return_tensors="pt").pixel_values
    assert_close(found, rounded, rtol=0, atol=2 / 255 / 0.224)  # rounded before and after


def test_the_whole_is_the_librarys(net: DepthAnything, network: Any) -> None:
    from transformers import DPTImageProcessor

    image = smooth(60, 84)
    processor = DPTImageProcessor(**PUBLISHED | {"size": {"height": 56, "width": 56}})
    with torch.no_grad():
        pixels = processor(image, do_rescale=False, return_tensors="pt").pixel_values
        expected = network(pixels).predicted_depth
    assert expected.shape == (1, 56, 84)
    assert expected.std() > 1e-2
    found = net.predict(image)
    assert found.shape == (1, 1, 60, 84)
    assert_close(found[:, 0, 0], expected[:, 0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [14, 56, 252])
def test_a_smaller_size_looks_at_less(folder: Path, size: int) -> None:
    smaller = depth_anything_v2(str(folder), size=size)
    assert smaller.resized_input(1080, 1920) == (size, round(size * 16 / 9 / 14) * 14)
    assert smaller.predict(smooth(70, 90)).shape == (1, 1, 70, 90)


@pytest.mark.parametrize("size", [0, -14, 13, 500, 518.0, "518", None, True])
def test_a_size_that_it_cannot_look_at_is_refused(folder: Path, size: Any) -> None:
    with pytest.raises(InputError) as caught:
        depth_anything_v2(str(folder), size=size)
    expected = f"depth_net.size: got {size!r}; expected a multiple of 14, 14 or more"
    assert str(caught.value) == expected


@pytest.mark.parametrize("shape", depth_networks.SHAPES)
def test_any_size_comes_back_at_its_size(net: DepthAnything, shape: tuple[int, ...]) -> None:
    depth_networks.check_size(net, shape)


def test_the_gradient_is_that_of_finite_differences(net: DepthAnything) -> None:
    exact = DepthAnything(copy.deepcopy(net.module).double(), 56)
    depth_networks.check_gradient(exact, smooth(45, 39), step=1e-6)


def test_nothing_of_it_learns(net: DepthAnything) -> None:
    depth_networks.check_frozen(net)


def test_what_lies_outside_the_range_is_still_steered(net: DepthAnything) -> None:
    image = (smooth(40, 52) + 1).requires_grad_()
    net.disparity(image, {}).sum().backward()
    assert image.grad is not None
    assert (image.grad != 0).float().mean() > 0.99


def test_its_name_and_fingerprint_say_its_size(net: DepthAnything, folder: Path) -> None:
    assert net.name == "Depth Anything V2 at 56 px"
    assert net.fingerprint() == depth_anything_v2(str(folder), size=56).fingerprint()
    assert net.fingerprint() != depth_anything_v2(str(folder), size=70).fingerprint()


def changed(folder: Path, to: Path, change: Callable[[dict[str, Tensor]], Any]) -> Path:
    """A copy of the files with other tensors."""
    shutil.copytree(folder, to)
    tensors = load_file(to / "model.safetensors")
    change(tensors)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_the_published_names_are_read(net: DepthAnything, folder: Path, tmp_path: Path) -> None:
    """The library renames tensors while it reads; the published file has their old names."""
    old = "backbone.encoder.layer.0.attention.attention.query.weight"
    assert old in load_file(folder / "model.safetensors")
    assert old not in net.module.state_dict()
    other = changed(folder, tmp_path / "other", lambda s: s[old].add_(1))
    image = smooth(40, 52)
    found = depth_anything_v2(str(other), size=56).predict(image)
    assert (found - net.predict(image)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("head.conv3.bias"), "1 missing (head.conv3.bias ...)"),
        (lambda s: s.update(extra=torch.ones(2)), "1 left over (extra ...)"),
        (lambda s: s.update({"head.conv3.bias": torch.ones(2)}), "1 of another shape (head.conv3"),
    ],
)
def test_weights_of_another_network_are_refused(
    folder: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], Any],
    words: str,
) -> None:
    text = refusal(depth_anything_v2, changed(folder, tmp_path / "other", change))
    assert "weights of another network" in text
    assert words in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth_estimation_type": "metric", "max_depth": 20}, "metric depth"),
        ({"fusion_hidden_size": 128}, "of another shape"),  # a larger model
    ],
)
def test_settings_of_another_model_are_refused(
    folder: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | settings))
    assert words in refusal(depth_anything_v2, other)


@pytest.mark.parametrize("share", [0, 0.1, 0.99])
@pytest.mark.parametrize("file", FILES)
def test_a_cut_file_is_refused(folder: Path, tmp_path: Path, file: str, share: float) -> None:
    cut = tmp_path / "cut" / file
    shutil.copytree(folder, cut.parent)
    cut.write_bytes(cut.read_bytes()[: int(share * cut.stat().st_size)])
    assert f"got {cut.parent}, which cannot be read" in refusal(depth_anything_v2, cut.parent)


@pytest.mark.parametrize("file", FILES)
def test_a_folder_without_one_of_the_files_is_refused(
    folder: Path, tmp_path: Path, file: str
) -> None:
    shutil.copytree(folder, tmp_path / "less")
    (tmp_path / "less" / file).unlink()
    assert f"has no {file}" in refusal(depth_anything_v2, tmp_path / "less")
    assert "got no folder" in refusal(depth_anything_v2, tmp_path / "nowhere")
    assert "got no folder" in refusal(depth_anything_v2, folder / file)


def test_without_the_package_it_is_said_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="make setup") as caught:
        depth_anything_v2(str(folder))
    assert str(caught.value).startswith("depth_net: got depth_anything_v2 without the package")


def test_the_yaml_says_what_it_takes(net: DepthAnything, folder: Path) -> None:
    settings = OmegaConf.load(ROOT / "conf" / "depth_net" / "depth_anything_v2.yaml")
    found = instantiate(settings, weights=str(folder), size=56, _convert_="all")
    assert found.fingerprint() == net.fingerprint()
    assert set(settings.checksums) == set(FILES)
    assert instantiate(settings, weights=str(folder)).resized_input(518, 518) == (518, 518)


def sha256(folder: Path) -> dict[str, str]:
    return {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in FILES}


def test_it_is_fetched_once(
    net: DepthAnything,
    folder: Path,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    shutil.copytree(folder, server.folder / "tiny")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = depth_anything_v2(
                url=f"{server.url}/tiny",
                checksums=sha256(folder),
                size=net.resized_input(56, 56)[0],
            )
            assert found.fingerprint() == net.fingerprint()
    assert sorted(server.requests) == [f"/tiny/{file}" for file in FILES]
    cache = tmp_path / "hub" / "checkpoints" / "Depth-Anything-V2-Small-hf"
    assert sorted(path.name for path in cache.iterdir()) == list(FILES)
    assert caplog.messages == []
    assert capsys.readouterr().out == ""
