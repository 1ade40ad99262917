"""The paper's figures in its order, and what goes beyond it, from finished runs."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from src.depth_nets import DepthNet
from src.evaluate.files import pictures_of
from src.losses import aligned_depth_loss
from src.metrics.content import luminance
from src.paper.measure import Numbers, Restless, curve, restless
from src.runs import Run

QUALITY = 90  # of JPEG
INPUTS = "inputs"

Lines = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        label: what it is.
        uri: a data URI.
        width: in pixels.
        height: in pixels.
    """

    label: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Figure:
    """A row of pictures, a chart, or why there is neither.

    Attributes:
        title: "Figure 4" or the like.
        caption: what the paper shows there, and what is shown here.
        pictures: in a row.
        lines: of a chart, value by step, by name.
        axis: what the chart's values are.
        missing: why something is not there; empty where all is.
    """

    title: str
    caption: str
    pictures: list[Picture] = field(default_factory=list)
    lines: Lines = field(default_factory=dict)
    axis: str = "total"
    missing: str = ""


def picture(file: Path, label: str) -> Picture:
    """A picture file as part of a page: JPEG, its own size.

    Raises:
        OSError: no such file, or no picture in it.
    """
    with Image.open(file) as image:
        rgb = image.convert("RGB")
    bytes_ = io.BytesIO()
    rgb.save(bytes_, "JPEG", quality=QUALITY)
    uri = f"data:image/jpeg;base64,{base64.b64encode(bytes_.getvalue()).decode()}"
    return Picture(label, uri, *rgb.size)


def _row(
    title: str,
    caption: str,
    wanted: Sequence[tuple[str, str, str]],
    runs: Mapping[str, Run],
    without: Mapping[str, str],
) -> Figure:
    """A figure of pictures (method, what, label), with `what` an input's name or the pastiche."""
    found, missing = [], {}
    for method, what, label in wanted:
        run = runs.get(method)
        file = None
        if run is not None:
            file = run.pastiche if what == "pastiche" else run.inputs.get(what)
        try:
            if file is None:
                raise OSError(f"the run wrote no {what}")
            found.append(picture(file, label))
        except (OSError, SyntaxError) as error:
            missing[method] = f"{label}: {without.get(method, str(error))}"
    return Figure(title, caption, found, missing="; ".join(missing.values()))


def _chart(
    title: str,
    caption: str,
    wanted: Mapping[str, str],
    runs: Mapping[str, Run],
    without: Mapping[str, str],
) -> Figure:
    """A figure of the totals of runs, by method with their labels."""
    lines = {label: curve(runs[name]) for name, label in wanted.items() if name in runs}
    missing = [without.get(name, f"no run {name}") for name in wanted if name not in runs]
    return Figure(title, caption, lines=lines, missing="; ".join(missing))


