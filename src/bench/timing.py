"""Timing work in turn, round by round, since machines are noisy: the bench's and the paper's."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from src.depth_nets import DepthNet
from src.depth_nets.monodepth2 import Monodepth2, Network
from src.losses import aligned_depth_loss

Work = Callable[[], object]
Objective = Callable[[Tensor], tuple[Tensor, object]]
WARM_UP = 3  # rounds that are not counted
CHANNELS = 256  # of the convolution that `peak_flops` is measured with


def time_interleaved(work: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, one after the other, round by round; the first rounds are left out.

    Every other round goes backwards, so that none is always the one that finds the caches warm.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for i in range(rounds + WARM_UP):
        for name in list(work)[:: -1 if i % 2 else 1]:
            began = time.perf_counter()
            work[name]()
            if i >= WARM_UP:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(seconds: Mapping[str, list[float]], of: str, to: str) -> float:
    """The median of the ratios round by round."""
    return median(a / b for a, b in zip(seconds[of], seconds[to], strict=True))


def evaluation(objective: Objective, image: Tensor, depth_net: DepthNet | None = None) -> Work:
    """An objective at an image (1, 3, H, W), and a depth loss of other features; with gradients."""
    target = None if depth_net is None else depth_net.predict(image)

    def run() -> None:
        pixels = image.clone().requires_grad_()
        total, _ = objective(pixels)
        if depth_net is not None and target is not None:
            total = total + aligned_depth_loss(depth_net.disparity(pixels, {}), target)
        total.backward()

    return run


def untrained_monodepth2() -> DepthNet:
    """Monodepth2 without its weights, which take no part in what a step costs."""
    network = Network().to_empty(device="cpu")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return Monodepth2(network, 192, 640)


def operations(run: Work) -> float:
    """Floating-point operations of some work, its matrix products and convolutions alone."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def peak_flops(precision: torch.dtype, rounds: int = 5) -> float:
    """Floating-point operations per second in a wide convolution, the best of some rounds."""
    shapes = (1, CHANNELS, 130, 130), (CHANNELS, CHANNELS, 3, 3)
    image, kernel = (
        torch.rand(shape).to(precision, memory_format=torch.channels_last) for shape in shapes
    )
    seconds = time_interleaved({"": lambda: F.conv2d(image, kernel)}, rounds)[""]
    return 2 * CHANNELS**2 * 9 * 128**2 / min(seconds)
