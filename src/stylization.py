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

NOT_MADE = "not_made"  # in checkpoints

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Level:
    """A size that the pastiche grows to on its way, coarse to fine.

    Attributes:
        step: the first step at this size.
        objective: the loss at this size.
        height: of the pastiche, in pixels.
        width: the same.
        detail: (1, 3, height, width): what this has and a smaller copy of it has not is added to
            the enlarged pastiche. None: nothing is.
    """

    step: int
    objective: Objective
    height: int
    width: int
    detail: Tensor | None = None

    def enlarged(self, picture: Tensor) -> Tensor:
        """A smaller picture, (1, 3, h, w), at this size, with the detail that it had no room for.

        What a Laplacian pyramid has at the finer level (Burt and Adelson 1983, "The Laplacian
        Pyramid as a Compact Image Code"), so that edges of the photo, which no later step could
        bring back, are there when the steps at this size begin.

        Returns:
            (1, 3, height, width); in [0, 1] where there is detail.
        """
        grown = images.resize(picture, self.height, self.width)
        if self.detail is None:
            return grown
        detail = self.detail.to(picture.device)
        coarse = images.resize(detail, *picture.shape[-2:])
        return (grown + detail - images.resize(coarse, self.height, self.width)).clamp(0, 1)


class Stylization(LightningModule):
    """Gradient descent on the pixels of the pastiche (Gatys et al. 2016; paper, section 3.1).

    Step k looks at the pastiche after k steps and then changes it, so the terms that a step gives
    belong to the picture before it. No step has seen what the last one at a size led to, and not
    every step leads down: if it is worse, it is not made.

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
        self._total = torch.tensor(torch.inf)  # before the step at hand
        self._not_made: Tensor | None = None  # the picture of a last step that was worse

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the one parameter."""
        return self._optimizer([self.pastiche])

    def on_fit_start(self) -> None:
        """Bring the objective to the pastiche's device."""
        self.objective.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Beside the pastiche, the one that a run of more steps would have gone on with."""
        if self._not_made is not None:
            checkpoint[NOT_MADE] = self._not_made

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go to the size at which the checkpoint was written, and on as if it had not ended."""
        if NOT_MADE in checkpoint:
            checkpoint["state_dict"]["pastiche"] = checkpoint[NOT_MADE]
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
        self.pastiche.data = level.enlarged(self.pastiche.detach()).contiguous()
        self.objective = level.objective.to(self.device)

    def size_after(self, step: int) -> tuple[int, int]:
        """(height, width) of the pastiche after so many steps, before the next may enlarge it."""
        return [size for first, size in self._sizes.items() if first < max(step, 1)][-1]

    def work(self, steps: int) -> int:
        """The pixels that so many steps go through, which their time goes with."""
        ends = [*list(self._sizes)[1:], steps]
        return sum(
            max(0, min(end, steps) - first) * height * width
            for (first, (height, width)), end in zip(self._sizes.items(), ends, strict=True)
        )

    @property
    def picture(self) -> Tensor:
        """The pastiche, (1, 3, H, W), always of its last size: enlarged on the way there."""
        picture = self.pastiche.detach()
        done = picture.shape[-2:] == list(self._sizes.values())[-1]
        return picture if done else self._finer[-1].enlarged(picture)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """The total with its gradient, and the unweighted terms for the callbacks."""
        total, terms = self.objective(self.pastiche, self.global_step)
        self._total = total.detach()
        return {"loss": total, "terms": terms}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimiser's step, then the clamp; the last one at a size only if it is no worse."""
        step = self.global_step
        growing = any(level.step == step + 1 for level in self._finer)
        ending = step + 1 == self.trainer.max_steps
        before = self.pastiche.detach().clone() if growing or ending else None
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            if self._clamp:
                self.pastiche.clamp_(0, 1)
            # By the weights of this step, as the total before it.
            if before is not None and not self.objective(self.pastiche, step)[0] <= self._total:
                # A longer run would not have ended here; but it would have grown.
                self._not_made = None if growing else self.pastiche.clone()
                self.pastiche.copy_(before)

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
