"""From a configuration to the objects of a run."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from src import colors
from src.core import images
from src.core.errors import InputError
from src.core.settings import check_value
from src.depth_nets import DepthNet, depth_from_disparity
from src.depth_nets.network import FAR_OVER_NEAR
from src.inputs import Scene, load_style
from src.losses import Normalizer
from src.objective import Inputs, Objective, Style, Term
from src.pipeline.masks import (
    Band,
    auto_threshold,
    is_refined,
    need_depth,
    style_bands,
    style_coverage,
    style_masks,
    term_masks,
    warn_of_bands,
    warn_of_idle,
    warn_of_shares,
)
from src.pipeline.networks import (
    NetworkLoader,
    check_node,
    instantiate,
    name_settings,
    omit,
    target,
)
from src.pipeline.pictures import Frame, content_scene, style_image, style_region
from src.pipeline.schema import Config, Node
from src.stylization import STARTS, Level, OptimizerFactory, Stylization, starting_picture

MAX_UNTILED = 1536**2  # pixels; a larger picture goes through the network in tiles
TILE_SIZE = 1024  # px


@dataclass(frozen=True)
class Job:
    """What a run needs, built and checked."""

    stylization: Stylization
    scene: Scene
    images: dict[str, Tensor]  # what went in, by file name in inputs/
    mask_border: float | None  # the depth that `auto` gave; None where no mask asks for it
    # (1, 3, H, W) to the depth, (1, 1, H, W), that the depth term's network sees; None without one
    predict_depth: Callable[[Tensor], Tensor] | None = None


def build(config: Config, frame: Frame | None = None) -> Job:
    """Read the pictures, load the networks, compute the targets; of a clip's later frame, too.

    Raises:
        InputError: anything in the configuration that cannot be used, named by its key.
    """
    networks = NetworkLoader.of(config)
    has_depth_term = config.loss.terms["depth"].get("weight") is not None
    if frame is None:
        warn_of_idle(config)
        scene = content_scene(config, networks, has_depth_term or need_depth(config))
        auto = auto_threshold(config, scene)
    else:
        scene, auto = frame.scene, frame.mask_border
    finest, *coarse = [
        _pyramid_level(config, networks, scene, auto, config.pyramid.scale_factor**number, frame)
        for number in range(config.pyramid.levels)
    ]
    first, *finer = reversed([finest, *coarse])
    stylization = Stylization(
        first.objective,
        _start(config, first.image) if frame is None else frame.previous.image,
        _optimizer(config.optimizer, finest.coverage),
        clamp=config.clamp,
        finish=_finish(config, scene, finest.farthest),
        restart=_restart(config),
        levels=[
            Level(
                number * config.pyramid.steps_per_level,
                level.objective,
                level.image.shape[-2],
                level.image.shape[-1],
                _residual(config, level.image),
            )
            for number, level in enumerate(finer, 1)
        ],
    )
    inputs = {"content": scene.image}
    inputs |= {f"style_{name}": image for name, image in finest.styles.items()}
    if scene.depth is not None:
        inputs["depth"] = scene.depth
    inputs |= finest.masks
    predict_depth = None
    if has_depth_term:
        predict_depth = partial(_predict_depth, networks.depth_net)
        inputs["depth_estimated"] = predict_depth(scene.image)
    return Job(stylization, scene, inputs, auto, predict_depth)


def _predict_depth(net: DepthNet, image: Tensor) -> Tensor:
    net.to(image.device)  # a run leaves it on its own
    return depth_from_disparity(net.predict(image.detach().clamp(0, 1)))


class PyramidLevel(NamedTuple):
    """What a run needs at one size."""

    image: Tensor  # the content, (1, 3, H, W)
    objective: Objective
    styles: dict[str, Tensor]  # (1, 3, h, w)
    masks: dict[str, Tensor]  # of styles, terms and paintings, (1, 1, h, w), by file name
    coverage: Tensor | None  # (1, 1, H, W), where any style goes; None: everywhere
    farthest: Tensor  # the style image, (1, 3, h, w), that goes farthest back


def _pyramid_level(
    config: Config,
    networks: NetworkLoader,
    scene: Scene,
    auto: float | None,
    scale: float,
    frame: Frame | None,
) -> PyramidLevel:
    """Masks, targets and terms of images that are `scale` times smaller."""
    image = _downscaled(scene.image, scale)
    if config.colors == "content":
        image = _grey(image)
    # Depth is not estimated again, so that masks lie where they will lie in the end.
    depth = image[:, :1] if scene.depth is None else _downscaled(scene.depth, scale)
    guide = _downscaled(scene.image, scale) if is_refined(config, scene) else None
    try:
        masks = style_masks(config, depth, auto, guide)
        masks_of_terms = term_masks(config, depth, auto, guide)
        bands = style_bands(config, depth, masks, _far_over_near(scene))
        styles = {name: _style(config, band, scale, image) for name, band in bands.items()}
        if frame is not None and frame.content_mask is not None:
            mask = masks_of_terms.get("content", 1)
            masks_of_terms["content"] = mask * frame.content_mask
        if frame is not None:  # or colors=match would follow every frame's colours
            styles = {
                name: style._replace(image=frame.styles.get(name, style.image))
                for name, style in styles.items()
            }
        tile_size = choose_tile_size(config, image.shape[-2], image.shape[-1])
        inputs = Inputs(
            networks.backbone,
            image,
            styles,
            masks_of_terms,
            tile_size,
            lambda: networks.depth_net,
            None if frame is None else frame.previous,
        )
        objective = Objective(_terms(config, frame is not None), inputs)
    except InputError as error:
        if scale == 1:
            raise
        height, width = image.shape[-2:]
        raise InputError(
            "pyramid.levels",
            f"{config.pyramid.levels}, for which the size {width} x {height} is too small "
            f"({error.key}: {error.got})",
            f"{error.expected}; or fewer levels, or a smaller pyramid.scale_factor",
        ) from error
    if scale == 1 and scene.depth is not None and frame is None:
        warn_of_bands(config, bands)
        warn_of_shares(config, {**masks, **masks_of_terms}, scene.depth)
    named = {**{name: band.mask for name, band in bands.items()}, **masks_of_terms}
    files = {f"mask_{name}": mask for name, mask in named.items() if mask is not None}
    regions = {name: style.region for name, style in styles.items()}
    files |= {f"region_{name}": region for name, region in regions.items() if region is not None}
    images_of_styles = {name: style.image for name, style in styles.items()}
    farthest = images_of_styles[max(bands, key=lambda name: bands[name].depth)]
    return PyramidLevel(image, objective, images_of_styles, files, style_coverage(masks), farthest)


def _terms(config: Config, temporal: bool) -> list[Term]:
    """The terms that have a weight; the settings of the others are checked all the same."""
    terms: list[Term] = []
    factors = _strength_factors(config.strength)
    for name, node in config.loss.terms.items():
        key = f"loss.{name}"
        if "normalizer" in node:  # which the node of the style distance reads from here
            check_value(f"{key}.normalizer", node["normalizer"], Normalizer)
        settings = omit(node, "mask", "normalizer")
        if node.get("weight") is None or (name == "temporal" and not temporal):
            check_node(key, omit(settings, "weight"))
        else:
            term = instantiate(key, settings)
            term.weight *= factors.get(name, 1.0)
            terms.append(term)
    return terms


def _strength_factors(strength: float) -> dict[str, float]:
    """Of the terms' weights, by name; none is above 1.

    The style's over the content's goes with a power of the odds, strength / (1 - strength), with
    which equal steps look about equally far apart (docs/distances.md).
    """
    if strength > 0.5:
        return dict.fromkeys(("content", "structure"), (1 / strength - 1) ** 1.5)
    style = (strength / (1 - strength)) ** 2
    return {"style": style, "tv": style}


def _far_over_near(scene: Scene) -> float:
    """How much farther away the farthest point is than the nearest, as measured or guessed."""
    if scene.depth_unit != "m" or scene.depth_span is None or scene.depth_span[0] <= 0:
        return FAR_OVER_NEAR
    return scene.depth_span[1] / scene.depth_span[0]


def _style(config: Config, band: Band, scale: float, content: Tensor) -> Style:
    name, mask = band.style, band.mask
    painting = style_image(config, name, band.path, band.scale)
    image, region = _downscaled(painting, scale), style_region(config, name, painting)
    if region is not None:
        region = _downscaled(region, scale)
    if config.colors == "content":
        image = _grey(image)
    if config.colors != "style":  # of a grey one the lightness (Gatys et al. 2016, section 4.1)
        image = _matched(image, content, mask, region)
    settings = config.styles[name]
    size_key = "style_size" if settings.scale == 1 else f"styles.{name}.scale"
    if settings.octaves > 1:
        size_key = f"styles.{name}.octaves"
    tile_size = choose_tile_size(config, image.shape[-2], image.shape[-1])
    return Style(image, settings.weight, mask, tile_size, size_key, region, name, band.share)


def choose_tile_size(config: Config, height: int, width: int) -> int:
    """The side of an image's tiles in pixels; its longer side where it goes in one piece."""
    fits = config.tile_size == "auto" and height * width <= MAX_UNTILED
    if config.tile_size is None or fits:
        return max(height, width)
    return TILE_SIZE if config.tile_size == "auto" else config.tile_size


