"""What the paper claims, and what measurements say of it: pure functions from numbers to verdicts.

Every number has a name; `measure.py` and `timing.py` say what it is. A claim whose numbers are not
there is untestable, with the reason why they are not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Numbers = Mapping[str, float]
FALLS = ("fall_naive", "fall_masked_style", "fall_masked_content")
Word = Literal["holds", "fails", "untestable"]
VERDICTS: tuple[Word, ...] = ("holds", "fails", "untestable")

# What words of the paper are taken to mean. Each is said in the verdict that it decides.
SAME_SHAPE = 0.95  # correlation of two curves' logarithms
SETTLED = 0.05  # most that a total still falls in the last tenth of its steps
PAPERS_STEPS = 300
CHEAP = 0.05  # most that a mask may add to what it costs
ABSENT = 0.25  # of what the run without masks has, at most: "no style", "content disappeared"
RIGHT_SCALE = 0.05  # most that a Gram matrix may be off
BETWEEN = 0.1  # most of the pixels that a clean border leaves undecided
AGREES = 0.9  # least share of the pixels on the side where Otsu's threshold has them
UNSTABLE = 1.5  # times the rises of the curve without the depth loss
MORE_STEPS = 1.2  # times the steps of the run without the depth loss
SHARPER = 1.05  # times the near to far ratio of the run without the depth loss
GONE = 0.9  # of the detail that the run without the depth loss has, at most
ENOUGH = 0.1  # least agreement with the photo's detail that can be lost


@dataclass(frozen=True)
class Verdict:
    """One row of the report.

    Attributes:
        paper: what the paper says.
        measured: what was found here.
        verdict: one of VERDICTS.
        why: in words.
    """

    paper: str
    measured: str
    verdict: Word
    why: str


Judgement = tuple[bool | None, str, str]  # holds, fails or neither; what was measured; why


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        section: of the paper.
        paper: what it says.
        needs: names of the numbers that decide it.
        judge: from them to whether it holds (None: cannot be told), what was measured, and why.
    """

    section: str
    paper: str
    needs: Sequence[str]
    judge: Callable[[Numbers], Judgement]


def decide(numbers: Numbers, reasons: Mapping[str, str]) -> dict[str, Verdict]:
    """A verdict on every claim.

    Args:
        numbers: what was measured, by name.
        reasons: by name, why a number is not there.
    """
    return {key: _decide(claim, numbers, reasons) for key, claim in CLAIMS.items()}


def _decide(claim: Claim, numbers: Numbers, reasons: Mapping[str, str]) -> Verdict:
    missing = [name for name in claim.needs if not math.isfinite(numbers.get(name, math.nan))]
    if missing:
        why = dict.fromkeys(reasons.get(name, f"{name} was not measured") for name in missing)
        return Verdict(claim.paper, "nothing", "untestable", "; ".join(why))
    holds, measured, why_so = claim.judge(numbers)
    word: Word = "untestable" if holds is None else "holds" if holds else "fails"
    return Verdict(claim.paper, measured, word, why_so)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _joined(parts: Sequence[tuple[bool, str, str]]) -> tuple[bool | None, str]:
    """Whether all parts of a claim hold, and which do not, each given as (holds, yes, no)."""
    return all(part[0] for part in parts), "; ".join(yes if ok else no for ok, yes, no in parts)


def _unsettled(m: Numbers) -> bool:
    """Whether runs shorter than the paper's have not come to an end."""
    falls = [m[name] for name in FALLS]
    return m["steps"] < PAPERS_STEPS and max(falls) > SETTLED


def _too_short(m: Numbers) -> str:
    return (
        f"; but after {m['steps']:.0f} of {PAPERS_STEPS} steps the runs have not settled: make "
        "them without --quick"
    )


def _c1(m: Numbers) -> Judgement:
    seconds = m["naive_step_seconds"]
    return (
        None,
        f"total {m['total_naive']:.4g} after {m['steps']:.0f} steps, "
        f"{m['steps'] * seconds:.1f} s, {1000 * seconds:.0f} ms per step",
        "the total belongs to a photo and weights that the paper does not name, the time to its "
        "processor; the order of the totals is C2, the shape of the curve C3",
    )


