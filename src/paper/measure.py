"""From finished runs, the photo and the settings to the numbers that decide the claims."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from src import config as configuration
from src import masks, metrics
from src.backbones import Backbone
from src.evaluate.files import pictures_of
from src.evaluate.measure import LAYERS, Pictures
from src.images import resize
from src.inputs import Scene
from src.losses import NORMALIZERS, gram_matrix
from src.metrics.content import luminance
from src.paper.plan import OF_DEPTH, OF_MASKS, Setting
from src.runs import Run

Numbers = dict[str, float]
SHALLOW = LAYERS[:3]  # whose positions are small enough to lie on one side of a border
DARK = 0.1  # where a mask counts as 0
FEWEST = 0.01  # of the photo, in which something can be measured
PLACES = 4096  # of a layer that are compared, at most
WITHIN = 0.1  # of its end: where a curve counts as settled


class Unmeasurable(ValueError):
    """A number that these pictures cannot give; its text says why."""


def total(run: Run) -> float:
    """The total of the run's pastiche."""
    return float(run.summary["total"])


def curve(run: Run) -> list[float]:
    """The total before every step, and at the end."""
    return [*run.terms["total"], total(run)]


def rises(values: Sequence[float]) -> float:
    """How restless a curve is: the mean over steps of how far its logarithm rises.

    The first tenth is left out: noise becomes a picture there, in leaps whatever the loss.

    Args:
        values: more than 0, at least two behind the first tenth.

    Returns:
        0 or more; 0 for one that only falls.
    """
    rest = [math.log(value) for value in values[len(values) // 10 :]]
    steps = [after - before for before, after in pairwise(rest)]
    return sum(max(0.0, step) for step in steps) / len(steps)


def settled(values: Sequence[float]) -> int:
    """After how many steps a curve stays within a tenth of its end."""
    last = values[-1]
    outside = [i for i, value in enumerate(values) if abs(value - last) > WITHIN * last]
    return outside[-1] + 1 if outside else 0


def fall(values: Sequence[float]) -> float:
    """How much a curve still falls in its last tenth, as a share of its end."""
    at = max(0, len(values) - 1 - max(1, round(len(values) / 10)))
    return abs(values[at] - values[-1]) / values[-1]


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """Whether two curves have the same shape: the correlation of their logarithms."""
    both = torch.tensor([one, other], dtype=torch.float64).log()
    return float(torch.corrcoef(both)[0, 1])


def curves(naive: Run, style: Run, content: Run) -> Numbers:
    """What C1, C2, C3 and C5 need."""
    found: Numbers = {
        "steps": float(naive.summary["steps"]),
        "naive_step_seconds": float(naive.summary["seconds_per_step"] or math.nan),
        "short_side": float(min(naive.summary["size"])),
    }
    for name, run in (("naive", naive), ("masked_style", style), ("masked_content", content)):
        found[f"total_{name}"] = total(run)
        found[f"fall_{name}"] = fall(curve(run))
        if run is not naive:
            found[f"shape_{name}"] = likeness(curve(naive), curve(run))
    return found


class Regions:
    """Distances to a photo and to a painting inside a region, as the built-in VGG-19 sees them.

    Args:
        network: VGG-19, which neither of the paper's networks is.
    """

    def __init__(self, network: Backbone) -> None:
        self._network = network

    def style(self, image: Tensor, painting: Tensor, where: Tensor) -> float:
        """How far each place of a region is from the place of a painting that is most like it.

        1 - the cosine of their features, the mean over the region and over three layers. What is
        compared is texture by texture, as in nearest-neighbour style losses (Kolkin et al. 2022),
        and not the region's distribution with the whole painting's: a small region has no room
        for all that is in it.

        Args:
            image: (1, 3, H, W).
            painting: (1, 3, h, w).
            where: (1, 1, H, W) of zeros and ones.

        Returns:
            0 or more, at most 1; 0 where every place is one of the painting's.
        """
        with torch.no_grad():
            one = self._network.features(image, SHALLOW)
            other = self._network.features(painting, SHALLOW)
        found = []
        for layer in SHALLOW:
            inside = F.interpolate(where, one[layer].shape[-2:], mode="area").flatten() > 0.5
            places = _sample(F.normalize(one[layer], dim=1).flatten(2)[0, :, inside])
            known = _sample(F.normalize(other[layer], dim=1).flatten(2)[0])
            if places.shape[1]:
                found.append(1 - float((places.T @ known).amax(1).mean()))
        if not found:
            raise Unmeasurable("the region is smaller than what the network tells apart")
        return sum(found) / len(found)

    def content(self, image: Tensor, photo: Tensor, where: Tensor) -> float:
        """Mean change of features, position by position, in a region; the mean of three layers."""
        with torch.no_grad():
            one, other = (self._network.features(x, SHALLOW) for x in (image, photo))
        found = []
        for layer in SHALLOW:
            changed = metrics.feature_change(one[layer], other[layer])
            weights = F.interpolate(where, changed.shape[-2:], mode="area")
            found.append(float((changed * weights).sum() / weights.sum()))
        return sum(found) / len(found)


def _sample(places: Tensor) -> Tensor:
    """(C, N), at most so many of the N, evenly."""
    return places[:, :: max(1, -(-places.shape[1] // PLACES))]


def _dark(mask: Tensor | None) -> Tensor:
    """Where a mask is 0, (1, 1, H, W) of zeros and ones."""
    if mask is None:
        raise Unmeasurable("the run has no mask")
    where = (mask < DARK).float()
    share = float(where.mean())
    if share < FEWEST:
        raise Unmeasurable(
            f"the mask is 0 on {100 * share:.2g} % of this photo only, too little to measure"
        )
    return where


def _share_left(value: float, without: float, naive: float, what: str) -> float:
    """How much of what naive has is there: 0 as without any, 1 as naive."""
    if not naive < without:
        raise Unmeasurable(f"the naive pastiche has no {what} there that could be missing")
    return (without - value) / (without - naive)


def obedience(network: Backbone) -> Callable[[Run, Run, Run], Numbers]:
    """What C6 and C7 need, by a VGG-19."""
    regions = Regions(network)

    def measured(naive: Run, style: Run, content: Run) -> Numbers:
        plain, styled, kept = (pictures_of(run) for run in (naive, style, content))
        photo, (painting, *_) = plain.content, plain.styles.values()
        instead = resize(painting, *photo.shape[-2:])
        dark_style = _dark(next(iter(styled.style_masks.values()), None))
        dark_content = _dark(kept.content_mask)
        of_style = {
            name: regions.style(image, painting, dark_style)
            for name, image in (
                ("photo", photo),
                ("naive", plain.pastiche),
                ("masked", styled.pastiche),
            )
        }
        of_content = {
            name: regions.content(image, photo, dark_content)
            for name, image in (
                ("painting", instead),
                ("naive", plain.pastiche),
                ("masked", kept.pastiche),
            )
        }
        return {
            "masked_share": float(dark_style.mean()),
            "style_where_masked": _share_left(
                of_style["masked"], of_style["photo"], of_style["naive"], "style"
            ),
            "content_where_masked": _share_left(
                of_content["masked"], of_content["painting"], of_content["naive"], "content"
            ),
            "content_distance_ratio": regions.content(styled.pastiche, photo, dark_style)
            / regions.content(plain.pastiche, photo, dark_style),
            "style_distance_ratio": regions.style(kept.pastiche, painting, dark_content)
            / regions.style(plain.pastiche, painting, dark_content),
        }

    return measured


def two_styles(network: Backbone) -> Callable[[Run], Numbers]:
    """What C8 needs: distances of background and foreground to either painting."""
    regions = Regions(network)

    def measured(run: Run) -> Numbers:
        pictures = pictures_of(run)
        missing = {"near", "far"} - set(pictures.styles) | {"near", "far"} - set(
            pictures.style_masks
        )
        if missing:
            raise Unmeasurable(f"the run has no style or mask {' and '.join(sorted(missing))}")
        where = {name: (pictures.style_masks[name] > 1 - DARK).float() for name in ("far", "near")}
        for name, region in where.items():
            if float(region.mean()) < FEWEST:
                raise Unmeasurable(f"nothing of this photo is {name}")
        return {
            f"{name}_to_{painting}": regions.style(
                pictures.pastiche, pictures.styles[painting], region
            )
            for name, region in where.items()
            for painting in ("far", "near")
        }

    return measured


def gram_facts(network: Backbone, layers: Sequence[str], scene: Scene) -> Numbers:
    """What C9 and C10 need: the photo's Gram matrices under masks of ones, and of ones and zeros.

    Args:
        network: of the masks.
        layers: of its style loss.
        scene: the photo with depth.
    """
    assert scene.depth is not None
    with torch.no_grad():
        features = network.features(scene.image, layers)
    off = 0.0
    for one in features.values():
        ones = torch.ones_like(one[:, :1])
        for normalizer in NORMALIZERS:
            masked = gram_matrix(one, ones, normalizer)
            off = max(off, float((masked - gram_matrix(one)).abs().max()))
    found: Numbers = {"gram_of_ones_off": off}
    for name, quantile in (("half", 0.5), ("quarter", 0.75)):
        ratios: dict[str, list[float]] = {normalizer: [] for normalizer in NORMALIZERS}
        shares = []
        for one in features.values():
            depth = resize(scene.depth, *one.shape[-2:])
            where = depth > depth.flatten().quantile(quantile)
            alone = gram_matrix(one.flatten(2)[:, :, where.flatten()][..., None])
            shares.append(float(where.float().mean()))
            for normalizer in NORMALIZERS:
                masked = gram_matrix(one, where.float(), normalizer)
                ratios[normalizer].append(float(masked.norm() / alone.norm()))
        found[f"share_{name}"] = sum(shares) / len(shares)
        found[f"inflation_{name}"] = sum(ratios["paper"]) / len(shares)
        found[f"mean_square_{name}"] = sum(ratios["mean_square"]) / len(shares)
    return found


def separation(scenes: Sequence[Scene]) -> Numbers:
    """What C11 needs: how the paper's border parts these photos, medians."""
    undecided, agreement = [], []
    for scene in scenes:
        assert scene.depth is not None
        assert scene.valid is not None
        mask = masks.sigmoid(scene.depth)
        undecided.append(float(((mask > DARK) & (mask < 1 - DARK)).float().mean()))
        right = scene.depth > masks.auto_threshold(scene.depth, scene.valid)
        agreement.append(float((right == (mask > 0.5)).float().mean()))
    return {
        "photos": float(len(scenes)),
        "undecided_share": float(torch.tensor(undecided).quantile(0.5)),
        "otsu_agreement": float(torch.tensor(agreement).quantile(0.5)),
    }


def depth_settings() -> Numbers:
    """What C12 needs of the configuration: how many settings are not the paper's."""
    config = configuration.compose("+experiment=paper_depth_loss")
    loss = config["loss"]
    # The weights count differences of normalised colours, and half of the squares' sum.
    said = [
        (config["short_side"], 192),
        (loss["content"]["layers"], [28]),
        (round(loss["content"]["weight"] / 2, 6), 6e-2),
        (round(loss["tv"]["weight"] * 0.2256**2, 3), 2e-2),
        (loss["depth"]["weight"], 10000),
    ]
    return {"depth_settings_differ": float(sum(found != wanted for found, wanted in said))}


def networks(setting: Setting) -> Numbers:
    """What C18 needs: which experiments name the paper's networks, and which ran with them."""
    of_masks = "naive", "masked_style", "masked_content", "two_styles"
    said = [(f"paper_{name}", "squeezenet") for name in of_masks] + [("paper_depth_loss", "vgg16")]
    right = 0
    for experiment, network in said:
        config = configuration.compose(f"+experiment={experiment}")
        found = config["backbone"]["_target_"], config["optimizer"]["_target_"]
        right += found == (f"src.backbones.{network}", "torch.optim.Adam")
    # Keras' file of SqueezeNet holds its authors' weights: the same network.
    is_squeezenet = not any(key.startswith("loss.") for key in OF_MASKS[setting.masks.used])
    is_vgg16 = not OF_DEPTH[setting.depth.used]
    return {
        "experiments": float(len(said)),
        "experiments_as_said": float(right),
        "runs_as_said": float(len(of_masks) * is_squeezenet + is_vgg16),
    }


def ranges(network: Backbone, layers: Sequence[str], scene: Scene) -> Numbers:
    """What C17 needs: the ranges of the photo and its depth, and a mask at each layer's size."""
    assert scene.depth is not None
    outside = sum(int(((x < 0) | (x > 1)).sum()) for x in (scene.image, scene.depth))
    with torch.no_grad():
        features = network.features(scene.image, layers)
    mask = masks.sigmoid(scene.depth, 0.8, 20, invert=True)
    fits, differences = True, []
    for one in features.values():
        at = masks.at_layer(mask, *one.shape[-2:])
        fits &= at.shape[-2:] == one.shape[-2:]
        interpolated = F.interpolate(scene.depth, one.shape[-2:], mode="bilinear")
        theirs = masks.sigmoid(interpolated, 0.8, 20, invert=True)
        differences.append(float((at - theirs).abs().mean()))
    return {
        "outside_range": float(outside),
        "depth_span": float(scene.depth.max() - scene.depth.min()),
        "masks_fit": float(fits),
        "mask_difference": sum(differences) / len(differences),
    }


def depth_effect(without: Run, with_it: Run, most: Run) -> Numbers:
    """What C12 and C13 need of the runs."""
    return {
        "depth_without": float(without.summary["terms"]["depth"]),
        "depth_with": float(with_it.summary["terms"]["depth"]),
        "depth_most": float(most.summary["terms"]["depth"]),
        "depth_total": total(with_it),
        "depth_steps": float(with_it.summary["steps"]),
        "rises_without": rises(curve(without)),
        "rises_with": rises(curve(with_it)),
        "settled_without": float(settled(curve(without))),
        "settled_with": float(settled(curve(with_it))),
    }


@dataclass(frozen=True)
class Restless:
    """How a run with the depth loss went.

    Attributes:
        name: what it is, in words.
        rises: see `rises`, of the total.
        depth_rises: the same, of the depth term.
        settled: see `settled`, in steps.
        steps: that it made.
        unexplained: part of the photo's disparity that the pastiche's leaves unexplained.
    """

    name: str
    rises: float
    depth_rises: float
    settled: int
    steps: int
    unexplained: float


def restless(name: str, run: Run, unexplained: float) -> Restless:
    """How a run with the depth loss went."""
    values = curve(run)
    depth = [value for value in run.terms["depth"] if value > 0]
    return Restless(
        name,
        rises(values),
        rises(depth) if len(depth) > 1 else math.nan,
        settled(values),
        int(run.summary["steps"]),
        unexplained,
    )


def sharpness(without: Run, with_it: Run) -> Numbers:
    """What C15 needs: detail near over detail far, as in the photo 1."""
    found: Numbers = {}
    for name, run in (("without", without), ("with", with_it)):
        pictures = pictures_of(run)
        near, far = metrics.sharpness(pictures.pastiche, pictures.content, _depth(pictures))
        if not (math.isfinite(near) and far > 0):
            raise Unmeasurable("the photo or the pastiche has no detail near or far")
        found[f"near_over_far_{name}"] = near / far
    return found


def _depth(pictures: Pictures) -> Tensor:
    if pictures.depth is None:
        raise Unmeasurable("the run wrote no depth")
    return pictures.depth


def flat_detail(without: Run, with_it: Run) -> Numbers:
    """What C16 needs: what is left of near edges of the photo at which depth has none.

    The cosine between the gradients of the pastiche's and the photo's luminance, over the strongest
    fifth of the photo's gradients among the positions of the nearest third whose depth changes less
    than it does at the median of them.
    """
    found: Numbers = {}
    for name, run in (("without", without), ("with", with_it)):
        pictures = pictures_of(run)
        depth = F.avg_pool2d(_depth(pictures), 2)
        photo, pastiche = (
            _gradient(F.avg_pool2d(luminance(x), 2)) for x in (pictures.content, pictures.pastiche)
        )
        near = depth <= depth.flatten().quantile(1 / 3)
        change, edge = _gradient(depth).norm(dim=1, keepdim=True), photo.norm(dim=1, keepdim=True)
        flat = near & (change <= change[near].quantile(0.5))
        where = flat & (edge >= edge[flat].quantile(0.8))
        one, other = (x[where.expand_as(x)] for x in (photo, pastiche))
        if not float(one.norm()) > 0:
            raise Unmeasurable("the photo has no detail near where depth has none")
        found[f"detail_{name}"] = float(F.cosine_similarity(one, other, dim=0))
    return found


def _gradient(image: Tensor) -> Tensor:
    """(1, 1, H, W) to (1, 2, H, W): differences down and across, of equal size."""
    padded = F.pad(image, (0, 1, 0, 1), mode="replicate")
    down, across = padded.diff(dim=2)[..., :-1], padded.diff(dim=3)[..., :-1, :]
    return torch.cat([down, across], dim=1)


@dataclass(frozen=True)
class Part:
    """Numbers that are measured together.

    Attributes:
        names: of the numbers.
        runs: that they need, by method.
        measure: from those runs to the numbers.
    """

    names: Sequence[str]
    runs: Sequence[str]
    measure: Callable[..., Mapping[str, float]]


def gather(
    parts: Sequence[Part], runs: Mapping[str, Run], without: Mapping[str, str]
) -> tuple[Numbers, dict[str, str]]:
    """Every number that can be had, and why others cannot.

    Args:
        parts: what to measure.
        runs: the finished ones by method.
        without: why others are not, by method.
    """
    numbers: Numbers = {}
    reasons: dict[str, str] = {}
    for part in parts:
        missing = [name for name in part.runs if name not in runs]
        try:
            if missing:
                raise Unmeasurable(without.get(missing[0], f"the run {missing[0]} is not there"))
            for name, value in part.measure(*(runs[name] for name in part.runs)).items():
                if math.isfinite(value):
                    numbers[name] = value
                else:
                    reasons[name] = f"these runs give no {name.replace('_', ' ')}"
        except (Unmeasurable, OSError, KeyError, ValueError) as error:
            why = f"{error}" if isinstance(error, ValueError) else f"not measured: {error!r}"
            reasons |= dict.fromkeys(part.names, why)
    return numbers, reasons
