"""The command that measures finished runs, and the benchmark."""

import json
import math
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from src import jobs
from src.backbones import vgg19
from src.config import compose as composed
from src.config import config_hash
from src.errors import InputError
from src.evaluate import benchmark, files, report
from src.evaluate.__main__ import main
from src.evaluate.evaluation import Evaluation
from src.evaluate.measure import LAYERS, Measurer, Pictures, allowed
from src.runs import Run
from tests.running import TINY_DEPTH, TinyDepthNet, run
from tests.test_tracking import records

SMALL = ("size=80", "steps=3", "tracking=off", "trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of one photo: without masks, with one, and with depth loss."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder / "naive", "+experiment=naive", *SMALL)
    run(folder / "masked", "+experiment=masked_style", *SMALL)
    run(folder / "depth", "+experiment=depth_loss", *SMALL, *TINY_DEPTH)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of them, to be spoiled; copies keep their times."""
    return shutil.copytree(made, tmp_path / "runs")


@pytest.fixture(autouse=True)
def tiny_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge without weights, under any known name."""

    def network(name: str, weights: str | None = None, key: str = "") -> TinyDepthNet:
        return TinyDepthNet()

    monkeypatch.setattr(jobs, "depth_network", network)


def numbers(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


ALWAYS = {
    "style_gram",
    "style_swd",
    "style_gram_masked",
    "style_swd_masked",
    "feature_distance",
    "self_similarity",
    "ssim",
    "edge_f1",
    "sharpness_near",
    "sharpness_far",
    "sharpness_near_over_far",
}
SCORES = {"spearman", "abs_rel", "delta", "rmse", "silog", "whdr"}
DEPTH = {f"{prefix}{s}" for prefix in ("depth_", "sensor_", "content_sensor_") for s in SCORES}
DEPTH |= {"depth_term"}
OF_MASKS = {"kept_change", "kept_ratio", "kept_ratio_features", "kept_share", "leakage_px"}
ABOUT = {
    "judge",
    "judge_name",
    "judge_weights",
    "judge_is_loss",
    "sensor_unit",
    "backbone",
    "layers_in_loss",
    "version",
}


def test_metrics_of_three_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(runs)]) == 0
    out = capsys.readouterr().out
    assert "done: metrics.json in 3 runs" in out
    assert "Depth as tiny sees it." in out
    naive, masked, depth = (numbers(runs / name) for name in ("naive", "masked", "depth"))
    assert set(naive) == ALWAYS | DEPTH | ABOUT
    assert set(masked) == ALWAYS | DEPTH | ABOUT | OF_MASKS | {"kept_over_naive"}
    assert masked["kept_over_naive"] < 1  # the mask keeps something back
    assert masked["kept_ratio"] < 1
    assert masked["style_swd_masked"] != masked["style_swd"]
    assert naive["style_swd_masked"] == naive["style_swd"]
    assert naive["judge"] == "vgg_head"
    assert naive["sensor_unit"] == "m"
    assert naive["layers_in_loss"] == []
    # The photo is what it is whatever is made of it.
    assert masked["content_sensor_rmse"] == naive["content_sensor_rmse"]
    assert all(math.isfinite(v) for v in depth.values() if isinstance(v, float))


