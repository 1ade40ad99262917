"""L-BFGS for a picture: coarse structure first, and no step that throws the picture away."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from src.images import resize

FIRST = 1 / 255  # mean change of a colour by the first step, which knows no curvature
LONGEST = 1.0  # the most that a step may change any pixel: all of the colours' range
WORSE = 2.0  # times the loss before: a step that leads there is taken back
LEAST_CURVATURE = 1e-10  # of a pair that is remembered, as in torch's L-BFGS
TINY = torch.finfo(torch.float32).tiny  # where there is nothing to descend, a step is none

# How far a step went, what that changed in the gradient, and the product of the two.
Pair = tuple[Tensor, Tensor, float]


class LBFGS(torch.optim.Optimizer):
    """L-BFGS (Nocedal and Wright 2006, algorithm 7.4) of one evaluation per step.

    Differs from torch's in its first guess of the inverse Hessian, which is a multiple of the
    identity there. Here it is a multiple of `smooth`: the losses change most with fine detail, so
    that a plain descent is busy with it, while strokes and areas of colour take many steps. With
    `smoothing` 0 the steps are torch's, but for the first one's length: torch's changes all colours
    together by 1, which in a large picture is lost in rounding, and the second step with it. This
    one changes each by `FIRST` in the mean, and as long as that meets no positive curvature, every
    step is twice the one before.

    A step that would change a pixel by more than `LONGEST` is shortened, and remembered as it was
    made: where the first step finds no positive curvature, torch's second one is the bare gradient,
    moves pixels by hundreds of thousands, and what follows stands still. A step that more than
    doubles the loss is taken back once it is seen, and the next goes from where it began, with what
    it told about the curvature.

    Colours are kept in [0, 1], where they have to be in a file, by a quadratic penalty (Nocedal and
    Wright 2006, section 17.1): the mean squared distance from it counts as loss. Clipped in the end
    instead, a few saturated pixels are most of what is left of the style loss.

    Args:
        params: one parameter, (..., H, W).
        lr: the length of a step, as a share of the one that the memory asks for.
        history_size: past steps that it remembers, each twice the picture's memory.
        smoothing: exponent by which coarse structure goes first, see `smooth`.
        range_penalty: how strongly [0, 1] holds: so many times the first loss is the weight of the
            mean squared distance from it. 0: not at all.
        where: (1, 1, H, W) in [0, 1], where it does: what lies outside is to stay as it is, and the
            neighbours' colours must not spread to it. Of another size than the parameter's it is
            resampled. None: everywhere.

    Raises:
        ValueError: a number that is out of range, or more than one parameter.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1.0,
        history_size: int = 20,
        smoothing: float = 1.0,
        range_penalty: float = 0.0,
        where: Tensor | None = None,
    ) -> None:
        if not lr > 0:
            raise ValueError(f"lr: got {lr}; expected more than 0")
        if history_size < 1:
            raise ValueError(f"history_size: got {history_size}; expected 1 or more")
        if not smoothing >= 0:
            raise ValueError(f"smoothing: got {smoothing}; expected 0 or more")
        if not range_penalty >= 0:
            raise ValueError(f"range_penalty: got {range_penalty}; expected 0 or more")
        defaults = {
            "lr": lr,
            "history_size": history_size,
            "smoothing": smoothing,
            "range_penalty": range_penalty,
            "range_weight": None,  # not in the state: it outlives a fresh start
        }
        super().__init__(params, defaults)
        if [len(group["params"]) for group in self.param_groups] != [1]:
            raise ValueError("params: got several; expected one")
        self._where = where

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # of a checkpoint of an earlier release
            group.setdefault("range_penalty", 0.0)
            group.setdefault("range_weight", 0.0)

    # torch's may be left without a closure; here there is no step without an evaluation.
    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step.

        Args:
            closure: evaluates the loss and sets the parameter's gradient.

        Returns:
            What the closure returns, for the parameter before the step.
        """
        with torch.enable_grad():
            loss = closure()
        (group,) = self.param_groups
        (parameter,) = group["params"]
        assert parameter.grad is not None
        state = self.state[parameter]
        value = float(loss)
        if group["range_weight"] is None:
            group["range_weight"] = group["range_penalty"] * value
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
                if value > WORSE * state.get("value", math.inf):
                    parameter.sub_(state["moved"])
                    gradient, value = state["gradient"], state["value"]
        moved = self._descent(gradient, pairs, group["smoothing"])
        share = group["lr"]
        if not pairs:
            last = _mean(state["moved"]) if "moved" in state else 0.0
            length = 2 * last or share * FIRST
            share = length / max(_mean(moved), TINY)
        longest = share * float(moved.abs().max())
        moved *= share * LONGEST / max(longest, LONGEST)
        parameter.add_(moved)
        state["gradient"], state["moved"], state["value"] = gradient, moved, value
        return loss

    def _descent(self, gradient: Tensor, pairs: list[Pair], smoothing: float) -> Tensor:
        """Minus the inverse Hessian times the gradient, by the two loops of algorithm 7.4."""
        where = self._where
        if where is not None:
            where = self._where = where.to(gradient)
            where = resize(where, *gradient.shape[-2:])
        found = -gradient
        shares = []
        for moved, change, curvature in reversed(pairs):
            share = _product(moved, found) / curvature
            shares.append(share)
            found.sub_(change, alpha=share)
        found = smooth(found, smoothing, where)
        if pairs:
            _, change, curvature = pairs[-1]
            found *= curvature / _product(change, smooth(change, smoothing, where))
        for (moved, change, curvature), share in zip(pairs, reversed(shares), strict=True):
            found.add_(moved, alpha=share - _product(change, found) / curvature)
        return found


def _mean(x: Tensor) -> float:
    return float(x.abs().mean())


def _product(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))


def smooth(x: Tensor, exponent: float, where: Tensor | None = None) -> Tensor:
    """Divide by spatial frequency to an exponent: 1 is the slope of natural pictures' spectra.

    Symmetric and positive definite. Field 1987 ("Relations between the statistics of natural images
    and the response properties of cortical cells") has the slope of amplitudes; the mean counts as
    the lowest frequency. Edges are those of a picture that repeats.

    Args:
        x: (..., H, W).
        exponent: 0 changes nothing.
        where: w, (..., H, W) in [0, 1]: of S, what divides by frequency, and its diagonal c it
            gives w S w + (1 - w^2) c, so that nothing crosses into where w is 0.
    """
    if exponent == 0:
        return x
    height, width = x.shape[-2:]
    factors, mean = _factors(height, width, exponent, x.device, x.dtype)
    inside = x if where is None else where * x
    found = torch.fft.irfft2(torch.fft.rfft2(inside) * factors, s=(height, width))
    return found if where is None else where * found + mean * (x - where * inside)


@functools.lru_cache(maxsize=4)
def _factors(
    height: int, width: int, exponent: float, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, float]:
    """What frequencies are multiplied by, (H, W // 2 + 1), and the mean over all H W of them."""
    down = torch.fft.fftfreq(height, device=device, dtype=dtype)[:, None]
    across = torch.fft.fftfreq(width, device=device, dtype=dtype)
    frequency = (down.square() + across.square()).sqrt().clamp(min=1 / max(height, width))
    factors = frequency**-exponent
    return factors[:, : width // 2 + 1].contiguous(), float(factors.mean())


def start_afresh(optimizer: torch.optim.Optimizer, lr: float | None = None) -> None:
    """Let an optimiser forget its past and the size of its parameters.

    Args:
        optimizer: any of torch's.
        lr: its learning rate from now on; None leaves it.
    """
    optimizer.state.clear()
    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer._numel_cache = None
    if lr is not None:
        for group in optimizer.param_groups:
            group["lr"] = lr
