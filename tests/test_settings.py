"""Settings are checked by annotations; what is refused is named, with what is expected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from src.core.errors import InputError
from src.core.settings import (
    REST,
    Count,
    Layers,
    Pixels,
    Range,
    Share,
    Weight,
    check_arguments,
    check_value,
    from_mapping,
)


@pytest.mark.parametrize(
    ("hint", "taken"),
    [
        (Count, [1, 7]),
        (Weight, [0, 0.5, 3]),
        (Pixels | None, [None, 512]),
        (Literal["auto"] | Count | None, ["auto", 3, None]),
        (bool, [True, False]),
        (str, ["3", ""]),
        (Layers, [["relu1_1", 3]]),
        (Sequence[float], [[], [1, 2.5]]),
        (Annotated[float, Range(1, exclusive=True)], [1.5, 2]),
        (Any, [object, {}, None]),
    ],
)
def test_values_of_their_type_are_taken(hint: Any, taken: list[Any]) -> None:
    for value in taken:
        assert check_value("key", value, hint) == value


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (Count, 0, "a whole number, 1 or more"),
        (Count, 2.0, "a whole number, 1 or more"),
        (Count, True, "a whole number, 1 or more"),
        (Weight, -1, "a number, 0 or more"),
        (Weight, float("nan"), "a number, 0 or more"),
        (Weight, float("inf"), "a number, 0 or more"),
        (Weight, "much", "a number, 0 or more"),
        (Pixels, 0, "a whole number of pixels, 1 or more"),
        (Annotated[float, Range(1, exclusive=True)], 1, "a number above 1"),
        (Literal["sum", "mean"], "max", "one of sum, mean"),
        (Literal["auto"] | Count | None, "small", "a whole number, 1 or more"),
        (bool, "yes", "true or false"),
        (bool, 1, "true or false"),
        (Literal["auto"] | bool, "maybe", "auto, true or false"),
        (Share, 1.5, "a number from 0 to 1"),
        (Annotated[float, Range(0, exclusive=True, high=1)], 0, "a number above 0, 1 at most"),
        (str, 3, "a text"),
        (Layers, [], "a list of at least one, in square brackets"),
        (Sequence[float], "ab", "a list, in square brackets"),
        (Mapping[str, int], 3, "key.KEY=VALUE"),
        (Mapping[str, int] | None, "step", "key.KEY=VALUE"),
    ],
)
def test_other_values_are_refused(hint: Any, value: Any, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        check_value("key", value, hint)
    assert str(caught.value) == f"key: got {value!r}; expected {expected}"


def test_items_of_lists_and_mappings_are_named() -> None:
    with pytest.raises(InputError, match=r"^key\[1\]: got 'a'; expected a number"):
        check_value("key", [1, "a"], Sequence[float])
    with pytest.raises(InputError, match=r"^key.a: got 'b'; expected a whole number"):
        check_value("key", {"a": "b"}, Mapping[str, int])


@dataclass(frozen=True)
class Inner:
    number: Count
    word: str = "none"


@dataclass(frozen=True)
class Outer:
    inner: Inner
    others: Mapping[str, int] = field(metadata={REST: True})


def test_a_mapping_becomes_its_dataclass() -> None:
    found = from_mapping("", {"inner": {"number": 3}, "a": 1, "b": 2}, Outer)
    assert found == Outer(Inner(3), {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"inner": 3}, "^inner: got 3; expected inner.KEY=VALUE"),
        ({"inner": {}}, "^inner.number: got nothing; expected a value"),
        ({"inner": {"number": 0}}, "^inner.number: got 0"),
        ({"inner": {"number": 1, "wrod": "x"}}, "^inner.wrod: got an unknown key; expected word"),
        ({"inner": {"number": 1}, "a": "x"}, "^a: got 'x'; expected a whole number"),
        ({}, "^inner: got nothing"),
    ],
)
def test_what_a_dataclass_does_not_take_is_named(node: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_mapping("", node, Outer)


def test_arguments_are_checked_by_the_signature() -> None:
    def function(depth: Any, center: float = 0.5, invert: bool = False) -> None: ...

    check_arguments("mask", function, {"center": 1, "invert": True}, ["depth"])
    for settings, message in (
        ({"centre": 1}, "^mask.centre: got an unknown key; expected center, perhaps"),
        ({"depth": 1}, "^mask.depth: got an unknown key"),
        ({"center": "middle"}, "^mask.center: got 'middle'; expected a number"),
    ):
        with pytest.raises(InputError, match=message):
            check_arguments("mask", function, settings, ["depth"])
    with pytest.raises(InputError, match=r"^inner.number: got 0"):
        check_arguments("inner", Inner, {"number": 0})
