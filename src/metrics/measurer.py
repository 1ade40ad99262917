"""From the pictures of a run to its numbers by name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from src.backbones import Backbone, check_size
from src.depth_nets import DepthNet
from src.depth_nets.network import FAR_OVER_NEAR
from src.losses import aligned_depth_loss, gram_matrix
from src.masks import downsample_mask
from src.metrics.content import (
    edge_agreement,
    feature_change,
    feature_distance,
    self_similarity,
    ssim,
)
from src.metrics.depth import depth_scores, guessed_depth
from src.metrics.occlusion import edge_recall, occlusion_edges, tone_separation
from src.metrics.regions import change, leakage, preserved_change, sharpness
from src.metrics.strokes import Gram, contrast_slope, painting_scales, stroke_slope
from src.metrics.style import gram_distance, quantiles, wasserstein

# LPIPS's layers by name, of VGG-19; the loss uses none of them unless it is told to.
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
SIMILARITY = "relu3_1"  # CFSD's
REGIONAL = "relu2_2"  # whose positions are small enough to lie on one side of a border
STYLE_KEYS = ("style_gram", "style_swd", "style_gram_masked", "style_swd_masked")
WHOLE = 0.99  # a mask that is nowhere less than this preserves nothing
NOTHING = 0.01  # and one that is nowhere more than this allows no style

Features = Mapping[str, Tensor]
StyleTargets = Mapping[str, tuple[Tensor, Tensor]]  # Gram matrix and quantiles by layer


@dataclass(frozen=True)
class GroundTruthDepth:
    """Depth that was measured."""

    depth: Tensor  # (1, 1, H, W), in `unit`
    valid: Tensor  # (1, 1, H, W) bool, where it was measured
    unit: str  # `m` or `relative`


@dataclass(frozen=True)
class Pictures:
    """The inputs of a run, and its pastiche; all in [0, 1], maps (1, 1, H, W)."""

    pastiche: Tensor  # (1, 3, H, W)
    content: Tensor  # (1, 3, H, W)
    styles: Mapping[str, Tensor]  # by name, (1, 3, h, w)
    style_masks: Mapping[str, Tensor] = field(default_factory=dict)  # of the styles that have one
    style_regions: Mapping[str, Tensor] = field(default_factory=dict)  # (1, 1, h, w), that count
    content_mask: Tensor | None = None  # 1 where content is kept
    depth: Tensor | None = None  # the program's, 0 near
    ground_truth: GroundTruthDepth | None = None
    is_one_painting: bool = False  # whether the styles are one painting's sizes


def style_region(pictures: Pictures) -> Tensor | None:
    """Where the masks allow style, (1, 1, H, W) in [0, 1]; None where they allow it everywhere.

    Style masks say it if every style has one; else the complement of a content mask does.
    """
    masks = pictures.style_masks
    if masks and set(masks) == set(pictures.styles):
        region = torch.stack(list(masks.values())).square().sum(0).sqrt().clamp(max=1)
    elif pictures.content_mask is not None:
        region = 1 - pictures.content_mask
    else:
        return None
    return region if region.min() < WHOLE and region.max() > NOTHING else None


class Measurer:
    """Measures pastiches by VGG-19 and a depth network (None: no depth).

    Targets of style images and of the last content image are computed once.
    """

    def __init__(self, backbone: Backbone, depth_net: DepthNet | None) -> None:
        self.backbone = backbone
        self.depth_net = depth_net
        self._style_targets: dict[bytes, StyleTargets] = {}
        self._painting: tuple[bytes, Mapping[float, Gram]] | None = None
        self._content: tuple[bytes, Features, Tensor | None] | None = None

    @torch.no_grad()
    def measure(self, pictures: Pictures, naive: Tensor | None = None) -> dict[str, float]:
        """Every number that these pictures have: finite ones of `runs.quantities.METRICS`.

        `naive` is the pastiche of the same settings without masks; of another size it is ignored.

        Raises:
            InputError: pictures too small for the network.
        """
        pastiche, content, depth = pictures.pastiche, pictures.content, pictures.depth
        check_size(content, self.backbone, list(LAYERS), "size")
        target, content_disparity = self._content_targets(content)
        features = self.backbone.features(pastiche, [*LAYERS, SIMILARITY])
        numbers = {
            **self._style(features, pictures),
            "feature_distance": feature_distance({n: features[n] for n in LAYERS}, target),
            "self_similarity": self_similarity(features[SIMILARITY], target[SIMILARITY]),
            "ssim": ssim(pastiche, content),
            "edge_f1": edge_agreement(pastiche, content),
        }
        if pictures.ground_truth is not None:
            numbers |= _at_occlusion_edges(pastiche, content, pictures.ground_truth)
        if self.depth_net is not None and content_disparity is not None:
            disparity = self.depth_net.predict(pastiche)
            numbers |= _depth(disparity, content_disparity, pictures.ground_truth)
            # As the loss has them: `predict` may resize the picture first.
            pair = [self.depth_net.disparity(image, {}) for image in (pastiche, content)]
            numbers["depth_term"] = float(aligned_depth_loss(*pair))
            if depth is None:
                depth = guessed_depth(content_disparity)
        if depth is not None:
            numbers |= self._by_distance(pictures, depth)
            near, far = sharpness(pastiche, content, depth)
            numbers |= {"sharpness_near": near, "sharpness_far": far}
            numbers["sharpness_near_over_far"] = near / far if far > 0 else math.nan
        region = style_region(pictures)
        if region is not None:
            numbers |= _mask_adherence(pictures, region, naive)
            changed = feature_change(features[REGIONAL], target[REGIONAL])
            small = F.interpolate(region, changed.shape[-2:], mode="area")
            numbers["kept_ratio_features"] = preserved_change(changed, small).ratio
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def _style(self, features: Features, pictures: Pictures) -> dict[str, float]:
        """Distances to each style image: of the whole pastiche, and of what lies in its mask."""
        values: dict[str, list[float]] = {}
        for name, image in pictures.styles.items():
            targets = self._targets_of_style(image, pictures.style_regions.get(name))
            mask = pictures.style_masks.get(name)
            whole = _distances(features, targets, None)
            masked = whole if mask is None else _distances(features, targets, mask)
            for key, value in zip(STYLE_KEYS, (*whole, *masked), strict=True):
                values.setdefault(key, []).append(value)
            if len(pictures.styles) > 1:
                values |= {f"{key}_{name}": [values[key][-1]] for key in STYLE_KEYS[2:]}
        return {key: sum(of_styles) / len(of_styles) for key, of_styles in values.items()}

    def _by_distance(self, pictures: Pictures, depth: Tensor) -> dict[str, float]:
        """How strokes and contrast change with the distance, as measured or guessed."""
        pastiche, truth = pictures.pastiche, pictures.ground_truth
        if truth is not None and truth.unit == "m":
            depth = truth.depth
        elif depth is pictures.depth:
            depth = 1 + (FAR_OVER_NEAR - 1) * depth
        numbers = {"contrast_slope": contrast_slope(pastiche, depth)}
        if pictures.is_one_painting:
            images = sorted(pictures.styles.values(), key=lambda image: image.numel())
            largest, usual = images[-1], math.sqrt(images[0].shape[-1] / images[-1].shape[-1])
            key = _key(largest) + f"{usual} {pastiche.shape}".encode()
            if self._painting is None or self._painting[0] != key:
                side = max(pastiche.shape[-2:])
                self._painting = key, painting_scales(self.backbone, largest, usual, side)
            scales = self._painting[1]
            numbers["stroke_slope"] = stroke_slope(self.backbone, pastiche, depth, scales)
        return numbers

    def _targets_of_style(self, image: Tensor, region: Tensor | None) -> StyleTargets:
        key = _key(image) + (b"" if region is None else _key(region))
        if key not in self._style_targets:
            layers = self.backbone.features(image, LAYERS).items()
            self._style_targets[key] = {n: _statistics(x, region) for n, x in layers}
        return self._style_targets[key]

    def _content_targets(self, image: Tensor) -> tuple[Features, Tensor | None]:
        """Features and disparity of the content image."""
        key, net = _key(image), self.depth_net
        if self._content is None or self._content[0] != key:
            features = self.backbone.features(image, [*LAYERS, SIMILARITY])
            disparity = None
            if net is not None and min(image.shape[-2:]) >= net.smallest_side:
                disparity = net.predict(image)
            self._content = key, features, disparity
        return self._content[1:]


def _key(image: Tensor) -> bytes:
    return str(tuple(image.shape)).encode() + image.contiguous().numpy().tobytes()


def _statistics(features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    small = None if mask is None else downsample_mask(mask, *features.shape[-2:])
    return gram_matrix(features, small), quantiles(features, small)


def _distances(features: Features, targets: StyleTargets, mask: Tensor | None) -> list[float]:
    """Means over layers of the Gram and of the sliced Wasserstein distance; NaN in no mask."""
    if mask is not None and mask.max() < NOTHING:
        return [math.nan, math.nan]
    grams, swds = [], []
    for layer in LAYERS:
        own, of_style = _statistics(features[layer], mask), targets[layer]
        grams.append(gram_distance(own[0], of_style[0]))
        swds.append(wasserstein(own[1], of_style[1]))
    return [sum(grams) / len(grams), sum(swds) / len(swds)]


def _at_occlusion_edges(
    pastiche: Tensor, content: Tensor, truth: GroundTruthDepth
) -> dict[str, float]:
    edges = occlusion_edges(truth.depth, truth.valid)
    return {
        "occlusion_edge_recall": edge_recall(pastiche, edges),
        "occlusion_tone_separation": tone_separation(pastiche, content, truth.depth, edges),
    }


def _depth(seen: Tensor, of_content: Tensor, truth: GroundTruthDepth | None) -> dict[str, float]:
    """The pastiche's depth against the content image's, and both against what was measured."""
    pairs = {"depth": depth_scores(seen, guessed_depth(of_content))}
    if truth is not None:
        pairs["sensor"] = depth_scores(seen, truth.depth, truth.valid)
        pairs["content_sensor"] = depth_scores(of_content, truth.depth, truth.valid)
    scores = {pair: scores._asdict().items() for pair, scores in pairs.items()}
    return {f"{pair}_{name}": value for pair in scores for name, value in scores[pair]}


def _mask_adherence(pictures: Pictures, region: Tensor, naive: Tensor | None) -> dict[str, float]:
    """How much of the change lies where the masks allow it."""
    changed = change(pictures.pastiche, pictures.content)
    mean, ratio, share = preserved_change(changed, region)
    numbers = {"kept_change": mean, "kept_ratio": ratio, "kept_share": share}
    if 0 < (region >= 0.5).sum() < region.numel():
        numbers["leakage_px"] = leakage(changed, region)
    if naive is not None and naive.shape == pictures.pastiche.shape:
        without = preserved_change(change(naive, pictures.content), region).mean
        numbers["kept_over_naive"] = mean / without if without > 0 else math.nan
    return numbers
