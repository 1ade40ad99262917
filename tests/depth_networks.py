"""What every depth network has to fulfil."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.backbones import Backbone
from src.backbones.preprocessing import TORCHVISION
from src.backbones.vgg import OXFORD
from src.core.errors import InputError
from src.depth_nets import DepthNet
from src.depth_nets.vgg_head import LAYERS
from src.training.augment import STYLED

SHAPES = [(1, 3, 33, 47), (2, 3, 40, 40), (1, 3, 1, 1), (1, 3, 7, 300), (1, 3, 301, 211)]


def check_size(net: DepthNet, shape: tuple[int, ...]) -> Tensor:
    """Images come back at their size, each as if alone, without a gradient; the disparity."""
    images = torch.rand(shape)
    disparity = net.predict(images)
    torch.testing.assert_close(disparity[-1:], net.predict(images[-1:]), rtol=0, atol=1e-5)
    assert disparity.shape == (shape[0], 1, *shape[2:])
    assert disparity.dtype == torch.float32
    assert disparity.min() >= 0
    assert not disparity.requires_grad
    return disparity


def refusal(build: Callable[[str], DepthNet], source: Path) -> str:
    """The one line with which reading these weights ends."""
    with pytest.raises(InputError) as caught:
        build(str(source))
    assert caught.value.key == "depth_net.weights"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_gradient(exact: DepthNet, image: Tensor, step: float) -> None:
    """The gradient of a double precision network is that of finite differences."""
    image = image.double().requires_grad_()
    weight, way = torch.rand_like(image[:, :1]), torch.randn_like(image)
    (gradient,) = torch.autograd.grad((exact.disparity(image, {}) * weight).sum(), image)
    assert gradient.isfinite().all()
    assert (gradient != 0).double().mean() > 0.99
    with torch.no_grad():
        ahead, behind = (
            (exact.disparity(image + sign * step * way, {}) * weight).sum() for sign in (1, -1)
        )
    slope = ((ahead - behind) / (2 * step)).item()
    assert slope == pytest.approx((gradient * way).sum().item(), rel=1e-4)


def check_frozen(net: DepthNet) -> None:
    """A gradient reaches the image and no weight."""
    image = torch.rand(1, 3, 40, 52).requires_grad_()
    net.disparity(image, {}).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert not any(module.training for module in net.module.modules())
    assert not any(p.requires_grad or p.grad is not None for p in net.module.parameters())


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
    return Backbone(layers, TORCHVISION, "small", OXFORD)
