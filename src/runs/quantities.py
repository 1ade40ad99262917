"""The one table of numbers, quantities.yaml: every term, metric and time of a run."""

from pathlib import Path
from typing import NamedTuple

from src.runs.reader import read_yaml

LOWER, NEITHER, HIGHER = -1, 0, 1
DIRECTIONS = {"lower": LOWER, "neither": NEITHER, "higher": HIGHER}
ARROWS = {LOWER: " ↓", NEITHER: "", HIGHER: " ↑"}
ANY_STYLE = "<name>"  # ends the names of numbers that there is one of per style image


class Quantity(NamedTuple):
    """What a number is; the head of quantities.yaml says what the fields are."""

    meaning: str
    range: str = "0 up"
    unit: str = ""
    better: int = LOWER
    heading: str = ""

    @property
    def title(self) -> str:
        """The heading with an arrow to where better is."""
        return self.heading + ARROWS[self.better]


def _read_group(group: str) -> dict[str, Quantity]:
    return {
        name: Quantity(**fields | {"better": DIRECTIONS[fields.get("better", "lower")]})
        for name, fields in _TABLE[group].items()
    }


_TABLE = read_yaml(Path(__file__).with_suffix(".yaml"))
TERMS, METRICS, TIMES = map(_read_group, ("terms", "metrics", "times"))
UNKNOWN = Quantity("a number that this table does not have", "", better=NEITHER)
QUANTITIES = {**TERMS, **METRICS, **TIMES}


def quantity(name: str) -> Quantity:
    """What a number is by its name, also of one style (`style_near` is a `style_<name>`)."""
    if name in QUANTITIES:
        return QUANTITIES[name]
    stems = [key.removesuffix(ANY_STYLE) for key in QUANTITIES if key.endswith(ANY_STYLE)]
    stem = max((stem for stem in stems if name.startswith(stem)), key=len, default=None)
    return UNKNOWN if stem is None else QUANTITIES[stem + ANY_STYLE]


def columns() -> list[str]:
    """The numbers that tables of metrics show, in their order."""
    return [name for name, known in QUANTITIES.items() if known.heading]
