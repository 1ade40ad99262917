"""From a composed configuration to the objects of a run; the only room that knows its keys."""

import difflib
import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
)
from torch import Tensor

from src import images, masks
from src.backbones import Backbone
from src.depth_nets import DepthNet, depth_from_disparity, estimate_depth
from src.errors import InputError
from src.inputs import Estimator, Scene, load_scene, load_style
from src.losses import NORMALIZERS
from src.objective import (
    DEPTH_MODES,
    REDUCTIONS,
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
from src.run_folder import CHECKPOINT
from src.sharing import Shelf, stamp
from src.stylization import STARTS, Level, Stylization, starting_picture
from src.tiles import cut, features
from src.tracking import Identity

Config = dict[str, Any]

PROJECT = Path(__file__).resolve().parent.parent
CONF = PROJECT / "conf"
# For the files in conf/ and sweeps/, which would otherwise have to be started from one folder.
OmegaConf.register_new_resolver("project", lambda: str(PROJECT), replace=True)
OmegaConf.register_new_resolver(
    "at", lambda key, table, default: table.get(key, default), replace=True
)
OmegaConf.register_new_resolver("cores", lambda n=-1: cores(n), replace=True)
DEFAULT_SIZE = 512
LARGEST_AT_ONCE = 1536**2  # pixels; a larger picture goes through the network in tiles
TILE = 1024  # px
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DEPTH_BESIDE_TILES = 512  # px, long side of what a depth network then sees
# What runs of earlier releases did, by keys that their config.yaml does not have.
EARLIER: Config = {
    "tile": None,
    "precision": "float32",
    "levels": {"count": 1, "factor": 2.0, "steps": 40},
    "loss": {"depth": {"size": None}},
}
# Keys that cannot change a pastiche: two runs that differ in these alone are the same experiment.
WITHOUT_EFFECT = (
    "name",
    "output_dir",
    "tracking",
    "trainer",
    "log_every",
    "picture_every",
    "evaluate",
    "resume",
    "objectives",
)

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


def cores(wanted: int = -1) -> int:
    """A number of cores; as joblib counts, -1 is all that this process may use."""
    if wanted > 0:
        return wanted
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def compose(*overrides: str) -> Config:
    """The resolved configuration of a command line, for other commands than run's."""
    hydras = GlobalHydra.instance()
    running = hydras.hydra  # that of a run which measures itself
    hydras.clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return resolve(hydra.compose("config", list(overrides)))
    finally:
        GlobalHydra.instance().hydra = running


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
    return _call("depth_net", node if weights is None else {**node, "weights": weights})


def experiments() -> list[str]:
    """The names that +experiment= takes."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def resolve(cfg: DictConfig) -> Config:
    """A composed configuration as plain values, its top-level keys known and nothing missing.

    Raises:
        InputError: an unknown key (with the nearest known one), or a value that is missing.
    """
    known = _base_keys()
    for key in cfg:
        if key not in known and key != "hydra":
            known |= {"experiment", "sweep"}
            raise InputError(str(key), "an unknown key", nearest(str(key), known))
    for group in _groups():
        if not OmegaConf.is_dict(cfg.get(group)):
            option = repr(cfg.get(group))
            raise InputError(group, option, f"{group}.KEY=VALUE, in a configuration without groups")
    if OmegaConf.is_missing(cfg, "name"):
        raise _no_experiment()
    cfg = DictConfig(OmegaConf.merge(EARLIER, cfg))
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
        raise InputError(str(error.full_key or "a key"), "nothing", "a value") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


def explain(error: Exception, arguments: Iterable[str]) -> str:
    """Hydra's own errors in this program's form: key, what it got, what it expects.

    Args:
        error: what composing or running raised.
        arguments: the command line.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError | FloatingPointError):
        return text
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return str(InputError(group, repr(option), nearest(option, error.options)))
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        parent = cause.parent_node if isinstance(cause.parent_node, DictConfig) else {}
        known = nearest(str(cause.key), [str(key) for key in parent if key != "hydra"])
        return str(InputError(str(cause.full_key), "an unknown key", known))
    if isinstance(error, InterpolationToMissingValueError) and "name" in text:
        known_keys = _base_keys() | {"experiment", "sweep"}
        for argument in arguments:
            key = argument.lstrip("+~").partition("=")[0].partition(".")[0]
            if "=" in argument and not key.startswith("hydra") and key not in known_keys:
                return str(InputError(key, "an unknown key", nearest(key, known_keys)))
        return str(_no_experiment())
    if type(error).__module__.startswith(("sqlalchemy", "optuna")):
        got = f"a study that cannot be used ({str(error).splitlines()[0]})"
        return str(InputError("hydra.sweeper.storage", got, "a whole one that nobody else holds"))
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        where = f"{file} ({error.strerror})" if file else error.strerror
        return str(InputError("output_dir", where, "a folder that can be written, with room"))
    return text if isinstance(error, HydraException) else f"{type(error).__name__}: {text}"


