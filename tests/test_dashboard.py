"""W&B's workspace, report and sweep file: built and read without a network."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from src import dashboard
from src.pipeline.config import compose_plain
from src.runs.reader import flatten

ROOT = Path(__file__).resolve().parents[1]
# wandb-workspaces itself still writes for the pydantic before the last.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:wandb_workspaces",
    "ignore:Pydantic V1 style:DeprecationWarning",
    "ignore:`json_encoders` is deprecated:DeprecationWarning",
)
SWEEPS = sorted((ROOT / "sweeps" / "wandb").glob("*.yaml"))


def sent(item: Any) -> dict[str, Any]:
    """What would be sent to W&B, as its own code writes it."""
    return json.loads(item._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))


def panels_of(workspace: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = workspace["section"]["panelBankConfig"]["sections"]
    return {s["name"]: s["panels"] for s in sections if s.get("panels")}


def test_the_workspace_has_every_panel() -> None:
    panels = panels_of(sent(dashboard.build_workspace("me", "mine", ["loss.depth.weight"])))
    assert [*panels] == ["Pictures", "Curves", "What matters", "Trade-off"]
    pictures = panels["Pictures"][0]["config"]
    assert pictures["mediaKeys"] == ["pastiche"]
    assert pictures["gridSettings"] == {"xAxis": "step", "yAxis": "run"}
    curves = [panel["config"] for panel in panels["Curves"]]
    terms = ["total", "content", "style", "structure", "temporal", "tv", "depth"]
    terms.append("depth_gradient")
    assert [curve["metrics"] for curve in curves] == [[term] for term in terms]
    assert {(curve["xAxis"], curve["yLogScale"]) for curve in curves} == {("step", True)}
    coordinates, *importance = panels["What matters"]
    weight, *terms = coordinates["config"]["columns"]
    assert (weight["accessor"], weight["log"]) == ("config:loss.value.depth.weight", True)
    assert [c["accessor"] for c in terms] == ["summary:style", "summary:content", "summary:depth"]
    targets = [panel["config"]["targetKey"] for panel in importance]
    assert targets == ["style", "content", "depth"]
    scatter = panels["Trade-off"][0]["config"]
    axes = [scatter[axis] for axis in ("xAxis", "yAxis", "zAxis")]
    assert axes == ["summary:content", "summary:style", "summary:depth"]


def test_the_report_shows_the_same_of_the_projects_runs() -> None:
    grids = [b for b in dashboard.build_report("me", "mine").blocks if hasattr(b, "runsets")]
    workspace = panels_of(sent(dashboard.build_workspace("me", "mine")))
    kinds = [[panel["viewType"] for panel in panels] for panels in workspace.values()]
    assert [[panel._to_model().view_type for panel in grid.panels] for grid in grids] == kinds
    runs = [(grid.runsets[0].entity, grid.runsets[0].project) for grid in grids]
    assert runs == [("me", "mine")] * 4


def test_default_keys_are_keys_of_the_configuration() -> None:
    known = flatten(compose_plain("+experiment=depth_loss", "mask=sigmoid"))
    assert set(dashboard.KEYS) <= set(known)


def test_a_dry_run_prints_what_it_would_make(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--entity", "me", "--project", "mine", "--keys", "seed, mask.center", "--dry-run"]
    assert dashboard.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("workspace and report 'Depth in style transfer' in me/mine\n")
    assert "columns=[seed, mask.center, style, content, depth]" in out
    assert "media_keys=[pastiche], mode=grid, grid_x_axis=step, grid_y_axis=run" in out
    assert "x=content, y=style, z=depth" in out


@pytest.mark.slow
def test_without_a_login_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "src.dashboard", "--entity", "me", "--project", "mine"]
    home = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    ended = subprocess.run(
        command, cwd=ROOT, env=home, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: --entity, --project: got me/mine, which W&B")
    assert ended.stderr.count("\n") == 1


def command_lines(path: Path) -> list[list[str]]:
    """The command lines that W&B's agent forms of a sweep file, for a grid."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load(path.read_text())
    assert sweep["method"] == "grid"
    parameters = {name: given["values"] for name, given in sweep["parameters"].items()}
    lines = []
    for values in itertools.product(*parameters.values()):
        chosen = {n: {"value": v} for n, v in zip(parameters, values, strict=True)}
        parts: dict[str, Any] = create_sweep_command_args({"args": chosen})
        parts |= {"env": ["/usr/bin/env"], "program": [sweep["program"]]}
        line: list[str] = []
        for part in create_sweep_command(list(sweep["command"])):
            line += parts[part[2:-1]] if part.startswith("${") else [part]
        lines.append(line)
    return lines


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_what_the_agent_runs_can_be_composed(path: Path) -> None:
    lines = command_lines(path)
    assert len(lines) == 16
    assert lines[0][:4] == ["/usr/bin/env", "python", "-m", "src.run"]
    configs = [compose_plain(*line[4:]) for line in lines]
    assert len({(config["strength"], str(config["loss"])) for config in configs}) == len(lines)
    assert configs[0]["loss"]["depth"]["weight"] == 1
    assert configs[-1]["loss"]["depth"]["weight"] == 200000
    assert configs[0]["tracking"]["mode"] == "online"


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_what_the_agent_runs_runs(path: Path, tmp_path: Path) -> None:
    line = command_lines(path)[0]
    line[1] = sys.executable
    small = ["tracking=off", "size=64", "steps=1", f"output_dir={tmp_path}"]
    subprocess.run([*line, *small], cwd=ROOT, check=True, capture_output=True)
    assert len(list(tmp_path.glob("depth_loss/*/pastiche.png"))) == 1
