"""Configurations and sweeps of strangers: nothing in them runs, reads or sends anything."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from src.core.errors import InputError
from src.masks import band
from src.pipeline import sweep, targets
from src.pipeline.arguments import upgraded_arguments
from src.pipeline.config import CONF, resolve
from src.runs.reader import CONFIG
from tests.conftest import Command
from tests.running import SMALL, compose, run

NODES = ("backbone", "depth_net", "optimizer", "styles.main.mask", "loss.style.distance")


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder."""
    return run(tmp_path_factory.mktemp("run"), "+experiment=masked_style", "steps=1")


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears when the module `strange` is imported."""
    (tmp_path / "strange.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from src.masks import band\nfrom src.backbones import vgg19\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strange", raising=False)
    return tmp_path / "ran"


@pytest.mark.parametrize("node", NODES)
def test_no_node_may_name_another_module(node: str, strange: Path) -> None:
    cfg = compose("+experiment=masked_style")
    OmegaConf.update(cfg, f"{node}._target_", "strange.band", force_add=True)
    with pytest.raises(InputError, match=rf"^{node}._target_: got 'strange.band'; expected a fu"):
        resolve(cfg)
    assert not strange.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "src.run.main",
        "src.run.os.system",
        "src.masks.torch.hub.load",
        "src.core.files.download",
        "torch.load",
        "torch.optim.adam.torch.load",
        "src.masks.sigmoid\n",
        "",
        None,
        ["src.masks.band"],
    ],
)
def test_names_of_other_functions_are_refused_before_any_import(name: Any) -> None:
    with pytest.raises(InputError, match=r"^mask\._target_: got "):
        targets.check_targets("", {"mask": {"_target_": name}}, ["", "torch.nn"])


@pytest.mark.parametrize(
    "name", ["src.backbones.vgg.fetch", "src.masks.F", "src.masks.Mapping", "src.objective.terms"]
)
def test_what_a_module_has_from_another_one_is_not_its_own(name: str) -> None:
    targets.check_targets("", {"_target_": name}, [])
    with pytest.raises(InputError, match=r"^mask\._target_: got "):
        targets.find("mask._target_", name)


def test_a_module_of_ones_own_is_trusted_on_the_command_line_alone(
    repeated: Path, strange: Path, command: Command, tmp_path: Path
) -> None:
    own = ("mask=band", "mask._target_=strange.band")
    arguments = ("+experiment=masked_style", *SMALL, "steps=1", *own)
    trust = "trusted_modules=[strange]"
    ran = command(*arguments, trust, f"hydra.run.dir={tmp_path}/a")
    assert (ran.code, strange.exists()) == (0, True), ran.err
    assert targets.find("mask", "strange.band") is band
    # Its configuration needs the same word again, and a file cannot say it.
    again = ("--config-path", str(tmp_path / "a"), f"hydra.run.dir={tmp_path}/b")
    assert "styles.main.mask._target_: got 'strange.band'" in command(*again).err
    assert command(*again, trust).code == 0
    config = OmegaConf.load(tmp_path / "a" / CONFIG)
    OmegaConf.save(OmegaConf.merge(config, {"trusted_modules": ["strange"]}), tmp_path / CONFIG)
    ran = command("--config-path", str(tmp_path), f"hydra.run.dir={tmp_path}/c")
    assert ran.err == (
        "error: trusted_modules: got ['strange'] in a file; "
        "expected it on the command line, or not at all\n"
    )
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "shared.yaml").write_text(
        "# @package _global_\nname: shared\ntrusted_modules: [strange]\n"
    )
    ran = command("--config-dir", str(tmp_path), "+experiment=shared", f"hydra.run.dir={tmp_path}")
    assert "\nerror: trusted_modules: got ['strange'] in a file" in ran.err


def changed(folder: Path, copy: Path, **changes: Any) -> Path:
    """A run's folder with other values in its config.yaml."""
    copy.mkdir()
    config = OmegaConf.load(folder / CONFIG)
    OmegaConf.save(OmegaConf.merge(config, changes), copy / CONFIG)
    return copy


