"""Sweeps: their files, their jobs, what becomes of them, and going on."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from src.core.errors import InputError
from src.pipeline import build as jobs
from src.pipeline import config, sweep
from tests.conftest import Command
from tests.running import SMALL, TINY_DEPTH, compose, summary, the_sweep

ROOT = Path(__file__).parent.parent
FILES = {path.stem: path for path in sorted((ROOT / "sweeps" / "sweep").glob("*.yaml"))}


def header(name: str) -> re.Match[str]:
    """The comment that a sweep's file begins with: command, question, cost, what to look at."""
    lines = itertools.takewhile(re.compile("# .").match, FILES[name].read_text().splitlines())
    comment = " ".join(line.removeprefix("# ") for line in lines)
    form = (
        rf"@package _global_ python -m src\.run -m (?P<experiment>\+experiment=\w+ )?\+sweep={name}"
        r"( (content|style)=FOLDER)? Question: .*\? Jobs: (?P<jobs>.*) Minutes: (\d+ on two cores|"
        r"2 for each (picture|painting), on two cores) Look at: .*\."
    )
    found = re.fullmatch(form, comment)
    assert found is not None, comment
    return found


def jobs_of(name: str) -> list[list[str]]:
    """The jobs that a grid's file makes, as Hydra's sweeper makes them."""
    params = yaml.safe_load(FILES[name].read_text())["hydra"]["sweeper"]["params"]
    overrides = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in params.items()])
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return jobs


def test_every_sweep_is_there() -> None:
    assert set(FILES) == {
        *("depth_weight", "content_layer", "mask_function", "two_styles_boundary"),
        *("pareto", "strength", "folder", "styles", "benchmark"),
    }


@pytest.mark.parametrize("name", FILES)
def test_a_file_begins_with_its_command_its_question_and_its_cost(name: str) -> None:
    jobs = header(name)["jobs"]
    search = yaml.safe_load(FILES[name].read_text())["hydra"].get("sweeper", {}).get("n_trials")
    if name in sweep.OF_FOLDER:
        assert jobs == f"one for each {'picture' if name == 'folder' else 'painting'}"
    else:
        assert int(jobs) == (search or len(jobs_of(name)))


@pytest.mark.parametrize(
    "name", ["content_layer", "mask_function", "strength", "two_styles_boundary"]
)
def test_every_job_of_a_grid_can_be_built(name: str) -> None:
    arguments = (*SMALL, header(name)["experiment"].strip(), f"+sweep={name}")
    for job in jobs_of(name):
        built = jobs.build(config.resolve(compose(*arguments, *job)))
        assert built.stylization.pastiche.shape == (1, 3, 32, 48)


def test_content_layers_have_their_own_weight_and_others_a_common_one() -> None:
    def weight(layer: str) -> float:
        arguments = ("+experiment=naive", "+sweep=content_layer", f"loss.content.layers=[{layer}]")
        return config.resolve(compose(*arguments)).loss.terms["content"]["weight"]

    assert (weight("relu1_2"), weight("28"), weight("relu4_2")) == (260_000, 20_000, 5000)
    assert weight("relu3_1") == 5000


def test_every_job_of_the_depth_weights_can_be_built() -> None:
    each = jobs_of("depth_weight")
    arguments = (*SMALL, *TINY_DEPTH, "+experiment=depth_loss", "+sweep=depth_weight")
    weights = [
        config.resolve(compose(*arguments, *job)).loss.terms["depth"]["weight"] for job in each
    ]
    assert (weights[0], weights[-1]) == (1, 200_000)
    ratios = [b / a for a, b in itertools.pairwise(weights)]
    assert all(5.5 < ratio < 6.0 for ratio in ratios)  # evenly in the logarithm
    jobs.build(config.resolve(compose(*arguments, *each[3])))


def test_mask_functions_are_all_there_with_their_mirror() -> None:
    options = {path.stem for path in (ROOT / "conf" / "mask").glob("*.yaml")}
    found: dict[str, list[bool]] = {}
    for (job,) in jobs_of("mask_function"):
        function = re.search(r"_target_:src\.masks\.(\w+)", job)
        assert function is not None
        found.setdefault(function[1], []).append("invert:true" in job.lower())
    # One needs a drawing, the other parts nothing.
    assert set(found) == options - {"file", "edges"}
    counts = {name: (inverts.count(False), inverts.count(True)) for name, inverts in found.items()}
    assert counts == {"uniform": (1, 0), "linear": (1, 1)} | {
        name: (3, 3) for name in ("sigmoid", "step", "band")
    }


