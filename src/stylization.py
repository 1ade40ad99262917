"""One stylization as a LightningModule whose only parameter is the pastiche."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from src import images
from src.lightning import LightningModule
from src.objective import Objective
from src.optimizers import start_afresh

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Level:
    """A size that the pastiche grows to on its way, coarse to fine.

    Attributes:
        step: the first step at this size.
        objective: the loss at this size.
        height: of the pastiche, in pixels.
        width: the same.
    """

    step: int
    objective: Objective
    height: int
    width: int


class Stylization(LightningModule):
    """Gradient descent on the pixels of the pastiche (Gatys et al. 2016; paper, section 3.1).

    Step k looks at the pastiche after k steps and then changes it, so the terms that a step gives
    belong to the picture before it.

    Args:
        objective: the loss at the first size; a plain object, neither a submodule nor in
            checkpoints.
        start: the first pastiche, (1, 3, H, W) RGB in [0, 1].
        optimizer: makes the optimiser from the parameters.
        clamp: after every step the pastiche is brought back to [0, 1]. Not for L-BFGS, whose
            memory of past steps it would falsify.
        restart: (step, learning rate): at that step a fresh optimiser of that learning rate takes
            over. None: never.
        finer: the sizes that follow the first one, in the order of their steps. At each one's first
            step the pastiche is enlarged and the optimiser starts afresh.
    """

    def __init__(
        self,
        objective: Objective,
        start: Tensor,
        optimizer: OptimizerFactory,
        clamp: bool = False,
        restart: tuple[int, float] | None = None,
        finer: Sequence[Level] = (),
    ) -> None:
        super().__init__()
        # Plain contiguous, which L-BFGS needs of its parameter; the network itself goes
        # channels-last.
        self.pastiche = nn.Parameter(start.detach().clone(memory_format=torch.contiguous_format))
        self.objective = objective
        self._optimizer = optimizer
        self._clamp = clamp
        self._restart = restart
        self._finer = list(finer)
        self._sizes = {0: (start.shape[-2], start.shape[-1])}  # by the first step at each
        self._sizes |= {level.step: (level.height, level.width) for level in finer}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the one parameter."""
        return self._optimizer([self.pastiche])

    def on_fit_start(self) -> None:
        """Bring the objective to the pastiche's device."""
        self.objective.to(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go to the size at which the checkpoint was written."""
        for level in self._finer:
            if level.step < checkpoint["global_step"]:
                self._grow(level)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Where a size or a restart begins, grow, and let the optimiser forget its past."""
        growing = [level for level in self._finer if level.step == self.global_step]
        for level in growing:
            self._grow(level)
        restarting = self._restart is not None and self.global_step == self._restart[0]
        if growing or restarting:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            start_afresh(optimizer, self._restart[1] if self._restart and restarting else None)

    def _grow(self, level: Level) -> None:
        """Go on with the enlarged pastiche in the same parameter, which the optimiser holds."""
        self.pastiche.grad = None
        grown = images.resize(self.pastiche.detach(), level.height, level.width)
        self.pastiche.data = grown.contiguous()
        self.objective = level.objective.to(self.device)

    def size_after(self, step: int) -> tuple[int, int]:
        """(height, width) of the pastiche after so many steps, before the next may enlarge it."""
        return [size for first, size in self._sizes.items() if first < max(step, 1)][-1]

    @property
    def picture(self) -> Tensor:
        """The pastiche, (1, 3, H, W), always of its last size: enlarged on the way there."""
        return images.resize(self.pastiche.detach(), *list(self._sizes.values())[-1])

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """The total with its gradient, and the unweighted terms for the callbacks."""
        total, terms = self.objective(self.pastiche, self.global_step)
        return {"loss": total, "terms": terms}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimiser's step, then the clamp."""
        super().optimizer_step(*args, **kwargs)
        if self._clamp:
            with torch.no_grad():
                self.pastiche.clamp_(0, 1)

    @torch.no_grad()
    def terms(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and the terms of the pastiche as it is now."""
        return self.objective(self.pastiche)


def starting_picture(kind: str, content: Tensor, generator: torch.Generator) -> Tensor:
    """The picture that a stylization starts from.

    Args:
        kind: "content", or "noise": uniform in [0, 1], pixel by pixel.
        content: (1, 3, H, W) in [0, 1].
        generator: source of the noise.

    Returns:
        (1, 3, H, W) in [0, 1].

    Raises:
        KeyError: another kind.
    """
    starts: dict[str, Callable[[], Tensor]] = {
        "content": lambda: content,
        "noise": lambda: torch.rand(content.shape, generator=generator),
    }
    return starts[kind]()


STARTS: Sequence[str] = ("content", "noise")