def test_hydras_own_settings_come_from_this_program(
    repeated: Path, strange: Path, command: Command, tmp_path: Path
) -> None:
    node = {"_target_": "strange.band"}
    folder = changed(
        repeated,
        tmp_path / "shared",
        hydra={
            "callbacks": {"strange": node},
            "launcher": node,
            "searchpath": ["pkg://strange"],
            "job_logging": {"formatters": {"simple": {"()": "strange.band"}}},
            "run": {"dir": str(tmp_path / "elsewhere")},
        },
    )
    copy = tmp_path / "copy"
    copy.mkdir()
    upgraded_arguments(["-cp", str(folder)], copy)
    assert OmegaConf.load(copy / CONFIG).hydra == OmegaConf.load(CONF / "config.yaml").hydra
    ran = command("--config-path", str(folder), f"hydra.run.dir={tmp_path}/out")
    assert ran.code == 0, ran.err
    assert not strange.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "${oc.env:HOME}"),
        ("content", "a${oc.decode:${oc.env:HOME}}"),
        ("output_dir", "${${style}:HOME}"),
        ("styles.main.path", "${project:}${ oc.env : HOME}"),
        ("defaults", ["experiment: naive"]),
        ("tracking.entity", "strangers"),
    ],
)
def test_a_repeated_file_names_no_secret_and_no_account(
    key: str, value: Any, repeated: Path, tmp_path: Path
) -> None:
    config = OmegaConf.load(repeated / CONFIG)
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, tmp_path / CONFIG)
    with pytest.raises(InputError, match=rf"^{key}: got "):
        upgraded_arguments(["--config-path", str(tmp_path)], tmp_path / "copy")


def test_a_secret_cannot_hide_behind_keys_that_are_cut(repeated: Path, tmp_path: Path) -> None:
    values = ("${oc.env:HOME}", "swirls")
    styles = {"a" * 300 + str(i): {"path": value} for i, value in enumerate(values)}
    folder = changed(repeated, tmp_path / "run", styles=styles)
    with pytest.raises(InputError, match=r"^styles.*no resolver but project"):
        upgraded_arguments(["--config-path", str(folder)], tmp_path)


def test_a_repeated_file_may_refer_to_its_other_keys(repeated: Path, tmp_path: Path) -> None:
    values = {"name": "${project:}", "style": "${styles.main.path}", "content": "${ output_dir }"}
    folder = changed(repeated, tmp_path / "run", **values)
    upgraded_arguments(["--config-path", str(folder), "-cn=config"], tmp_path)
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / CONFIG))["style"] == values["style"]


@pytest.mark.parametrize("text", ["", "a: &a [*a]", "defaults: [a]", "[]", "backbone: {", None])
def test_a_file_that_is_no_runs_is_one_line(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / CONFIG).write_text(text)
    with pytest.raises(InputError, match=r"^--config-path: got '.*config.yaml', which .*run's fol"):
        upgraded_arguments(["--config-path", str(tmp_path)], tmp_path)


HARMFUL = [
    "hydra.searchpath=[pkg://strange]",
    "++hydra.callbacks.x._target_=os.system",
    "hydra.job_logging.formatters.simple.()=strange.band",
    "hydra.launcher.setup=[reboot]",
    "+hydra.launcher._target_=strange.band",
    "hydra.sweeper.storage=postgresql://example.org/x",
    "hydra.sweeper.params.hydra.callbacks.x=1",
    "hydra/sweeper/sampler=cmaes",
    "hydra/launcher=../../x",
    "+experiment=../../../x",
    "mask=step,../../x",
    "+mask@hydra.callbacks=step",
    " hydra.searchpath=[/x]",
    "output_dir=${oc.env:HOME}",
    "trusted_modules=[strange]",
    "tracking.entity=strangers",
    "--config-dir=/x",
    "--config-path",
    "/x",
]