def _no_experiment() -> InputError:
    return InputError("experiment", "nothing", f"+experiment=NAME of {', '.join(experiments())}")


def _base_keys() -> set[str]:
    return ({str(key) for key in _base()} | _groups() | {"clamp"}) - {"defaults", "hydra"}


def _groups() -> set[str]:
    return {str(group) for entry in _base().defaults if entry != "_self_" for group in entry}


def _base() -> DictConfig:
    base = OmegaConf.load(CONF / "config.yaml")
    assert isinstance(base, DictConfig)
    return base


def nearest(word: str, known: Iterable[str]) -> str:
    """The known words nearest to one that is not, or all of them, as a phrase."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"{near[0]}, perhaps" if near else f"one of {', '.join(known)}"


def config_hash(config: Config) -> str:
    """Twelve hexadecimal digits that are equal for configurations that make the same pastiche."""
    config = {**EARLIER, **config}
    kept = {key: value for key, value in config.items() if key not in WITHOUT_EFFECT}
    kept["precision"] = precision(config)  # `auto` is not the same on every machine
    if config["levels"]["count"] == 1:
        del kept["levels"]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def identify(config: Config, overrides: Iterable[str] = (), sweep: str | None = None) -> Identity:
    """The run's names in W&B.

    Args:
        config: the resolved configuration.
        overrides: what the command line set for this run.
        sweep: the sweep's folder name, where it belongs to one.
    """
    same = ("+experiment=", "+sweep=", "tracking", "output_dir", "resume=")
    varied = [_short(override) for override in overrides if not override.startswith(same)]
    name = config["name"]
    target = str(config["backbone"].get("_target_", "")).rpartition(".")[2]
    used = [config["loss"]["content"]["mask"], *(s.get("mask") for s in config["styles"].values())]
    functions = {str(m["_target_"]).rpartition(".")[2] for m in used if isinstance(m, dict)}
    optimizer = str(config["optimizer"].get("_target_", "")).rpartition(".")[2].lower()
    content = Path(str(config["content"])).stem
    tags = [target, *(f"mask:{m}" for m in sorted(functions)), optimizer, f"content:{content}"]
    return Identity(
        name=(" ".join(varied) or f"{name} {content}")[:120],
        group=f"{name}/{sweep}" if sweep else name,
        job_type="sweep" if sweep else "single",
        tags=[tag[:64] for tag in tags],
    )


def _short(override: str) -> str:
    """An override as a name shows it: masks by their function, numbers to four digits."""
    text = override.replace("_target_:src.masks.", "")
    return re.sub(r"\d+\.\d{4,}(e[+-]?\d+)?", lambda found: f"{float(found[0]):.4g}", text)


def build(config: Config) -> Job:
    """Read the pictures, load the network, compute the targets.

    Raises:
        InputError: anything in the configuration that cannot be used, named by its key.
    """
    _check_numbers(config)
    loss, styles, levels = config["loss"], config["styles"], config["levels"]
    if not isinstance(styles, dict) or not styles:
        raise InputError("styles", repr(styles), "at least one style")
    _check_levels(config)
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
    _check_objectives(config["objectives"], [*finest.terms, *(f"style_{name}" for name in styles)])
    first, *finer = reversed([finest, *coarse])
    stylization = Stylization(
        first.objective,
        _start(config, first.image),
        _optimizer(config["optimizer"], finest.styled),
        clamp=bool(config.get("clamp", False)),
        restart=_restart(config["restart"]),
        finer=[
            Level(number * levels["steps"], size.objective, *size.image.shape[-2:])
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
            for layer in _list(loss[part]["layers"], f"loss.{part}.layers")
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
            _call_with(
                "loss.content",
                ContentTerm,
                _without(loss["content"], "layers", "mask"),
                target=target,
                mask=content_mask,
            ),
            _call_with(
                "loss.style",
                StyleTerm,
                _without(loss["style"], "layers"),
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
            _call_with("loss.tv", TotalVariationTerm, loss["tv"]),
        ]
        if loss["depth"]["weight"] is not None:
            net = networks.depth_net
            _check_depth_size(scene.image, net)
            side = _depth_side(loss["depth"]["size"], height, width, len(tiles) > 1)
            term = _call_with(
                "loss.depth",
                DepthTerm,
                _without(loss["depth"], "size"),
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


def _shelf(kind: str, scale: float, key: Hashable) -> tuple[str, Hashable]:
    """Where a target is shared: with its kind, or with all those of smaller sizes."""
    return (kind, key) if scale == 1 else ("coarse", (kind, scale, key))


def checkpoint(resume: str | None) -> Path | None:
    """The checkpoint that `resume` names, a run's folder or the file itself.

    Raises:
        InputError: neither is there.
    """
    if resume is None:
        return None
    path = Path(resume)
    file = path / CHECKPOINT if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            "resume", f"{resume}, where no checkpoint is", f"a run's folder with {CHECKPOINT}"
        )
    return file


def check_checkpoint(file: Path, stylization: Stylization, steps: int) -> int:
    """The step at which a checkpoint stopped, if this run can go on from it.

    Raises:
        InputError: not a checkpoint of a stylization of this size, or already at `steps`.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        pastiche, step = state["state_dict"]["pastiche"], int(state["global_step"])
    except Exception as error:  # torch, zipfile and pickle each have their own
        raise InputError(
            "resume", f"{file}, which is not a run's checkpoint", "one that this program wrote"
        ) from error
    height, width = stylization.size_after(step)
    if pastiche.shape != (1, 3, height, width):
        raise InputError(
            "resume",
            f"a pastiche of {pastiche.shape[-1]} x {pastiche.shape[-2]} pixels",
            f"{width} x {height}, as this run's content, size and levels make it after {step} "
            "steps",
        )
    if step >= steps:
        raise InputError("steps", f"{steps}", f"more than the {step} steps of {file}")
    return step


