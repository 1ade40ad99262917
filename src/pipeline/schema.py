"""The configuration as typed values: every key that conf/config.yaml and its groups have.

A node (`Node`) is a mapping that names what it builds as its `_target_`; its other entries are
checked where it is built, by the annotations of that function or class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from src.core.errors import InputError, did_you_mean
from src.core.settings import (
    REST,
    Count,
    Index,
    NonEmpty,
    Pixels,
    Range,
    Share,
    Weight,
    from_mapping,
)
from src.pipeline.targets import check_targets
from src.runs.reader import Format

Node = Mapping[str, Any]
Name = str | int | float  # as YAML reads it: a file or a run may be called 3
# One, several of equal weight, or several by weight.
Paintings = Name | Annotated[Sequence[Name], NonEmpty()] | Mapping[str, Weight]


@dataclass(frozen=True)
class DepthInput:
    """Where the content image's depth comes from."""

    source: str
    path: str | None
    kind: str
    scale: float | str
    preset: str | None


@dataclass(frozen=True)
class StyleImage:
    """One style: its image or several blended, its share, its strokes, and where it goes."""

    path: Paintings | None = None
    weight: Weight = 1.0
    scale: Annotated[float, Range(0, exclusive=True)] = 1.0
    octaves: Count = 1
    exponent: Weight = 1.0
    region: Name | None = None
    mask: Node | None = None
    invert: bool | None = None


@dataclass(frozen=True)
class Loss:
    """The terms of the loss by name, and what they have in common."""

    normalize_masks: bool
    terms: Mapping[str, Node] = field(metadata={REST: True})


@dataclass(frozen=True)
class Pyramid:
    """Coarse to fine."""

    levels: Count
    scale_factor: Annotated[float, Range(1, exclusive=True)]
    steps_per_level: Count
    residual: Weight


@dataclass(frozen=True)
class Output:
    """The result as a file."""

    format: Format = "png"
    bits: Literal[8, 16] = 8
    location: bool = False


@dataclass(frozen=True)
class Clip:
    """The frames of a clip."""

    steps: Count = 30
    count: Count | None = None
    rate: Annotated[float, Range(0.1, high=1000)] | None = None
    format: Literal["mp4", "webp"] = "mp4"


@dataclass(frozen=True)
class Restart:
    """A fresh optimiser on the way."""

    step: int | None
    lr: float | None


@dataclass(frozen=True)
class Tracking:
    """Weights & Biases."""

    mode: Literal["offline", "online", "off"]
    project: str | None
    entity: str | None


@dataclass(frozen=True)
class Config:
    """The whole configuration; conf/config.yaml says what each key means."""

    name: Name
    content: Name
    content_index: Index | None
    style: Paintings
    depth: DepthInput
    size: Pixels | None
    short_side: Pixels | None
    style_size: Pixels | None
    style_short_side: Pixels | None
    precision: Literal["auto", "float32", "bfloat16"]
    tile_size: Literal["auto"] | Count | None
    init: Name
    steps: Count
    seed: Index
    pyramid: Pyramid
    restart: Restart
    log_every_n_steps: Count
    save_every_n_steps: Count
    evaluate: bool
    resume: str | None
    optimized_metric: list[str] | None
    output_dir: Name
    loss: Loss
    backbone: Node
    styles: Mapping[str, StyleImage]
    mask: Node | None
    depth_net: Node
    optimizer: Node
    trainer: Node
    tracking: Tracking
    colors: Literal["style", "content", "match"] = "style"
    haze: Weight = 0.0
    depth_darkening: Weight = 0.0
    strength: Share = 0.5
    refine_masks: Literal["auto"] | bool = False
    clamp: bool = False
    clip: Clip = field(default_factory=Clip)
    output: Output = field(default_factory=Output)
    trusted_modules: list[str] = field(default_factory=list)
    forecast: bool = False
    views: bool = False

    @property
    def accelerator(self) -> str:
        """What Lightning's trainer is told to run on."""
        return str(self.trainer.get("accelerator", "auto"))


def validate(plain: Mapping[str, Any]) -> Config:
    """The configuration of plain values, each checked.

    Raises:
        InputError: an unknown key, a value that its key does not take, or two that do not go
            together, or a `_target_` that is not allowed.
    """
    config = from_mapping("", plain, Config)
    check_targets("", plain, config.trusted_modules)
    for key, value in (("content", config.content), ("output_dir", config.output_dir)):
        if not str(value).strip():  # as of an unset $PHOTO: the current folder, or the root
            raise InputError(key, "nothing", "a path")
    if not config.styles:
        raise InputError("styles", repr(plain["styles"]), "at least one style")
    _check_restart(config.restart)
    _check_output(config.output)
    _check_pyramid(config)
    _check_optimized_metric(config)
    return config


def _check_output(output: Output) -> None:
    if output.bits == 16 and output.format not in ("png", "tiff"):
        raise InputError("output.bits", f"16 beside output.format={output.format}", "png or tiff")


def _check_restart(restart: Restart) -> None:
    if (restart.step is None) != (restart.lr is None):
        got = f"step {restart.step}, lr {restart.lr}"
        raise InputError("restart", got, "a step and a learning rate, or null")


def _check_pyramid(config: Config) -> None:
    pyramid = config.pyramid
    if pyramid.levels == 1:
        return
    if (pyramid.levels - 1) * pyramid.steps_per_level >= config.steps:
        raise InputError(
            "pyramid.steps_per_level",
            f"{pyramid.steps_per_level} x {pyramid.levels - 1} at smaller sizes",
            f"less than steps={config.steps} in all, or fewer levels",
        )
    for name, term in config.loss.terms.items():
        if term.get("reduction") == "sum":
            # A sum grows with the picture, so its weight would be another one at every size.
            got = f"sum beside pyramid.levels={pyramid.levels}"
            raise InputError(f"loss.{name}.reduction", got, "mean, or pyramid.levels=1")


def _check_optimized_metric(config: Config) -> None:
    terms = [name for name, term in config.loss.terms.items() if term.get("weight") is not None]
    terms = [name for name in terms if name != "temporal"]  # of a clip's later frames alone
    known = ["total", *terms, *(f"style_{name}" for name in config.styles)]
    if config.optimized_metric == []:
        raise InputError("optimized_metric", "[]", "a list of at least one, in square brackets")
    for name in config.optimized_metric or ():
        if name not in known:
            got = f"{name!r}, a term that this run does not have"
            raise InputError("optimized_metric", got, did_you_mean(name, known))
