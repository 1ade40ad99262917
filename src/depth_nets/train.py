"""Trains the depth head of `vgg_head.py` on pictures with depth.

    python -m src.depth_nets.train FOLDER_OR_ZIP[:ENCODING] ... [--init shipped] [--rounds 40] ...

VGG-19 takes ten times as long over a picture as the head does, so training goes in rounds: the
features of some hundred pictures, made various, are computed once and serve several passes. What a
round does depends on the seed and its number only: a resumed training ends where an uninterrupted
one does.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from src import weights as files
from src.backbones import Backbone, vgg19
from src.depth_nets import augment, pairs
from src.depth_nets.network import KEY
from src.depth_nets.pairs import Pair
from src.depth_nets.scores import MEASURES, row_prior, scores
from src.depth_nets.vgg_head import LAYERS, NAME, SHIPPED, Head, VGGHead, averaged, normalised
from src.errors import InputError
from src.inputs import load_style
from src.inputs.samples import paintings
from src.lightning import STEP_OUTPUT, Callback, LightningModule, Trainer, quiet
from src.memory import keep_freed_memory
from src.tracking import Identity, NoTracker, StopOnSignal, tracked

# Height and width of training pictures, most of them as small as a step can be quick on.
SIZES = ((192, 256),) * 6 + ((240, 320), (256, 192), (224, 224), (288, 384))
STYLED = 0.4  # share of batches with the statistics of paintings
DROPPED = 0.1  # share of the features' channels left out in training
ATTACK_EVERY = 4  # steps
ATTACKS = (0.02, 0.15)  # length of the worst change of the features, as a share of theirs
GRADIENT_WEIGHT = 0.4  # of edges, beside the values'
GRADIENT_SCALES = 3
WEIGHT_DECAY = 0.02
WARM_UP = 0.05  # of all steps
LONGEST_GRADIENT = 1.0
VALIDATION_BATCH = 8


@dataclass(frozen=True)
class Lesson:
    """A batch: what the head is given, and what it should say.

    Attributes:
        grids: normalised features of `LAYERS`, half precision, finest first.
        inverse: (B, 1, h, w) inverse depth, where it is known.
        known: (B, 1, h, w) bool.
    """

    grids: list[Tensor]
    inverse: Tensor
    known: Tensor

    def to(self, device: torch.device) -> "Lesson":
        """The same on another device, which Lightning asks for."""
        grids = [grid.to(device) for grid in self.grids]
        return Lesson(grids, self.inverse.to(device), self.known.to(device))


class Teacher:
    """Makes lessons of pairs.

    Args:
        given: pairs to train on.
        backbone: whose features the head reads.
        styles: statistics of paintings; none: no picture is styled.
        device: where the features are computed.
    """

    def __init__(
        self,
        given: Sequence[Pair],
        backbone: Backbone,
        styles: Sequence[augment.Statistics],
        device: torch.device,
    ) -> None:
        self._given, self._backbone, self._styles = given, backbone, styles
        self._device = device

    def lessons(self, seed: int, number: int, pictures: int, batch: int) -> list[Lesson]:
        """The lessons of a round: other pictures, or other pieces of them, in every round.

        Args:
            seed: of the training.
            number: of the round.
            pictures: how many.
            batch: of which so many go together.
        """
        random = Generator().manual_seed(1_000_003 * seed + number)
        order = torch.randperm(len(self._given), generator=random)[:pictures].tolist()
        found = []
        for start in range(0, len(order), batch):
            chosen = [self._given[i] for i in order[start : start + batch]]
            size = SIZES[int(torch.randint(len(SIZES), (), generator=random))]
            cuts = [augment.cut(one, *size, random) for one in chosen]
            image = augment.recoloured(torch.cat([image for image, _ in cuts]), random)
            style = float(torch.rand((), generator=random)) < STYLED
            inverse = torch.cat([inverse for _, inverse in cuts])
            found.append(self.lesson(image, inverse, random if style else None))
        return found

    def lesson(self, image: Tensor, inverse: Tensor, style: Generator | None) -> Lesson:
        """The lesson of a batch (B, 3, H, W) and its inverse depth (B, 1, h, w), NaN for unknown.

        Args:
            image: RGB in [0, 1].
            inverse: inverse depth.
            style: randomness for the choice of a painting for each picture; None: no painting's.
        """
        change = None
        if style is not None and self._styles:
            change = augment.styled(len(image), self._styles, style)
        kind = self._device.type
        with torch.no_grad(), torch.autocast(kind, torch.bfloat16):
            features = self._backbone.features(image.to(self._device), list(LAYERS), change)
        long_side = max(image.shape[-2:])
        with torch.no_grad():
            grids = [
                averaged(normalised(features[layer].float()), long_side).half().cpu()
                for layer in LAYERS
            ]
        known = inverse.isfinite().float()
        rows, columns = grids[0].shape[-2:]
        share = F.adaptive_avg_pool2d(known, (rows, columns))
        total = F.adaptive_avg_pool2d(inverse.nan_to_num(0), (rows, columns))
        return Lesson(grids, total / share.clamp(min=1e-6), share > 0.9)


def loss(disparity: Tensor, inverse: Tensor, known: Tensor) -> Tensor:
    """How far disparity is from inverse depth, whatever their scale and offset.

    Both are brought to median 0 and mean deviation 1 in every picture; then the mean difference,
    and that of their gradients at three scales, which asks for edges (Ranftl et al. 2020,
    arXiv 1907.01341, equations 5, 6 and 11). Differs from there in that far outliers are clipped.

    Args:
        disparity: (B, 1, h, w), predicted.
        inverse: (B, 1, h, w), measured.
        known: (B, 1, h, w) bool, where it was.
    """
    weight = known.float()
    off = _standard(disparity, known) - _standard(inverse, known).clamp(-5, 5)
    count = weight.sum().clamp(min=1)
    total = (off.abs() * weight).sum() / count
    for _ in range(GRADIENT_SCALES):
        across = (off[..., 1:] - off[..., :-1]).abs() * weight[..., 1:] * weight[..., :-1]
        down = (off[..., 1:, :] - off[..., :-1, :]).abs() * weight[..., 1:, :] * weight[..., :-1, :]
        area = weight.sum().clamp(min=1)
        total = total + GRADIENT_WEIGHT * (across.sum() + down.sum()) / area
        off, weight = off[..., ::2, ::2], weight[..., ::2, ::2]
    return total


def _standard(x: Tensor, known: Tensor) -> Tensor:
    flat, mask = x.flatten(1), known.flatten(1)
    middle = torch.where(mask, flat, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num()
    count = mask.sum(1, keepdim=True).clamp(min=1)
    spread = ((flat - middle).abs() * mask).sum(1, keepdim=True) / count
    return ((flat - middle) / spread.clamp(min=1e-4)).view_as(x)


class Training(LightningModule):
    """The head in training; an epoch of Lightning's is a round.

    Args:
        head: what is trained.
        teacher: gives the lessons.
        seed: of all randomness.
        pictures: per round.
        batch: pictures per step.
        passes: over a round's lessons.
        steps: in all.
        rate: the largest learning rate.
    """

    def __init__(
        self,
        head: Head,
        teacher: Teacher,
        *,
        seed: int,
        pictures: int,
        batch: int,
        passes: int,
        steps: int,
        rate: float,
    ) -> None:
        super().__init__()
        self.head = head
        self._teacher, self._seed, self._rate, self._steps = teacher, seed, rate, steps
        self._pictures, self._batch, self._passes = pictures, batch, passes

    def train_dataloader(self) -> DataLoader[Lesson]:
        """This round's lessons, as often as there are passes, in random order."""
        number = self.trainer.current_epoch
        lessons = self._teacher.lessons(self._seed, number, self._pictures, self._batch)
        random = Generator().manual_seed(number)
        order = [
            int(i)
            for _ in range(self._passes)
            for i in torch.randperm(len(lessons), generator=random)
        ]
        # A list would be taken for several loaders.
        return DataLoader([lessons[i] for i in order], batch_size=None)  # type: ignore[arg-type]

    def on_train_batch_start(self, batch: Lesson, batch_idx: int) -> None:
        """Randomness that a resumed training has too: that of this step alone."""
        torch.manual_seed(1_000_003 * self._seed + self.global_step)

    def training_step(self, batch: Lesson, batch_idx: int) -> Tensor:
        """One step; in every fourth one the features are changed for the worst first.

        In the depth loss the pastiche is changed by the head's own gradient, so it must not be
        fooled by small changes along it (adversarial training, Goodfellow et al. 2015,
        arXiv 1412.6572).
        """
        grids = [grid.float() for grid in batch.grids]
        if batch_idx % ATTACK_EVERY == 0:
            grids = self._attacked(grids, batch)
        grids = [F.dropout2d(grid, DROPPED) for grid in grids]
        return loss(self.head.top_down(grids), batch.inverse, batch.known)

    def _attacked(self, grids: list[Tensor], batch: Lesson) -> list[Tensor]:
        grids = [grid.requires_grad_() for grid in grids]
        value = loss(self.head.top_down(grids), batch.inverse, batch.known)
        low, high = ATTACKS
        share = low + (high - low) * torch.rand(()).item()
        found = []
        for grid, gradient in zip(grids, torch.autograd.grad(value, grids), strict=True):
            length, slope = (_length(x).clamp(min=1e-12) for x in (grid.detach(), gradient))
            found.append((grid + share * length * gradient / slope).detach())
        return found

    def configure_optimizers(self) -> Any:
        """AdamW; the rate rises over the first steps, then falls to 0 along a cosine."""
        optimizer = torch.optim.AdamW(self.head.parameters(), self._rate, weight_decay=WEIGHT_DECAY)

        def rate(step: int) -> float:
            done = (step + 1) / (self._steps + 1)
            fall = max(0.0, (done - WARM_UP) / (1 - WARM_UP))
            return float(min(done / WARM_UP, 1) * (1 + np.cos(np.pi * fall)) / 2)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """No step longer than others by far."""
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), LONGEST_GRADIENT)