def _downscaled(image: Tensor, scale: float) -> Tensor:
    return image if scale == 1 else _resized(image, scale)


# A tensor is equal to itself alone: made once, it is the key by which its targets are found again.
@lru_cache(maxsize=16)
def _resized(image: Tensor, scale: float) -> Tensor:
    height, width = (max(1, round(side / scale)) for side in image.shape[-2:])
    return images.resize(image, height, width)


# As `_resized`, to be found again.
_grey = lru_cache(maxsize=16)(colors.grey)
_matched = lru_cache(maxsize=16)(colors.match_colors)


def _finish(config: Config, scene: Scene, painting: Tensor) -> Callable[[Tensor], Tensor] | None:
    """What is made of the finished pastiche: colours, then shadows, then air."""
    darkening, haze = config.depth_darkening, config.haze

    def finish(image: Tensor) -> Tensor:
        if config.colors == "content":
            image = colors.with_colors_of(image, scene.image)
        if scene.depth is not None and darkening > 0:
            image = colors.darken_behind_silhouettes(image, scene.depth, darkening)
        if scene.depth is not None and haze > 0:
            image = colors.aerial_perspective(image, scene.depth, haze, painting)
        return image

    return finish if config.colors == "content" or darkening > 0 or haze > 0 else None


def _start(config: Config, content: Tensor) -> Tensor:
    """The first pastiche, of the content's size."""
    init = str(config.init)
    if init in STARTS:
        generator = torch.Generator().manual_seed(config.seed)
        return starting_picture(init, content, generator)
    if not Path(init).exists():
        raise InputError("init", repr(init), f"{', '.join(STARTS)}, or a picture's path")
    return images.fill(load_style(init, key="init"), content.shape[-2], content.shape[-1])


def _residual(config: Config, content: Tensor) -> Tensor | None:
    """Of which the detail comes back where a smaller pastiche grows to the content's size."""
    share = config.pyramid.residual
    if share == 0 or config.init == "noise":
        return None
    return share * _start(config, content)


def _optimizer(node: Node, region: Tensor | None) -> OptimizerFactory:
    """What makes the optimiser; one that knows regions works where a style goes."""
    factory: Callable[..., torch.optim.Optimizer] = instantiate("optimizer", node, partial=True)
    if "region" in inspect.signature(target("optimizer", node)).parameters:
        factory = partial(factory, region=region)
    with name_settings("optimizer", node):
        factory([torch.nn.Parameter(torch.zeros(1))])
    return factory


def _restart(config: Config) -> tuple[int, float] | None:
    step, lr = config.restart.step, config.restart.lr
    return None if step is None or lr is None else (step, lr)
