"""From a configuration to the objects of a run; beside `checks` what knows its keys."""

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src import images, masks, nodes
from src.backbones import Backbone
from src.checks import check_levels, check_numbers, check_objectives, side_of
from src.config import CONF, DEFAULT_SIZE, PRECISIONS, Config, compose, nearest, precision
from src.depth_nets import DepthNet, depth_from_disparity, estimate_depth
from src.errors import InputError
from src.inputs import Estimator, Scene, load_scene, load_style
from src.objective import (
    ContentTerm,
    DepthTerm,
    Objective,
    Style,
    StyleTerm,
    Term,
    TotalVariationTerm,
    check_size,
    painting_grams,
)
from src.sharing import Shelf, stamp
from src.stylization import STARTS, Level, Stylization, starting_picture
from src.tiles import cut, features

LARGEST_AT_ONCE = 1536**2  # pixels; a larger picture goes through the network in tiles
TILE = 1024  # px
DEPTH_BESIDE_TILES = 512  # px, long side of what a depth network then sees

# The jobs of a sweep differ in little; what several have in common is made by the first of them.
HOME = torch.device("cpu")  # where targets are computed; a run takes them to its device
SHARED = Shelf(
    backbone=2,
    depth_net=2,
    scene=2,
    painting=4,
    features=2,
    grams=8,
    disparity=2,
    coarse=16,  # the last three of smaller sizes, a quarter of the memory each or less
)


@dataclass(frozen=True)
class Job:
    """What a run needs, built and checked.

    Attributes:
        stylization: the module to fit.
        alpha: (1, 1, H, W), the content's transparency, or None.
        pictures: what went in, by file name in inputs/.
        found: settings that `auto` found, by key.
        look: the program's depth, (1, 1, H, W), that the loss's depth network sees in a picture;
            None without a depth term.
    """

    stylization: Stylization
    alpha: Tensor | None
    pictures: dict[str, Tensor]
    found: dict[str, float]
    look: Callable[[Tensor], Tensor] | None = None


def build(config: Config) -> Job:
    """Read the pictures, load the network, compute the targets.

    Raises:
        InputError: anything in the configuration that cannot be used, named by its key.
    """
    check_numbers(config)
    loss, styles, levels = config["loss"], config["styles"], config["levels"]
    if not isinstance(styles, dict) or not styles:
        raise InputError("styles", repr(styles), "at least one style")
    check_levels(config)
    networks = _Networks(config)
    masked = loss["content"].get("mask") or any(s.get("mask") for s in styles.values())
    has_depth_term = loss["depth"]["weight"] is not None
    scene = _scene(config, bool(masked) or has_depth_term, networks)
    paintings = {name: _painting(config, name, style) for name, style in styles.items()}
    found: dict[str, float] = {}
    finest, *coarse = [
        _at_size(config, networks, scene, paintings, found, float(levels["factor"]) ** number)
        for number in range(levels["count"])
    ]
    check_objectives(config["objectives"], [*finest.terms, *(f"style_{name}" for name in styles)])
    first, *finer = reversed([finest, *coarse])
    stylization = Stylization(
        first.objective,
        _start(config, first.image),
        _optimizer(config["optimizer"], finest.styled),
        clamp=bool(config.get("clamp", False)),
        restart=_restart(config["restart"]),
        finer=[
            Level(
                number * levels["steps"],
                size.objective,
                size.image.shape[-2],
                size.image.shape[-1],
                _detail(config, size.image),
            )
            for number, size in enumerate(finer, 1)
        ],
    )
    pictures = {"content": scene.image, **{f"style_{n}": p for n, p in paintings.items()}}
    if scene.depth is not None:
        pictures["depth"] = scene.depth
    pictures |= finest.masks
    look = partial(_look, networks.depth_net) if has_depth_term else None
    if look is not None:
        pictures["depth_estimated"] = look(scene.image)
    return Job(stylization, scene.alpha, pictures, found, look)