@pytest.mark.parametrize("argument", HARMFUL)
def test_a_recorded_sweep_names_nothing_to_run(argument: str, tmp_path: Path) -> None:
    recorded = ["-m", "+experiment=naive", argument, "seed=1,2", "hydra.launcher.n_jobs=2"]
    (tmp_path / sweep.RECORD).write_text(json.dumps({"arguments": recorded}))
    resume = f"resume_sweep={tmp_path}"
    with pytest.raises(InputError) as caught:
        sweep.prepare([resume])
    assert str(caught.value).startswith(f"resume_sweep: got {argument!r} in '{tmp_path}/sweep.js")
    if argument.startswith(("hydra", "+hydra", "++hydra", "trusted", "--")):
        place = f"hydra.sweep.dir='{tmp_path}'"
        assert sweep.prepare([argument, resume])[0] == [*recorded, place]


def test_links_in_a_sweep_are_not_written_through(tmp_path: Path) -> None:
    (tmp_path / sweep.RECORD).write_text(json.dumps({"arguments": ["-m", "+experiment=naive"]}))
    (tmp_path / "multirun.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"^resume_sweep: got '.*multirun.yaml', a link; expected"):
        sweep.prepare([f"resume_sweep={tmp_path}"])


def test_a_run_holds_its_folder(command: Command, tmp_path: Path) -> None:
    arguments = ("+experiment=naive", *SMALL, f"hydra.run.dir={tmp_path}/run")
    (tmp_path / "run").mkdir()
    with sweep.run_lock(tmp_path / "run"):
        ran = command(*arguments)
    assert ran.err.endswith(
        f"error: hydra.run.dir: got '{tmp_path}/run', where a run is going on; expected its end\n"
    )
    assert not (tmp_path / "run" / "terms.csv").exists()
    assert command(*arguments).code == 0
    assert not (tmp_path / "run" / sweep.RUN_LOCK).exists()


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps with a row for each."""
    return run(tmp_path_factory.mktemp("half"), "+experiment=naive", "log_every_n_steps=1")


def resumed(half: Path, tmp_path: Path, *overrides: str) -> str:
    settings = ("+experiment=naive", "log_every_n_steps=1", "steps=4", f"resume={half}")
    return (run(tmp_path / "resumed", *settings, *overrides) / "terms.csv").read_text()


@pytest.mark.parametrize("torn", ["1,,,,,", "2,0.5,nonsense,1,1,1", "2,0.", "2,1,2,3,4,5,6"])
def test_of_a_torn_table_whole_rows_are_resumed(torn: str, half: Path, tmp_path: Path) -> None:
    head, *rows = (half / "terms.csv").read_text().splitlines()
    shutil.copytree(half, tmp_path / "half")
    (tmp_path / "half" / "terms.csv").write_text("\n".join([head, *rows[:2], torn]))
    lines = resumed(tmp_path / "half", tmp_path).splitlines()
    assert lines[:3] == [head, *rows[:2]]
    assert [line.partition(",")[0] for line in lines[3:]] == ["3", "4"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a,b\n1,2\n", b"\0" * 50])
def test_a_foreign_table_is_one_line(content: bytes, half: Path, tmp_path: Path) -> None:
    shutil.copytree(half, tmp_path / "half")
    (tmp_path / "half" / "terms.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"^resume: got '.*terms.csv', which is broken; expected"):
        resumed(tmp_path / "half", tmp_path)


@pytest.mark.parametrize(
    "part", ["optimizer_states", "loops", "lr_schedulers", "pytorch-lightning_version", "state"]
)
def test_a_checkpoint_that_lacks_a_part_is_one_line(part: str, half: Path, tmp_path: Path) -> None:
    state = torch.load(half / "last.ckpt", weights_only=True)
    (state["optimizer_states"][0] if part == "state" else state).pop(part)
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"^resume: got .*last\.ckpt, which (is not a|cannot be)"):
        resumed(tmp_path, tmp_path)


def test_a_checkpoint_of_another_optimiser_is_one_line(half: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^resume: got .*, which cannot be restored .*optimizer$"):
        resumed(half, tmp_path, "optimizer=adam")