def of_paper(
    runs: Mapping[str, Run], without: Mapping[str, str], second: Mapping[str, Run]
) -> list[Figure]:
    """Figures 1 to 10.

    Args:
        runs: the finished ones by method.
        without: why others are not.
        second: those of a second photo, by method; empty where there is one photo only.
    """
    naive = ("naive", "content", "content"), ("naive", "style_main", "style")
    plain = ("naive", "pastiche", "pastiche")
    beside = ("naive", "pastiche", "no mask, beside it")
    figures = [
        _row("Figure 1", "Naive style transfer (5.1).", [*naive, plain], runs, without),
        _row(
            "Figure 2",
            "The same on an RGB-D photo, here the one of Figure 1. Its depth as used: black "
            "is 0, near, and white 1, far.",
            [
                ("naive", "content", "content"),
                ("masked_style", "depth", "depth"),
                ("naive", "style_main", "style"),
                plain,
            ],
            runs,
            without,
        ),
        _row(
            "Figure 3",
            "The mask 1 - sigma(20 (d - 0.8)): white where the loss acts.",
            [("masked_style", "mask_main", "mask")],
            runs,
            without,
        ),
        _row("Figure 4", "A style mask.", [("masked_style", "pastiche", "style mask"), beside],
             runs, without),
        _row("Figure 5", "A content mask.", [("masked_content", "pastiche", "content mask"),
             beside], runs, without),
        _chart(
            "Figure 6",
            "The total by step without a mask, with a style mask and with a content mask.",
            {"naive": "naive", "masked_style": "style mask", "masked_content": "content mask"},
            runs,
            without,
        ),
        _row(
            "Figure 7",
            "Two styles, one far and one near.",
            [
                ("two_styles", "mask_far", "first mask"),
                ("two_styles", "style_far", "first style"),
                ("two_styles", "mask_near", "second mask"),
                ("two_styles", "style_near", "second style"),
                ("two_styles", "pastiche", "pastiche"),
            ],
            runs,
            without,
        ),
        _chart(
            "Figure 8",
            "The total by step with the depth loss at the paper's weight, and without it.",
            {"depth_paper": "depth weight 10000", "depth_none": "no depth loss"},
            runs,
            without,
        ),
    ]  # fmt: skip
    wanted = [
        ("depth_paper", "content", "content"),
        ("depth_paper", "depth_estimated", "depth, as the network sees it"),
        ("depth_none", "pastiche", "naive"),
        ("depth_paper", "pastiche", "with the depth loss"),
    ]
    one = "Figure 9" if second else "Figures 9 and 10"
    figures.append(_row(one, "The depth loss.", wanted, runs, without))
    if second:
        figures.append(_row("Figure 10", "The same on a second photo.", wanted, second, {}))
    return figures


@dataclass(frozen=True)
class Finding:
    """What goes beyond the paper.

    Attributes:
        title: in words.
        paragraphs: what was found, with its numbers.
        head: of a table.
        rows: of it.
        figures: to see it by.
    """

    title: str
    paragraphs: list[str]
    head: list[str]
    rows: list[list[str]]
    figures: list[Figure]


def contrast(run: Run) -> float:
    """Standard deviation of the luminance where the run's mask is 1."""
    pictures = pictures_of(run)
    (mask,) = pictures.style_masks.values()
    return float(luminance(pictures.pastiche)[mask > 0.9].std())


def eta(numbers: Numbers, runs: Mapping[str, Run], without: Mapping[str, str]) -> Finding:
    """What the paper's normaliser does to masks that select."""
    rows = []
    for name in ("half", "quarter"):
        cells = [numbers.get(f"{key}_{name}") for key in ("share", "inflation", "mean_square")]
        contrasts = [
            f"{contrast(runs[run]):.3f}" if (run := f"eta_{kind}_{name}") in runs else ""
            for kind in ("paper", "mean_square")
        ]
        rows.append([*("" if x is None else f"{x:.3f}" for x in cells), *contrasts])
    pictures = [
        (f"eta_{kind}_{name}", "pastiche", f"{label}, {formula}")
        for name, label in (("half", "half of the photo"), ("quarter", "a quarter"))
        for kind, formula in (("paper", "mean(mask)²"), ("mean_square", "mean(mask²)"))
    ]
    return Finding(
        "The normaliser inflates masks that select",
        [
            "A masked Gram matrix is a sum that grows with mask², so dividing it by mean(mask)² "
            "leaves it too large by mean(mask²) / mean(mask)²: 1 for a constant mask, 1/share for "
            "one of ones and zeros. The optimisation makes up for it with weaker features in the "
            "selected region. Dividing by mean(mask²) (Gatys et al. 2017) gives the Gram matrix of "
            "the selected positions; it is the program's default outside of the paper's "
            "experiments (loss.style.normalizer)."
        ],
        [
            "selected",
            "Gram over the region's own, mean(mask)²",
            "with mean(mask²)",
            "contrast there, mean(mask)²",
            "with mean(mask²)",
        ],
        rows,
        [
            _row(
                "Both normalisers",
                "Style in the farthest half and in the farthest quarter of the photo.",
                pictures,
                runs,
                without,
            )
        ],
    )


