"""The depth head in training: loss, steps, and what is left after every epoch."""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from src.core.files import replace_whole
from src.core.lightning import LightningModule
from src.depth_nets.vgg_head import Head
from src.tracking import RunLogger
from src.training.batches import Batch, BatchSource

DROPOUT = 0.1  # share of the features' channels
ADVERSARIAL_EVERY = 4  # steps
ADVERSARIAL_LENGTHS = (0.02, 0.15)  # of the worst change of the features, as a share of theirs
GRADIENT_WEIGHT = 0.4  # of edges, beside the values'
GRADIENT_SCALES = 3
WEIGHT_DECAY = 0.02
WARM_UP = 0.05  # of all steps
Validation = Mapping[str, list[Batch]]  # {name: batches}


def loss(disparity: Tensor, inverse: Tensor, known: Tensor) -> Tensor:
    """How far disparity is from inverse depth where known, (B, 1, h, w), up to scale and shift.

    Both are brought to median 0 and mean deviation 1 in every image; then the mean difference, and
    that of their gradients at three scales, which asks for edges (Ranftl et al. 2020,
    arXiv 1907.01341, equations 5, 6 and 11). Differs from there in that far outliers are clipped.
    """
    weight = known.float()
    off = _standardized(disparity, known) - _standardized(inverse, known).clamp(-5, 5)
    total = (off.abs() * weight).sum() / weight.sum().clamp(min=1)
    for _ in range(GRADIENT_SCALES):
        across = (off[..., 1:] - off[..., :-1]).abs() * weight[..., 1:] * weight[..., :-1]
        down = (off[..., 1:, :] - off[..., :-1, :]).abs() * weight[..., 1:, :] * weight[..., :-1, :]
        area = weight.sum().clamp(min=1)
        total = total + GRADIENT_WEIGHT * (across.sum() + down.sum()) / area
        off, weight = off[..., ::2, ::2], weight[..., ::2, ::2]
    return total


def _standardized(x: Tensor, known: Tensor) -> Tensor:
    flat, mask = x.flatten(1), known.flatten(1)
    middle = torch.where(mask, flat, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num()
    count = mask.sum(1, keepdim=True).clamp(min=1)
    spread = ((flat - middle).abs() * mask).sum(1, keepdim=True) / count
    return ((flat - middle) / spread.clamp(min=1e-4)).view_as(x)


class HeadTraining(LightningModule):
    """The head in training; every epoch ends with a line on the screen, curves, a checkpoint."""

    def __init__(
        self, head: Head, source: BatchSource, validation: Validation, folder: Path, log: RunLogger
    ) -> None:
        super().__init__()
        self.head, self._source, self._validation = head, source, validation
        self._folder, self._logger = folder, log
        self._losses: list[Tensor] = []
        self._start = time.time()

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches of this epoch."""
        batches = self._source.epoch(self.trainer.current_epoch)
        # A list would be taken for several loaders; as a data set it has all that one needs.
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; in every fourth one the features are changed for the worst first.

        In the depth loss the pastiche is changed by the head's own gradient, so it must not be
        fooled by small changes along it (adversarial training, Goodfellow et al. 2015,
        arXiv 1412.6572).
        """
        # The randomness of this step alone: a resumed training has it too.
        torch.manual_seed(1_000_003 * self._source.settings.seed + self.global_step)
        grids = [grid.float() for grid in batch.grids]
        if batch_idx % ADVERSARIAL_EVERY == 0:
            grids = self._adversarial(grids, batch)
        value = self._loss([F.dropout2d(grid, DROPOUT) for grid in grids], batch)
        self._losses.append(value.detach())
        return value

    def _loss(self, grids: list[Tensor], batch: Batch) -> Tensor:
        return loss(self.head.top_down(grids), batch.inverse, batch.known)

    def _adversarial(self, grids: list[Tensor], batch: Batch) -> list[Tensor]:
        inputs = [grid.clone().requires_grad_() for grid in grids]
        gradients = torch.autograd.grad(self._loss(inputs, batch), inputs)
        low, high = ADVERSARIAL_LENGTHS
        share = low + (high - low) * torch.rand(()).item()
        changed = []
        for grid, gradient in zip(grids, gradients, strict=True):
            lengths = [x.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for x in (grid, gradient)]
            length, slope = (x.clamp(min=1e-12) for x in lengths)
            changed.append(grid + share * length * gradient / slope)
        return changed

    def configure_optimizers(self) -> Any:
        """AdamW; the rate rises over the first steps, then falls to 0 along a cosine."""
        rate, rounds = self._source.settings.rate, self._source.settings.rounds
        optimizer = torch.optim.AdamW(self.head.parameters(), rate, weight_decay=WEIGHT_DECAY)
        steps = rounds * self._source.steps_per_epoch

        def factor(step: int) -> float:
            done = (step + 1) / (steps + 1)
            fall = max(0.0, (done - WARM_UP) / (1 - WARM_UP))
            return min(done / WARM_UP, 1) * (1 + math.cos(math.pi * fall)) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_train_epoch_end(self) -> None:
        """Validate and write down."""
        values = {"train": float(torch.stack(self._losses).mean())}
        self._losses = []
        values |= {name: self._validated(batches) for name, batches in self._validation.items()}
        epoch = self.trainer.current_epoch + 1
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self._logger.log({"step": self.global_step, "round": epoch, "lr": rate, **values})
        text = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        text = f"{epoch}/{self.trainer.max_epochs}  {text}  {time.time() - self._start:.0f} s"
        print(f"round {text}", file=sys.stderr, flush=True)
        with replace_whole(self._folder / "last.ckpt") as part:
            self.trainer.save_checkpoint(part)

    @torch.no_grad()
    def _validated(self, batches: list[Batch]) -> float:
        values = []
        for batch in batches:
            batch = self.transfer_batch_to_device(batch, self.device, 0)
            values.append(self._loss([grid.float() for grid in batch.grids], batch).item())
        return sum(values) / len(values)