def test_a_run_judged_by_its_own_network_is_marked(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (runs / "depth" / "config.yaml").read_text()
    text = config.replace("tests.running.TinyDepthNet", "src.depth_nets.vgg_head")
    (runs / "depth" / "config.yaml").write_text(text)
    assert main([str(runs)]) == 0
    assert numbers(runs / "depth")["judge_is_loss"] is True
    assert numbers(runs / "naive")["judge_is_loss"] is False
    assert "the loss's own network" in capsys.readouterr().out
    assert main([str(runs), "--judge", "monodepth2"]) == 0
    assert numbers(runs / "depth")["judge_is_loss"] is False
    assert "the loss's own network" not in capsys.readouterr().out


def test_what_is_measured_is_not_measured_again(runs: Path) -> None:
    assert main([str(runs), "--judge", "none"]) == 0
    file = runs / "naive" / "metrics.json"
    assert not set(numbers(runs / "naive")) & DEPTH
    marked = {**numbers(runs / "naive"), "ssim": 0.125}

    def left_alone(*arguments: str) -> bool:
        assert main([str(runs / "naive"), *arguments]) == 0
        return numbers(runs / "naive")["ssim"] == 0.125

    file.write_text(json.dumps(marked))
    assert left_alone("--judge", "none")
    assert not left_alone("--judge", "none", "--again")
    file.write_text(json.dumps(marked))
    assert not left_alone()  # another judge
    judged = {**numbers(runs / "naive"), "ssim": 0.125}
    file.write_text(json.dumps(judged))
    assert left_alone()
    for changed in ({"version": 0}, {"judge_weights": "others"}):
        file.write_text(json.dumps(judged | changed))
        assert not left_alone()
    file.write_text(json.dumps(judged))
    later = file.stat().st_mtime + 5
    os.utime(runs / "naive" / "pastiche.png", (later, later))
    assert not left_alone()


def test_what_cannot_be_measured_is_said(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "naive" / "FAILED").write_text("steps: got none\n")
    (runs / "masked" / "inputs" / "content.png").unlink()
    (runs / "depth" / "inputs" / "depth.png").write_bytes(b"\x89PNG nothing")
    assert main([str(runs)]) == 1
    out, err = capsys.readouterr()
    assert "naive: failed: steps: got none" in out
    assert "masked: inputs/content.png is missing" in out
    assert "depth.png: got a file that cannot be read; expected a picture that a run wrote" in out
    assert err == "error: none of 3 runs could be measured\n"


def test_one_bad_run_does_not_keep_the_others_back(runs: Path) -> None:
    (runs / "naive" / "pastiche.png").unlink()
    small = Image.open(runs / "masked" / "inputs" / "mask_main.png").resize((8, 8))
    small.save(runs / "masked" / "inputs" / "mask_main.png")
    assert main([str(runs)]) == 0
    assert not (runs / "naive" / "metrics.json").exists()
    assert not (runs / "masked" / "metrics.json").exists()
    assert (runs / "depth" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere"], "FOLDER: got nowhere, which is not there; expected the folder of a run"),
        ([], "FOLDER: got nothing; expected folders of runs or of sweeps, or --benchmark"),
        (["--benchmark", "naiv"], "--benchmark: got 'naiv'; expected naive, perhaps"),
        (["--benchmark", "--pairs", "nowhere"], "--pairs: got nowhere, which is not there;"),
    ],
)
def test_errors(arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {error}")


def test_an_unknown_judge(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.undo()
    assert main([str(runs), "--judge", "monodepth"]) == 1
    assert (
        capsys.readouterr().err == "error: --judge: got 'monodepth'; expected monodepth2, perhaps\n"
    )


def test_a_foreign_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letters").mkdir()
    assert main([str(tmp_path)]) == 1
    assert "in which no run is" in capsys.readouterr().err


def test_a_photo_that_went_elsewhere_loses_the_sensor_only(runs: Path) -> None:
    config = runs / "naive" / "config.yaml"
    config.write_text(config.read_text().replace("content: motorcycle", "content: gone.png"))
    assert main([str(runs / "naive")]) == 0
    found = numbers(runs / "naive")
    assert found["sensor_unit"] is None
    assert set(found) == ALWAYS | ABOUT | {f"depth_{s}" for s in {*SCORES, "term"}}


def test_the_photo_and_the_painting_are_the_ends_of_the_scale(made: Path) -> None:
    evaluation = Evaluation("vgg_head", None, report.console())
    controls = evaluation.controls(Run(made / "masked"))
    photo, painting = controls[files.PHOTO], controls[files.PAINTING]
    for name in ("feature_distance", "self_similarity", "depth_whdr", "depth_term", "kept_change"):
        assert photo[name] == pytest.approx(0, abs=1e-6), name
        assert painting[name] > 0.05, name
    for name in ("ssim", "edge_f1", "depth_delta", "sharpness_near", "sharpness_far"):
        assert photo[name] == pytest.approx(1), name
    assert photo["sensor_abs_rel"] == photo["content_sensor_abs_rel"]
    assert painting["ssim"] < 0.5
    assert painting["style_swd"] < 0.2 < 0.4 < photo["style_swd"]


def test_other_weights_are_another_judge(made: Path) -> None:
    one, other = TinyDepthNet(), TinyDepthNet()
    other.name = "tiny, trained longer"
    found = [files.Judge("vgg_head", net).entries() for net in (one, other)]
    assert found[0]["judge"] == found[1]["judge"]
    assert found[0]["judge_weights"] != found[1]["judge_weights"]
    assert set(files.Judge().entries().values()) == {None}


def pictures(**more: object) -> Pictures:
    image = torch.rand(1, 3, 8, 8)
    return Pictures(pastiche=image, content=image, styles={"a": image, "b": image}, **more)  # type: ignore[arg-type]


def test_where_change_is_allowed() -> None:
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    both = {"a": left, "b": torch.zeros_like(left)}
    found = allowed(pictures(style_masks=both))
    assert found is not None
    assert torch.equal(found, left)
    assert allowed(pictures()) is None
    assert allowed(pictures(style_masks={"a": left})) is None  # b may go anywhere
    assert allowed(pictures(style_masks={"a": left, "b": 1 - left})) is None
    kept = allowed(pictures(content_mask=left))
    assert kept is not None
    assert torch.equal(kept, 1 - left)
    assert allowed(pictures(content_mask=torch.ones_like(left))) is None


def test_layers_that_the_loss_used_are_named() -> None:
    config = composed("+experiment=naive", "loss.style.layers=[relu1_1,relu3_3]")
    assert files.layers_in_loss(config) == ["relu3_3"]
    assert files.layers_in_loss(composed("+experiment=naive")) == []
    assert files.layers_in_loss({}) == []
    assert "relu1_1" not in LAYERS


def test_pictures_too_small_for_the_network() -> None:
    image = torch.rand(1, 3, 12, 20)
    with pytest.raises(InputError, match="size: got a picture of 20 x 12 pixels"):
        Measurer(vgg19(), None).measure(Pictures(image, image, {"main": image}))


# Tables.


def test_median_with_an_interval_that_draws_photos() -> None:
    assert str(report.median([[1, 2], [4]])) == "2"
    # Within a photo all is the same: the interval must not get narrower with more paintings.
    few = report.median([[1.0], [2.0], [3.0], [4.0], [10.0]])
    many = report.median([[v] * 20 for v in (1.0, 2.0, 3.0, 4.0, 10.0)])
    assert (many.low, many.value, many.high) == (few.low, few.value, few.high)
    assert few.value == 3
    # The middle of five drawn of five: at most 1 or at least 10 in 5.8 % each.
    assert (few.low, few.high) == (1, 10)
    assert (few.count, many.count) == (5, 100)
    assert report.median([[3.0]] * 4).low == 3


def measured(method: str, photo: str, value: float) -> report.Measured:
    return report.Measured(method, photo, "swirls", {"ssim": value, "judge_name": "tiny"})


def test_summaries_and_differences_of_pairs() -> None:
    rows = [measured("naive", str(i), i) for i in range(5)]
    rows += [measured("other", str(i), i + 0.5) for i in range(5)]
    summary = report.summarize(rows)
    assert (summary["naive"]["ssim"].value, summary["other"]["ssim"].value) == (2, 2.5)
    differences = report.summarize(rows, against="naive")
    assert list(differences) == ["other"]
    assert str(differences["other"]["ssim"]) == "0.5 [0.5, 0.5]"
    assert report.markdown(differences) == (
        "| median | other |\n|---|---|\n| content ssim ↑ | 0.5 [0.5, 0.5] |\n"
    )
    own = [report.Measured("other", "0", "swirls", {"ssim": 1.0, "judge_is_loss": True})]
    assert list(report.starred(summary, rows)) == ["naive", "other"]
    assert list(report.starred(summary, [*rows, *own])) == ["naive", "other *"]
    csv = report.comma_separated(rows).splitlines()
    assert csv[:2] == ["method,photo,style,ssim", "naive,0,swirls,0"]
    assert len(csv) == 11


def test_runs_are_named_by_what_varies(tmp_path: Path) -> None:
    same = ["size=9", "depth.path=a.png", "hydra.sweep.dir=b"]
    for number, words in (("0", ["content=x/one.png"]), ("1", ["content=two", "steps=2"])):
        (tmp_path / number / ".hydra").mkdir(parents=True)
        (tmp_path / number / ".hydra" / "overrides.yaml").write_text(json.dumps(same + words))
    names = report.run_names([Run(tmp_path / "0"), Run(tmp_path / "1")])
    assert [name.partition("/")[2] for name in names] == [
        "0 content=one",
        "1 content=two steps=2",
    ]


# The benchmark.


def pair(folder: Path, name: str) -> None:
    """A photo with its depth; both are ramps."""
    ramp = np.linspace(0, 255, 96).astype(np.uint8)[None].repeat(64, 0)
    Image.fromarray(np.stack([ramp, ramp.T[:64, :1].repeat(96, 1), ramp], 2)).save(
        folder / f"{name}_rgb.png"
    )
    Image.fromarray(1000 + 9 * ramp.astype(np.uint16)).save(folder / f"{name}_depth.png")


def test_the_list_is_what_the_program_can_run() -> None:
    plan = benchmark.read_plan()
    assert next(iter(plan.methods)) == "naive"
    assert {m["+experiment"] for m in plan.methods.values()} == {
        "naive",
        "masked_style",
        "masked_content",
        "two_styles",
        "depth_loss",
    }
    assert sum(m["+experiment"] == "depth_loss" for m in plan.methods.values()) == 3
    some = benchmark.read_plan([*plan.photos, "ink", "naive", "depth_1e4", "depth_1e5"])
    jobs, without = benchmark.jobs(some)
    there = {job.photo for job in jobs}
    assert "motorcycle" in there
    assert there | set(without) == set(plan.photos)
    assert len({job.config_hash for job in jobs}) == len(jobs)
    assert all("NYU Depth v2" in why for why in without.values())


def test_keys_choose_within_their_part() -> None:
    plan = benchmark.read_plan(["naive", "depth_1e4", "ink"])
    assert list(plan.methods) == ["naive", "depth_1e4"]
    assert list(plan.styles) == ["ink"]
    assert len(plan.photos) > 1


def test_settings_of_the_command_line_win_over_those_of_methods() -> None:
    plan = benchmark.read_plan(["masked_content"])
    assert plan.methods["masked_content"]["steps"] > plan.settings["steps"]
    plan = benchmark.read_plan(["masked_content"], settings={"steps": 7})
    assert plan.settings["steps"] == 7
    assert "steps" not in plan.methods["masked_content"]


def test_pairs_of_a_folder_and_of_a_list(tmp_path: Path) -> None:
    pair(tmp_path, "one")
    pair(tmp_path, "two")
    (tmp_path / "alone_rgb.png").write_bytes(b"")
    found = benchmark.read_plan(pairs=tmp_path).photos
    assert list(found) == ["one", "two"]
    assert found["one"]["depth.path"] == str(tmp_path / "one_depth.png")
    written = {"photos": {"mine": {"content": "one_rgb.png", "depth.path": "one_depth.png"}}}
    (tmp_path / "list.yaml").write_text(json.dumps(written))
    plan = benchmark.read_plan(pairs=tmp_path / "list.yaml")
    assert plan.photos == {
        "mine": {
            "content": str(tmp_path / "one_rgb.png"),
            "depth.path": str(tmp_path / "one_depth.png"),
        }
    }
    assert plan.styles == benchmark.read_plan().styles
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"--pairs: got .*empty, without any; expected a folder"):
        benchmark.read_plan(pairs=tmp_path / "empty")


def swept(line: Sequence[str]) -> list[dict[str, str]]:
    """The jobs that Hydra makes of a command line."""
    jobs: list[dict[str, str]] = [{}]
    for override in OverridesParser.create().parse_overrides(list(line)):
        key = override.input_line.partition("=")[0] if override.input_line else ""
        values = (
            [str(v) for v in override.sweep_string_iterator()]
            if override.is_sweep_override()
            else [str(override.value())]
        )
        jobs = [{**job, key: value} for job in jobs for value in values]
    return jobs


def test_every_missing_run_is_in_one_command(tmp_path: Path) -> None:
    pair(tmp_path, "o'ne, =two")
    keys = ["naive", "masked_style", "masked_content", "two_styles", "depth_1e5", "depth_1e4"]
    plan = benchmark.read_plan(keys, tmp_path)
    jobs, _ = benchmark.jobs(plan)
    missing = [job for i, job in enumerate(jobs) if i != 3]
    lines = benchmark.commands(missing, plan, tmp_path / "out")
    # naive and two_styles; masked_style with one painting; masked_content; depth loss.
    assert len(lines) == 4
    assert len({line[-1] for line in lines}) == len(lines)  # each has a folder of its own
    made = []
    for line in lines:
        for job in swept(line[4:-1]):
            assert job["content"] == str(tmp_path / "o'ne, =two_rgb.png")
            content = job["+experiment"] == "masked_content"
            assert job["steps"] == ("200" if content else "100")
            made.append((job["+experiment"], job.get("loss.depth.weight"), job["style"]))
    wanted = [
        (
            plan.methods[job.method]["+experiment"],
            str(plan.methods[job.method].get("loss.depth.weight", "None")),
            job.style,
        )
        for job in missing
    ]
    assert sorted((a, str(b), c) for a, b, c in made) == sorted(wanted)
    assert benchmark.commands([], plan, tmp_path / "out") == []


def test_benchmark_runs_what_is_missing_and_prints_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def run_here(line: Sequence[str]) -> bool:
        """The sweep's jobs in this process."""
        asked.append(list(line))
        *overrides, (key_and_folder) = line[4:]
        folder = Path(shlex.split(key_and_folder.partition("=")[2])[0])
        for number, job in enumerate(swept(overrides)):
            run(folder / str(number), *(f"{key}={value}" for key, value in job.items()))
        return True

    monkeypatch.setattr(benchmark, "run", run_here)
    monkeypatch.chdir(tmp_path)
    arguments = ["--benchmark", "motorcycle", "swirls", "naive", "masked_style"]
    arguments += ["--size=80", "--steps=2", "--output-dir=made here"]
    # The jobs of `run` differ from the list's in where they are computed, which is of no effect.
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "2 runs, 2 of them missing" in out
    table = (tmp_path / "made here" / "benchmark.md").read_text()
    assert "| median | photo itself | painting itself | naive | masked_style |" in table
    assert "| median | masked_style |" in table
    assert "Depth as tiny sees it" in table
    rows = (tmp_path / "made here" / "benchmark.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [
        "method",
        "photo itself",
        "painting itself",
        "naive",
        "masked_style",
    ]
    assert len(asked) == 1

    shutil.rmtree(tmp_path / "made here" / "runs" / "1" / "0")
    assert main(arguments) == 0
    assert "2 runs, 1 of them missing" in capsys.readouterr().out
    assert len(asked) == 2
    assert main(arguments) == 0
    assert "2 runs, 0 of them missing" in capsys.readouterr().out
    assert len(asked) == 2


def test_the_hash_is_that_of_the_run(made: Path) -> None:
    summary = json.loads((made / "naive" / "summary.json").read_text())
    assert summary["config_hash"] == config_hash(composed("+experiment=naive", *SMALL))


def test_unknown_settings_in_a_list_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair(tmp_path, "one")
    (tmp_path / "list.yaml").write_text(json.dumps({"settings": {"sise": 80}}))
    arguments = ["--benchmark", "motorcycle", "naive", "--pairs", str(tmp_path / "list.yaml")]
    assert main(arguments) == 1
    assert capsys.readouterr().err == "error: sise: got an unknown key; expected size, perhaps\n"


# Measured by the run itself.


def test_a_run_measures_itself_for_wandb(tmp_path: Path) -> None:
    run(tmp_path, "+experiment=naive", *SMALL[:2], "tracking=offline", "evaluate=true")
    found = numbers(tmp_path)
    assert set(found) > DEPTH
    summary = {}
    for record in records(tmp_path):
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
    assert summary["ssim"] == found["ssim"]
    assert summary["judge_name"] == "tiny"
    assert summary["status"] == "done"


def test_a_run_that_cannot_be_measured_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str, weights: str | None = None, key: str = "") -> None:
        raise InputError("depth_net.weights", "nothing", "a file")

    monkeypatch.setattr(jobs, "depth_network", missing)
    run(tmp_path, "+experiment=naive", *SMALL, "evaluate=true")
    assert (tmp_path / "summary.json").exists()
    assert not (tmp_path / "metrics.json").exists()
    error = capsys.readouterr().err
    assert "not measured: depth_net.weights: got nothing; expected a file" in error
