"""What the runs of one process have in common, made once: networks, pictures, targets."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Shelf:
    """Values by key, of every kind the few that were used last.

    A value must be a function of its key alone, and nobody may change it: whoever takes one off
    the shelf shares it with the runs to come.

    Args:
        limits: how many values of each kind are kept.
    """

    def __init__(self, **limits: int) -> None:
        self._limits = limits
        self._kept: dict[str, OrderedDict[Hashable, Any]] = {kind: OrderedDict() for kind in limits}
        self._lock = threading.RLock()

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made where it is not there. What `make` raises is not kept."""
        with self._lock:
            kept = self._kept[kind]
            if key not in kept:
                value = make()
                while len(kept) >= self._limits[kind]:
                    kept.popitem(last=False)
                kept[key] = value
            kept.move_to_end(key)
            return kept[key]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for kept in self._kept.values():
                kept.clear()


def stamp(path: str | Path | None) -> Hashable:
    """What tells a file from a later one of the same name: where it is, its size, its time.

    Args:
        path: a path, or a built-in name, which is its own stamp; None is nothing.
    """
    if path is None:
        return None
    file = Path(path).expanduser()
    try:
        found = file.stat()
    except (OSError, ValueError):
        return str(path)
    return str(file.absolute()), found.st_size, found.st_mtime_ns
