"""The objective: terms of the loss and their weighted sum, as a function of the pastiche."""

from src.objective.distances import GramDistance, StyleDistance, WassersteinDistance
from src.objective.objective import Objective
from src.objective.targets import Inputs, Style, check_depth_size
from src.objective.terms import (
    ContentTerm,
    DepthTerm,
    StructureTerm,
    StyleTerm,
    Term,
    TotalVariationTerm,
)

__all__ = [
    "ContentTerm",
    "DepthTerm",
    "GramDistance",
    "Inputs",
    "Objective",
    "StructureTerm",
    "Style",
    "StyleDistance",
    "StyleTerm",
    "Term",
    "TotalVariationTerm",
    "WassersteinDistance",
    "check_depth_size",
]