def test_a_search_names_its_objectives_and_its_study() -> None:
    arguments = [*SMALL, *TINY_DEPTH, "+experiment=depth_loss", "+sweep=pareto"]
    found = config.resolve(compose(*arguments))
    assert found.optimized_metric == ["style", "content", "depth"]
    jobs.build(found)
    file = yaml.safe_load(FILES["pareto"].read_text())["hydra"]["sweeper"]
    assert len(file["direction"]) == len(found.optimized_metric)
    assert file["storage"].startswith("sqlite:///")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("+sweep=depth_wieght", "sweep: got 'depth_wieght'; expected depth_weight, perhaps"),
        ("-m +sweep=depth_wieght", "sweep: got 'depth_wieght'; expected depth_weight"),
        ("-m +sweeps=pareto", "sweeps: got an unknown key; expected sweep, perhaps"),
        ("+sweeps=pareto", "sweeps: got an unknown key; expected sweep, perhaps"),
        ("-m +sweep=content_layer stpes=1,2", "stpes: got an unknown key; expected steps, perhaps"),
        (
            "+sweep=two_styles_boundary",
            "mask.center: got an unknown key; expected one of _target_, invert",
        ),
        (
            "+sweep=folder content=motorcycle",
            "content: got 'motorcycle'; expected a folder of pictures",
        ),
        (
            "+sweep=styles style=conf",
            "style: got 'conf', without pictures; expected a folder of pictures, for +sweep=styles",
        ),
        (
            "+sweep=folder content=conf",
            "content: got 'conf', without pictures; expected a folder of pictures",
        ),
        ("resume_sweep=conf", "resume_sweep: got 'conf', which is no sweep's folder"),
        ("resume_sweep=nowhere", "resume_sweep: got 'nowhere', which is no sweep's folder"),
        ("content=conf", "content: got 'conf', without pictures; expected a folder of fr"),
    ],
)
def test_a_wrong_sweep_is_one_clear_line_and_no_job(
    arguments: str, message: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    ran = command("+experiment=naive", *SMALL, f"output_dir={tmp_path}", *arguments.split())
    assert ran.code == 1
    assert ran.err.strip().splitlines()[-1].startswith(f"error: {message}")
    assert not list(tmp_path.rglob("pastiche.png"))
    assert not list(tmp_path.glob("*/sweeps/*/0"))


def test_a_sweep_needs_no_flag_and_the_command_line_beats_its_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # its file is known from any folder
    arguments = ["+experiment=naive", "+sweep=content_layer", *SMALL, f"output_dir={tmp_path}"]
    ran = command(*arguments, "loss.content.layers=[relu2_1],[relu3_1]")
    assert ran.code == 0, ran.err
    folder = the_sweep(tmp_path)
    record = sweep.read_record(folder)
    assert record.swept_keys == ["loss.content.layers"]
    assert record.jobs[1] == [
        "loss.content.layers=[relu3_1]",
        "+experiment=naive",
        *SMALL,
        f"output_dir={tmp_path}",
        "+sweep=content_layer",
    ]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["0", "1"]
    layers = [
        yaml.safe_load((folder / job / "config.yaml").read_text())["loss"]["content"]["layers"]
        for job in "01"
    ]
    assert layers == [["relu2_1"], ["relu3_1"]]


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_what_failed_is_told_and_resumed_and_nothing_else(command: Command, tmp_path: Path) -> None:
    picture = tmp_path / "later.png"
    contents = f"content={picture},motorcycle,{tmp_path}/never.png"
    arguments = ["+experiment=naive", *SMALL, "steps=1", f"output_dir={tmp_path}/out"]
    ran = command("-m", *arguments, contents)
    assert ran.code == 1
    folder = the_sweep(tmp_path / "out")
    (line,) = ran.err.strip().splitlines()[-1:]
    assert line.startswith(f"error: 2 of 3 jobs are not done: 0 (content={picture}): content: got ")
    assert line.endswith(f"resume_sweep={folder} runs what is missing")
    assert [(folder / job / "pastiche.png").exists() for job in "012"] == [False, True, False]

    Image.new("RGB", (48, 32), (200, 100, 50)).save(picture)
    before = times(folder / "1")
    ran = command(f"resume_sweep={folder}")
    assert ran.code == 1
    assert "error: 1 of 3 jobs are not done: 2 (content=" in ran.err
    assert ran.out.count("done: ") == 1
    assert times(folder / "1") == before
    assert summary(folder / "0")["status"] == "done"
    assert not (folder / "0" / "FAILED").exists()
    assert (folder / ".earlier" / "0_1" / "FAILED").exists()
    assert (folder / "2" / "FAILED").exists()

    shutil.copy(picture, tmp_path / "never.png")
    assert command(f"resume_sweep={folder}").code == 0
    whole = times(folder)
    ran = command(f"resume_sweep={folder}")
    assert (ran.code, ran.out) == (0, f"all jobs are done in {folder}\n")
    changed = {path for path, time in times(folder).items() if whole.get(path) != time}
    assert {Path(path).name for path in changed} <= {"multirun.yaml", "sweep.json", ".sweep.lock"}


def test_an_interrupted_job_goes_on_from_its_checkpoint(command: Command, tmp_path: Path) -> None:
    arguments = ["+experiment=naive", *SMALL, "log_every_n_steps=1", "seed=0,1"]
    assert command("-m", *arguments, "steps=4", f"output_dir={tmp_path}/whole").code == 0
    assert command("-m", *arguments, "steps=2", f"output_dir={tmp_path}/out").code == 0
    folder = the_sweep(tmp_path / "out")
    for file in (folder / "sweep.json", folder / "1" / "config.yaml"):
        file.write_text(
            file.read_text().replace("steps=2", "steps=4").replace("steps: 2", "steps: 4")
        )
    report = summary(folder / "1") | {"status": "interrupted"}
    (folder / "1" / "summary.json").write_text(json.dumps(report))  # as if Ctrl-C had come there
    ran = command(f"resume_sweep={folder}")
    assert ran.code == 0, ran.err
    assert summary(folder / "0")["steps"] == 2
    assert summary(folder / "1")["steps"] == 4
    aside = folder / ".earlier" / "1_1"
    assert yaml.safe_load((folder / "1" / "config.yaml").read_text())["resume"] == str(aside)
    whole = the_sweep(tmp_path / "whole")
    for file in ("pastiche.png", "terms.csv"):
        assert (folder / "1" / file).read_bytes() == (whole / "1" / file).read_bytes()


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 10**5, '{"jobs": 3}', '{"arguments": [1]}'])
def test_a_broken_record_is_one_clear_line(text: str, tmp_path: Path) -> None:
    (tmp_path / sweep.RECORD).write_text(text)
    with pytest.raises(InputError, match=r"^resume_sweep: got '.*', whose sweep.json is broken"):
        sweep.read_record(tmp_path)


