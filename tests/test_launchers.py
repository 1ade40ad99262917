"""Every launcher with two real jobs, and what becomes of a sweep whose processes are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from src.pipeline.config import CONF
from src.pipeline.sweep import ARCHIVE
from src.runs.reader import Run
from tests.running import SMALL, run, summary, the_sweep

NAIVE = ("-m", "+experiment=naive")
ROOT = Path(__file__).parent.parent
LAUNCHERS = sorted(path.stem for path in (ROOT / "conf" / "hydra" / "launcher").glob("*.yaml"))
LONG = [argument for argument in SMALL if not argument.startswith("steps")] + [
    "save_every_n_steps=2"
]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "src.run", *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.time() + 300
    while not list(folder.glob(pattern)):
        assert time.time() < deadline, f"no {pattern}"
        time.sleep(0.1)


def children(process: int) -> Iterator[tuple[int, str]]:
    """(number, command line) of the processes that a process started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process:
                yield int(folder.name), (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue


def test_every_launcher_has_a_file() -> None:
    assert LAUNCHERS == ["cores", "ray_cluster", "slurm", "slurm_local"]


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_composes_and_says_how_to_use_it(name: str) -> None:
    text = (ROOT / "conf" / "hydra" / "launcher" / f"{name}.yaml").read_text()
    assert f"hydra/launcher={name}" in text.splitlines()[0]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        override = f"hydra/launcher={name}"
        made = hydra_compose("config", ["+experiment=naive", override], return_hydra_config=True)
    composed, ours = made.hydra.launcher, yaml.safe_load(text)
    assert set(ours) - {"defaults"} <= set(composed)
    assert composed["_target_"].startswith("hydra_plugins.")


def test_lightning_does_not_ask_for_srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"JOB_ID": "1", "JOB_NAME": "job", "NTASKS": "4", "NODELIST": "node1"}
    for name, value in (names | {"PROCID": "3", "LOCALID": "3"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert summary(run(tmp_path, "+experiment=naive"))["status"] == "done"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["cores", "slurm_local", "ray_cluster"])
def test_under_a_launcher_a_failing_job_leaves_the_other(launcher: str, tmp_path: Path) -> None:
    arguments = [f"hydra/launcher={launcher}", "size=4,48", f"output_dir={tmp_path}"]
    code, _, err = finished(start(*NAIVE, *SMALL, *arguments))
    assert code == 1
    assert "error: 1 of 2 jobs are not done: 0 (size=4): size: got a picture of 4 x 3 pixels" in err
    second = summary(the_sweep(tmp_path) / "1")
    assert (second["status"], second["size"]) == ("done", [32, 48])


@pytest.mark.slow
def test_a_killed_job_of_joblib_leaves_the_others_and_goes_on(tmp_path: Path) -> None:
    jobs = [*LONG, "steps=60", "seed=1,2,3", f"output_dir={tmp_path}"]
    process = start(*NAIVE, *jobs, "hydra/launcher=cores", "hydra.launcher.n_jobs=2")
    wait_for(tmp_path, "*/sweeps/*/0/last.ckpt")
    worker = next(number for number, text in children(process.pid) if "LokyProcess" in text)
    os.kill(worker, signal.SIGKILL)
    code, _, err = finished(process)
    assert code == 0, err
    folder = the_sweep(tmp_path)
    assert [Run(folder / job).status for job in "012"] == ["done"] * 3
    assert (folder / ARCHIVE / "0_1" / "last.ckpt").exists()
    assert yaml.safe_load((folder / "0" / "config.yaml").read_text())["resume"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "cores"])
def test_a_stopped_sweep_goes_on(launcher: str, tmp_path: Path) -> None:
    jobs = [*LONG, "steps=1500", "seed=1,2", f"output_dir={tmp_path}"]
    process = start(*NAIVE, *jobs, f"hydra/launcher={launcher}", "optimizer=adam")
    wait_for(tmp_path, "*/sweeps/*/0/last.ckpt")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
    code, _, err = finished(process)
    assert code == 130, err
    folder = the_sweep(tmp_path)
    line = err.strip().splitlines()[-1]
    assert line.startswith("stopped: 2 of 2 jobs are not done: "), err
    assert line.endswith(f"resume_sweep={folder} runs what is missing")
    assert Run(folder / "0").status in ("interrupted", "unfinished")
    for file in [folder / "sweep.json", *folder.glob("?/config.yaml")]:  # fewer steps suffice
        text = file.read_text().replace("steps=1500", "steps=20")
        file.write_text(text.replace("steps: 1500", "steps: 20"))
    code, _, err = finished(start(f"resume_sweep={folder}", "hydra/launcher=basic"))
    assert code == 0, err
    assert [Run(folder / job).status for job in "01"] == ["done", "done"]
