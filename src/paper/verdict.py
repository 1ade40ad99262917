"""A claim of the paper is one function that measures and judges; here is what they share."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from src.paper.evidence import Evidence
from src.runs.reader import read_yaml

VERDICTS = {True: "holds", False: "fails", None: "untestable"}


class Judgement(NamedTuple):
    """Whether a claim holds (None: cannot be told), what was measured, and why."""

    holds: bool | None
    measured: str
    why: str


Judge = Callable[[Evidence], Judgement]
CLAIMS = read_yaml(Path(__file__).with_name("claims.yaml"))  # by key: section and words
JUDGES: dict[str, Judge] = {}  # see `claim`


def claim(key: str) -> Callable[[Judge], Judge]:
    """Register a function as what measures and judges a claim of claims.yaml."""
    return lambda judge: JUDGES.setdefault(key, judge)


def decide(evidence: Evidence) -> dict[str, dict[str, str]]:
    """On every claim: what the paper says, what was measured, the verdict, and why."""
    verdicts = {}
    for key, words in CLAIMS.items():
        try:
            holds, measured, why = JUDGES[key](evidence)
        except (ValueError, OSError, KeyError) as error:  # Undefined and InputError are ValueErrors
            why = str(error) if isinstance(error, ValueError) else f"not measured: {error!r}"
            holds, measured = None, "nothing"
        verdicts[key] = {"paper": words["paper"], "measured": measured}
        verdicts[key] |= {"verdict": VERDICTS[holds], "why": why}
    return verdicts


def percent(share: float) -> str:
    """A share in words."""
    return f"{100 * share:.3g} %"


def joined(*parts: tuple[bool, str, str]) -> tuple[bool, str]:
    """Whether all parts of a claim hold, and the words of each, given as (holds, yes, no)."""
    return all(part[0] for part in parts), "; ".join(yes if ok else no for ok, yes, no in parts)