def _c2(m: Numbers) -> Judgement:
    naive = m["total_naive"]
    style, content = m["total_masked_style"] / naive, m["total_masked_content"] / naive
    holds, why = _joined(
        [
            (style > 1, "the style mask ends higher", "the style mask does not end higher"),
            (content < 1, "the content mask ends lower", "the content mask does not end lower"),
        ]
    )
    if _unsettled(m):
        holds, why = None, why + _too_short(m)
    return (
        holds,
        f"style mask {style:.3f}, content mask {content:.3f} of naive (paper: 1.049, 0.911)",
        f"{why}. Only the order and the ratios compare: photo and weights are not known. The "
        "content mask takes part of a sum away, so its total is lower for that alone",
    )


def _c3(m: Numbers) -> Judgement:
    shapes = [m["shape_masked_style"], m["shape_masked_content"]]
    falls = [m[name] for name in FALLS]
    same, settled = min(shapes) >= SAME_SHAPE, max(falls) <= SETTLED
    measured = (
        f"correlation with naive {shapes[0]:.3f} (style mask), {shapes[1]:.3f} (content mask); "
        f"in the last tenth of {m['steps']:.0f} steps the totals fall by at most "
        f"{_percent(max(falls))}"
    )
    _, why = _joined(
        [
            (same, "the shapes are the same", f"a shape differs (less than {SAME_SHAPE})"),
            (settled, "all have settled", f"one has not settled (more than {_percent(SETTLED)})"),
        ]
    )
    if same and not settled and m["steps"] < PAPERS_STEPS:
        return None, measured, f"{why}, but {m['steps']:.0f} steps are fewer than {PAPERS_STEPS}"
    return same and settled, measured, why


def _c4(m: Numbers) -> Judgement:
    style, content = m["style_mask_overhead"], m["content_mask_overhead"]
    whole = m["style_mask_step_overhead"], m["content_mask_step_overhead"]
    holds, why = _joined(
        [
            (style <= CHEAP, "the style loss stays", "the style loss does not stay"),
            (content <= CHEAP, "the content loss stays", "the content loss does not stay"),
        ]
    )
    return (
        holds,
        f"style loss {100 * style:+.2f} %, content loss {100 * content:+.2f} %, medians of "
        f"{m['mask_samples']:.0f} samples in turn; whole step {100 * whole[0]:+.2f} % and "
        f"{100 * whole[1]:+.2f} %",
        f"{why} within {_percent(CHEAP)}. The paper does not say whether gradients counted; here "
        "they do",
    )


def _c5(m: Numbers) -> Judgement:
    seconds = m["naive_step_seconds"]
    return (
        None,
        f"{PAPERS_STEPS * seconds:.1f} s for {PAPERS_STEPS} steps at "
        f"{m['short_side']:.0f} pixels short side",
        "a time of another processor; and the paper itself gives 29.53 s for the same "
        "optimisation (C1)",
    )


def _c6(m: Numbers) -> Judgement:
    style, content = m["style_where_masked"], m["content_where_masked"]
    holds, why = _joined(
        [
            (style <= ABSENT, "no style there", "some style is there"),
            (content <= ABSENT, "no content there", "some content is there"),
        ]
    )
    if _unsettled(m):
        holds, why = None, why + _too_short(m)
    return (
        holds,
        f"where the mask is below 0.1 ({_percent(m['masked_share'])} of the photo): "
        f"{_percent(style)} of the naive pastiche's style with the style mask, "
        f"{_percent(content)} of its content with the content mask",
        f"{why} (up to {_percent(ABSENT)} of what naive has there counts as none, 0 % is as in the "
        f"photo, or as in the painting)",
    )


