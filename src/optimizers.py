"""L-BFGS that cannot throw the picture away, and optimisers that start afresh."""

from typing import Any

import torch

LONGEST = 1.0  # the most that a step may change any pixel: all of the colours' range


class LBFGS(torch.optim.LBFGS):
    """torch's L-BFGS with its steps bounded.

    Where the first step finds no positive curvature, torch's second one is the bare gradient: it
    moves pixels by hundreds of thousands, and what follows stands still. A step that would change a
    pixel by more than `LONGEST` is shortened instead, and remembered as it was made. All others are
    torch's, bit for bit.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; see `torch.optim.LBFGS`, of which `max_iter` must be 1."""
        (parameter,) = self.param_groups[0]["params"]
        before = parameter.clone()
        loss = super().step(closure)  # enables gradients itself
        moved = float((parameter - before).abs().max())
        if moved > LONGEST:
            share = LONGEST / moved
            torch.lerp(before, parameter, share, out=parameter)
            self.state[parameter]["t"] *= share
        return loss


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
