"""Nodes of the configuration: what one names as its `_target_`, called with its other entries."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_method

from src.config import Config, nearest
from src.errors import InputError


def function(key: str, node: Mapping[str, Any]) -> Callable[..., Any]:
    """The function or class that a node names as its `_target_`.

    Raises:
        InputError: nothing of that name.
    """
    target = node.get("_target_")
    try:
        return get_method(str(target))
    except (HydraException, ValueError, ImportError) as error:
        raise InputError(f"{key}._target_", repr(target), "the name of a function") from error


def call(key: str, node: Mapping[str, Any], *args: Any) -> Any:
    """Call the function that a node names with the node's other entries."""
    return call_with(key, partial(function(key, node), *args), without(node, "_target_"))


def call_with(key: str, made: Callable[..., Any], settings: Mapping[str, Any], **built: Any) -> Any:
    """Call a function or class with settings from the configuration and objects that were built.

    Raises:
        InputError: a setting that the function does not know.
    """
    check_known(key, settings, parameters(made) - set(built))
    return made(**settings, **built)


def parameters(made: Callable[..., Any]) -> set[str]:
    """The names that a function takes."""
    return set(inspect.signature(made).parameters)


def check_known(key: str, settings: Iterable[str], known: set[str]) -> None:
    """Refuse a setting below a key that is not among the known ones, with the nearest that is."""
    for name in settings:
        if name not in known:
            raise InputError(f"{key}.{name}", "an unknown key", nearest(name, known))


def listed(value: Any, key: str) -> list[Any]:
    """The value of a key that has to be a list, not an empty one; else an InputError."""
    if not isinstance(value, list) or not value:
        raise InputError(key, repr(value), "a list of at least one, in square brackets")
    return value


def without(node: Mapping[str, Any], *keys: str) -> Config:
    """A node less some of its entries."""
    return {key: value for key, value in node.items() if key not in keys}
