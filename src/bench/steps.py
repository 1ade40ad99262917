"""Steps inside one fit of the program's own loop, beside the peer's steps."""

import itertools
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from src.backbones import vgg19
from src.bench import timing
from src.bench.peer import Peer, same_as_peer
from src.bench.timing import WARM_UP, Work
from src.core import images
from src.core.lightning import Callback, Trainer, quiet
from src.inputs import load_scene, load_style
from src.pipeline.build import build
from src.pipeline.config import compose
from src.runs.identity import PRECISIONS, precision
from src.runs.writer import RunWriter, TermsLog
from src.stylization import Stylization
from src.tracking import LossLogger, ProgressBar, RunLogger

EXPERIMENTS = ("naive", "masked_style", "masked_content", "two_styles", "depth_loss")


class Interleaved(Callback):
    """Before every step of a fit times other work once, and the step with all that follows it."""

    def __init__(self, others: Mapping[str, Work]) -> None:
        self._others = others
        self._began: float | None = None
        self.seconds: dict[str, list[float]] = {name: [] for name in [*others, "step"]}

    def on_train_batch_start(self, *_: object) -> None:
        """The step before has ended."""
        if self._began is not None:
            self.seconds["step"].append(time.perf_counter() - self._began)
        for name, run in self._others.items():
            began = time.perf_counter()
            run()
            self.seconds[name].append(time.perf_counter() - began)
        self._began = time.perf_counter()


def fit(stylization: Stylization, steps: int, callback: Callback) -> None:
    """The program's own loop with its terms and its bar, on the processor."""
    quiet()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    settings: Any = {"accelerator": "cpu", "max_epochs": -1, **dict.fromkeys(off, False)}
    with tempfile.TemporaryDirectory() as folder:
        progress = ProgressBar("bench")
        terms = LossLogger(TermsLog(RunWriter(Path(folder))), RunLogger(), 10, progress)
        trainer = Trainer(max_steps=steps, callbacks=[callback, terms, progress], **settings)
        trainer.fit(stylization, itertools.count())


def dtype_of(overrides: Sequence[str]) -> torch.dtype:
    """What the network of our runs computes in."""
    config = compose("+experiment=naive", *overrides)
    return PRECISIONS[precision(config.precision, config.accelerator)]


def save_inputs(size: int, folder: Path) -> dict[str, Path]:
    """The built-in photo and painting as files of exactly the pixels that a run would use."""
    files = {"content": folder / "content.png", "style": folder / "style.png"}
    images.save_png(load_scene("motorcycle", size=size).image, files["content"])
    images.save_png(load_style("swirls", size=size), files["style"])
    return files


def time_steps(
    size: int, rounds: int, overrides: Sequence[str] = ()
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every round and `operations`, by name, of work in turn.

    The bare network to the deepest layer and back, every objective with its gradient, the peer's
    step, and ours with all of our loop. Monodepth2 and the peer are always float32.
    """
    jobs = {
        name: build(compose(f"+experiment={name}", f"size={size}", *overrides))
        for name in EXPERIMENTS
    }
    jobs["gram"] = build(compose("+experiment=naive", "distance=gram", f"size={size}", *overrides))
    image, naive = jobs["naive"].images["content"], jobs["naive"].stylization
    bare = vgg19().to_dtype(dtype_of(overrides))
    others = {
        "forward_backward": timing.evaluation(
            lambda x: (bare.features(x, ["relu5_1"])["relu5_1"].sum(), None), image
        ),
        **{name: timing.evaluation(x.stylization.objective, image) for name, x in jobs.items()},
        "monodepth2": timing.evaluation(naive.objective, image, timing.untrained_monodepth2()),
    }
    with tempfile.TemporaryDirectory() as folder:
        files = save_inputs(size, Path(folder))
        others["peer"] = Peer(files, "lbfgs").step
        operations = {name: timing.operations(run) for name, run in others.items()}
    interleaved = Interleaved(others)
    fit(naive, rounds + WARM_UP + 1, interleaved)
    seconds = {name: x[WARM_UP : WARM_UP + rounds] for name, x in interleaved.seconds.items()}
    return seconds, operations | {"step": operations["naive"]}


def time_to_peer(
    optimizer: str, size: int, count: int, overrides: Sequence[str] = ()
) -> dict[str, float]:
    """How long until our loop has the loss that the peer has after `count` steps, over its time.

    Both start from the content; the peer's loss function judges both, untimed. Infinite: never.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = save_inputs(size, Path(folder))
        peer = Peer(files, optimizer)
        ours = build(compose(*same_as_peer(files, size), *overrides)).stylization
    losses: list[float] = []  # ours before every step
    turns = Interleaved(
        {"judge": lambda: losses.append(peer.loss(ours.pastiche.detach())), "peer": peer.step}
    )
    fit(ours, count, turns)
    target = peer.loss()
    step = next((i for i, loss in enumerate(losses) if loss <= target), -1)
    seconds = math.inf if step < 0 else sum(turns.seconds["step"][:step])
    ratio = seconds / sum(turns.seconds["peer"])
    return {"ratio": ratio, "steps": step, "loss": losses[step], "peer_loss": target}
