"""One stylization as a LightningModule whose only parameter is the pastiche."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from src.lightning import LightningModule
from src.objective import Objective

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Stylization(LightningModule):
    """Gradient descent on the pixels of the pastiche (Gatys et al. 2016; paper, section 3.1).

    Step k looks at the pastiche after k steps and then changes it, so the terms that a step gives
    belong to the picture before it.

    Args:
        objective: the loss; a plain object, neither a submodule nor in checkpoints.
        start: the first pastiche, (1, 3, H, W) RGB in [0, 1].
        optimizer: makes the optimiser from the parameters.
        clamp: after every step the pastiche is brought back to [0, 1]. Not for L-BFGS, whose
            memory of past steps it would falsify.
        restart: (step, learning rate): at that step a fresh optimiser of that learning rate takes
            over. None: never.
    """

    def __init__(
        self,
        objective: Objective,
        start: Tensor,
        optimizer: OptimizerFactory,
        clamp: bool = False,
        restart: tuple[int, float] | None = None,
    ) -> None:
        super().__init__()
        # Plain contiguous, which L-BFGS needs of its parameter; the network itself goes
        # channels-last.
        self.pastiche = nn.Parameter(start.detach().clone(memory_format=torch.contiguous_format))
        self.objective = objective
        self._optimizer = optimizer
        self._clamp = clamp
        self._restart = restart

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the one parameter."""
        return self._optimizer([self.pastiche])

    def on_fit_start(self) -> None:
        """Bring the objective to the pastiche's device."""
        self.objective.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Where a restart is due, forget the optimiser's past and take the new learning rate."""
        if self._restart is not None and self.global_step == self._restart[0]:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] = self._restart[1]

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