def depth_network(name: str, weights: str | None = None, key: str = "depth_net") -> DepthNet:
    """A depth network by its name in conf/depth_net/, for other commands than run's.

    Args:
        name: as `depth_net=` takes it.
        weights: as `depth_net.weights=` takes it.
        key: what named it, for errors.

    Raises:
        InputError: no such network, or its weights cannot be had.
    """
    known = [path.stem for path in (CONF / "depth_net").glob("*.yaml")]
    if name not in known:
        raise InputError(key, repr(name), nearest(name, known))
    node = compose("+experiment=naive", f"depth_net={name}")["depth_net"]
    return nodes.call("depth_net", node if weights is None else {**node, "weights": weights})


@dataclass(frozen=True)
class _Size:
    """What a run needs at one size.

    Attributes:
        image: the content, (1, 3, H, W) in [0, 1].
        objective: the loss.
        terms: the names of its terms.
        masks: (1, 1, H, W) in [0, 1], by file name in inputs/.
        styled: where any style goes, likewise; None: everywhere.
    """

    image: Tensor
    objective: Objective
    terms: list[str]
    masks: dict[str, Tensor]
    styled: Tensor | None


def _at_size(
    config: Config,
    networks: "_Networks",
    scene: Scene,
    paintings: Mapping[str, Tensor],
    found: dict[str, float],
    scale: float,
) -> _Size:
    """Masks, targets and terms at one size.

    Args:
        config: the configuration.
        networks: those of the configuration.
        scene: the content and its depth, as large as the configuration says.
        paintings: by the styles' names, just so.
        found: settings that `auto` found. What is there is used, what is not is added.
        scale: how many times smaller the pictures are made.

    Raises:
        InputError: the pictures do not do, at scales above 1 because they become too small.
    """
    if scale == 1:
        return _size_of(config, networks, scene, paintings, found, scale)
    small = replace(
        scene,
        image=_smaller(scene.image, scale),
        # Not estimated again, so that masks lie where they will lie in the end.
        depth=None if scene.depth is None else _smaller(scene.depth, scale),
    )
    small_paintings = {name: _smaller(image, scale) for name, image in paintings.items()}
    try:
        return _size_of(config, networks, small, small_paintings, found, scale)
    except InputError as error:
        height, width = small.image.shape[-2:]
        raise InputError(
            "levels.count",
            f"{config['levels']['count']}, for which the size {width} x {height} is too small "
            f"({error.key}: {error.got})",
            f"{error.expected}; or fewer levels, or a smaller levels.factor",
        ) from error


def _smaller(image: Tensor, scale: float) -> Tensor:
    height, width = (max(1, round(side / scale)) for side in image.shape[-2:])
    return images.resize(image, height, width)


