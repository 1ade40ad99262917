"""Trains the depth head of `depth_nets/vgg_head.py` on pictures with depth.

    python -m src.training FOLDER_OR_ZIP[:ENCODING] ... [--init shipped] [--rounds 40] ...

A round is an epoch. A resumed training ends where an uninterrupted one does.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Generator

from src.backbones import vgg19
from src.core.errors import InputError
from src.core.files import replace_whole, write_json
from src.core.lightning import Trainer, quiet
from src.core.memory import keep_freed_memory
from src.core.settings import Count, check_value
from src.depth_nets.vgg_head import SHIPPED, Head, VGGHead, load_head
from src.inputs import load_style
from src.inputs.samples import paintings
from src.metrics.depth import MEASURES, depth_scores
from src.runs.identity import RunMetadata
from src.tracking import StopOnSignal, tracked
from src.training import augment, pairs
from src.training.batches import BatchSource
from src.training.module import HeadTraining
from src.training.pairs import Pair

DATA = (
    f"{pairs.EXPECTED}. ENCODING: depth, disparity, or a preset (tum, sun_rgbd, kitti ...). "
    "What is named twice is seen twice as often"
)


def evaluate(head: Head, validation: Sequence[Pair]) -> dict[str, float]:
    """Median scores of the head's estimates of whole images."""
    net, scores = VGGHead(head), []
    for image, inverse in validation:
        depth = 1 / inverse[None, None]
        if depth.isfinite().sum() >= 2:
            disparity = net.predict(image[None].float() / 255)
            disparity = F.interpolate(disparity, inverse.shape, mode="bilinear", antialias=True)
            scores.append(depth_scores(disparity, depth))
    return {m: median(getattr(one, m) for one in scores) for m in MEASURES if scores}


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m src.training", description="Trains the depth head on pictures with depth."
    )
    add = parser.add_argument
    add("data", nargs="+", metavar="FOLDER_OR_ZIP[:ENCODING]", help=DATA)
    add("--init", default="random", help="random, shipped, or a weights file: for fine-tuning")
    add("--rounds", type=int, default=60, help="epochs")
    add("--pictures", type=int, default=512, help="pictures per round")
    add("--passes", type=int, default=3, help="passes over the pictures of a round")
    add("--batch", type=int, default=16, help="pictures per step")
    add("--rate", type=float, default=2e-3, help="largest learning rate")
    add("--paintings", nargs="*", default=sorted(paintings()), help="names or files")
    add("--held-out", type=float, default=0.04, help="share of every source to validate on")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    add("--tracking", default="offline", help="offline, online or off")
    add("--output", default="outputs/depth_head")
    add("--resume", help="folder of a training to resume, same settings otherwise")
    settings = parser.parse_args(arguments)
    for key in ("rounds", "pictures", "passes", "batch"):
        check_value(key, getattr(settings, key), Count)
    if not 0 < settings.held_out < 1:
        raise InputError("held_out", str(settings.held_out), "a share between 0 and 1")
    try:
        if settings.resume is not None:
            torch.load(Path(settings.resume, "last.ckpt"), "cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle each have their own
        expected = "a folder with last.ckpt in it, as a training wrote it"
        raise InputError("resume", f"'{settings.resume}'", expected) from error
    return settings


def load_pairs(sources: Sequence[str], share: float) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and a share of every source, its last pairs, to validate on."""
    training, validation = [], []
    for source in sources:
        loaded = pairs.load(source)
        if len(loaded) < 2:
            raise InputError(pairs.KEY, f"{source} with one pair", "two pairs or more")
        count = len(loaded) - max(1, round(share * len(loaded)))
        training += loaded[:count]
        validation += loaded[count:]
    return training, validation


def train(settings: argparse.Namespace) -> Path:
    """Train; the weights' path, beside them `settings.json` and `last.ckpt`."""
    torch.manual_seed(settings.seed)
    initial = SHIPPED if settings.init == "shipped" else Path(settings.init).expanduser()
    head = Head() if settings.init == "random" else load_head(initial)
    head.to(memory_format=torch.channels_last)
    training, validation = load_pairs(settings.data, settings.held_out)
    random = Generator().manual_seed(settings.seed)
    backbone = vgg19()
    images = [load_style(name, key="paintings", size=512) for name in settings.paintings]
    styles = augment.statistics(backbone, images, random)
    source = BatchSource(training, backbone, styles, settings)
    folder = Path(settings.resume or Path(settings.output, time.strftime("%Y-%m-%d_%H-%M-%S")))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "settings.json", vars(settings))
    validation_batches = {
        "held out": source.validation(validation, None),
        "held out, styled": source.validation(validation, random),
    }
    run = RunMetadata(folder.name, "depth_head", "training")
    with tracked(settings.tracking, folder, run, vars(settings), "depth-style-transfer") as log:
        module = HeadTraining(head, source, validation_batches, folder, log)
        trainer = Trainer(
            accelerator="cpu" if settings.device == "cpu" else "gpu",
            devices=1,
            max_epochs=settings.rounds,
            gradient_clip_val=1.0,
            reload_dataloaders_every_n_epochs=1,
            callbacks=[StopOnSignal()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        checkpoint = settings.resume and folder / "last.ckpt"
        trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
        weights = folder / "vgg_head.safetensors"
        with replace_whole(weights) as part:
            half = {name: x.cpu().half().contiguous() for name, x in head.state_dict().items()}
            save_file(half, part, metadata={"format": "pt"})
        medians = evaluate(load_head(weights), validation)
        log.summary(medians)
    print("held out", *(f"{measure} {value:.3f}" for measure, value in medians.items()), sep="  ")
    return weights


def main(arguments: list[str]) -> int:
    """The command line; the exit status."""
    quiet()
    keep_freed_memory()
    try:
        weights = train(_parse(arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{weights}: depth_net.weights={weights}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
