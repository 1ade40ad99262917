"""One stylization as a LightningModule whose only parameter is the pastiche."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from src.core import images
from src.core.lightning import LightningModule
from src.objective import Objective
from src.optimizers import reset_optimizer

REJECTED = "not_made"  # in checkpoints
STARTS: Sequence[str] = ("content", "noise")

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Level(NamedTuple):
    """A size that the pastiche grows to on its way, coarse to fine."""

    step: int  # the first at this size
    objective: Objective
    height: int  # px
    width: int  # px
    laplacian_residual: Tensor | None = None  # (1, 3, height, width): of which `upsample` adds it

    def upsample(self, image: Tensor) -> Tensor:
        """A smaller image, (1, 3, h, w), at this size, with the detail that it had no room for.

        Detail is what a Laplacian pyramid has at the finer level (Burt and Adelson 1983, "The
        Laplacian Pyramid as a Compact Image Code"): no later step could bring back the edges.
        """
        upsampled = images.resize(image, self.height, self.width)
        if self.laplacian_residual is None:
            return upsampled
        fine = self.laplacian_residual.to(image.device)
        coarse = images.resize(fine, *image.shape[-2:])
        return (upsampled + fine - images.resize(coarse, self.height, self.width)).clamp(0, 1)


class Stylization(LightningModule):
    """Gradient descent on the pixels of the pastiche (Gatys et al. 2016; paper, section 3.1).

    The terms that a step gives belong to the pastiche before it. No step sees what the last one at
    a size led to, and not every step leads down: if it is worse, it is rejected.

    Args:
        objective: the loss at the first size, no submodule.
        start: the first pastiche, (1, 3, H, W) RGB in [0, 1].
        optimizer: makes the optimiser from the parameters.
        clamp: to [0, 1] after every step. Not for L-BFGS, whose memory it would falsify.
        restart: (step, learning rate): from that step on a reset optimiser with that learning rate.
        levels: the sizes that follow the first one, in the order of their steps. At each one's
            first step the pastiche is upsampled and the optimiser is reset.
        finish: what `current_image` makes of the pastiche, (1, 3, H, W) at the last size.
    """

    def __init__(
        self,
        objective: Objective,
        start: Tensor,
        optimizer: OptimizerFactory,
        clamp: bool = False,
        restart: tuple[int, float] | None = None,
        levels: Sequence[Level] = (),
        finish: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        # Contiguous, as L-BFGS needs it; the network itself goes channels-last.
        self.pastiche = nn.Parameter(start.detach().clone(memory_format=torch.contiguous_format))
        self.objective = objective
        self._optimizer, self._clamp, self._restart = optimizer, clamp, restart
        self._levels, self._finish = list(levels), finish
        self._sizes = {0: (start.shape[-2], start.shape[-1])}  # by the first step at each
        self._sizes |= {level.step: (level.height, level.width) for level in levels}
        self._total = torch.tensor(torch.inf)  # before the current step
        self._rejected: Tensor | None = None  # the pastiche of a last step that was worse

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the one parameter."""
        return self._optimizer([self.pastiche])

    def on_fit_start(self) -> None:
        """Bring the objective to the pastiche's device."""
        self.objective.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Beside the pastiche, the one that a run of more steps would have continued from."""
        if self._rejected is not None:
            checkpoint[REJECTED] = self._rejected

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go to the size at which the checkpoint was written, as if the run had not ended."""
        if REJECTED in checkpoint:
            checkpoint["state_dict"]["pastiche"] = checkpoint[REJECTED]
        for level in self._levels:
            if level.step < checkpoint["global_step"]:
                self._grow(level)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Where a size or a restart begins: upsample, and reset the optimiser."""
        growing = [level for level in self._levels if level.step == self.global_step]
        for level in growing:
            self._grow(level)
        restarting = self._restart is not None and self.global_step == self._restart[0]
        if growing or restarting:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            reset_optimizer(optimizer, self._restart[1] if self._restart and restarting else None)

    def _grow(self, level: Level) -> None:
        """The upsampled pastiche goes into the same parameter, which the optimiser holds."""
        self.pastiche.grad = None
        self.pastiche.data = level.upsample(self.pastiche.detach()).contiguous()
        self.objective = level.objective.to(self.device)

    def size_after(self, step: int) -> tuple[int, int]:
        """(height, width) of the pastiche after so many steps, before the next may upsample it."""
        return [size for first, size in self._sizes.items() if first < max(step, 1)][-1]

    def pixel_steps(self, steps: int) -> int:
        """The sum of pixels over the first steps, which their time goes with."""
        ends = [*list(self._sizes)[1:], steps]
        return sum(
            max(0, min(end, steps) - first) * height * width
            for (first, (height, width)), end in zip(self._sizes.items(), ends, strict=True)
        )

    @property
    def current_image(self) -> Tensor:
        """The pastiche, (1, 3, H, W), always of its last size: upsampled on the way there."""
        image = self.pastiche.detach()
        done = image.shape[-2:] == list(self._sizes.values())[-1]
        image = image if done else self._levels[-1].upsample(image)
        return image if self._finish is None else self._finish(image.cpu())

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """The total with its gradient, and the unweighted terms for the callbacks."""
        total, terms = self.objective(self.pastiche)
        self._total = total.detach()
        return {"loss": total, "terms": terms}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimiser's step, then the clamp; the last one at a size only if it is no worse."""
        step = self.global_step
        growing = any(level.step == step + 1 for level in self._levels)
        ending = step + 1 == self.trainer.max_steps
        before = self.pastiche.detach().clone() if growing or ending else None
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            if self._clamp:
                self.pastiche.clamp_(0, 1)
            if before is not None and not self.objective(self.pastiche)[0] <= self._total:
                # A longer run would not have ended here; but it would have grown.
                self._rejected = None if growing else self.pastiche.clone()
                self.pastiche.copy_(before)

    @torch.no_grad()
    def terms(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and the terms of the pastiche as it is now."""
        return self.objective(self.pastiche)


def starting_picture(kind: str, content: Tensor, generator: torch.Generator) -> Tensor:
    """The first pastiche, (1, 3, H, W) in [0, 1]: the content image, or uniform noise."""
    return content if kind == "content" else torch.rand(content.shape, generator=generator)
