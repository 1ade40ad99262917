"""L-BFGS for a picture: coarse structure first, and no step that throws the picture away."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from src.core.images import resize
from src.core.settings import Count, Weight

INITIAL_STEP = 1 / 255  # mean change of a colour by the first step, which knows no curvature
MAX_STEP = 1.0  # the most that a step may change any pixel: all of the colours' range
REJECT_FACTOR = 2.0  # times the loss before: a step that leads there is taken back
LEAST_CURVATURE = 1e-10  # of a pair that is remembered, as in torch's L-BFGS

# A step, how it changed the gradient, and the product of the two.
Pair = tuple[Tensor, Tensor, float]
# Settings in checkpoints of release 0.4, and their names now.
RENAMED = {"smoothing": "preconditioner_exponent", "range_penalty": "range_penalty_weight"}


class LBFGS(torch.optim.Optimizer):
    """L-BFGS (Nocedal and Wright 2006, algorithm 7.4) of one evaluation per step.

    Differs from torch's in its first guess of the inverse Hessian, a multiple of the identity
    there, here of `spectral_preconditioner`: the losses change most with fine detail, so that a
    plain descent is busy with it, while strokes and areas of colour take many steps. With
    `preconditioner_exponent` 0 the steps are torch's but for the first one's length, which in a
    large image is lost in rounding: here it changes each colour by `INITIAL_STEP` in the mean, and
    without positive curvature every step is twice the one before.

    A step that would change a pixel by more than `MAX_STEP` is shortened: without curvature torch's
    second one is the bare gradient, hundreds of thousands long. One that more than doubles the loss
    is taken back, and the next starts there with the curvature that it measured.
    Colours are kept in [0, 1] by a quadratic penalty (section 17.1): the mean squared distance from
    it counts as loss. Clipped in the end, a few pixels are most of what is left of the style loss.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1.0,  # above 0, of the step that the memory asks for
        history_size: Count = 20,  # steps, each twice the picture's memory
        preconditioner_exponent: Weight = 1.0,  # how much coarse structure goes first
        range_penalty_weight: Weight = 0.0,  # of the distance from [0, 1], in first losses
        region: Tensor | None = None,  # (1, 1, H, W) in [0, 1]: where the preconditioner acts
    ) -> None:
        if not lr > 0:
            raise ValueError(f"lr: got {lr}; expected more than 0")
        defaults = {
            "lr": lr,
            "history_size": history_size,
            "preconditioner_exponent": preconditioner_exponent,
            "range_penalty_weight": range_penalty_weight,
            "range_weight": None,  # not in the state: it outlives a reset
        }
        super().__init__(params, defaults)  # one parameter, (..., H, W)
        if [len(group["params"]) for group in self.param_groups] != [1]:
            raise ValueError("params: got several; expected one")
        self._region = region

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.update({new: group.pop(old) for old, new in RENAMED.items() if old in group})
            # A checkpoint from before there was a penalty resumes without one.
            group.setdefault("range_penalty_weight", 0.0)
            group.setdefault("range_weight", 0.0)

    # torch's may be left without a closure; here there is no step without an evaluation.
    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step; the closure sets the gradient and returns the loss, which is returned."""
        with torch.enable_grad():
            loss = closure()
        (group,) = self.param_groups
        (parameter,) = group["params"]
        state = self.state[parameter]
        value = float(loss)
        if group["range_weight"] is None:
            group["range_weight"] = group["range_penalty_weight"] * value
        outside = parameter - parameter.clamp(0, 1)
        weight = group["range_weight"] / parameter.numel()
        value += weight * float(outside.square().sum())
        gradient = parameter.grad + 2 * weight * outside
        pairs: list[Pair] = state.setdefault("pairs", [])
        if "moved" in state:
            change = gradient - state["gradient"]
            curvature = _product(state["moved"], change)
            if curvature > LEAST_CURVATURE:
                pairs.append((state["moved"], change, curvature))
                del pairs[: -group["history_size"]]
                # Without a new pair the same step would follow from the same place.
                if value > REJECT_FACTOR * state.get("value", math.inf):
                    parameter.sub_(state["moved"])
                    gradient, value = state["gradient"], state["value"]
        direction = self._direction(gradient, pairs, group["preconditioner_exponent"])
        scale = group["lr"]
        if not pairs:
            last = float(state["moved"].abs().mean()) if "moved" in state else 0.0
            length = 2 * last or scale * INITIAL_STEP
            scale = length / max(float(direction.abs().mean()), torch.finfo(torch.float32).tiny)
        direction *= scale * MAX_STEP / max(scale * float(direction.abs().max()), MAX_STEP)
        parameter.add_(direction)
        state["gradient"], state["moved"], state["value"] = gradient, direction, value
        return loss

    def _direction(self, gradient: Tensor, pairs: list[Pair], exponent: float) -> Tensor:
        """Minus the inverse Hessian times the gradient, by the two loops of algorithm 7.4."""
        region = self._region
        if region is not None:
            region = self._region = region.to(gradient)
            region = resize(region, *gradient.shape[-2:])
        direction = -gradient
        factors = []
        for moved, change, curvature in reversed(pairs):
            factors.append(_product(moved, direction) / curvature)
            direction.sub_(change, alpha=factors[-1])
        direction = spectral_preconditioner(direction, exponent, region)
        if pairs:
            _, change, curvature = pairs[-1]
            scaled = spectral_preconditioner(change, exponent, region)
            direction *= curvature / _product(change, scaled)
        for (moved, change, curvature), factor in zip(pairs, reversed(factors), strict=True):
            direction.add_(moved, alpha=factor - _product(change, direction) / curvature)
        return direction


def _product(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))


def spectral_preconditioner(x: Tensor, exponent: float, region: Tensor | None = None) -> Tensor:
    """Divide (..., H, W) by spatial frequency to an exponent; the mean counts as the lowest one.

    Symmetric and positive definite. 1 is the slope of natural images' spectra (Field 1987). With a
    region w, (..., H, W) in [0, 1], S the division and c its diagonal, the result is
    w S w + (1 - w^2) c, so that nothing crosses into where w is 0.
    """
    if exponent == 0:
        return x
    height, width = x.shape[-2:]
    factors, mean = _factors(height, width, exponent, x.device, x.dtype)
    inside = x if region is None else region * x
    filtered = torch.fft.irfft2(torch.fft.rfft2(inside) * factors, s=(height, width))
    return filtered if region is None else region * filtered + mean * (x - region * inside)


@functools.lru_cache(maxsize=4)
def _factors(
    height: int, width: int, exponent: float, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, float]:
    """Of the frequencies, (H, W // 2 + 1), and the mean over all H W of them."""
    down = torch.fft.fftfreq(height, device=device, dtype=dtype)[:, None]
    across = torch.fft.fftfreq(width, device=device, dtype=dtype)
    frequency = (down.square() + across.square()).sqrt().clamp(min=1 / max(height, width))
    factors = frequency**-exponent
    return factors[:, : width // 2 + 1].contiguous(), float(factors.mean())


def reset_optimizer(optimizer: torch.optim.Optimizer, lr: float | None = None) -> None:
    """Let any optimiser forget its past and its parameters' size; `lr` None leaves the rate."""
    optimizer.state.clear()
    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer._numel_cache = None
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] if lr is None else lr