class _Networks:
    """The networks of a configuration; the depth network is loaded where it is first asked for."""

    def __init__(self, config: Config) -> None:
        node, computes_in = config["backbone"], precision(config)
        self.key = (_node_key(node), computes_in)
        self.backbone: Backbone = SHARED.get(
            "backbone", self.key, lambda: _call("backbone", node).at(PRECISIONS[computes_in])
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
        net: DepthNet = _call("depth_net", self._depth_node)
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


def _tile(config: Config, image: Tensor) -> int:
    """The side in pixels of the tiles of a picture; all of it where it goes in one piece."""
    height, width = image.shape[-2:]
    if config["tile"] is None or (config["tile"] == "auto" and height * width <= LARGEST_AT_ONCE):
        return max(height, width)
    return TILE if config["tile"] == "auto" else int(config["tile"])


def precision(config: Config) -> str:
    """What the network computes in, of `PRECISIONS`.

    `auto` leaves float32 only where that was seen to pay (docs/performance.md).
    """
    name = str(config["precision"])
    if name != "auto":
        return name
    accelerator = config["trainer"].get("accelerator", "auto")
    if accelerator != "cpu" and (accelerator != "auto" or torch.accelerator.is_available()):
        return "float32"
    can = torch.cpu.get_capabilities()
    return "bfloat16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"


def _depth_side(wanted: int | None, height: int, width: int, in_tiles: bool) -> int | None:
    """The long side in pixels of the copy that the depth network sees; None: the pastiche."""
    if in_tiles:
        return wanted or DEPTH_BESIDE_TILES
    return wanted if wanted is not None and wanted < max(height, width) else None


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


def _scene(config: Config, need_depth: bool, networks: _Networks) -> Scene:
    key = (_scene_key(config), need_depth, networks.depth_key)
    return SHARED.get("scene", key, lambda: _read_scene(config, need_depth, networks.depth))


def _read_scene(config: Config, need_depth: bool, estimate: Estimator) -> Scene:
    depth = config["depth"]
    size, short_side = _side(config, "size"), _side(config, "short_side")
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


def _side(config: Config, key: str) -> int | None:
    side = config[key]
    if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
        raise InputError(key, repr(side), "a whole number of pixels, 1 or more")
    return side


def _painting(config: Config, name: str, style: Mapping[str, Any]) -> Tensor:
    _check_known(f"styles.{name}", style, {"path", "weight", "mask", "invert"})
    if not style.get("path"):
        raise InputError(f"styles.{name}.path", "nothing", "a built-in painting's name or a path")
    size, short_side = _side(config, "style_size"), _side(config, "style_short_side")
    if size is None and short_side is None:
        size, short_side = _side(config, "size"), _side(config, "short_side")
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
    return _call(key, settings, scene.depth).clamp(0, 1)


def _start(config: Config, content: Tensor) -> Tensor:
    """The first pastiche, of the content's size."""
    init = str(config["init"])
    if init in STARTS:
        generator = torch.Generator().manual_seed(config["seed"])
        return starting_picture(init, content, generator)
    if not Path(init).exists():
        raise InputError("init", repr(init), f"{', '.join(STARTS)}, or a picture's path")
    return images.resize(load_style(init, key="init"), content.shape[-2], content.shape[-1])


def _styled(style_masks: Mapping[str, Tensor | None]) -> Tensor | None:
    """Where any style goes, (1, 1, H, W) in [0, 1]; None: everywhere."""
    squares = [mask.square() for mask in style_masks.values() if mask is not None]
    if len(squares) < len(style_masks):
        return None
    return torch.stack(squares).sum(0).sqrt().clamp(max=1)


def _optimizer(
    node: Mapping[str, Any], styled: Tensor | None
) -> Callable[..., torch.optim.Optimizer]:
    settings = _without(node, "_target_")
    function = _function("optimizer", node)
    make = partial(function, **settings)
    if "where" in _parameters(function):
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


def _check_whole(numbers: Mapping[str, tuple[Any, int]]) -> None:
    """Refuse, by key, what is not a whole number or below the least."""
    for key, (value, low) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(key, repr(value), f"a whole number, {low} or more")


def _check_numbers(config: Config) -> None:
    """Numbers of which a wrong one would show late or not at all."""
    depth = config["loss"]["depth"]
    whole = {key: (config[key], 1) for key in ("steps", "log_every", "picture_every")}
    whole |= {"seed": (config["seed"], 0)}
    whole |= {"loss.depth.warmup": (depth["warmup"], 0), "loss.depth.every": (depth["every"], 1)}
    if config["tile"] not in (None, "auto"):
        whole["tile"] = (config["tile"], 1)
    if depth["size"] is not None:
        whole["loss.depth.size"] = (depth["size"], 1)
    _check_whole(whole)
    _check_known(
        "loss.depth", depth, {"size"} | _parameters(DepthTerm) - {"net", "target", "alone"}
    )
    loss = config["loss"]
    weights = {f"loss.{part}.weight": loss[part]["weight"] for part in ("content", "style", "tv")}
    weights |= {f"styles.{n}.weight": s.get("weight", 1) for n, s in config["styles"].items()}
    for i, weight in enumerate(loss["style"]["layer_weights"] or ()):
        weights[f"loss.style.layer_weights[{i}]"] = weight
    weights |= {f"loss.depth.{key}": depth[key] or 0 for key in ("weight", "gradient")}
    for key, value in weights.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < float("inf"):
            raise InputError(key, repr(value), "a number, 0 or more")
    choices = {
        "loss.content.reduction": (loss["content"]["reduction"], REDUCTIONS),
        "loss.tv.reduction": (loss["tv"]["reduction"], REDUCTIONS),
        "loss.style.normalizer": (loss["style"]["normalizer"], NORMALIZERS),
        "loss.depth.mode": (depth["mode"], DEPTH_MODES),
        "precision": (config["precision"], ("auto", *PRECISIONS)),
    }
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            raise InputError(key, repr(value), f"one of {', '.join(allowed)}")
    if depth["every"] > 1 and "LBFGS" in str(config["optimizer"].get("_target_")):
        # It learns the curvature from how the gradient changes, which a term that comes and goes
        # would falsify.
        raise InputError("loss.depth.every", str(depth["every"]), "1, or optimizer=adam")


def _check_levels(config: Config) -> None:
    """Coarse to fine: what fits together."""
    levels, loss = config["levels"], config["loss"]
    if not isinstance(levels, dict):
        raise InputError("levels", repr(levels), f"levels.count={levels}")
    _check_known("levels", levels, {"count", "factor", "steps"})
    factor = levels["factor"]
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not number or not 1 < factor < float("inf"):
        raise InputError("levels.factor", repr(factor), "a number above 1")
    _check_whole({f"levels.{key}": (levels[key], 1) for key in ("count", "steps")})
    if levels["count"] == 1:
        return
    if (levels["count"] - 1) * levels["steps"] >= config["steps"]:
        raise InputError(
            "levels.steps",
            f"{levels['steps']} x {levels['count'] - 1} at smaller sizes",
            f"less than steps={config['steps']} in all, or fewer levels",
        )
    for part in ("content", "tv"):
        if loss[part]["reduction"] == "sum":
            # A sum grows with the picture, so its weight would be another one at every size.
            raise InputError(
                f"loss.{part}.reduction", "sum beside levels", "mean, or levels.count=1"
            )


def _check_objectives(objectives: Any, terms: Iterable[str]) -> None:
    known = ["total", *terms]
    if objectives is None:
        return
    for name in _list(objectives, "objectives"):
        if name not in known:
            got = f"{name!r}, a term that this run does not have"
            raise InputError("objectives", got, nearest(str(name), known))


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(key, repr(value), "a list of at least one, in square brackets")
    return value


def _without(node: Mapping[str, Any], *keys: str) -> Config:
    return {key: value for key, value in node.items() if key not in keys}


def _function(key: str, node: Mapping[str, Any]) -> Callable[..., Any]:
    target = node.get("_target_")
    try:
        return get_method(str(target))
    except (HydraException, ValueError, ImportError) as error:
        raise InputError(f"{key}._target_", repr(target), "the name of a function") from error


def _call(key: str, node: Mapping[str, Any], *args: Any) -> Any:
    """Call the function that a node names with the node's other entries."""
    return _call_with(key, partial(_function(key, node), *args), _without(node, "_target_"))


def _call_with(
    key: str, function: Callable[..., Any], settings: Mapping[str, Any], **built: Any
) -> Any:
    """Call a function with settings from the configuration and objects that were built.

    Raises:
        InputError: a setting that the function does not know.
    """
    _check_known(key, settings, _parameters(function) - set(built))
    return function(**settings, **built)


def _parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def _check_known(key: str, settings: Iterable[str], known: set[str]) -> None:
    for name in settings:
        if name not in known:
            raise InputError(f"{key}.{name}", "an unknown key", nearest(name, known))