def test_a_folder_holds_one_sweep_and_a_job_runs_once_at_a_time(
    command: Command, tmp_path: Path
) -> None:
    place = f"hydra.sweep.dir={tmp_path}/here"
    arguments = ["-m", "+experiment=naive", *SMALL, "steps=1", place]
    (tmp_path / "here").mkdir()
    with FileLock(tmp_path / "here" / sweep.SWEEP_LOCK):
        ran = command(*arguments)
    assert ran.code == 1
    assert ran.err.startswith(f"error: hydra.sweep.dir: got '{tmp_path}/here', where a sweep is ru")
    assert command(*arguments).code == 0
    kept = times(tmp_path / "here" / "0")
    ran = command(*arguments)
    assert ran.code == 1
    assert ran.err.startswith(f"error: hydra.sweep.dir: got '{tmp_path}/here', which holds a sweep")
    assert times(tmp_path / "here" / "0") == kept
    ran = command(f"resume_sweep={tmp_path}/here", "steps=2")
    assert ran.err.startswith("error: steps: got steps=2 beside resume_sweep; expected nothing")

    job = tmp_path / "here" / "0"
    (job / "summary.json").unlink()
    with sweep.run_lock(job):  # as its launcher's process would
        ran = command(f"resume_sweep={tmp_path}/here")
        assert (job / "terms.csv").exists()
    assert ran.code == 1
    assert "whose job 0 is running; expected its end" in ran.err.splitlines()[-1]
    assert command(f"resume_sweep={tmp_path}/here").code == 0
    assert not (job / sweep.RUN_LOCK).exists()


