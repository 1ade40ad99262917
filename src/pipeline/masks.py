"""The masks of a run from their nodes in the configuration."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from src import masks
from src.core.errors import InputError
from src.inputs import Scene
from src.inputs.pictures import read
from src.pipeline.networks import instantiate, omit, target
from src.pipeline.schema import Config, Node

log = logging.getLogger(__name__)
LEAST_SHARE = 0.1  # of the picture, on either side of a border


def mask_nodes(config: Config) -> list[Node]:
    """The nodes of all masks, and of what they are multiplied with."""
    nodes = [term.get("mask") for term in config.loss.terms.values()]
    nodes += [style.mask for style in config.styles.values()]
    for node in nodes:  # while it grows
        if node and node.get("times"):
            nodes.append(node["times"])
    return [node for node in nodes if node]


def need_depth(config: Config) -> bool:
    """Whether there is a mask that is not only drawn."""
    return any(node.get("_target_") != "src.masks.file" for node in mask_nodes(config))


def auto_threshold(config: Config, scene: Scene) -> float | None:
    """The number that `auto` stands for, of the whole scene; None where no mask asks for it."""
    if not any("auto" in node.values() for node in mask_nodes(config)):
        return None
    assert scene.depth is not None
    assert scene.valid is not None
    return masks.otsu_threshold(scene.depth, scene.valid)


def term_masks(
    config: Config, depth: Tensor | None, auto: float | None, guide: Tensor | None = None
) -> dict[str, Tensor]:
    """The masks of terms that have one, (1, 1, H, W) in [0, 1], by the term's name.

    Args:
        config: the configuration.
        depth: (1, 1, H, W) in [0, 1].
        auto: `auto_threshold`.
        guide: (1, 3, H, W), the image whose silhouettes masks of depth are brought to, if any.

    Raises:
        InputError: no such mask function, or settings that it does not take.
    """
    nodes = {name: term.get("mask") for name, term in config.loss.terms.items()}
    built = {
        name: _mask(f"loss.{name}.mask", node, depth, auto, guide) for name, node in nodes.items()
    }
    return {name: mask for name, mask in built.items() if mask is not None}


def style_masks(
    config: Config, depth: Tensor | None, auto: float | None, guide: Tensor | None = None
) -> dict[str, Tensor | None]:
    """The mask of every style, None: everywhere; arguments and errors are those of `term_masks`.

    With `loss.normalize_masks` the squares of several sum to 1 at every pixel.
    """
    built: dict[str, Tensor | None] = {}
    for name, style in config.styles.items():
        mask = _mask(f"styles.{name}.mask", style.mask, depth, auto, guide)
        built[name] = 1 - mask if style.invert and mask is not None else mask
    given = [mask for mask in built.values() if mask is not None]
    if not config.loss.normalize_masks or len(built) == 1 or not given:
        return built
    ones = torch.ones_like(given[0])
    return {**masks.normalize_masks({n: ones if m is None else m for n, m in built.items()})}


def _mask(
    key: str,
    node: Node | None,
    depth: Tensor | None,
    auto: float | None,
    guide: Tensor | None,
) -> Tensor | None:
    if node is None:
        return None
    assert depth is not None
    times = _mask(f"{key}.times", node.get("times"), depth, auto, guide)
    settings = {k: auto if value == "auto" else value for k, value in omit(node, "times").items()}
    inputs = [depth]
    if target(key, node) is masks.file:
        inputs.append(_drawn(f"{key}.path", settings.pop("path", None), depth))
    mask: Tensor = instantiate(key, settings, *inputs).clamp(0, 1)
    if guide is not None and target(key, node) not in (masks.file, masks.edges):
        mask = masks.refine(mask, guide)
    return mask if times is None else mask * times


def _drawn(key: str, path: object, depth: Tensor) -> Tensor:
    """The picture of a drawn mask, (1, 3, h, w); what is transparent is black."""
    if not isinstance(path, str | int | float):
        raise InputError(
            key, "nothing", "a picture: white where the mask is 1, black where it is 0"
        )
    picture = read(Path(str(path)).expanduser(), key=key)
    image = picture.image if picture.alpha is None else picture.image * picture.alpha
    (height, width), (rows, columns) = image.shape[-2:], depth.shape[-2:]
    if abs(math.log(height * columns / (width * rows))) > 0.03:
        got = f"'{path}', a picture of {width} x {height} pixels"
        raise InputError(key, got, f"one of the photo's shape, {columns} x {rows} or a multiple")
    if image.min() > 0 and image.max() - image.min() < 0.01 and image.max() < 1:
        raise InputError(key, f"'{path}', one grey everywhere", "white and black")
    return image


def warn_of_shares(config: Config, found: Mapping[str, Tensor], depth: Tensor) -> None:
    """Say which masks of depth select nearly nothing or nearly all, and what would part it evenly.

    Args:
        config: the configuration.
        found: the masks, (1, 1, H, W), by `mask_` and the name of their style or term.
        depth: (1, 1, H, W) in [0, 1].
    """
    nodes = {f"styles.{name}.mask": (name, style.mask) for name, style in config.styles.items()}
    terms = config.loss.terms.items()
    nodes |= {f"loss.{name}.mask": (name, term.get("mask")) for name, term in terms}
    for key, (name, node) in nodes.items():
        if node is None or target(key, node) is masks.edges:  # which part nothing
            continue
        border = next((x for x in ("center", "threshold") if x in node), None)
        share = float(found[f"mask_{name}"].mean()) if border else 0.5
        if not LEAST_SHARE <= share <= 1 - LEAST_SHARE:
            half = f"{key}.{border}={float(depth.median()):.2f} would part it in halves"
            log.warning("%s selects %.1f %% of the picture; %s", key, 100 * share, half)


def style_coverage(style_masks: Mapping[str, Tensor | None]) -> Tensor | None:
    """Where any style goes, (1, 1, H, W) in [0, 1]; None: everywhere."""
    squares = [mask.square() for mask in style_masks.values() if mask is not None]
    if len(squares) < len(style_masks):
        return None
    return torch.stack(squares).sum(0).sqrt().clamp(max=1)