def _size_of(
    config: Config,
    networks: "_Networks",
    scene: Scene,
    paintings: Mapping[str, Tensor],
    found: dict[str, float],
    scale: float,
) -> _Size:
    """`_at_size` of pictures that have it."""
    backbone = networks.backbone
    loss, styles = config["loss"], config["styles"]
    layers = {
        part: [
            backbone.layer(layer, f"loss.{part}.layers")
            for layer in nodes.listed(loss[part]["layers"], f"loss.{part}.layers")
        ]
        for part in ("content", "style")
    }
    check_size(scene.image, backbone, [*layers["content"], *layers["style"]], "size")
    content_mask = _mask(loss["content"].get("mask"), scene, "loss.content.mask", found)
    style_masks = _style_masks(styles, scene, bool(loss.get("mask_shares", True)), found)
    for image in paintings.values():
        check_size(image, backbone, layers["style"], "style_size")

    height, width = scene.image.shape[-2:]
    wanted = layers["content"] + layers["style"]
    tiles = cut(backbone, wanted, height, width, _tile(config, scene.image))
    with torch.no_grad():
        target = _target(config, networks, scene.image, layers["content"], scale)
        terms: list[Term] = [
            nodes.call_with(
                "loss.content",
                ContentTerm,
                nodes.without(loss["content"], "layers", "mask"),
                target=target,
                mask=content_mask,
            ),
            nodes.call_with(
                "loss.style",
                StyleTerm,
                nodes.without(loss["style"], "layers"),
                styles={
                    name: Style(
                        _grams(config, networks, name, paintings[name], layers["style"], scale),
                        float(styles[name].get("weight", 1.0)),
                        style_masks[name],
                    )
                    for name in styles
                },
                feature_sizes={la: backbone.size(la, height, width) for la in layers["style"]},
            ),
            nodes.call_with("loss.tv", TotalVariationTerm, loss["tv"]),
        ]
        if loss["depth"]["weight"] is not None:
            net = networks.depth_net
            _check_depth_size(scene.image, net)
            side = _depth_side(loss["depth"]["size"], height, width, len(tiles) > 1)
            term = nodes.call_with(
                "loss.depth",
                DepthTerm,
                nodes.without(loss["depth"], "size"),
                net=net,
                target=_disparity(config, networks, scene.image, side, scale),
                alone=side is not None,
            )
            terms.insert(2, term)
    made = {f"mask_{name}": mask for name, mask in style_masks.items() if mask is not None}
    if content_mask is not None:
        made["mask_content"] = content_mask
    return _Size(
        scene.image,
        Objective(backbone, terms, tiles if len(tiles) > 1 else ()),
        [term.name for term in terms],
        made,
        _styled(style_masks),
    )


def _mask(node: Any, scene: Scene, key: str, found: dict[str, float]) -> Tensor | None:
    """A mask from its configuration; its `auto` numbers are looked up in the scene's depth."""
    if node is None:
        return None
    if not isinstance(node, Mapping):
        raise InputError(key, repr(node), "a mask: ${mask}, or null")
    assert scene.depth is not None
    settings = dict(node)
    for name, value in settings.items():
        if value == "auto":
            if "auto" not in found:
                assert scene.valid is not None
                found["auto"] = masks.auto_threshold(scene.depth, scene.valid)
            settings[name] = found["auto"]
        elif name not in ("_target_", "invert") and not isinstance(value, int | float):
            raise InputError(f"{key}.{name}", repr(value), "a number")
    return nodes.call(key, settings, scene.depth).clamp(0, 1)


def _style_masks(
    styles: Mapping[str, Any], scene: Scene, as_shares: bool, found: dict[str, float]
) -> dict[str, Tensor | None]:
    made: dict[str, Tensor | None] = {}
    for name, style in styles.items():
        mask = _mask(style.get("mask"), scene, f"styles.{name}.mask", found)
        if style.get("invert") and mask is not None:
            mask = 1 - mask
        made[name] = mask
    if as_shares and len(made) > 1 and any(mask is not None for mask in made.values()):
        ones = torch.ones_like(scene.image[:, :1])
        return {**masks.shares({n: ones if m is None else m for n, m in made.items()})}
    return made


def _styled(style_masks: Mapping[str, Tensor | None]) -> Tensor | None:
    """Where any style goes, (1, 1, H, W) in [0, 1]; None: everywhere."""
    squares = [mask.square() for mask in style_masks.values() if mask is not None]
    if len(squares) < len(style_masks):
        return None
    return torch.stack(squares).sum(0).sqrt().clamp(max=1)


def _start(config: Config, content: Tensor) -> Tensor:
    """The first pastiche, of the content's size."""
    init = str(config["init"])
    if init in STARTS:
        generator = torch.Generator().manual_seed(config["seed"])
        return starting_picture(init, content, generator)
    if not Path(init).exists():
        raise InputError("init", repr(init), f"{', '.join(STARTS)}, or a picture's path")
    return images.resize(load_style(init, key="init"), content.shape[-2], content.shape[-1])


