"""The claims on masks, C1 to C11; what the paper's words are taken to mean is a constant."""

import torch
from torch import Tensor

from src import masks
from src.core.images import resize
from src.losses import NORMALIZERS, gram_matrix
from src.metrics.measurer import Pictures
from src.metrics.run_pictures import pictures_of
from src.paper import timing
from src.paper.evidence import PAPER_STEPS, SETTLED, Evidence
from src.paper.measures import (
    DARK,
    SMALLEST,
    Undefined,
    content_distance,
    dark_region,
    log_correlation,
    share_left,
    style_distance,
)
from src.paper.plan import MASK_RUNS
from src.paper.verdict import Judgement, claim, joined, percent

SAME_SHAPE = 0.95  # correlation of two curves' logarithms
CHEAP = 0.05  # most that a mask may add to what it costs
ABSENT = 0.25  # of what the run without masks has, at most: "no style", "content disappeared"
RIGHT_SCALE = 0.05  # most that a Gram matrix may be off
BETWEEN = 0.1  # most of the pixels that a clean border leaves undecided
AGREES = 0.9  # least share of the pixels on the side where Otsu's threshold has them


@claim("C1")
def _total_and_time(evidence: Evidence) -> Judgement:
    total, seconds, steps = evidence.total("naive"), evidence.step_seconds, evidence.steps
    return Judgement(
        None,
        f"total {total:.4g} after {steps} steps, {steps * seconds:.1f} s, "
        f"{1000 * seconds:.0f} ms per step",
        "the total belongs to a photo and weights that the paper does not name, the time to its "
        "processor; the order of the totals is C2, the shape of the curve C3",
    )


@claim("C2")
def _order_of_totals(evidence: Evidence) -> Judgement:
    naive = evidence.total("naive")
    style, content = (evidence.total(name) / naive for name in ("masked_style", "masked_content"))
    holds, why = joined(
        (style > 1, "the style mask ends higher", "the style mask does not end higher"),
        (content < 1, "the content mask ends lower", "the content mask does not end lower"),
    )
    too_short = evidence.unsettled()
    return Judgement(
        None if too_short else holds,
        f"style mask {style:.3f}, content mask {content:.3f} of naive (paper: 1.049, 0.911)",
        f"{why}{too_short}. Only the order and the ratios compare: photo and weights are not "
        "known. The content mask takes part of a sum away, so its total is lower for that alone",
    )


@claim("C3")
def _same_shape(evidence: Evidence) -> Judgement:
    naive, steps, fall = evidence.curve("naive"), evidence.steps, evidence.largest_late_fall
    style, content = (
        log_correlation(naive, evidence.curve(name)) for name in ("masked_style", "masked_content")
    )
    same, settled = min(style, content) >= SAME_SHAPE, fall <= SETTLED
    holds, why = joined(
        (same, "the shapes are the same", f"a shape differs (less than {SAME_SHAPE})"),
        (settled, "all have settled", f"one has not settled (more than {percent(SETTLED)})"),
    )
    too_short = same and not settled and steps < PAPER_STEPS
    return Judgement(
        None if too_short else holds,
        f"correlation with naive {style:.3f} (style mask), {content:.3f} (content mask); "
        f"in the last tenth of {steps} steps the totals fall by at most {percent(fall)}",
        f"{why}, but {steps} steps are fewer than {PAPER_STEPS}" if too_short else why,
    )


@claim("C4")
def _cost_of_masks(evidence: Evidence) -> Judgement:
    style, content = timing.masked_losses(evidence)
    style_step, content_step = timing.masked_steps(evidence)
    holds, why = joined(
        (style <= CHEAP, "the style loss stays", "the style loss does not stay"),
        (content <= CHEAP, "the content loss stays", "the content loss does not stay"),
    )
    return Judgement(
        holds,
        f"style loss {100 * style:+.2f} %, content loss {100 * content:+.2f} %, medians of "
        f"{timing.SAMPLES} samples in turn; whole step {100 * style_step:+.2f} % "
        f"and {100 * content_step:+.2f} %",
        f"{why} within {percent(CHEAP)}. The paper does not say whether gradients counted; here "
        "they do",
    )


@claim("C5")
def _time_of_a_run(evidence: Evidence) -> Judgement:
    size, seconds = min(evidence.run("naive").summary["size"]), evidence.step_seconds
    return Judgement(
        None,
        f"{PAPER_STEPS * seconds:.1f} s for {PAPER_STEPS} steps at {size} pixels short side",
        "a time of another processor; and the paper itself gives 29.53 s for the same "
        "optimisation (C1)",
    )


