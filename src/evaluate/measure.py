"""From the pictures of a run to its numbers by name."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from src import metrics
from src.backbones import Backbone
from src.depth_nets import DepthNet
from src.losses import aligned_depth_loss, gram_matrix
from src.masks import at_layer
from src.objective import check_size

# LPIPS's layers by name, of VGG-19; the loss uses none of them unless it is told to.
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
SIMILARITY = "relu3_1"  # CFSD's
REGIONAL = "relu2_2"  # whose positions are small enough to lie on one side of a border
WHOLE = 0.99  # a mask that is nowhere less than this keeps nothing
NOTHING = 0.01  # and one that is nowhere more than this allows nothing

Features = Mapping[str, Tensor]


@dataclass(frozen=True)
class Sensor:
    """Depth that was measured.

    Attributes:
        depth: (1, 1, H, W), in `unit`.
        valid: (1, 1, H, W) bool, where it was measured.
        unit: `m` or `relative`.
    """

    depth: Tensor
    valid: Tensor
    unit: str


@dataclass(frozen=True)
class Pictures:
    """What a run was given, and what came of it.

    Attributes:
        pastiche: (1, 3, H, W) in [0, 1].
        content: the photo, same shape.
        styles: the paintings by name, (1, 3, h, w).
        style_masks: by style name, (1, 1, H, W) in [0, 1], for those that have one.
        content_mask: (1, 1, H, W) in [0, 1], 1 where content is kept.
        depth: (1, 1, H, W) in [0, 1], the program's, 0 near.
        sensor: where depth was measured.
    """

    pastiche: Tensor
    content: Tensor
    styles: Mapping[str, Tensor]
    style_masks: Mapping[str, Tensor] = field(default_factory=dict)
    content_mask: Tensor | None = None
    depth: Tensor | None = None
    sensor: Sensor | None = None


def allowed(pictures: Pictures) -> Tensor | None:
    """Where the masks allow change, (1, 1, H, W) in [0, 1]; None where they allow it everywhere.

    Style masks say it if every style has one; else a content mask does, which is 1 where content is
    to be kept.
    """
    masks = pictures.style_masks
    if masks and set(masks) == set(pictures.styles):
        where = torch.stack(list(masks.values())).square().sum(0).sqrt().clamp(max=1)
    elif pictures.content_mask is not None:
        where = 1 - pictures.content_mask
    else:
        return None
    return where if where.min() < WHOLE and where.max() > NOTHING else None


@dataclass(frozen=True)
class _Painting:
    """What is compared of a painting: by layer, small."""

    grams: Features
    quantiles: Features


@dataclass(frozen=True)
class _Photo:
    """What is compared of a photo."""

    features: Features
    disparity: Tensor | None


class Measurer:
    """Measures pastiches; what runs have in common, paintings and the last photo, it looks at once.

    Args:
        backbone: VGG-19; the numbers of another network are others.
        judge: the depth network that says what depth is seen; None measures no depth.
    """

    def __init__(self, backbone: Backbone, judge: DepthNet | None) -> None:
        self.backbone = backbone
        self.judge = judge
        self._paintings: dict[bytes, _Painting] = {}
        self._photo: tuple[bytes, _Photo] | None = None

    @torch.no_grad()
    def measure(self, pictures: Pictures, naive: Tensor | None = None) -> dict[str, float]:
        """Every number that can be had of these pictures.

        Args:
            pictures: of the run.
            naive: the pastiche of the same settings without masks, (1, 3, H, W).

        Returns:
            Finite numbers by name; `docs/evidence.md` says what they are.

        Raises:
            InputError: pictures too small for the network.
        """
        check_size(pictures.content, self.backbone, list(LAYERS), "size")
        photo = self._photo_of(pictures.content)
        features = self.backbone.features(pictures.pastiche, [*LAYERS, SIMILARITY])
        numbers = self._style(features, pictures)
        numbers |= {
            "feature_distance": metrics.feature_distance(_only(features), _only(photo.features)),
            "self_similarity": metrics.self_similarity(
                features[SIMILARITY], photo.features[SIMILARITY]
            ),
            "ssim": metrics.ssim(pictures.pastiche, pictures.content),
            "edge_f1": metrics.edge_agreement(pictures.pastiche, pictures.content),
        }
        depth = pictures.depth
        if self.judge is not None and photo.disparity is not None:
            numbers |= _depth(self.judge.estimate(pictures.pastiche), photo.disparity, pictures)
            seen = [self.judge.disparity(x, {}) for x in (pictures.pastiche, pictures.content)]
            numbers["depth_term"] = float(aligned_depth_loss(*seen))
            if depth is None:
                depth = metrics.guessed_depth(photo.disparity)
        if depth is not None:
            near, far = metrics.sharpness(pictures.pastiche, pictures.content, depth)
            numbers |= {"sharpness_near": near, "sharpness_far": far}
            numbers["sharpness_near_over_far"] = near / far if far > 0 else math.nan
        where = allowed(pictures)
        if where is not None:
            numbers |= _obedience(pictures, where, naive)
            changed = metrics.feature_change(features[REGIONAL], photo.features[REGIONAL])
            at = F.interpolate(where, changed.shape[-2:], mode="area")
            numbers["kept_ratio_features"] = metrics.kept_change(changed, at).ratio
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def _style(self, features: Features, pictures: Pictures) -> dict[str, float]:
        """Distances to each painting: of the whole pastiche, and of what lies in its mask."""
        found: dict[str, list[float]] = {}
        for name, image in pictures.styles.items():
            painting = self._painting_of(image)
            mask = pictures.style_masks.get(name)
            gram, swd = _style_distances(features, painting, None)
            masked = (gram, swd) if mask is None else _style_distances(features, painting, mask)
            values = {
                "style_gram": gram,
                "style_swd": swd,
                "style_gram_masked": masked[0],
                "style_swd_masked": masked[1],
            }
            for key, value in values.items():
                found.setdefault(key, []).append(value)
            if len(pictures.styles) > 1:
                found[f"style_gram_masked_{name}"] = [masked[0]]
                found[f"style_swd_masked_{name}"] = [masked[1]]
        return {key: sum(values) / len(values) for key, values in found.items()}

    def _painting_of(self, image: Tensor) -> _Painting:
        key = _key(image)
        if key not in self._paintings:
            features = self.backbone.features(image, LAYERS)
            self._paintings[key] = _Painting(
                {layer: gram_matrix(features[layer]) for layer in LAYERS},
                {layer: metrics.quantiles(features[layer]) for layer in LAYERS},
            )
        return self._paintings[key]

    def _photo_of(self, image: Tensor) -> _Photo:
        key = _key(image)
        if self._photo is None or self._photo[0] != key:
            features = self.backbone.features(image, [*LAYERS, SIMILARITY])
            seen = None
            if self.judge is not None and min(image.shape[-2:]) >= self.judge.smallest_side:
                seen = self.judge.estimate(image)
            self._photo = key, _Photo(features, seen)
        return self._photo[1]


def _key(image: Tensor) -> bytes:
    return str(tuple(image.shape)).encode() + image.contiguous().numpy().tobytes()


def _only(features: Features) -> dict[str, Tensor]:
    return {layer: features[layer] for layer in LAYERS}


def _style_distances(
    features: Features, painting: _Painting, mask: Tensor | None
) -> tuple[float, float]:
    """Means over layers of the Gram and of the sliced Wasserstein distance; NaN in no mask."""
    if mask is not None and mask.max() < NOTHING:
        return math.nan, math.nan
    grams, swds = [], []
    for layer in LAYERS:
        one = features[layer]
        at = None if mask is None else at_layer(mask, *one.shape[-2:])
        grams.append(metrics.gram_distance(gram_matrix(one, at), painting.grams[layer]))
        swds.append(metrics.wasserstein(metrics.quantiles(one, at), painting.quantiles[layer]))
    return sum(grams) / len(grams), sum(swds) / len(swds)


def _depth(seen: Tensor, of_photo: Tensor, pictures: Pictures) -> dict[str, float]:
    """Depth seen in the pastiche against that seen in the photo, and both against the sensor."""
    pairs = {"depth_": metrics.depth_scores(seen, metrics.guessed_depth(of_photo))}
    sensor = pictures.sensor
    if sensor is not None:
        pairs["sensor_"] = metrics.depth_scores(seen, sensor.depth, sensor.valid)
        pairs["content_sensor_"] = metrics.depth_scores(of_photo, sensor.depth, sensor.valid)
    return {
        f"{prefix}{name}": value
        for prefix, scores in pairs.items()
        for name, value in asdict(scores).items()
    }


def _obedience(pictures: Pictures, where: Tensor, naive: Tensor | None) -> dict[str, float]:
    """How much of the change lies where the masks allow it."""
    changed = metrics.change(pictures.pastiche, pictures.content)
    kept = metrics.kept_change(changed, where)
    numbers = {"kept_change": kept.mean, "kept_ratio": kept.ratio, "kept_share": kept.share}
    if 0 < (where >= 0.5).sum() < where.numel():
        numbers["leakage_px"] = metrics.leakage(changed, where)
    if naive is not None:
        without = metrics.kept_change(metrics.change(naive, pictures.content), where)
        numbers["kept_over_naive"] = kept.mean / without.mean if without.mean > 0 else math.nan
    return numbers
