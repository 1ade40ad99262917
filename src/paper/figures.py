"""The paper's figures in its order, from the finished runs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from src.core.images import open_picture
from src.paper.evidence import Evidence
from src.paper.measures import Undefined
from src.runs.reader import read_yaml

FIGURES = read_yaml(Path(__file__).with_name("figures.yaml"))  # caption and parts by title


@dataclass
class Figure:
    """Pictures as data URIs and totals by step, by label; and what is missing and why."""

    title: str
    caption: str
    pictures: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[float]] = field(default_factory=dict)
    missing: str = ""


def of_paper(evidence: Evidence, second: Evidence | None) -> list[Figure]:
    """Figures 1 to 10; the last of a second photo, where there is one."""
    figures = [_figure(evidence, title, **figure) for title, figure in FIGURES.items()]
    if second is None:
        figures[-1].title = "Figures 9 and 10"
        return figures
    parts = FIGURES["Figure 9"]["parts"]
    return [*figures, _figure(second, "Figure 10", "The same on a second photo.", parts)]


def _figure(evidence: Evidence, title: str, caption: str, parts: Sequence[list[str]]) -> Figure:
    figure, missing = Figure(title, caption), {}
    for name, what, label in parts:
        try:
            run = evidence.run(name)
            file = run.pastiche if what == "pastiche" else run.inputs.get(what)
            if what == "total":
                figure.lines[label] = evidence.curve(name)
            elif file is None:
                raise Undefined(f"the run wrote no {what}")
            else:
                figure.pictures[label] = data_uri(file)
        except Exception as error:  # Pillow has many ways of saying that a PNG is broken
            missing[name] = f"{label}: {error}"
    figure.missing = "; ".join(missing.values())
    return figure


def data_uri(file: Path) -> str:
    """A picture file as part of a page: JPEG, its own size."""
    data = io.BytesIO()
    with open_picture(file) as image:
        image.convert("RGB").save(data, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
