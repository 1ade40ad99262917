"""`python -m src.dashboard --entity E --project P [--dry-run]`: a W&B workspace and a report.

Both show pastiches by step and run, a curve per term, which settings matter, and the trade-off.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from src.core.errors import InputError
from src.runs.quantities import ANY_STYLE, TERMS

NAME = "Depth in style transfer"
CURVES = [name for name in TERMS if not name.endswith(ANY_STYLE)]
OBJECTIVES = ("style", "content", "depth")
KEYS = ("loss.depth.weight", "loss.style.weight", "mask.center", "mask.slope")
INPUTS = ("inputs/content", "inputs/depth", "inputs/style_main", "inputs/mask_main")
UNSET: list[Any] = [None, [], (None, None)]  # options of a panel that are left to W&B
WIDTH = 24  # of a W&B report's panels, in its columns


def panels(keys: Sequence[str]) -> dict[str, list[Any]]:
    """W&B's panels by section; `keys` are the swept ones, for the parallel coordinates."""
    from wandb_workspaces.reports import v2 as wr

    style, content, depth = (wr.SummaryMetric(name) for name in OBJECTIVES)
    column = wr.ParallelCoordinatesPlotColumn
    # Weights are swept over decades; None leaves the choice to W&B.
    columns = [
        column(wr.Config(key), display_name=key, log=True if key.endswith("weight") else None)
        for key in keys
    ]
    columns += [column(metric, display_name=metric.name) for metric in (style, content, depth)]
    full, half = wr.Layout(w=WIDTH, h=12), wr.Layout(w=WIDTH // 2, h=8)
    pastiches = wr.MediaBrowser(
        title="Pastiches by step and run",
        media_keys=["pastiche"],
        mode="grid",
        grid_x_axis="step",
        grid_y_axis="run",
        layout=full,
    )
    inputs = wr.MediaBrowser(
        title="Inputs", media_keys=list(INPUTS), mode="gallery", gallery_axis="run", layout=full
    )
    curves = [
        wr.LinePlot(title=term, x="step", y=[term], log_y=True, layout=half) for term in CURVES
    ]
    lines = wr.ParallelCoordinatesPlot(title="Settings and terms", columns=columns, layout=full)
    importance = [wr.ParameterImportancePlot(with_respect_to=t, layout=half) for t in OBJECTIVES]
    title = "Style against content, coloured by the depth's error"
    scatter = wr.ScatterPlot(title=title, x=content, y=style, z=depth, log_y=True, layout=full)
    return {
        "Pictures": [pastiches, inputs],
        "Curves": curves,
        "What matters": [lines, *importance],
        "Trade-off": [scatter, wr.RunComparer(diff_only=True, layout=full)],
    }


def build_workspace(entity: str, project: str, keys: Sequence[str] = KEYS) -> Any:
    """The workspace, not saved."""
    from wandb_workspaces import workspaces as ws

    groups = panels(keys).items()
    sections = [ws.Section(name=name, panels=members, is_open=True) for name, members in groups]
    return ws.Workspace(entity=entity, project=project, name=NAME, sections=sections)


def build_report(entity: str, project: str, keys: Sequence[str] = KEYS) -> Any:
    """The report, not saved."""
    from wandb_workspaces.reports import v2 as wr

    about = "Terms are unweighted; less is nearer to the content, the style and the depth."
    blocks: list[Any] = [wr.P(about), wr.TableOfContents()]
    for name, members in panels(keys).items():
        runs = wr.Runset(entity=entity, project=project, name="Runs")
        blocks += [wr.H1(name), wr.PanelGrid(runsets=[runs], panels=members)]
    return wr.Report(entity=entity, project=project, title=NAME, blocks=blocks, width="fluid")


def outline(sections: Mapping[str, Sequence[Any]]) -> str:
    """Panels by section and what is set in them, as text."""
    lines = []
    for name, members in sections.items():
        lines += ["", name]
        for panel in members:
            options = {k: v for k, v in vars(panel).items() if k not in ("layout", "_id")}
            words = [f"{k}={_text(v)}" for k, v in options.items() if v not in UNSET]
            lines.append(f"  {type(panel).__name__}: {', '.join(words)}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    value = getattr(value, "metric", value)  # a column of the parallel coordinates
    return str(getattr(value, "name", value))


def main(arguments: list[str] | None = None) -> int:
    """Build and save, or print; on an error one line."""
    about = "A W&B workspace and a report to compare runs."
    parser = argparse.ArgumentParser(prog="python -m src.dashboard", description=about)
    parser.add_argument("--entity", required=True, help="W&B's user or team")
    parser.add_argument("--project", required=True, help="W&B's project (tracking.project)")
    parser.add_argument("--keys", default=",".join(KEYS), help="swept keys; default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print what would be made")
    options = parser.parse_args(arguments)
    keys = [key.strip() for key in options.keys.split(",") if key.strip()]
    owner = options.entity, options.project
    if options.dry_run:
        print(f"workspace and report {NAME!r} in {'/'.join(owner)}\n{outline(panels(keys))}")
        return 0
    items = build_workspace(*owner, keys), build_report(*owner, keys)
    try:
        for item in items:
            print(f"done: {item.save().url}")
    except Exception as error:  # requests, W&B, its GraphQL client and its API each have their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        got = f"{'/'.join(owner)}, which W&B does not let us write ({reason})"
        expected = "a network, `wandb login` once, and a project of your own; or --dry-run"
        print(f"error: {InputError('--entity, --project', got, expected)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
