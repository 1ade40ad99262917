"""What masks and depth networks cost: shares and ratios, measured in turn on the processor."""

from collections.abc import Mapping
from statistics import median

import torch
from torch import Tensor

from src.bench.timing import Work, evaluation, ratio, time_interleaved, untrained_monodepth2
from src.losses import content_loss, gram_matrix, style_loss
from src.masks import downsample_mask, sigmoid
from src.objective import Objective
from src.paper.evidence import Evidence
from src.paper.plan import DEPTH_LOSS_NETWORKS, MASK_NETWORKS, MASK_RUNS, Overrides, arguments
from src.pipeline.build import build
from src.pipeline.config import compose

SAMPLES = 300  # of what a masked loss costs, as in the paper


def masked_losses(evidence: Evidence) -> tuple[float, float]:
    """How much longer a masked style loss and a masked content loss take, as shares."""
    content, style = evidence.features
    mask = sigmoid(evidence.depth, 0.8, 20, invert=True)
    # Two at a time: what runs between them would leave its features in the caches.
    pairs = (
        {"plain": style_work(style, None), "masked": style_work(style, mask)},
        {"plain": content_work(content, None), "masked": content_work(content, mask)},
    )
    of_style, of_content = (
        ratio(time_interleaved(work, SAMPLES), "masked", "plain") - 1 for work in pairs
    )
    return of_style, of_content


def style_work(features: Mapping[str, Tensor], mask: Tensor | None) -> Work:
    """A style loss of given features, (1, C, h, w) by layer, with its gradient: sum_l E_l."""
    layers = [
        (x, gram_matrix(x) / 2, None if mask is None else downsample_mask(mask, *x.shape[-2:]))
        for x in features.values()  # the target is another picture's
    ]

    def run() -> None:
        losses = [
            style_loss(gram_matrix(x.detach().requires_grad_(), at_layer, "paper"), target)
            for x, target, at_layer in layers
        ]
        torch.stack(losses).sum().backward()

    return run


def content_work(features: Tensor, mask: Tensor | None) -> Work:
    """A content loss of given features (1, C, h, w) with its gradient."""
    target = features / 2
    at_layer = None if mask is None else downsample_mask(mask, *features.shape[-2:])
    return lambda: content_loss(features.detach().requires_grad_(), target, at_layer).backward()


def masked_steps(evidence: Evidence) -> tuple[float, float]:
    """How much longer a whole evaluation takes with a style and with a content mask, as shares."""
    network = MASK_NETWORKS[evidence.setting.masks.used]
    work = {
        name: evaluation(_objective(evidence, f"paper_{name}", network), evidence.scenes[0].image)
        for name in MASK_RUNS
    }
    seconds = time_interleaved(work, max(10 * evidence.setting.scale.rounds, 20))
    style, content = (ratio(seconds, name, "naive") - 1 for name in MASK_RUNS[1:])
    return style, content


def depth_steps(evidence: Evidence) -> tuple[float, float, float]:
    """Seconds of an evaluation without depth, and the ratios with the head and Monodepth2."""
    settings = {**DEPTH_LOSS_NETWORKS[evidence.setting.depth.used], "depth_net": "vgg_head"}
    no_depth = {**settings, "loss.depth.weight": None}
    plain, head = (_objective(evidence, "paper_depth_loss", x) for x in (no_depth, settings))
    photo = evidence.scenes[0].image
    work = {
        "naive": evaluation(plain, photo),
        "head": evaluation(head, photo),
        "monodepth2": evaluation(plain, photo, untrained_monodepth2()),
    }
    seconds = time_interleaved(work, evidence.setting.scale.rounds)
    head_over_naive, monodepth2 = (ratio(seconds, x, "naive") for x in ("head", "monodepth2"))
    return median(seconds["naive"]), head_over_naive, monodepth2


def _objective(evidence: Evidence, experiment: str, overrides: Overrides) -> Objective:
    setting = evidence.setting
    photo = next(iter(setting.photos.values()))
    settings = {"short_side": setting.scale.short_side, **photo, **overrides}
    return build(compose(f"+experiment={experiment}", *arguments(settings))).stylization.objective
