"""The functions that a configuration may name as `_target_`, for configurations come from anywhere.

Names are checked before anything is imported: importing a module runs it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any

from src.core.errors import InputError

TRUST = "trusted_modules"
PACKAGES = ("backbones", "depth_nets", "masks", "objective", "optimizers")
OWN = re.compile(rf"(src\.({'|'.join(PACKAGES)})|torch\.optim)\.(\w+\.)?\w+", re.ASCII)


def check_targets(key: str, tree: Any, trusted: Collection[str]) -> None:
    """Check every `_target_` in a configuration by its name.

    Args:
        key: of the tree, for errors; empty for the whole configuration.
        tree: plain values.
        trusted: modules of the user's own, or packages of them.

    Raises:
        InputError: a name that is neither this program's, nor an optimiser of torch, nor trusted.
    """
    if isinstance(tree, list):
        tree = dict(enumerate(tree))
    if not isinstance(tree, Mapping):
        return
    for name, value in tree.items():
        path = f"{key}.{name}" if key else str(name)
        if name == "_target_" and not _is_allowed(value, trusted):
            expected = f"a function of src.{', src.'.join(PACKAGES)} or torch.optim"
            hint = f"; {TRUST}=[MODULE] on the command line adds one of your own"
            raise InputError(path, repr(value), expected + hint)
        check_targets(path, value, trusted)


def _is_allowed(name: Any, trusted: Collection[str]) -> bool:
    return isinstance(name, str) and (
        OWN.fullmatch(name) is not None
        or any(name.startswith(f"{module}.") for module in trusted if module)
    )


def find(key: str, name: str) -> Callable[..., Any]:
    """The function or class of a name that `check_targets` passed.

    Raises:
        InputError: nothing of that name; of this program, what a module has from another one.
    """
    module, _, attribute = name.rpartition(".")
    try:
        function = getattr(import_module(module), attribute)
    except (AttributeError, ImportError, ValueError) as error:
        raise InputError(key, repr(name), "the name of a function") from error
    home = f"{getattr(function, '__module__', '')}.{attribute}"
    if not callable(function) or (OWN.fullmatch(name) and not OWN.fullmatch(home)):
        raise InputError(key, repr(name), "the name of a function")
    return function