def _detail(config: Config, content: Tensor) -> Tensor | None:
    """Of which the detail comes back where a pastiche of smaller size grows to the content's."""
    share = float(config["levels"]["detail"])
    if share == 0 or config["init"] == "noise":
        return None
    return share * _start(config, content)


def _optimizer(
    node: Mapping[str, Any], styled: Tensor | None
) -> Callable[..., torch.optim.Optimizer]:
    settings = nodes.without(node, "_target_")
    function = nodes.function("optimizer", node)
    make = partial(function, **settings)
    if "where" in nodes.parameters(function):
        make = partial(make, where=styled)
    try:
        make([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        raise InputError("optimizer", f"{settings} ({error})", "settings that it takes") from error
    return make


def _restart(node: Mapping[str, Any]) -> tuple[int, float] | None:
    step, lr = node["step"], node["lr"]
    if step is None and lr is None:
        return None
    if not isinstance(step, int) or not isinstance(lr, int | float):
        raise InputError("restart", f"step {step}, lr {lr}", "a step and a learning rate, or null")
    return step, float(lr)


def _tile(config: Config, image: Tensor) -> int:
    """The side in pixels of the tiles of a picture; all of it where it goes in one piece."""
    height, width = image.shape[-2:]
    if config["tile"] is None or (config["tile"] == "auto" and height * width <= LARGEST_AT_ONCE):
        return max(height, width)
    return TILE if config["tile"] == "auto" else int(config["tile"])


def _depth_side(wanted: int | None, height: int, width: int, in_tiles: bool) -> int | None:
    """The long side in pixels of the copy that the depth network sees; None: the pastiche."""
    if in_tiles:
        return wanted or DEPTH_BESIDE_TILES
    return wanted if wanted is not None and wanted < max(height, width) else None


class _Networks:
    """The networks of a configuration; the depth network is loaded where it is first asked for."""

    def __init__(self, config: Config) -> None:
        node, computes_in = config["backbone"], precision(config)
        self.key = (_node_key(node), computes_in)
        self.backbone: Backbone = SHARED.get(
            "backbone", self.key, lambda: nodes.call("backbone", node).at(PRECISIONS[computes_in])
        ).to(HOME)
        self.depth_key = (_node_key(config["depth_net"]), _node_key(node))
        self._depth_node = config["depth_net"]
        self._depth_net: DepthNet | None = None

    @property
    def depth_net(self) -> DepthNet:
        if self._depth_net is None:
            net: DepthNet = SHARED.get("depth_net", self.depth_key, self._load)
            self._depth_net = net.to(HOME)
        return self._depth_net

    def _load(self) -> DepthNet:
        net: DepthNet = nodes.call("depth_net", self._depth_node)
        net.share(self.backbone)
        return net

    def depth(self, image: Tensor) -> tuple[Tensor, str]:
        """The program's depth of a picture by the depth network, and the network's name."""
        _check_depth_size(image, self.depth_net)
        return estimate_depth(self.depth_net, image), self.depth_net.name


def _look(net: DepthNet, image: Tensor) -> Tensor:
    net.to(image.device)  # a run leaves it on its own
    return depth_from_disparity(net.estimate(image.detach().clamp(0, 1)))


def _check_depth_size(image: Tensor, net: DepthNet, key: str = "size") -> None:
    height, width = image.shape[-2:]
    if min(height, width) < net.smallest_side:
        raise InputError(
            key,
            f"a picture of {width} x {height} pixels",
            f"a short side of at least {net.smallest_side} pixels for {net.name}",
        )


def _scene(config: Config, need_depth: bool, networks: _Networks) -> Scene:
    key = (_scene_key(config), need_depth, networks.depth_key)
    return SHARED.get("scene", key, lambda: _read_scene(config, need_depth, networks.depth))


def _read_scene(config: Config, need_depth: bool, estimate: Estimator) -> Scene:
    depth = config["depth"]
    size, short_side = side_of(config, "size"), side_of(config, "short_side")
    return load_scene(
        str(config["content"]),
        index=config["content_index"],
        depth_source=depth["source"],
        depth_path=depth["path"],
        depth_kind=depth["kind"],
        depth_scale=depth["scale"],
        depth_preset=depth["preset"],
        size=size if size or short_side else DEFAULT_SIZE,
        short_side=short_side,
        need_depth=need_depth,
        estimate=estimate,
    )


def _painting(config: Config, name: str, style: Mapping[str, Any]) -> Tensor:
    nodes.check_known(f"styles.{name}", style, {"path", "weight", "mask", "invert"})
    if not style.get("path"):
        raise InputError(f"styles.{name}.path", "nothing", "a built-in painting's name or a path")
    size, short_side = side_of(config, "style_size"), side_of(config, "style_short_side")
    if size is None and short_side is None:
        size, short_side = side_of(config, "size"), side_of(config, "short_side")
        size = size if size or short_side else DEFAULT_SIZE
    path = str(style["path"])
    is_main = name == "main" and path == str(config["style"])
    key = "style" if is_main else f"styles.{name}.path"
    return SHARED.get(
        "painting",
        _painting_key(config, name),
        lambda: load_style(path, key=key, size=size, short_side=short_side),
    )


def _grams(
    config: Config,
    networks: _Networks,
    name: str,
    image: Tensor,
    layers: list[str],
    scale: float,
) -> dict[str, Tensor]:
    side = _tile(config, image)
    key = (networks.key, _painting_key(config, name), tuple(layers), side)
    made = partial(painting_grams, networks.backbone, image, layers, side)
    return SHARED.get(*_shelf("grams", scale, key), made)


def _target(
    config: Config, networks: _Networks, image: Tensor, layers: list[str], scale: float
) -> dict[str, Tensor]:
    """The content's features by content layer."""

    def make() -> dict[str, Tensor]:
        height, width = image.shape[-2:]
        tiles = cut(networks.backbone, layers, height, width, _tile(config, image))
        return features(networks.backbone, image, layers, tiles)

    key = (networks.key, _scene_key(config), config["tile"], tuple(layers))
    return SHARED.get(*_shelf("features", scale, key), make)


def _disparity(
    config: Config, networks: _Networks, image: Tensor, side: int | None, scale: float
) -> Tensor:
    """The content's disparity, as the depth term looks at it."""
    net = networks.depth_net

    def make() -> Tensor:
        if side is None:
            return net.disparity(image, networks.backbone.features(image, net.layers))
        small = images.resize(image, *images.fit(*image.shape[-2:], size=side))
        _check_depth_size(small, net, "loss.depth.size")
        return net.disparity(small, {})

    key = (networks.depth_key, networks.key, _scene_key(config), side)
    return SHARED.get(*_shelf("disparity", scale, key), make)


def _shelf(kind: str, scale: float, key: Hashable) -> tuple[str, Hashable]:
    """Where a target is shared: with its kind, or with all those of smaller sizes."""
    return (kind, key) if scale == 1 else ("coarse", (kind, scale, key))


def _node_key(node: Mapping[str, Any]) -> Hashable:
    """What a network depends on: its settings and its weights' file."""
    return json.dumps(node, sort_keys=True), stamp(node.get("weights"))


def _scene_key(config: Config) -> Hashable:
    """What a scene depends on, but for whether its depth is needed."""
    named = [config[key] for key in ("content", "content_index", "size", "short_side", "depth")]
    return json.dumps(named), stamp(config["content"]), stamp(config["depth"]["path"])


def _painting_key(config: Config, name: str) -> Hashable:
    path = str(config["styles"][name]["path"])
    sides = [config[key] for key in ("size", "short_side", "style_size", "style_short_side")]
    return json.dumps(sides), stamp(path)