def _masked(evidence: Evidence) -> tuple[Pictures, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Pictures without a mask and their style; pastiches with either mask, and where it is dark."""
    naive, style, content = (pictures_of(evidence.run(name)) for name in MASK_RUNS)
    dark_style = dark_region(next(iter(style.style_masks.values()), None))
    dark_content = dark_region(content.content_mask)
    painting = next(iter(naive.styles.values()))
    return naive, painting, style.pastiche, content.pastiche, dark_style, dark_content


@claim("C6")
def _nothing_in_the_dark(evidence: Evidence) -> Judgement:
    naive, painting, masked_style, masked_content, dark_style, dark_content = _masked(evidence)
    styles = (
        style_distance(image, painting, dark_style)
        for image in (masked_style, naive.content, naive.pastiche)
    )
    contents = (
        content_distance(image, naive.content, dark_content)
        for image in (masked_content, resize(painting, *naive.content.shape[-2:]), naive.pastiche)
    )
    style, content = share_left("style", *styles), share_left("content", *contents)
    holds, why = joined(
        (style <= ABSENT, "no style there", "some style is there"),
        (content <= ABSENT, "no content there", "some content is there"),
    )
    too_short = evidence.unsettled()
    return Judgement(
        None if too_short else holds,
        f"where the mask is below 0.1 ({percent(float(dark_style.mean()))} of the photo): "
        f"{percent(style)} of the naive pastiche's style with the style mask, "
        f"{percent(content)} of its content with the content mask",
        f"{why}{too_short} (up to {percent(ABSENT)} of what naive has there counts as none, 0 % is "
        "as in the photo, or as in the painting)",
    )


@claim("C7")
def _the_other_is_emphasised(evidence: Evidence) -> Judgement:
    naive, painting, masked_style, masked_content, dark_style, dark_content = _masked(evidence)
    content, naive_content = (
        content_distance(image, naive.content, dark_style)
        for image in (masked_style, naive.pastiche)
    )
    style, naive_style = (
        style_distance(image, painting, dark_content) for image in (masked_content, naive.pastiche)
    )
    content, style = content / naive_content, style / naive_style
    holds, why = joined(
        (content < 1, "content is nearer where style is masked", "content is no nearer"),
        (style < 1, "style is nearer where content is masked", "style is no nearer"),
    )
    too_short = evidence.unsettled()
    return Judgement(
        None if too_short else holds,
        f"distance to the photo where style is masked {content:.2f} of naive's, distance to the "
        f"painting where content is masked {style:.2f} of naive's",
        why + too_short,
    )


@claim("C8")
def _two_styles(evidence: Evidence) -> Judgement:
    pictures = pictures_of(evidence.run("two_styles"))
    missing = {"near", "far"} - (set(pictures.styles) & set(pictures.style_masks))
    if missing:
        raise Undefined(f"the run has no style or mask {' and '.join(sorted(missing))}")
    ratios = []
    for name, other in (("far", "near"), ("near", "far")):
        region = (pictures.style_masks[name] > 1 - DARK).float()
        if float(region.mean()) < SMALLEST:
            raise Undefined(f"nothing of this photo is {name}")
        own, others = (
            style_distance(pictures.pastiche, pictures.styles[key], region) for key in (name, other)
        )
        ratios.append(own / others)
    far, near = ratios
    holds, why = joined(
        (far < 1, "the background is nearer to its own", "the background is not"),
        (near < 1, "the foreground is nearer to its own", "the foreground is not"),
    )
    return Judgement(
        holds,
        f"distance to the own painting over that to the other's: background {far:.2f}, "
        f"foreground {near:.2f}",
        f"{why} painting than to the other's (below 1)",
    )


@claim("C9")
def _mask_of_ones(evidence: Evidence) -> Judgement:
    off = max(
        float((gram_matrix(x, torch.ones_like(x[:, :1]), name) - gram_matrix(x)).abs().max())
        for x in evidence.features[1].values()
        for name in NORMALIZERS
    )
    return Judgement(
        off == 0,
        f"largest difference {off:.2g}, at every style layer, with either eta",
        "equal in every digit" if off == 0 else "not equal",
    )


@claim("C10")
def _scaling_factor(evidence: Evidence) -> Judgement:
    _, layers = evidence.features
    means = []
    for quantile in (0.5, 0.75):
        rows = []
        for features in layers.values():
            depth = resize(evidence.depth, *features.shape[-2:])
            mask = (depth > depth.flatten().quantile(quantile)).float()
            selected = gram_matrix(features.flatten(2)[:, :, mask.flatten() > 0][..., None]).norm()
            paper, mean_square = (
                float(gram_matrix(features, mask, name).norm() / selected)
                for name in ("paper", "mean_square")
            )
            rows.append((float(mask.mean()), paper, mean_square))
        means.append([sum(column) / len(rows) for column in zip(*rows, strict=True)])
    (share, half, right_half), (smaller_share, quarter, right_quarter) = means
    holds = max(abs(half - 1), abs(quarter - 1)) <= RIGHT_SCALE
    return Judgement(
        holds,
        f"Gram matrix over that of the selected positions alone: {half:.3f} for a mask of ones on "
        f"{percent(share)}, {quarter:.3f} on {percent(smaller_share)}; "
        f"with mean(mask^2) {right_half:.3f} and {right_quarter:.3f}",
        "it brings the matrix to the scale of the style's"
        if holds
        else "a factor is needed, but this one leaves the matrix too large for every mask that "
        "selects, by 1/share for ones and zeros; mean(mask^2) is right, and both agree for "
        "constant masks only",
    )


@claim("C11")
def _clean_border(evidence: Evidence) -> Judgement:
    undecided, agreement = [], []
    for scene in evidence.scenes:
        assert scene.depth is not None
        assert scene.valid is not None
        mask = masks.sigmoid(scene.depth)
        undecided.append(float(((mask > DARK) & (mask < 1 - DARK)).float().mean()))
        far = scene.depth > masks.otsu_threshold(scene.depth, scene.valid)
        agreement.append(float((far == (mask > 0.5)).float().mean()))
    between, agrees = (float(torch.tensor(x).quantile(0.5)) for x in (undecided, agreement))
    holds, why = joined(
        (between <= BETWEEN, "few pixels lie between", "many pixels lie between"),
        (agrees >= AGREES, "the sides are right", "0.5 is not where this depth parts"),
    )
    return Judgement(
        holds,
        f"{percent(between)} of the pixels between 0.1 and 0.9; {percent(agrees)} on the side "
        f"where Otsu's threshold has them; medians of {len(evidence.scenes)} photo(s)",
        f"{why} (clean: at most {percent(BETWEEN)} between and at least {percent(AGREES)} on "
        "their side)",
    )
