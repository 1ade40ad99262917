"""Values of the configuration of which a wrong one would show late or not at all."""

from collections.abc import Iterable, Mapping
from typing import Any

from src import nodes
from src.config import PRECISIONS, Config, nearest
from src.errors import InputError
from src.losses import NORMALIZERS
from src.objective import DEPTH_MODES, REDUCTIONS, DepthTerm


def check_numbers(config: Config) -> None:
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
    nodes.check_known(
        "loss.depth", depth, {"size"} | nodes.parameters(DepthTerm) - {"net", "target", "alone"}
    )
    loss = config["loss"]
    weights = {f"loss.{part}.weight": loss[part]["weight"] for part in ("content", "style", "tv")}
    weights |= {f"styles.{n}.weight": s.get("weight", 1) for n, s in config["styles"].items()}
    for i, weight in enumerate(loss["style"]["layer_weights"] or ()):
        weights[f"loss.style.layer_weights[{i}]"] = weight
    weights |= {f"loss.depth.{key}": depth[key] or 0 for key in ("weight", "gradient")}
    _check_amounts(weights)
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


def check_levels(config: Config) -> None:
    """Coarse to fine: what fits together."""
    levels, loss = config["levels"], config["loss"]
    if not isinstance(levels, dict):
        raise InputError("levels", repr(levels), f"levels.count={levels}")
    nodes.check_known("levels", levels, {"count", "factor", "steps", "detail"})
    factor = levels["factor"]
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not number or not 1 < factor < float("inf"):
        raise InputError("levels.factor", repr(factor), "a number above 1")
    _check_amounts({"levels.detail": levels["detail"]})
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


def check_objectives(objectives: Any, terms: Iterable[str]) -> None:
    """Refuse an objective of a sweep that is no term of the run."""
    known = ["total", *terms]
    if objectives is None:
        return
    for name in nodes.listed(objectives, "objectives"):
        if name not in known:
            got = f"{name!r}, a term that this run does not have"
            raise InputError("objectives", got, nearest(str(name), known))


def _check_whole(numbers: Mapping[str, tuple[Any, int]]) -> None:
    """Refuse, by key, what is not a whole number or below the least."""
    for key, (value, low) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(key, repr(value), f"a whole number, {low} or more")


def _check_amounts(numbers: Mapping[str, Any]) -> None:
    """Refuse, by key, what is not a number or below 0."""
    for key, value in numbers.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < float("inf"):
            raise InputError(key, repr(value), "a number, 0 or more")


def side_of(config: Config, key: str) -> int | None:
    """A side in pixels, or None where the key leaves it open."""
    side = config[key]
    if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
        raise InputError(key, repr(side), "a whole number of pixels, 1 or more")
    return side
