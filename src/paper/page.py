"""The report as one page that needs nothing beside it, and as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader
from plotly.offline import get_plotlyjs

from src.core.files import write_text
from src.paper.figures import Figure
from src.paper.verdict import CLAIMS, VERDICTS

HERE = Path(__file__).parent
REPORT, DATA = "report.html", "report.json"
GRID = {"gridcolor": "#80808033"}
LAYOUT = {
    "template": "none",
    "height": 340,
    "margin": {"l": 70, "r": 20, "t": 20, "b": 50},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"color": "#807b72", "family": "system-ui, sans-serif"},
    "xaxis": {"title": "step", "zeroline": False, **GRID},
    "yaxis": {"title": "total", "type": "log", "dtick": 1, **GRID},
    "legend": {"orientation": "h", "y": 1.12},
    "colorway": ["#c2571f", "#2a7f8e", "#7a5ba6"],
}


def write(report: Mapping[str, Any], figures: Sequence[Figure], folder: Path) -> Path:
    """Write report.json and report.html, each whole or not at all, and return the page."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    words = [verdict["verdict"] for verdict in report["claims"].values()]
    html = environment.get_template("page.html.jinja").render(
        report=report,
        figures=figures,
        counts={word: words.count(word) for word in VERDICTS.values()},
        words=CLAIMS,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        charts={figure.title: chart(figure) for figure in figures if figure.lines},
    )
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / DATA, text + "\n")
    write_text(folder / REPORT, html)
    return folder / REPORT


def chart(figure: Figure) -> str:
    """A figure's lines by step, on a logarithmic axis, as HTML that needs plotly's script."""
    lines = [go.Scatter(y=values, name=name) for name, values in figure.lines.items()]
    config = {"displayModeBar": False, "responsive": True}
    plot = go.Figure(lines, LAYOUT)
    return str(plot.to_html(full_html=False, include_plotlyjs=False, config=config))