def _length(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


class Rounds(Callback):
    """After every round: a line on the screen, curves to W&B, the checkpoint.

    Args:
        folder: of the training.
        tracker: the tracked run.
        held_out: {name: lessons} to validate on.
        rounds: in all.
    """

    def __init__(
        self, folder: Path, tracker: NoTracker, held_out: Mapping[str, list[Lesson]], rounds: int
    ) -> None:
        self._folder, self._tracker, self._held_out = folder, tracker, held_out
        self._rounds = rounds
        self._losses: list[Tensor] = []
        self._began = time.time()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Remember the loss."""
        assert isinstance(outputs, Mapping)
        self._losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate and write down."""
        assert isinstance(pl_module, Training)
        values = {"train": float(torch.stack(self._losses).mean())}
        self._losses = []
        for name, lessons in self._held_out.items():
            values[name] = validation_loss(pl_module.head, lessons)
        done = trainer.current_epoch + 1
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._tracker.log({"step": trainer.global_step, "round": done, "lr": rate, **values})
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        seconds = time.time() - self._began
        print(f"round {done}/{self._rounds}  {shown}  {seconds:.0f} s", file=sys.stderr, flush=True)
        part = self._folder / ".last.ckpt.part"
        trainer.save_checkpoint(part)
        os.replace(part, self._folder / "last.ckpt")


@torch.no_grad()
def validation_loss(head: Head, lessons: Sequence[Lesson]) -> float:
    """Mean loss over lessons, the head in evaluation mode for the while."""
    device = next(head.parameters()).device
    head.eval()
    found = [
        loss(head.top_down([g.float() for g in one.grids]), one.inverse, one.known).item()
        for one in (lesson.to(device) for lesson in lessons)
    ]
    head.train()
    return sum(found) / len(found)


def table(head: Head, held_out: Mapping[str, Sequence[Pair]]) -> list[dict[str, Any]]:
    """Median scores of the head, of the row prior and of a constant, per source.

    Args:
        head: trained.
        held_out: {source: pairs} that were not trained on.
    """
    net = VGGHead(head)
    rows = []
    for source, found in held_out.items():
        by_method: dict[str, list[Any]] = {}
        for one in found:
            inverse = one.inverse.numpy()
            with np.errstate(divide="ignore"):
                depth = 1 / inverse
            if np.isfinite(depth).sum() < 2:
                continue
            seen = net.estimate(one.image[None].float() / 255)
            small = F.interpolate(seen, inverse.shape, mode="bilinear", antialias=True)
            guesses = {
                "head": small[0, 0].numpy(),
                "row prior": row_prior(*inverse.shape),
                "constant": np.zeros(inverse.shape),
            }
            for method, guess in guesses.items():
                by_method.setdefault(method, []).append(scores(guess, depth))
        for method, found_scores in by_method.items():
            values = {m: median(getattr(s, m) for s in found_scores) for m in MEASURES}
            rows.append({"source": source, "method": method, "frames": len(found_scores), **values})
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table in Markdown."""
    lines = [f"| source | method | frames | {' | '.join(MEASURES)} |", "|---" * 7 + "|"]
    for row in rows:
        values = " | ".join(f"{row[m]:.3f}" for m in MEASURES)
        lines.append(f"| {row['source']} | {row['method']} | {row['frames']} | {values} |")
    return "\n".join(lines) + "\n"


def initial(init: str) -> Head:
    """The head to begin with: `random`, `shipped`, or a weights file.

    Raises:
        InputError: the file cannot be used.
    """
    head = Head().to(memory_format=torch.channels_last)
    if init != "random":
        path = SHIPPED if init == "shipped" else Path(init).expanduser()
        state = files.read(path, KEY)
        head.load_state_dict(
            files.match(state, head.state_dict(), ignore=r"$^", key=KEY, network=NAME)
        )
    return head


def save(head: Head, path: Path) -> None:
    """Write the weights, half precision, whole or not at all."""
    state = {name: x.detach().cpu().half().contiguous() for name, x in head.state_dict().items()}
    part = path.with_name(f".{path.name}.part")
    save_file(state, part, metadata={"format": "pt"})
    os.replace(part, path)


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m src.depth_nets.train",
        description="Trains the depth head on pictures with depth.",
    )
    add = parser.add_argument
    add("data", nargs="+", metavar="FOLDER_OR_ZIP[:ENCODING]",
        help=f"{pairs.EXPECTED}; or `nyu`. ENCODING: depth, disparity, or a preset (tum, "
        "sun_rgbd, kitti ...). What is named twice is seen twice as often")  # fmt: skip
    add("--init", default="random", help="random, shipped, or a weights file: for fine-tuning")
    add("--rounds", type=int, default=60, help="rounds")
    add("--pictures", type=int, default=512, help="pictures per round")
    add("--passes", type=int, default=3, help="passes over the pictures of a round")
    add("--batch", type=int, default=16, help="pictures per step")
    add("--rate", type=float, default=2e-3, help="largest learning rate")
    add("--paintings", nargs="*", default=sorted(paintings()), help="names or files")
    add("--held-out", type=float, default=0.04, help="share of every source to validate on")
    add("--limit", type=int, help="take so many pairs of every source")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    add("--tracking", default="offline", help="offline, online or off")
    add("--output", type=Path, default=Path("outputs/depth_head"))
    add("--resume", type=Path, help="folder of a training to go on with, same settings otherwise")
    found = parser.parse_args(given)
    for key in ("rounds", "pictures", "passes", "batch"):
        if getattr(found, key) < 1:
            raise InputError(key, str(getattr(found, key)), "1 or more")
    if not 0 < found.held_out < 1:
        raise InputError("held_out", str(found.held_out), "a share between 0 and 1")
    return found


def read(
    sources: Sequence[str], share: float, limit: int | None
) -> tuple[list[Pair], dict[str, list[Pair]]]:
    """Pairs to train on, and by source those held out."""
    train: list[Pair] = []
    held_out: dict[str, list[Pair]] = {}
    for source in sources:
        with tempfile.TemporaryDirectory() as unpacked:
            found = pairs.load(source, Path(unpacked), limit)
        if len(found) < 2:
            raise InputError(pairs.KEY, f"{source} with one pair", "two pairs or more")
        seen, unseen = pairs.held_out(found, share)
        train += seen
        held_out[Path(source.partition(":")[0]).stem] = unseen
    return train, held_out


def train(given: argparse.Namespace) -> Path:
    """Train; the folder with `vgg_head.safetensors`, `table.md`, `settings.json`, `last.ckpt`.

    Raises:
        InputError: what was given cannot be used.
    """
    checkpoint = None
    if given.resume is not None:
        checkpoint = given.resume / "last.ckpt"
        if not checkpoint.is_file():
            raise InputError("resume", f"'{given.resume}'", "a folder with last.ckpt in it")
    torch.manual_seed(given.seed)
    head = initial(given.init)
    seen, unseen = read(given.data, given.held_out, given.limit)
    random = Generator().manual_seed(given.seed)
    backbone = vgg19()
    styles = augment.statistics(
        backbone, [load_style(name, key="paintings", size=512) for name in given.paintings], random
    )
    device = torch.device(given.device)
    backbone.to(device)
    styles = [{k: (m.to(device), s.to(device)) for k, (m, s) in one.items()} for one in styles]
    teacher = Teacher(seen, backbone, styles, device)
    pictures = min(given.pictures, len(seen))
    steps = given.rounds * given.passes * -(-pictures // given.batch)

    folder: Path = given.resume or given.output / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(given).items()}
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    everything = [one for found in unseen.values() for one in found]
    held_out = {
        name: _held_out_lessons(teacher, everything, random if style else None)
        for name, style in (("held out", False), ("held out, styled", True))
    }
    module = Training(
        head,
        teacher,
        seed=given.seed,
        pictures=pictures,
        batch=given.batch,
        passes=given.passes,
        steps=steps,
        rate=given.rate,
    )
    identity = Identity(name=folder.name, group="depth_head", job_type="training")
    project = "depth-style-transfer"
    with tracked(given.tracking, folder, identity, settings, project) as tracker:
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=given.rounds,
            reload_dataloaders_every_n_epochs=1,
            callbacks=[Rounds(folder, tracker, held_out, given.rounds), StopOnSignal()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, ckpt_path=checkpoint)
        head = module.head.cpu()
        save(head, folder / "vgg_head.safetensors")
        head.load_state_dict({k: v.float() for k, v in files.read(
            folder / "vgg_head.safetensors", KEY).items()})  # fmt: skip
        rows = table(head, unseen)
        (folder / "table.md").write_text(markdown(rows))
        tracker.summary(
            {
                f"{row['source']}/{m}": row[m]
                for row in rows
                if row["method"] == "head"
                for m in MEASURES
            }
        )
    print(markdown(rows))
    return folder


def _held_out_lessons(
    teacher: Teacher, found: Sequence[Pair], style: Generator | None
) -> list[Lesson]:
    """Lessons of pairs as they are: nothing cut off, nothing recoloured."""
    lessons = []
    height, width = SIZES[0]
    for start in range(0, len(found), VALIDATION_BATCH):
        chosen = found[start : start + VALIDATION_BATCH]
        images = [
            F.interpolate(
                one.image[None].float() / 255, (height, width), mode="bilinear", antialias=True
            )
            for one in chosen
        ]
        inverses = [
            F.interpolate(one.inverse[None, None], (height // 2, width // 2)) for one in chosen
        ]
        lessons.append(teacher.lesson(torch.cat(images), torch.cat(inverses), style))
    return lessons


def main(arguments: list[str]) -> int:
    """The command line; the exit status."""
    quiet()
    keep_freed_memory()
    try:
        folder = train(_arguments(arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{folder / 'vgg_head.safetensors'}: depth_net.weights={folder}/vgg_head.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
