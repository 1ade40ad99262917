"""The report as one page that needs nothing beside it, and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader
from plotly.offline import get_plotlyjs

from src.paper.claims import CLAIMS, VERDICTS, Verdict
from src.paper.figures import Figure, Finding
from src.runs import write_text

HERE = Path(__file__).parent
REPORT, DATA = "report.html", "report.json"
COLOURS = ("#c2571f", "#2a7f8e", "#7a5ba6", "#8a8f2a")


@dataclass(frozen=True)
class Report:
    """What is written.

    Attributes:
        verdicts: by claim.
        numbers: every number that decided one.
        facts: what it was made with, by name.
        stand_ins: what had to stand in for what the paper used, and why.
        problems: what could not be run, by name.
        figures: the paper's.
        timings: rows of a table: what, measured, paper.
        findings: beyond the paper.
        command: that makes it again.
        made: when, as shown.
    """

    verdicts: Mapping[str, Verdict]
    numbers: Mapping[str, float]
    facts: Mapping[str, str]
    stand_ins: Mapping[str, str]
    problems: Mapping[str, str]
    figures: Sequence[Figure]
    timings: Sequence[tuple[str, str, str]]
    findings: Sequence[Finding]
    command: str
    made: str


def as_json(report: Report) -> dict[str, Any]:
    """What report.json holds."""
    return {
        "claims": {key: asdict(verdict) for key, verdict in report.verdicts.items()},
        "numbers": dict(report.numbers),
        "facts": dict(report.facts),
        "stand_ins": dict(report.stand_ins),
        "problems": dict(report.problems),
        "timings": [
            dict(zip(("what", "measured", "paper"), row, strict=True)) for row in report.timings
        ],
        "command": report.command,
        "made": report.made,
    }


def render(report: Report) -> str:
    """The page's HTML, every text escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    counts = {word: sum(v.verdict == word for v in report.verdicts.values()) for word in VERDICTS}
    every = [*report.figures, *(f for finding in report.findings for f in finding.figures)]
    return environment.get_template("page.html.jinja").render(
        report=report,
        counts=counts,
        sections={key: claim.section for key, claim in CLAIMS.items()},
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        charts={figure.title: chart(figure) for figure in every if figure.lines},
    )


def chart(figure: Figure) -> str:
    """A figure's lines by step, on a logarithmic axis, as HTML that needs plotly's script."""
    lines = [
        go.Scatter(x=list(range(len(values))), y=list(values), name=name, line={"color": colour})
        for (name, values), colour in zip(figure.lines.items(), cycle(COLOURS), strict=False)
    ]
    plot = go.Figure(lines)
    plot.update_layout(
        template="none",
        height=340,
        margin={"l": 70, "r": 20, "t": 20, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#807b72", "family": "system-ui, sans-serif"},
        xaxis={"title": "step", "gridcolor": "#80808033", "zeroline": False},
        yaxis={"title": figure.axis, "type": "log", "gridcolor": "#80808033", "dtick": 1},
        legend={"orientation": "h", "y": 1.12},
        showlegend=True,
    )
    config = {"displayModeBar": False, "responsive": True}
    return str(plot.to_html(full_html=False, include_plotlyjs=False, config=config))


def write(report: Report, folder: Path) -> Path:
    """Write report.json and report.html, each whole or not at all.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(report), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / DATA, text + "\n")
    write_text(folder / REPORT, render(report))
    return folder / REPORT
