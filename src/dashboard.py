"""`python -m src.dashboard --entity E --project P [--dry-run]`: a W&B workspace and a report.

Both show the same: the pastiches by step and run, a curve per term, which settings matter, and
style against content coloured by the depth's error. Keys of the configuration and names of terms
are those that `src.tracking` logs.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from src.errors import InputError

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.workspaces import Workspace

NAME = "Depth in style transfer"
TERMS = ("total", "content", "style", "tv", "depth")
OBJECTIVES = ("style", "content", "depth")
KEYS = ("loss.depth.weight", "loss.style.weight", "mask.center", "mask.slope")
INPUTS = ("inputs/content", "inputs/depth", "inputs/style_main", "inputs/mask_main")
WIDTH = 24  # of a W&B report's panels, in its columns


def panels(keys: Sequence[str]) -> dict[str, list[Any]]:
    """W&B's panels by section.

    Args:
        keys: the swept keys of the configuration, for the parallel coordinates.
    """
    from wandb_workspaces.reports import v2 as wr

    def columns() -> Iterator[wr.ParallelCoordinatesPlotColumn]:
        for key in keys:
            # Weights are swept over decades; None leaves the choice to W&B.
            log = True if key.endswith("weight") else None
            yield wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=key, log=log)
        for term in OBJECTIVES:
            yield wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(term), display_name=term)

    full, half = wr.Layout(w=WIDTH, h=12), wr.Layout(w=WIDTH // 2, h=8)
    return {
        "Pictures": [
            wr.MediaBrowser(
                title="Pastiches by step and run",
                media_keys=["pastiche"],
                mode="grid",
                grid_x_axis="step",
                grid_y_axis="run",
                layout=full,
            ),
            wr.MediaBrowser(
                title="What went in",
                media_keys=list(INPUTS),
                mode="gallery",
                gallery_axis="run",
                layout=full,
            ),
        ],
        "Curves": [
            wr.LinePlot(title=term, x="step", y=[term], log_y=True, layout=half) for term in TERMS
        ],
        "What matters": [
            wr.ParallelCoordinatesPlot(
                title="Settings and what became of them", columns=list(columns()), layout=full
            ),
            *(wr.ParameterImportancePlot(with_respect_to=t, layout=half) for t in OBJECTIVES),
        ],
        "Trade-off": [
            wr.ScatterPlot(
                title="Style against content, coloured by the depth's error",
                x=wr.SummaryMetric("content"),
                y=wr.SummaryMetric("style"),
                z=wr.SummaryMetric("depth"),
                log_y=True,
                layout=full,
            ),
            wr.RunComparer(diff_only=True, layout=full),
        ],
    }


def build_workspace(entity: str, project: str, keys: Sequence[str] = KEYS) -> "Workspace":
    """The workspace, not saved."""
    from wandb_workspaces import workspaces as ws

    sections = [
        ws.Section(name=name, panels=members, is_open=True)
        for name, members in panels(keys).items()
    ]
    return ws.Workspace(entity=entity, project=project, name=NAME, sections=sections)


def build_report(entity: str, project: str, keys: Sequence[str] = KEYS) -> "Report":
    """The report, not saved."""
    from wandb_workspaces.reports import v2 as wr

    blocks: list[Any] = [
        wr.P("Terms are unweighted; less is nearer to the content, the style and the depth."),
        wr.TableOfContents(),
    ]
    for name, members in panels(keys).items():
        runs = wr.Runset(entity=entity, project=project, name="Runs")
        blocks += [wr.H1(name), wr.PanelGrid(runsets=[runs], panels=members)]
    return wr.Report(entity=entity, project=project, title=NAME, blocks=blocks, width="fluid")


def outline(entity: str, project: str, keys: Sequence[str] = KEYS) -> str:
    """What would be made, as text."""
    lines = [f"workspace and report {NAME!r} in {entity}/{project}"]
    for name, members in panels(keys).items():
        lines += ["", name]
        lines += [f"  {_describe(panel)}" for panel in members]
    return "\n".join(lines)


def _describe(panel: Any) -> str:
    """A panel's kind, and what is set in it."""
    facts = []
    for field in dataclasses.fields(panel):
        value = getattr(panel, field.name)
        if field.name == "layout" or field.name.startswith("_"):
            continue
        if value not in (None, [], (None, None)):
            facts.append(f"{field.name}={_plain(value)}")
    return f"{type(panel).__name__}: {', '.join(facts)}"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if hasattr(value, "metric"):  # a column of the parallel coordinates
        return _plain(value.metric) + (" (log)" if value.log else "")
    return str(getattr(value, "name", value))


def save(entity: str, project: str, keys: Sequence[str]) -> list[str]:
    """Write the workspace and the report to W&B.

    Returns:
        Their addresses.

    Raises:
        InputError: no login, no network, or no right to write there.
    """
    made: list[Any] = [build_workspace(entity, project, keys), build_report(entity, project, keys)]
    try:
        return [item.save().url for item in made]
    except Exception as error:  # requests, W&B, its GraphQL client and its API each have their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            "--entity, --project",
            f"{entity}/{project}, which W&B does not let us write ({reason})",
            "a network, `wandb login` once, and a project of your own; or --dry-run",
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Build and save, or print; on an error one line."""
    parser = argparse.ArgumentParser(
        prog="python -m src.dashboard", description="A W&B workspace and a report to compare runs."
    )
    parser.add_argument("--entity", required=True, help="W&B's user or team")
    parser.add_argument("--project", required=True, help="W&B's project (tracking.project)")
    parser.add_argument(
        "--keys",
        default=",".join(KEYS),
        help="the swept keys, for the parallel coordinates; default: %(default)s",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be made")
    options = parser.parse_args(arguments)
    keys = [key.strip() for key in options.keys.split(",") if key.strip()]
    if options.dry_run:
        print(outline(options.entity, options.project, keys))
        return 0
    try:
        for url in save(options.entity, options.project, keys):
            print(f"done: {url}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