def _c7(m: Numbers) -> Judgement:
    content, style = m["content_distance_ratio"], m["style_distance_ratio"]
    holds, why = _joined(
        [
            (content < 1, "content is nearer where style is masked", "content is no nearer"),
            (style < 1, "style is nearer where content is masked", "style is no nearer"),
        ]
    )
    if _unsettled(m):
        holds, why = None, why + _too_short(m)
    return (
        holds,
        f"distance to the photo where style is masked {content:.2f} of naive's, distance to the "
        f"painting where content is masked {style:.2f} of naive's",
        why,
    )


def _c8(m: Numbers) -> Judgement:
    far, near = m["far_to_far"] / m["far_to_near"], m["near_to_near"] / m["near_to_far"]
    holds, why = _joined(
        [
            (far < 1, "the background is nearer to its own", "the background is not"),
            (near < 1, "the foreground is nearer to its own", "the foreground is not"),
        ]
    )
    return (
        holds,
        f"distance to the own painting over that to the other's: background {far:.2f}, "
        f"foreground {near:.2f}",
        f"{why} painting than to the other's (below 1)",
    )


def _c9(m: Numbers) -> Judgement:
    off = m["gram_of_ones_off"]
    why = "equal in every digit" if off == 0 else "not equal"
    return off == 0, f"largest difference {off:.2g}, at every style layer, with either eta", why


def _c10(m: Numbers) -> Judgement:
    half, quarter = m["inflation_half"], m["inflation_quarter"]
    holds = max(abs(half - 1), abs(quarter - 1)) <= RIGHT_SCALE
    return (
        holds,
        f"Gram matrix over that of the selected positions alone: {half:.3f} for a mask of ones on "
        f"{_percent(m['share_half'])}, {quarter:.3f} on {_percent(m['share_quarter'])}; with "
        f"mean(mask^2) {m['mean_square_half']:.3f} and {m['mean_square_quarter']:.3f}",
        "it brings the matrix to the scale of the style's"
        if holds
        else "a factor is needed, but this one leaves the matrix too large for every mask that "
        "selects, by 1/share for ones and zeros; mean(mask^2) is right, and both agree for "
        "constant masks only",
    )


def _c11(m: Numbers) -> Judgement:
    between, agrees = m["undecided_share"], m["otsu_agreement"]
    holds, why = _joined(
        [
            (between <= BETWEEN, "few pixels lie between", "many pixels lie between"),
            (agrees >= AGREES, "the sides are right", "0.5 is not where this depth parts"),
        ]
    )
    return (
        holds,
        f"{_percent(between)} of the pixels between 0.1 and 0.9; {_percent(agrees)} on the side "
        f"where Otsu's threshold has them; medians of {m['photos']:.0f} photo(s)",
        f"{why} (clean: at most {_percent(BETWEEN)} between and at least {_percent(AGREES)} on "
        "their side)",
    )


def _c12(m: Numbers) -> Judgement:
    as_said = m["depth_settings_differ"] == 0
    acts = m["depth_with"] < m["depth_without"]
    holds, why = _joined(
        [
            (as_said, "the experiment has these settings", "the experiment has other settings"),
            (acts, "the loss does lower what it measures", "the loss does not lower it"),
        ]
    )
    return (
        holds,
        f"of the depth term without the loss, {m['depth_with'] / m['depth_without']:.3g} is left "
        f"at weight 10000 and {m['depth_most'] / m['depth_without']:.3g} at 200000",
        why,
    )


def _c13(m: Numbers) -> Judgement:
    rises, steps = m["rises_with"] / max(m["rises_without"], 1e-9), m["settled_with"]
    holds, why = _joined(
        [
            (rises >= UNSTABLE, "less stable", f"not less stable (below {UNSTABLE} times)"),
            (
                steps >= MORE_STEPS * m["settled_without"],
                "more steps",
                f"no more steps (below {MORE_STEPS} times)",
            ),
        ]
    )
    if m["depth_steps"] < PAPERS_STEPS and m["settled_without"] > 0.9 * m["depth_steps"]:
        return (
            None,
            _c13_measured(m, rises),
            f"{m['depth_steps']:.0f} steps are too few: even "
            "without the depth loss the run has not settled; make them without --quick",
        )
    why = (
        f"with the depth loss: {why}, than without it at the same settings. The 10000 itself "
        "depends on photo and weights"
    )
    return holds, _c13_measured(m, rises), why


