"""Depth networks of a user's own file: ONNX here, LiteRT where there is one to try."""

import base64
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from src.core.errors import InputError
from src.depth_nets import judge_file, model_file
from src.inputs import load_scene
from src.metrics.depth import depth_scores
from src.objective import DepthTerm
from tests.running import picture, tiny_objective

pytest.importorskip("onnxruntime", reason="the extra `judges`")
# By onnx.helper, a convolution of 1 x 1 with the weights 1, 2, 3: of any size, and of 24 x 32.
ANY_SIZE = (
    "CAg6bwoPCgF4CgF3EgF5IgRDb252EgFnKhsIAQgDCAEIARABIgwAAIA/AAAAQAAAQEBCAXdaHQoBeBIYChYIARISCgIIAQoC"
    "CAMKAxIBaAoDEgF3Yh0KAXkSGAoWCAESEgoCCAEKAggBCgMSAWgKAxIBd0IECgAQDQ=="
)
FIXED = (
    "CAg6awoPCgF4CgF3EgF5IgRDb252EgFnKhsIAQgDCAEIARABIgwAAIA/AAAAQAAAQEBCAXdaGwoBeBIWChQIARIQCgIIAQoC"
    "CAMKAggYCgIIIGIbCgF5EhYKFAgBEhAKAggBCgIIAQoCCBgKAgggQgQKABAN"
)
OF_BYTES = (  # an identity of any size
    "CAg6UwoQCgF4EgF5IghJZGVudGl0eRIBZ1odCgF4EhgKFggCEhIKAggBCgIIAwoDEgFoCgMSAXdiHQoB"
    "eRIYChYIAhISCgIIAQoCCAMKAxIBaAoDEgF3QgQKABAN"
)
LITERT = Path(__file__).parent.parent.parent / "shared/data/depthnet"
LITERT /= "mobilepydnet_pydnetpp_int8w_448x640.tflite"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / f"{name}.onnx" for name in ("any", "fixed")}
    for path, text in zip(made.values(), (ANY_SIZE, FIXED), strict=True):
        path.write_bytes(base64.b64decode(text))
    return made


def weighted(image: torch.Tensor) -> torch.Tensor:
    return (image * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def test_it_gives_what_its_network_gives(files: dict[str, Path]) -> None:
    image = torch.rand(2, 3, 192, 384)  # as large as one of any size is given
    net = model_file(str(files["any"]))
    assert_close(net.predict(image), weighted(image))
    assert_close(model_file(str(files["any"]), kind="depth").predict(image), -weighted(image))
    small = torch.rand(1, 3, 24, 32)
    assert_close(model_file(str(files["fixed"])).predict(small), weighted(small))
    assert model_file(str(files["fixed"])).predict(image).shape == (2, 1, 192, 384)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    normal = model_file(str(files["fixed"]), colors="imagenet").predict(small)
    assert_close(normal, weighted((small - mean) / std))


def test_a_file_is_named_with_what_it_gives_and_takes(files: dict[str, Path]) -> None:
    plain, path = judge_file(str(files["fixed"]), "--judge-file"), str(files["fixed"])
    image = torch.rand(1, 3, 24, 32)
    assert_close(judge_file(f"{path}:depth", "k").predict(image), -plain.predict(image))
    both = judge_file(f"{path}:imagenet:depth", "k")
    assert_close(both.predict(image), -judge_file(f"{path}:imagenet", "k").predict(image))
    prints = {x.fingerprint() for x in (plain, both, judge_file(f"{path}:depth", "k"))}
    assert len(prints) == 3
    assert plain.fingerprint() == judge_file(path, "k").fingerprint()


def test_a_file_that_is_no_network_is_one_clear_line(tmp_path: Path) -> None:
    for name, content in {
        "notes.txt": b"x",
        "bad.onnx": b"no network",
        "bad.tflite": b"no",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"^--judge-file: got '.*expected a depth network"):
            judge_file(str(tmp_path / name), "--judge-file")
    with pytest.raises(InputError, match=r"no file; expected a depth network"):
        model_file(str(tmp_path / "missing.onnx"))
    with pytest.raises(InputError, match=r"depth_net\.weights: got nothing"):
        model_file()


def test_a_missing_runtime_is_said(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"without the package onnxruntime.*extra `judges`"):
        model_file(str(files["any"]))


def test_it_estimates_depth_and_is_refused_in_the_loss(files: dict[str, Path]) -> None:
    net = model_file(str(files["any"]))
    with pytest.raises(InputError, match=r"depth_net: got any, through which no gradient goes"):
        tiny_objective([DepthTerm(1.0)], picture(0, 64, 64), net=net)


def test_a_network_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bytes.onnx"
    path.write_bytes(base64.b64decode(OF_BYTES))
    with pytest.raises(InputError, match=r"takes tensor\(uint8\); .*, that takes float32$"):
        model_file(str(path))


# For research only, so not in the repository.
@pytest.mark.skipif(not LITERT.exists(), reason=f"no LiteRT network at {LITERT}")
def test_a_litert_network_sees_the_built_in_photos_depth() -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra `judges`")
    scene = load_scene("motorcycle", size=256)
    assert scene.depth is not None
    seen = judge_file(f"{LITERT}:depth", "--judge-file").predict(scene.image)
    assert seen.shape == scene.depth.shape
    assert depth_scores(seen, scene.depth + 0.5, scene.valid).spearman > 0.6
