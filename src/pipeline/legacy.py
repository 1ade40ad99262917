"""Configurations of earlier releases: the names that their keys have now."""

from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from src.core.errors import InputError

RENAMED = {
    "levels.count": "pyramid.levels",
    "levels.factor": "pyramid.scale_factor",
    "levels.steps": "pyramid.steps_per_level",
    "levels.detail": "pyramid.residual",
    "levels": "pyramid",
    "picture_every": "save_every_n_steps",
    "log_every": "log_every_n_steps",
    "objectives": "optimized_metric",
    "tile": "tile_size",
    "loss.mask_shares": "loss.normalize_masks",
    "optimizer.smoothing": "optimizer.preconditioner_exponent",
    "optimizer.range_penalty": "optimizer.range_penalty_weight",
}
REMOVED = {"loss.depth.warmup": 0, "loss.depth.every": 1}  # and what they were by default
# What runs before 0.4 did, by keys that their config.yaml does not have; and the terms' order in
# the sum, which is that of their keys.
DEFAULTS = """
tile_size: null
precision: float32
pyramid: {levels: 1, scale_factor: 2.0, steps_per_level: 40, residual: 0.0}
optimized_metric: null
trusted_modules: []
colors: style
strength: 0.5
refine_masks: false
evaluate: false
forecast: false
loss:
  normalize_masks: true
  content: {_target_: src.objective.ContentTerm}
  style:
    _target_: src.objective.StyleTerm
    distance: {_target_: src.objective.GramDistance, normalizer: "${..normalizer}"}
  depth: {_target_: src.objective.DepthTerm, size: null}
  tv: {_target_: src.objective.TotalVariationTerm}
"""


def refuse_renamed(arguments: Iterable[str]) -> None:
    """Refuse a key of an earlier release on the command line: an InputError names today's."""
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        if key in RENAMED:
            got = "a key that has another name since release 0.5"
            raise InputError(key, got, f"{RENAMED[key]}=VALUE")


def rename(argument: str) -> str:
    """An argument of a command line that an earlier release wrote down, with today's key."""
    key, equals, value = argument.partition("=")
    name = key.lstrip("+~")
    return f"{key.removesuffix(name)}{RENAMED.get(name, name)}{equals}{value}"


def upgrade(config: DictConfig) -> DictConfig:
    """A run's config.yaml, of this release or an earlier one, with today's keys.

    Raises:
        InputError: a setting that no release has any more.
    """
    config = config.copy()
    for old, new in RENAMED.items():
        value = _pop(config, old)
        if value is not None and old != "levels":
            OmegaConf.update(config, new, value)
    for old, default in REMOVED.items():
        value = _pop(config, old)
        if value not in (None, default):
            raise InputError(old, repr(value), f"{default}: it is gone since release 0.5")
    defaults = OmegaConf.create(DEFAULTS)
    if OmegaConf.select(config, "loss.style.distance") is not None:
        del defaults.loss.style.distance  # another one's settings are others
    merged = OmegaConf.merge(defaults, config)
    assert isinstance(merged, DictConfig)
    return merged


def _pop(config: DictConfig, key: str) -> object:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return node.pop(name, None) if isinstance(node, DictConfig) else None