def _c13_measured(m: Numbers, rises: float) -> str:
    return (
        f"total {m['depth_total']:.4g}; it rises by {_percent(m['rises_with'])} per step, "
        f"{rises:.2f} times what it does without the depth loss; within 10 % of its end after "
        f"{m['settled_with']:.0f} steps, without after {m['settled_without']:.0f}"
    )


def _c14(m: Numbers) -> Judgement:
    ratio = m["monodepth2_over_naive"]
    holds = ratio >= 75 / 2
    return (
        holds,
        f"{ratio:.2f} times with Monodepth2, {m['depth_head_over_naive']:.2f} times with the depth "
        f"head (naive {m['naive_depth_seconds']:.3f} s, on the processor)",
        ("a step is tens of times as long" if holds else "the network itself is no such cost")
        + ", at the same features (untrained weights cost the same). Seconds and the GPU's part "
        "belong to the paper's machines; and 3.8 s / 1.21 s is 3.14 times as fast, which is a "
        "boost of 214 %",
    )


def _c15(m: Numbers) -> Judgement:
    ratio = m["near_over_far_with"] / m["near_over_far_without"]
    return (
        ratio >= SHARPER,
        f"sharpness near over far, as in the photo = 1: {m['near_over_far_with']:.2f} with the "
        f"depth loss, {m['near_over_far_without']:.2f} without",
        f"{ratio:.2f} times ({SHARPER} or more counts). One photo: no interval",
    )


def _c16(m: Numbers) -> Judgement:
    with_it, without = m["detail_with"], m["detail_without"]
    measured = (
        f"agreement with the photo's edges where depth has none, in the near third: {with_it:.2f} "
        f"with the depth loss, {without:.2f} without"
    )
    if without < ENOUGH:
        return None, measured, "the run without the depth loss has none of that detail to lose"
    ratio = with_it / without
    return ratio <= GONE, measured, f"{ratio:.2f} times ({GONE} or less counts). One photo"


def _c17(m: Numbers) -> Judgement:
    outside, spanned = m["outside_range"] == 0, m["depth_span"] > 0.999
    holds, why = _joined(
        [
            (outside, "all lie in [0, 1]", "some lie outside [0, 1]"),
            (spanned, "depth reaches from 0 to 1", "depth does not reach from 0 to 1"),
            (m["masks_fit"] == 1, "masks have each layer's size", "a mask has another size"),
        ]
    )
    return (
        holds,
        f"{m['outside_range']:.0f} values outside [0, 1], depth spans {m['depth_span']:.3f}",
        f"{why}. Differs in how a mask gets there: its square is averaged over each position, "
        f"which is {m['mask_difference']:.3f} off the interpolated depth's mask on average",
    )


def _c18(m: Numbers) -> Judgement:
    measured = (
        f"{m['experiments_as_said']:.0f} of {m['experiments']:.0f} paper_* experiments name these; "
        f"{m['runs_as_said']:.0f} of {m['experiments']:.0f} ran with them here"
    )
    if m["experiments_as_said"] < m["experiments"]:
        return False, measured, "an experiment names another network or optimiser"
    if m["runs_as_said"] < m["experiments"]:
        return None, measured, "weights are not on this machine, so another network stands in"
    return True, measured, "the settings name them, and the runs used them"


