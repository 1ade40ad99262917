"""The claims on depth, C12 to C16 (paper, 5.3), and on the set-up, C17 and C18 (4 and 5)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from src import masks
from src.losses.structure import luminance
from src.metrics.measurer import Pictures
from src.metrics.regions import sharpness
from src.metrics.run_pictures import pictures_of
from src.paper import timing
from src.paper.evidence import PAPER_STEPS, Evidence
from src.paper.measures import Undefined, roughness, settling_step
from src.paper.plan import DEPTH_LOSS_NETWORKS, MASK_NETWORKS, MASK_RUNS
from src.paper.verdict import Judgement, claim, joined, percent
from src.pipeline.config import compose

UNSTABLE = 1.5  # times the roughness of the curve without the depth loss
MORE_STEPS = 1.2  # times the steps of the run without the depth loss
TENS_OF_TIMES = 75 / 2  # least ratio that counts as the paper's
SHARPER = 1.05  # times the near to far ratio of the run without the depth loss
GONE = 0.9  # of the detail that the run without the depth loss has, at most
ENOUGH = 0.1  # least agreement with the photo's detail that can be lost


@claim("C12")
def _settings_of_the_depth_loss(evidence: Evidence) -> Judgement:
    config = compose("+experiment=paper_depth_loss")
    terms = config.loss.terms
    # The weights count differences of normalised colours, and half of the squares' sum.
    same = (
        config.short_side == 192
        and terms["content"]["layers"] == [28]
        and round(terms["content"]["weight"] / 2, 6) == 6e-2
        and round(terms["tv"]["weight"] * 0.2256**2, 3) == 2e-2
        and terms["depth"]["weight"] == 10000
    )
    without, with_it, most = (
        float(evidence.run(name).summary["terms"]["depth"])
        for name in ("depth_none", "depth_paper", "depth_most")
    )
    holds, why = joined(
        (same, "the experiment has these settings", "the experiment has other settings"),
        (with_it < without, "the loss does lower what it measures", "the loss does not lower it"),
    )
    return Judgement(
        holds,
        f"of the depth term without the loss, {with_it / without:.3g} is left at weight 10000 and "
        f"{most / without:.3g} at 200000",
        why,
    )


@claim("C13")
def _unstable_and_slow(evidence: Evidence) -> Judgement:
    without, with_it = evidence.curve("depth_none"), evidence.curve("depth_paper")
    times = roughness(with_it) / max(roughness(without), 1e-9)
    settled, settled_without = settling_step(with_it), settling_step(without)
    steps = int(evidence.run("depth_paper").summary["steps"])
    unstable, slow = times >= UNSTABLE, settled >= MORE_STEPS * settled_without
    holds, why = joined(
        (unstable, "less stable", f"not less stable (below {UNSTABLE} times)"),
        (slow, "more steps", f"no more steps (below {MORE_STEPS} times)"),
    )
    too_few = steps < PAPER_STEPS and settled_without > 0.9 * steps
    return Judgement(
        None if too_few else holds,
        f"total {with_it[-1]:.4g}; it rises by {percent(roughness(with_it))} per step, "
        f"{times:.2f} times what it does without the depth loss; within 10 % of its end after "
        f"{settled} steps, without after {settled_without}",
        f"{steps} steps are too few: even without the depth loss the run has not settled; make "
        "them without --quick"
        if too_few
        else f"with the depth loss: {why}, than without it at the same settings. The 10000 itself "
        "depends on photo and weights",
    )


@claim("C14")
def _cost_of_depth(evidence: Evidence) -> Judgement:
    seconds, head, monodepth2 = timing.depth_steps(evidence)
    holds = monodepth2 >= TENS_OF_TIMES
    return Judgement(
        holds,
        f"{monodepth2:.2f} times with Monodepth2, {head:.2f} times with the depth head (naive "
        f"{seconds:.3f} s, on the processor)",
        ("a step is tens of times as long" if holds else "the network itself is no such cost")
        + ", at the same features (untrained weights cost the same). Seconds and the GPU's part "
        "belong to the paper's machines; and 3.8 s / 1.21 s is 3.14 times as fast, which is a "
        "boost of 214 %",
    )


@claim("C15")
def _sharper_near(evidence: Evidence) -> Judgement:
    ratios = []
    for name in ("depth_paper", "depth_none"):
        pictures = pictures_of(evidence.run(name))
        near, far = sharpness(pictures.pastiche, pictures.content, _depth(pictures))
        if not (math.isfinite(near) and far > 0):
            raise Undefined("the photo or the pastiche has no detail near or far")
        ratios.append(near / far)
    with_it, without = ratios
    times = with_it / without
    return Judgement(
        times >= SHARPER,
        f"sharpness near over far, as in the photo = 1: {with_it:.2f} with the depth loss, "
        f"{without:.2f} without",
        f"{times:.2f} times ({SHARPER} or more counts). One photo: no interval",
    )


@claim("C16")
def _detail_without_depth(evidence: Evidence) -> Judgement:
    with_it, without = (
        _flat_detail(pictures_of(evidence.run(name))) for name in ("depth_paper", "depth_none")
    )
    holds: bool | None = with_it / without <= GONE if without >= ENOUGH else None
    return Judgement(
        holds,
        "agreement with the photo's edges where depth has none, in the near third: "
        f"{with_it:.2f} with the depth loss, {without:.2f} without",
        "the run without the depth loss has none of that detail to lose"
        if holds is None
        else f"{with_it / without:.2f} times ({GONE} or less counts). One photo",
    )


def _flat_detail(pictures: Pictures) -> float:
    """The cosine between the gradients of the pastiche's and the photo's luminance.

    Over the strongest fifth of the photo's gradients among the positions of the nearest third whose
    depth changes less than it does at the median of them.
    """
    depth = F.avg_pool2d(_depth(pictures), 2)
    content, pastiche = (
        _gradient(F.avg_pool2d(luminance(x), 2)) for x in (pictures.content, pictures.pastiche)
    )
    near = depth <= depth.flatten().quantile(1 / 3)
    change, edge = (x.norm(dim=1, keepdim=True) for x in (_gradient(depth), content))
    flat = near & (change <= change[near].quantile(0.5))
    region = (flat & (edge >= edge[flat].quantile(0.8))).expand_as(content)
    if not float(content[region].norm()) > 0:
        raise Undefined("the photo has no detail near where depth has none")
    return float(F.cosine_similarity(content[region], pastiche[region], dim=0))


def _gradient(image: Tensor) -> Tensor:
    """(1, 1, H, W) to (1, 2, H, W): differences down and across, of equal size."""
    padded = F.pad(image, (0, 1, 0, 1), mode="replicate")
    down, across = padded.diff(dim=2)[..., :-1], padded.diff(dim=3)[..., :-1, :]
    return torch.cat([down, across], dim=1)


def _depth(pictures: Pictures) -> Tensor:
    if pictures.depth is None:
        raise Undefined("the run wrote no depth")
    return pictures.depth


@claim("C17")
def _ranges(evidence: Evidence) -> Judgement:
    depth = evidence.depth
    outside = sum(int(((x < 0) | (x > 1)).sum()) for x in (evidence.scenes[0].image, depth))
    span = float(depth.max() - depth.min())
    mask = masks.sigmoid(depth, 0.8, 20, invert=True)
    fits, differences = True, []
    for features in evidence.features[1].values():
        size = features.shape[-2:]
        at_layer = masks.downsample_mask(mask, *size)
        fits &= at_layer.shape[-2:] == size
        interpolated = F.interpolate(depth, size, mode="bilinear")
        theirs = masks.sigmoid(interpolated, 0.8, 20, invert=True)
        differences.append(float((at_layer - theirs).abs().mean()))
    difference = sum(differences) / len(differences)
    holds, why = joined(
        (outside == 0, "all lie in [0, 1]", "some lie outside [0, 1]"),
        (span > 0.999, "depth reaches from 0 to 1", "depth does not reach from 0 to 1"),
        (fits, "masks have each layer's size", "a mask has another size"),
    )
    return Judgement(
        holds,
        f"{outside} values outside [0, 1], depth spans {span:.3f}",
        f"{why}. Differs in how a mask gets there: its square is averaged over each position, "
        f"which is {difference:.3f} off the interpolated depth's mask on average",
    )


@claim("C18")
def _networks(evidence: Evidence) -> Judgement:
    names = {f"paper_{name}": "squeezenet" for name in (*MASK_RUNS, "two_styles")}
    right = 0
    for experiment, network in {**names, "paper_depth_loss": "vgg16"}.items():
        config = compose(f"+experiment={experiment}")
        targets = config.backbone["_target_"], config.optimizer["_target_"]
        right += targets == (f"src.backbones.{network}", "torch.optim.Adam")
    setting = evidence.setting
    # Keras' file of SqueezeNet holds its authors' weights: the same network.
    squeezenet = not any(key.startswith("loss.") for key in MASK_NETWORKS[setting.masks.used])
    ran = 4 * squeezenet + (not DEPTH_LOSS_NETWORKS[setting.depth.used])
    if right < 5:
        holds, why = False, "an experiment names another network or optimiser"
    elif ran < 5:
        holds, why = None, "weights are not on this machine, so another network is used"
    else:
        holds, why = True, "the settings name them, and the runs used them"
    measured = f"{right} of 5 paper_* experiments name these; {ran} of 5 ran with them here"
    return Judgement(holds, measured, why)