DEPTH_RUNS = {
    "depth_none": "no depth loss, rate 0.677 (the paper's)",
    "depth_paper": "weight 10000, rate 0.677: the paper's",
    "depth_most": "weight 200000, rate 0.677",
    "depth_none_slow": "no depth loss, rate 0.02",
    "depth_paper_slow": "weight 10000, rate 0.02",
    "depth_aligned": "weight 10000, aligned, rate 0.677",
    "depth_ours": "the program's depth_loss: from the content, L-BFGS, aligned",
}
# Each differs from the paper's run in one thing.
ONE_CHANGE = {
    "depth_none": "leaving the depth loss out",
    "depth_paper_slow": "a smaller rate",
    "depth_aligned": "comparing depth up to scale and shift",
}


def unstable(judge: DepthNet, runs: Mapping[str, Run], without: Mapping[str, str]) -> Finding:
    """Why the depth loss was unstable: what changes when one thing is changed.

    Args:
        judge: says what depth is seen in the pastiches.
        runs: the finished ones by method.
        without: why others are not.
    """
    found: dict[str, Restless] = {}
    for name, label in DEPTH_RUNS.items():
        if name in runs:
            pictures = pictures_of(runs[name])
            seen = [judge.estimate(x) for x in (pictures.pastiche, pictures.content)]
            found[name] = restless(label, runs[name], float(aligned_depth_loss(*seen)))
    rows = [
        [
            one.name,
            f"{100 * one.rises:.2f} %",
            f"{100 * one.depth_rises:.2f} %",
            f"{one.settled} of {one.steps}",
            f"{one.unexplained:.2f}",
        ]
        for one in found.values()
    ]
    return Finding(
        "Why the depth loss was unstable",
        [
            "A curve is as restless as its logarithm rises, on average over its steps but the "
            "first tenth; one that only falls has 0. Depth lost is the part of the variance of the "
            f"photo's disparity that the pastiche's leaves unexplained, both as {judge.name} sees "
            "them. It is no proof of depth: a network that has learnt that what is low is near "
            "sees some of the photo's depth in any picture.",
            explanation({name: one.rises for name, one in found.items()}),
        ],
        ["run", "total rises, per step", "depth term rises", "settled after", "depth lost"],
        rows,
        [
            _chart(
                "Totals",
                "The runs that differ from the paper's in one thing.",
                {name: DEPTH_RUNS[name] for name in ("depth_paper", *ONE_CHANGE)},
                runs,
                without,
            ),
            _row(
                "Pastiches",
                "Of the runs in the table.",
                [(name, "pastiche", label) for name, label in DEPTH_RUNS.items()],
                runs,
                without,
            ),
        ],
    )


def explanation(rises: Mapping[str, float]) -> str:
    """Which single change calms the paper's run most.

    Args:
        rises: of the total by method; what is missing is left out.
    """
    changes = {name: rises[name] for name in ONE_CHANGE if name in rises}
    if "depth_paper" not in rises or not changes:
        return "The runs that would tell are not there."
    base = rises["depth_paper"]
    if base == 0:
        return "The paper's run never rises here: nothing is unstable that could be explained."
    parts = [f"{ONE_CHANGE[name]} {100 * value:.2f} %" for name, value in changes.items()]
    best = min(changes, key=lambda name: changes[name])
    text = f"The paper's run rises by {100 * base:.2f} % per step; " + ", ".join(parts) + ". "
    if changes[best] >= base:
        return text + "None of these calms it."
    text += f"What calms it most is {ONE_CHANGE[best]}."
    if "depth_none" in changes and changes["depth_none"] >= base / 2:
        text += (
            " Without the depth loss the same settings are at least half as restless: most of it "
            "is the optimiser's step, not the depth network."
        )
    return text