CLAIMS: dict[str, Claim] = {
    "C1": Claim(
        "5.1",
        "Naive: the loss converges to 3195 in 29.53 s on a CPU, in 300 iterations (98 ms each).",
        ("total_naive", "naive_step_seconds", "steps"),
        _c1,
    ),
    "C2": Claim(
        "5.2",
        "After 300 iterations the style mask ends at 3353 and the content mask at 2911, naive "
        "at 3195.",
        ("total_naive", "total_masked_style", "total_masked_content", "steps", *FALLS),
        _c2,
    ),
    "C3": Claim(
        "5.2",
        "All three curves have the same shape and converge in 300 iterations.",
        ("shape_masked_style", "shape_masked_content", "steps", *FALLS),
        _c3,
    ),
    "C4": Claim(
        "5.2",
        "A masked style loss takes 1.32 % longer on a CPU, a masked content loss 1.68 %, on "
        "average over 300 samples.",
        (
            "style_mask_overhead",
            "content_mask_overhead",
            "style_mask_step_overhead",
            "content_mask_step_overhead",
            "mask_samples",
        ),
        _c4,
    ),
    "C5": Claim(
        "5.2",
        "The optimisation takes approximately 40 s on the CPU.",
        ("naive_step_seconds", "short_side"),
        _c5,
    ),
    "C6": Claim(
        "5.2",
        "No style is applied where the style mask is dark; content disappears where the content "
        "mask is.",
        ("style_where_masked", "content_where_masked", "masked_share", "steps", *FALLS),
        _c6,
    ),
    "C7": Claim(
        "5.2",
        "A style mask emphasises content where style is masked, a content mask style where content "
        "is masked.",
        ("content_distance_ratio", "style_distance_ratio", "steps", *FALLS),
        _c7,
    ),
    "C8": Claim(
        "5.2",
        "Two styles: the first is applied to the background, the second to the foreground.",
        ("far_to_far", "far_to_near", "near_to_near", "near_to_far"),
        _c8,
    ),
    "C9": Claim(
        "3.2",
        "A mask of one everywhere gives the original Gram matrix.",
        ("gram_of_ones_off",),
        _c9,
    ),
    "C10": Claim(
        "3.2",
        "eta = mean(mask)^2 is a necessary scaling factor, since the style's Gram matrices are not "
        "adjusted.",
        (
            "inflation_half",
            "inflation_quarter",
            "mean_square_half",
            "mean_square_quarter",
            "share_half",
            "share_quarter",
        ),
        _c10,
    ),
    "C11": Claim(
        "3.2",
        "sigma(20 (d - 0.5)) would cleanly separate the background from the foreground.",
        ("undecided_share", "otsu_agreement", "photos"),
        _c11,
    ),
    "C12": Claim(
        "5.3",
        "Depth loss: size 192, content layer 28, content weight 6e-2, tv weight 2e-2, depth weight "
        "10000 (tried from 1 to 200000).",
        ("depth_settings_differ", "depth_with", "depth_without", "depth_most"),
        _c12,
    ),
    "C13": Claim(
        "5.3",
        "With the depth loss the total converges to about 10000, is heavily unstable, and takes "
        "significantly more iterations.",
        (
            "depth_total",
            "depth_steps",
            "rises_with",
            "rises_without",
            "settled_with",
            "settled_without",
        ),
        _c13,
    ),
    "C14": Claim(
        "5.3",
        "3.8 s per iteration on a CPU, 1.21 s on a GPU (a boost of 315 %); naive takes 0.016 s "
        "there, so the depth loss takes 75 times as long.",
        ("monodepth2_over_naive", "depth_head_over_naive", "naive_depth_seconds"),
        _c14,
    ),
    "C15": Claim(
        "5.3",
        "With the depth loss, near parts are significantly sharper than far ones.",
        ("near_over_far_with", "near_over_far_without"),
        _c15,
    ),
    "C16": Claim(
        "5.3",
        "Details of near objects that the depth map does not show are altered: a wheel becomes "
        "flush with the body.",
        ("detail_with", "detail_without"),
        _c16,
    ),
    "C17": Claim(
        "4",
        "Depth and pixels are normalised to [0, 1]; depth is interpolated to each layer's size.",
        ("outside_range", "depth_span", "masks_fit", "mask_difference"),
        _c17,
    ),
    "C18": Claim(
        "4, 5",
        "SqueezeNet for the masks, VGG-16 for the depth loss, Adam everywhere.",
        ("experiments", "experiments_as_said", "runs_as_said"),
        _c18,
    ),
}
