"""The masks of a run from their nodes in the configuration."""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import ImageColor
from torch import Tensor

from src import masks
from src.core.errors import InputError
from src.inputs import Scene
from src.inputs.pictures import read
from src.pipeline.networks import instantiate, omit, target
from src.pipeline.schema import Config, Name, Node, Paintings

log = logging.getLogger(__name__)
LEAST_BAND = 0.03  # of a style's pixels, with strokes of a size of their own
LEAST_PIXELS = 512  # two positions of a layer of stride 16
LEAST_SHARE = 0.1  # of the picture, on either side of a border


def mask_nodes(config: Config) -> list[Node]:
    """The nodes of all masks, and of what they are multiplied with."""
    nodes = [term.get("mask") for term in config.loss.terms.values()]
    nodes += [style.mask for style in config.styles.values()]
    for node in nodes:  # while it grows
        if node and node.get("times"):
            nodes.append(node["times"])
    return [node for node in nodes if node]


class Band(NamedTuple):
    """One painting of a style at one of the sizes of its strokes, and where it goes."""

    style: str  # the style's name in the configuration
    mask: Tensor | None  # (1, 1, H, W) in [0, 1]; None: everywhere
    scale: float = 1.0  # of the style image's size
    share: float = 1.0  # of the style's weight
    depth: float = 0.0  # the mean in [0, 1] of where it goes
    path: Name | None = None  # of the painting


def need_depth(config: Config) -> bool:
    """Whether depth steers strokes or light, or there is a mask that is not only drawn."""
    if config.haze > 0 or config.depth_darkening > 0:
        return True
    if any(style.octaves > 1 for style in config.styles.values()):
        return True
    return any(node.get("_target_") != "src.masks.file" for node in mask_nodes(config))


def auto_threshold(config: Config, scene: Scene) -> float | None:
    """The number that `auto` stands for, of the whole scene; None where no mask asks for it."""
    if not any("auto" in node.values() for node in mask_nodes(config)):
        return None
    assert scene.depth is not None
    assert scene.valid is not None
    return masks.otsu_threshold(scene.depth, scene.valid)


def is_refined(config: Config, scene: Scene) -> bool:
    """Whether masks of depth are brought to the photo's silhouettes."""
    return scene.is_estimated if config.refine_masks == "auto" else config.refine_masks


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


def style_bands(
    config: Config, depth: Tensor, masks_of_styles: Mapping[str, Tensor | None], far: float
) -> dict[str, Band]:
    """Every style by its name, or its parts: paintings by their names, and bands of depth.

    A band's number follows the name, from 1, the nearest.

    Args:
        config: the configuration.
        depth: (1, 1, H, W) in [0, 1].
        masks_of_styles: `style_masks`.
        far: how many times as far away the farthest point is as the nearest.

    Raises:
        InputError: two parts would have the same name.
    """
    found: dict[str, Band] = {}
    for style, mask in masks_of_styles.items():
        bands = _bands(config, style, depth, mask, far)
        for number, band in bands.items():
            for painting, path, share in paintings(config.styles[style].path, band.share):
                name = "_".join([style, *filter(None, (number, painting))])
                if name in found:
                    got = f"the name of a part of {found[name].style}, too"
                    raise InputError(f"styles.{name}", got, "another name")
                found[name] = band._replace(path=path, share=share)
    return found


def _bands(
    config: Config, name: str, depth: Tensor, mask: Tensor | None, far: float
) -> dict[str, Band]:
    """The bands of a style by their numbers, or the whole of it."""
    style = config.styles[name]
    squares = torch.ones_like(depth) if mask is None else mask.square()
    if style.octaves == 1 or not squares.any():
        return {"": Band(name, mask, depth=_mean(depth, squares))}
    ratio = 1 + (far - 1) * depth
    parts = masks.octaves(ratio / _median(ratio, squares), style.octaves, style.exponent)
    bands: dict[str, Band] = {}
    for number, part in enumerate(_merge_small(parts.square() * squares).split(1)):
        if part.any():
            scale = 2 ** ((style.octaves - 1) / 2 - number)
            share = float(part.sum() / squares.sum())
            bands[str(number + 1)] = Band(name, part.sqrt(), scale, share, _mean(depth, part))
    return bands


def paintings(paths: Paintings | None, share: float) -> list[tuple[str, Name | None, float]]:
    """The name of each, where there are several, its path, and its part of the share."""
    if paths is None or isinstance(paths, Name):
        return [("", paths, share)]
    weights = dict(paths) if isinstance(paths, Mapping) else dict.fromkeys(paths, 1.0)
    total = sum(weights.values()) or 1.0
    names = [re.sub(r"\W+", "_", Path(str(path)).stem) for path in weights]
    unique = [x if names.count(x) == 1 else f"{x}_{k}" for k, x in enumerate(names, 1)]
    shares = (share * weight / total for weight in weights.values())
    return list(zip(unique, weights, shares, strict=True))


