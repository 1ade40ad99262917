"""The objective: terms of the loss and their weighted sum, as a function of the pastiche."""

from src.objective.distances import GramDistance, StyleDistance, WassersteinDistance
from src.objective.objective import Objective
from src.objective.targets import Inputs, Previous, Style, check_depth_size
from src.objective.terms import (
    ContentTerm,
    DepthTerm,
    StructureTerm,
    StyleTerm,
    TemporalTerm,
    Term,
    TotalVariationTerm,
)

__all__ = [
    "ContentTerm",
    "DepthTerm",
    "GramDistance",
    "Inputs",
    "Objective",
    "Previous",
    "StructureTerm",
    "Style",
    "StyleDistance",
    "StyleTerm",
    "TemporalTerm",
    "Term",
    "TotalVariationTerm",
    "WassersteinDistance",
    "check_depth_size",
]