def test_while_a_job_runs_its_folder_and_its_sweeps_are_locked(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def stylize(cfg: object, folder: Path, *_: object) -> float:
        for file in (folder / sweep.RUN_LOCK, folder.parent / sweep.SWEEP_LOCK):
            with pytest.raises(Timeout):
                FileLock(file).acquire(timeout=0)
            held.append(file.name)
        return 0.0

    monkeypatch.setattr("src.run.stylize", stylize)
    command("-m", "+experiment=naive", f"hydra.sweep.dir={tmp_path}/here")
    assert held == [sweep.RUN_LOCK, sweep.SWEEP_LOCK]


def test_every_picture_of_a_folder_is_a_job(command: Command, tmp_path: Path) -> None:
    photos = tmp_path / "my photos, 2026"
    photos.mkdir()
    for name in ("b.png", "it's a=c.PNG", "a.jpg"):
        Image.new("RGB", (48, 32), (90, 120, 200)).save(photos / name)
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for other in ("notes.txt", ".hidden.png"):
        (photos / other).write_text("no picture")
    ran = command(
        *("+experiment=naive", "+sweep=folder", *SMALL, "steps=1"),
        f"content='{photos}'",
        f"output_dir={tmp_path}/out",
    )
    assert ran.code == 1
    assert "error: 1 of 4 jobs are not done: 2 (content=" in ran.err
    folder = the_sweep(tmp_path / "out")
    contents = [
        Path(yaml.safe_load((folder / job / "config.yaml").read_text())["content"]).name
        for job in "0123"
    ]
    assert contents == ["a.jpg", "b.png", "broken.png", "it's a=c.PNG"]
    assert [(folder / job / "pastiche.png").exists() for job in "0123"] == [True, True, False, True]


@pytest.mark.parametrize(("name", "other"), [("styles", "content"), ("folder", "style")])
def test_photos_and_paintings_of_folders_make_every_pair(
    name: str, other: str, tmp_path: Path
) -> None:
    for key in ("content", "style"):
        (tmp_path / key).mkdir()
        for file in ("a.png", "b.png"):
            Image.new("RGB", (4, 4)).save(tmp_path / key / file)
    own = sweep.OF_FOLDER[name]
    folders = [f"{own}={tmp_path}/{own}", f"{other}={tmp_path}/{other}"]
    arguments, _ = sweep.prepare([f"+sweep={name}", *folders])
    assert {a.partition("=")[0]: a.count("a.png") + a.count("b.png") for a in arguments[:2]} == {
        "content": 2,
        "style": 2,
    }
    arguments, _ = sweep.prepare([f"+sweep={name}", folders[0], f"{other}=swirls,ink"])
    assert f"{other}=swirls,ink" in arguments


def test_a_job_is_named_by_the_keys_that_are_swept(tmp_path: Path) -> None:
    jobs = [["+experiment=a", "x=1", "y=[1,2]"], ["+experiment=a", "x=2", "y=[1,2]"]]
    assert sweep.swept_keys(jobs) == ["x"]
    assert sweep.swept_keys(jobs[:1], ["y"]) == ["y"]
    assert sweep.swept_overrides(tmp_path, ["x=1", "y=2"]) == ["x=1", "y=2"]  # without a record
    record = {
        "arguments": ["-m", "+levels.count=2"],
        "varied": ["y"],
        "jobs": [["tile=3"]],
    }  # of 0.4
    (tmp_path / sweep.RECORD).write_text(json.dumps(record))
    assert sweep.swept_overrides(tmp_path, ["x=1", "y=2", "+y=3"]) == ["y=2", "+y=3"]
    read = sweep.read_record(tmp_path)
    assert (read.arguments, read.jobs) == (["-m", "+pyramid.levels=2"], [["tile_size=3"]])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Optuna's own
def test_a_search_over_several_keeps_its_study_and_goes_on(
    command: Command, tmp_path: Path
) -> None:
    arguments = ["+experiment=depth_loss", "+sweep=pareto", *TINY_DEPTH, *SMALL, "steps=1"]
    ran = command(*arguments, "hydra.sweeper.n_trials=2", f"output_dir={tmp_path}")
    assert ran.code == 0, ran.err
    folder = the_sweep(tmp_path)
    record = sweep.read_record(folder)
    assert (record.search, len(record.jobs)) == (2, 2)
    assert set(record.swept_keys) == {f"loss.{t}.weight" for t in ("content", "style", "depth")}
    front = yaml.safe_load((folder / "optimization_results.yaml").read_text())["solutions"]
    values = [
        [summary(folder / job)["terms"][t] for t in ("style", "content", "depth")] for job in "01"
    ]
    assert all(solution["values"] in values for solution in front)

    before = times(folder / "0")
    ran = command(f"resume_sweep={folder}", "hydra.sweeper.n_trials=3", TINY_DEPTH[0])
    assert ran.code == 0, ran.err
    assert times(folder / "0") == before
    assert summary(folder / "2")["status"] == "done"
    assert len(sweep.read_record(folder).jobs) == 3

    (folder / "study.db").write_text("no database")
    ran = command(f"resume_sweep={folder}", "hydra.sweeper.n_trials=4", TINY_DEPTH[0])
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("error: hydra.sweeper.storage: got a study that can")


@pytest.mark.parametrize(
    ("experiment", "name", "message"),
    [
        ("depth_loss", "depht", r"got 'depht', a term .*; expected depth, pe"),
        ("naive", "depth", r"got 'depth', a term that this run does not"),
    ],
)
def test_objectives_are_known_before_the_first_step(
    experiment: str, name: str, message: str
) -> None:
    arguments = (*SMALL, *TINY_DEPTH, f"+experiment={experiment}", f"optimized_metric=[{name}]")
    with pytest.raises(InputError, match=f"^optimized_metric: {message}"):
        jobs.build(config.resolve(compose(*arguments)))