def _merge_small(squares: Tensor) -> Tensor:
    """Bands, (N, 1, H, W), less those too small for statistics: the nearest other has them, too."""
    squares = squares.clone()
    sums = dict(enumerate(squares.sum((1, 2, 3)).tolist()))
    least = max(LEAST_BAND * sum(sums.values()), LEAST_PIXELS)
    while len(sums) > 1 and min(sums.values()) < least:
        small = min(sums, key=lambda number: sums[number])
        size = sums.pop(small)
        nearest = min(sums, key=lambda number: abs(number - small))
        sums[nearest] += size
        squares[nearest] += squares[small]
        squares[small] = 0
    return squares


def _mean(x: Tensor, weights: Tensor) -> float:
    return float((x * weights).sum() / weights.sum().clamp(min=1e-9))


def _median(x: Tensor, weights: Tensor) -> float:
    values, order = x.flatten().sort()
    sums = weights.flatten()[order].double().cumsum(0)
    return float(values[torch.searchsorted(sums, sums[-1] / 2)])


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
        picture = drawn(f"{key}.path", settings.pop("path", None), depth)
        _check_color(key, settings.get("color"), picture)
        inputs.append(picture)
    mask: Tensor = instantiate(key, settings, *inputs).clamp(0, 1)
    if guide is not None and target(key, node) not in (masks.file, masks.edges):
        mask = masks.refine(mask, guide)
    return mask if times is None else mask * times


def _check_color(key: str, color: object, picture: Tensor) -> None:
    """Refuse what is no colour, and a drawing in colours that says nothing without one."""
    if color is None:
        grey = picture.mean(1)
        if grey.max() - grey.min() < 0.01 < picture.max() - picture.min():
            got = "nothing, and a picture in colours of one brightness"
            raise InputError(f"{key}.color", got, "one of its colours; or white and black")
        return
    try:
        ImageColor.getrgb(str(color))
    except ValueError as error:
        expected = "a colour's name, or #rrggbb in quotes: 'mask.color=\"#ff8000\"'"
        raise InputError(f"{key}.color", repr(color), expected) from error


def drawn(key: str, path: object, image: Tensor, whose: str = "photo") -> Tensor:
    """The picture of a drawn mask, (1, 3, h, w); what is transparent is black.

    Raises:
        InputError: none is given or can be read, it has one grey everywhere, or another shape than
            the image, (1, C, H, W), of which the error says `whose` it is.
    """
    if not isinstance(path, str | int | float):
        raise InputError(
            key, "nothing", "a picture: white where the mask is 1, black where it is 0"
        )
    picture = read(Path(str(path)).expanduser(), key=key)
    drawing = picture.image if picture.alpha is None else picture.image * picture.alpha
    (height, width), (rows, columns) = drawing.shape[-2:], image.shape[-2:]
    if abs(math.log(height * columns / (width * rows))) > 0.03:
        got = f"'{path}', a picture of {width} x {height} pixels"
        raise InputError(key, got, f"one of the {whose}'s shape, {columns} x {rows} or a multiple")
    if drawing.min() > 0 and drawing.max() - drawing.min() < 0.01 and drawing.max() < 1:
        raise InputError(key, f"'{path}', one grey everywhere", "white and black")
    return drawing


def warn_of_idle(config: Config) -> None:
    """Say where `mask` was set and no style or term has it."""
    node = config.mask
    if node and node.get("_target_") != "src.masks.uniform" and node not in mask_nodes(config):
        experiments = "+experiment=masked_style, masked_content or two_styles"
        log.warning("mask: nothing in this run uses it; %s does", experiments)


def warn_of_bands(config: Config, bands: Mapping[str, Band]) -> None:
    """Say which styles have strokes of one size only though they could have several."""
    for name, style in config.styles.items():
        if style.octaves > 1 and sum(band.style == name for band in bands.values()) == 1:
            hint = f"a larger picture, or styles.{name}.exponent={2 * style.exponent or 1:g}"
            text = "styles.%s.octaves: strokes of one size, for its depths differ little; try %s"
            log.warning(text, name, hint)


def warn_of_shares(config: Config, found: Mapping[str, Tensor | None], depth: Tensor) -> None:
    """Say which masks of depth select nearly nothing or nearly all, and what would part it evenly.

    Args:
        config: the configuration.
        found: the masks, (1, 1, H, W), by the name of their style or term.
        depth: (1, 1, H, W) in [0, 1].
    """
    nodes = {f"styles.{name}.mask": (name, style.mask) for name, style in config.styles.items()}
    terms = config.loss.terms.items()
    nodes |= {f"loss.{name}.mask": (name, term.get("mask")) for name, term in terms}
    for key, (name, node) in nodes.items():
        if node is None or target(key, node) is masks.edges:  # which part nothing
            continue
        border = next((x for x in ("center", "threshold") if x in node), None)
        mask = found.get(name)
        share = float(mask.mean()) if border and mask is not None else 0.5
        if not LEAST_SHARE <= share <= 1 - LEAST_SHARE:
            half = f"{key}.{border}={float(depth.median()):.2f} would part it in halves"
            log.warning("%s selects %.1f %% of the picture; %s", key, 100 * share, half)


def style_coverage(style_masks: Mapping[str, Tensor | None]) -> Tensor | None:
    """Where any style goes, (1, 1, H, W) in [0, 1]; None: everywhere."""
    squares = [mask.square() for mask in style_masks.values() if mask is not None]
    if len(squares) < len(style_masks):
        return None
    return torch.stack(squares).sum(0).sqrt().clamp(max=1)
