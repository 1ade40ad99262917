"""Values of the configuration checked by type annotations: of dataclasses and of constructors.

`Annotated[int, Range(1)]` and its like say which numbers a key takes; a value that its annotation
does not take is one InputError that names the key. Annotations of other kinds are not checked.
"""

import inspect
import math
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin
from typing import get_type_hints as type_hints

from src.core.errors import InputError, did_you_mean

T = TypeVar("T")
REST = "rest"  # metadata of the one field that takes all keys that are no other field


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` on, or above it, to `high`; `unit` of whole ones: for the error."""

    low: float
    exclusive: bool = False
    unit: str = ""
    high: float = math.inf


@dataclass(frozen=True)
class NonEmpty:
    """Lists of at least one."""


Count = Annotated[int, Range(1)]
Index = Annotated[int, Range(0)]
Pixels = Annotated[int, Range(1, unit=" of pixels")]
Weight = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, high=1)]
Layers = Annotated[Sequence[str | int], NonEmpty()]


def check_value(key: str, value: Any, hint: Any) -> Any:
    """The value of a key, as its annotation has it: a mapping becomes its dataclass.

    Raises:
        InputError: the annotation does not take the value.
    """
    constraint = None
    if get_origin(hint) is Annotated:
        hint, constraint = get_args(hint)[:2]
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _check_union(key, value, get_args(hint))
    if origin is Literal:
        _require(
            value in get_args(hint), key, value, f"one of {', '.join(map(str, get_args(hint)))}"
        )
    elif hint is bool:
        _require(isinstance(value, bool), key, value, "true or false")
    elif hint in (int, float):
        _check_number(key, value, hint, constraint)
    elif hint is str:
        _require(isinstance(value, str), key, value, "a text")
    elif is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(key, value, hint)
    elif origin is not None and issubclass(origin, Mapping):
        _require(isinstance(value, Mapping), key, value, f"{key}.KEY=VALUE")
        one = get_args(hint)[1]
        return {name: check_value(f"{key}.{name}", item, one) for name, item in value.items()}
    elif origin is not None and issubclass(origin, Sequence):
        at_least = " of at least one" if constraint else ""
        listed = isinstance(value, list | tuple) and (len(value) > 0 or not constraint)
        _require(listed, key, value, f"a list{at_least}, in square brackets")
        return [check_value(f"{key}[{i}]", x, get_args(hint)[0]) for i, x in enumerate(value)]
    return value


def _require(condition: bool, key: str, value: Any, expected: str) -> None:
    if not condition:
        raise InputError(key, repr(value), expected)


def _check_union(key: str, value: Any, hints: Sequence[Any]) -> Any:
    if value is None and type(None) in hints:
        return None
    for kind, base in ((list, Sequence), (Mapping, Mapping)):
        holding = [hint for hint in hints if _holds(hint, base)]
        if holding and isinstance(value, kind):
            return check_value(key, value, holding[0])
        hints = [hint for hint in hints if hint not in holding]
    errors = []
    # Numbers last: what they say of a wrong value tells more than a list of words.
    for hint in sorted(hints, key=lambda hint: get_origin(hint) is not Literal):
        if hint is type(None):
            continue
        try:
            return check_value(key, value, hint)
        except InputError as error:
            errors.append(error)
    if bool in hints:
        words = (error.expected.removeprefix("one of ") for error in errors)
        raise InputError(key, repr(value), ", ".join(words))
    raise errors[-1] if errors else InputError(key, repr(value), f"{key}.KEY=VALUE")


def _holds(hint: Any, base: type) -> bool:
    """Whether a type is one of lists, or of mappings."""
    origin = get_origin(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
    return isinstance(origin, type) and issubclass(origin, base)


def _check_number(key: str, value: Any, kind: type, limits: Range | None) -> None:
    expected = "a whole number" if kind is int else "a number"
    if limits is not None:
        above = f" above {limits.low}" if limits.exclusive else f", {limits.low} or more"
        if limits.high < math.inf:
            both = f" from {limits.low} to {limits.high}"
            above = f"{above}, {limits.high} at most" if limits.exclusive else both
        expected += limits.unit + above
    number = isinstance(value, int if kind is int else int | float)
    _require(number and not isinstance(value, bool), key, value, expected)
    if limits is not None:
        inside = limits.low < value if limits.exclusive else limits.low <= value
        _require(inside and value < math.inf and value <= limits.high, key, value, expected)


def from_mapping(key: str, node: Any, cls: Callable[..., T]) -> T:
    """A dataclass from a node of the configuration, whose key is empty for the whole of it.

    Raises:
        InputError: an unknown key, one that is missing, or a value that its field does not take.
    """
    _require(isinstance(node, Mapping), key, node, f"{key}.KEY=VALUE")
    prefix = f"{key}." if key else ""
    hints = type_hints(cls, include_extras=True)
    known = {field.name: field for field in fields(cast(Any, cls))}
    rest = next((name for name, field in known.items() if field.metadata.get(REST)), None)
    values: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in node.items():
        if name in known and name != rest:
            values[name] = check_value(f"{prefix}{name}", _whole(value, hints[name]), hints[name])
        elif rest is not None:
            others[name] = check_value(f"{prefix}{name}", value, get_args(hints[rest])[1])
        else:
            check_known(key, [name], known)
    if rest is not None:
        values[rest] = others
    for name, field in known.items():
        if name not in values and field.default is field.default_factory is MISSING:
            raise InputError(f"{prefix}{name}", "nothing", "a value")
    return cls(**values)


def _whole(value: Any, hint: Any) -> Any:
    """1000 for 1e3, which YAML reads as 1000.0, where a whole number is wanted."""
    kinds = [
        get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in _members(hint)
    ]
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole and int in kinds and float not in kinds else value


def _members(hint: Any) -> Sequence[Any]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def check_arguments(
    key: str, function: Callable[..., Any], settings: Mapping[str, Any], built: Collection[str] = ()
) -> None:
    """Check settings by the annotations of the function or class that takes them.

    Args:
        key: of the node that holds the settings.
        function: the function or class.
        settings: by the parameters' names.
        built: parameters that do not come from the configuration.

    Raises:
        InputError: an unknown name, or a value that its annotation does not take.
    """
    check_known(key, settings, set(inspect.signature(function).parameters) - set(built))
    subject = function.__init__ if inspect.isclass(function) else function
    hints = type_hints(subject, include_extras=True)
    for name, value in settings.items():
        check_value(f"{key}.{name}", value, hints.get(name, Any))


def check_known(key: str, names: Collection[str], known: Collection[str]) -> None:
    """Refuse a name below a key that is not among the known ones, with the nearest that is."""
    prefix = f"{key}." if key else ""
    for name in names:
        if name not in known:
            raise InputError(f"{prefix}{name}", "an unknown key", did_you_mean(str(name), known))
