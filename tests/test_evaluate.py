"""The command that measures finished runs and compares groups of them."""

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from src.backbones import vgg19
from src.core.errors import InputError
from src.evaluate import __main__ as command
from src.evaluate import comparison
from src.evaluate.__main__ import main
from src.evaluate.comparison import (
    Measured,
    group_runs,
    median,
    runs_table,
    summarize,
    summary_table,
)
from src.metrics.evaluation import (
    CONTROLS,
    VERSION,
    DepthEvaluator,
    Evaluation,
    layers_in_loss,
)
from src.metrics.measurer import LAYERS, Measurer, Pictures, style_region
from src.pipeline import stylize
from src.pipeline.config import compose_plain
from src.runs.comparison import run_names
from src.runs.quantities import ANY_STYLE, METRICS, QUANTITIES, UNKNOWN, columns, quantity
from src.runs.reader import Run
from tests.fake_runs import fake_run, hostile_runs
from tests.running import TINY_DEPTH, TinyDepthNet, run
from tests.test_tracking import records

ROOT = Path(__file__).resolve().parents[1]

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

    for module in (command, stylize):
        monkeypatch.setattr(module, "depth_network", network)


def numbers(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


MASKS = {name for name in METRICS if name.startswith(("kept_", "leakage"))}
DEPTH = {name for name in METRICS if name.startswith(("depth_", "sensor_", "content_sensor_"))}
ALWAYS = {name for name in METRICS if not name.endswith(ANY_STYLE)} - MASKS - DEPTH
ALWAYS -= {"warped_difference"}  # of a clip
ABOUT = {"judge", "judge_name", "judge_weights", "judge_is_loss"}
ABOUT |= {"sensor_unit", "backbone", "layers_in_loss", "version"}


def test_metrics_of_three_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(runs)]) == 0
    out = capsys.readouterr().out
    assert "done: metrics.json in 3 runs" in out
    assert "Depth as tiny sees it." in out
    naive, masked, depth = (numbers(runs / name) for name in ("naive", "masked", "depth"))
    assert set(naive) == ALWAYS | DEPTH | ABOUT
    assert set(masked) == ALWAYS | DEPTH | ABOUT | MASKS
    assert masked["kept_over_naive"] < 1  # the mask keeps something back
    assert masked["kept_ratio"] < 1
    assert masked["style_swd_masked"] != masked["style_swd"]
    assert naive["style_swd_masked"] == naive["style_swd"]
    entries = [naive[name] for name in ("judge", "sensor_unit", "layers_in_loss")]
    assert entries == ["vgg_head", "m", []]
    # The photo is what it is whatever is made of it.
    assert masked["content_sensor_rmse"] == naive["content_sensor_rmse"]
    assert all(math.isfinite(v) for v in depth.values() if isinstance(v, float))
    terms = [*Run(runs / "depth").terms]
    assert [name for name in terms if quantity(name) is UNKNOWN] == ["step"]


def test_the_table_has_five_numbers_or_all(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*flags: str) -> str:
        assert main([str(runs), "--judge", "none", *flags]) == 0
        return capsys.readouterr().out

    some, every = printed(), printed("--all")
    assert "swd" in some
    assert "ssim" not in some
    assert "All numbers: --all." in some
    assert {"swd", "ssim", "edges"} <= set(every.split())
    assert "--all" not in every
    row = dict.fromkeys(columns(), 0.5)
    assert len(runs_table(["run"], [row]).head) == 1 + 5
    assert len(runs_table(["run"], [row], columns()).head) == 1 + len(columns())


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


def test_no_run_can_end_the_others_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile_runs(tmp_path)
    good, claimed = (fake_run(tmp_path / name) for name in ("[/b]good", "claimed"))
    judge = DepthEvaluator()
    entries = {"version": VERSION, **judge.entries()}
    for value, path in (("high", claimed), (0.5, good)):
        (path / "metrics.json").write_text(json.dumps({"ssim": value, **entries}))
    (good / "inputs" / "content.png").write_text("no picture")
    monkeypatch.setattr(Measurer, "measure", lambda *_: {"ssim": 0.25})
    assert main([str(tmp_path), "--judge", "none"]) == 0
    out = capsys.readouterr().out
    assert "[/b]good" in out
    assert "1 FAILED: failed: ?]0;owned" in out
    assert "huge: " in out
    assert numbers(claimed)["ssim"] == 0.25
    assert main([str(tmp_path), "--judge", "none", "--by", "experiment"]) == 0


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
        ([str(ROOT / "docs")], f"FOLDER: got {ROOT / 'docs'}, in which no run is;"),
        ([], "FOLDER: got nothing; expected folders of runs or of sweeps"),
    ],
)
def test_errors(arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {error}")


def test_an_unknown_judge(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert main([str(runs), "--judge", "monodepth"]) == 1
    error = "error: --judge: got 'monodepth'; expected monodepth2, perhaps\n"
    assert capsys.readouterr().err == error


def test_a_judge_from_a_file(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(made / "naive", tmp_path / "naive")
    assert main([str(folder), "--judge-file", "nothing.onnx"]) == 1
    assert capsys.readouterr().err.startswith("error: --judge-file: got 'nothing.onnx', no file")
    monkeypatch.setattr(command, "judge_file", lambda *_: TinyDepthNet())
    assert main([str(folder), "--judge-file", "net.onnx"]) == 0
    assert numbers(folder)["judge"] == "file"
    assert 0 <= numbers(folder)["occlusion_edge_recall"] <= 1


def test_a_photo_that_went_elsewhere_loses_the_sensor_only(runs: Path) -> None:
    config = runs / "naive" / "config.yaml"
    config.write_text(config.read_text().replace("content: motorcycle", "content: gone.png"))
    assert main([str(runs / "naive")]) == 0
    found = numbers(runs / "naive")
    assert found["sensor_unit"] is None
    measured = {name for name in ALWAYS if not name.startswith("occlusion_")}
    assert set(found) == measured | ABOUT | {name for name in DEPTH if name.startswith("depth_")}


def test_the_photo_and_the_painting_are_the_ends_of_the_scale(made: Path) -> None:
    evaluation = Evaluation(DepthEvaluator("vgg_head", TinyDepthNet()), Console(quiet=True))
    controls = evaluation.controls(Run(made / "masked"))
    photo, painting = (controls[name] for name in CONTROLS)
    for name in ("feature_distance", "self_similarity", "depth_whdr", "depth_term", "kept_change"):
        assert photo[name] == pytest.approx(0, abs=1e-6), name
        assert painting[name] > 0.05, name
    for name in ("ssim", "edge_f1", "depth_delta", "sharpness_near", "sharpness_far"):
        assert photo[name] == pytest.approx(1), name
    assert photo["sensor_abs_rel"] == photo["content_sensor_abs_rel"]
    assert painting["ssim"] < 0.5
    assert painting["style_swd"] < 0.2 < 0.4 < photo["style_swd"]


def test_other_weights_are_another_judge() -> None:
    one, other = TinyDepthNet(), TinyDepthNet()
    other.name = "tiny, trained longer"
    found = [DepthEvaluator("vgg_head", net).entries() for net in (one, other)]
    assert found[0]["judge"] == found[1]["judge"]
    assert found[0]["judge_weights"] != found[1]["judge_weights"]
    assert set(DepthEvaluator().entries().values()) == {None}


def pictures(**more: object) -> Pictures:
    image = torch.rand(1, 3, 8, 8)
    return Pictures(pastiche=image, content=image, styles={"a": image, "b": image}, **more)  # type: ignore[arg-type]


def test_where_change_is_style_region() -> None:
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    both = {"a": left, "b": torch.zeros_like(left)}
    found = style_region(pictures(style_masks=both))
    assert found is not None
    assert torch.equal(found, left)
    assert style_region(pictures()) is None
    assert style_region(pictures(style_masks={"a": left})) is None  # b may go anywhere
    assert style_region(pictures(style_masks={"a": left, "b": 1 - left})) is None
    kept = style_region(pictures(content_mask=left))
    assert kept is not None
    assert torch.equal(kept, 1 - left)
    assert style_region(pictures(content_mask=torch.ones_like(left))) is None


def test_layers_that_the_loss_used_are_named() -> None:
    config = compose_plain("+experiment=naive", "loss.style.layers=[relu1_1,relu3_3]")
    assert layers_in_loss(config) == ["relu3_3"]
    assert layers_in_loss(compose_plain("+experiment=naive")) == []
    assert layers_in_loss({}) == []
    assert "relu1_1" not in LAYERS


def test_pictures_too_small_for_the_network() -> None:
    image = torch.rand(1, 3, 12, 20)
    with pytest.raises(InputError, match="size: got a picture of 20 x 12 pixels"):
        Measurer(vgg19(), None).measure(Pictures(image, image, {"main": image}))


def documented() -> dict[str, list[str]]:
    """Rows of the table of numbers in docs/evidence.md by the names in their first cell."""
    text = (ROOT / "docs" / "evidence.md").read_text()
    head = "| name | what | range | better |\n|---|---|---|---|\n"
    rows = text.partition(head)[2].partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return {name.strip("` "): rest for first, *rest in cells for name in first.split(",")}


def test_the_documentation_has_the_table_of_numbers() -> None:
    better = {-1: "lower", 0: "neither", 1: "higher"}
    assert documented() == {
        name: [known.meaning, f"{known.range}, {known.unit}".strip(", "), better[known.better]]
        for name, known in QUANTITIES.items()
    }


def test_numbers_of_one_style_are_known_by_their_family() -> None:
    for name in ("style_<name>", "style_gram_masked_<name>", "style_swd_masked_<name>"):
        assert quantity(name.replace(ANY_STYLE, "far")) is QUANTITIES[name]
    assert quantity("style_gram") is QUANTITIES["style_gram"]
    assert quantity("lpips") is UNKNOWN


def test_median_with_an_interval_that_draws_photos() -> None:
    assert str(median([[1, 2], [4]])) == "2"
    # Within a photo all is the same: the interval must not get narrower with more style images.
    few, many = (median([[v] * n for v in (1.0, 2.0, 3.0, 4.0, 10.0)]) for n in (1, 20))
    assert (many.low, many.value, many.high) == (few.low, few.value, few.high)
    assert few.value == 3
    # The middle of five drawn of five: at most 1 or at least 10 in 5.8 % each.
    assert (few.low, few.high) == (1, 10)
    assert median([[3.0]] * 4).low == 3


def measured(group: str, photo: str, value: float) -> Measured:
    return Measured(group, photo, photo, {"ssim": value, "judge_name": "tiny", "own": True})


def test_summaries_and_differences_of_pairs() -> None:
    rows = [measured("naive", str(i), i) for i in range(5)]
    rows += [measured("other", str(i), i + 0.5) for i in range(5)]
    summary = summarize(rows)
    assert (summary["naive"]["ssim"].value, summary["other"]["ssim"].value) == (2, 2.5)
    differences = summarize(rows, against="naive")
    assert list(differences) == ["other"]
    assert str(differences["other"]["ssim"]) == "0.5 [0.5, 0.5]"
    table = summary_table(differences, rows)
    assert table.markdown() == (
        "| median | other |\n| --- | --- |\n| content ssim ↑ | 0.5 [0.5, 0.5] |\n"
    )
    own = Measured("other", "0", "0", {"ssim": 1.0, "judge_is_loss": True})
    assert summary_table(summary, [*rows, own]).head == ["median", "naive", "other *"]
    csv = comparison.numbers_csv([f"run {i}" for i in range(10)], rows)
    assert csv.splitlines()[:2] == ["run,group,content,ssim", "run 0,naive,0,0"]
    assert len(csv.splitlines()) == 11


def swept_run(folder: Path, *overrides: str) -> Run:
    """A run of the given settings, with its command line."""
    settings = {key.lstrip("+"): value for key, _, value in (o.partition("=") for o in overrides)}
    settings = {"name" if key == "experiment" else key: v for key, v in settings.items()}
    return Run(fake_run(folder, settings, overrides=overrides))


def test_runs_are_named_by_what_varies(tmp_path: Path) -> None:
    same = ["size=9", "hydra.sweep.dir=b"]
    runs = [
        swept_run(tmp_path / "0", *same, "content=x/one.png"),
        swept_run(tmp_path / "1", *same, "content=two", "steps=2"),
    ]
    names = [name.partition("/")[2] for name in run_names(runs)]
    assert names == ["0 content=one", "1 content=two steps=2"]


def test_groups_pair_runs_that_agree_in_the_other_swept_keys(tmp_path: Path) -> None:
    lines = ("naive a 0", "naive b 0", "depth_loss a 1e5", "depth_loss b 1e6", "depth_loss c 1e6")
    keys = ("+experiment", "content", "loss.weight")
    runs = [swept_run(tmp_path / line, *map("{}={}".format, keys, line.split())) for line in lines]
    rows = [{"ssim": float(i)} for i in range(len(runs))]
    groups = group_runs(runs, rows, ["experiment", "loss.weight"])
    assert {group.group for group in groups} == {"naive 0", "depth_loss 1e5", "depth_loss 1e6"}
    assert len({group.photo for group in groups}) == 3
    differences = summarize(groups, against="naive 0")
    medians = {name: by_metric["ssim"].value for name, by_metric in differences.items()}
    assert medians == {"depth_loss 1e5": 2, "depth_loss 1e6": 2}
    # Weights that are not what groups are made by have to agree.
    assert summarize(group_runs(runs, rows, ["experiment"]), against="naive") == {"depth_loss": {}}
    with pytest.raises(InputError, match="--by: got 'experimen'; expected experiment, perhaps"):
        group_runs(runs, rows, ["experimen"])


def test_a_comparison_is_printed_and_written(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(runs), "--by", "experiment"]) == 0
    assert "Differences to depth_loss" in capsys.readouterr().out
    text = (runs / "evaluation.md").read_text()
    assert "3 runs; photos: 1. Medians" in text
    assert "Depth as tiny sees it" in text
    heads = "| median | photo itself | painting itself | depth_loss | masked_style | naive |\n"
    assert heads in text
    assert "| median | masked_style | naive |" in text
    rows = (runs / "evaluation.csv").read_text().splitlines()
    groups = ["group", *CONTROLS, "depth_loss", "masked_style", "naive"]
    assert [row.split(",")[1] for row in rows] == groups


def test_the_benchmark_is_a_sweep_over_what_the_program_can_run() -> None:
    sweep = yaml.safe_load((ROOT / "sweeps" / "sweep" / "benchmark.yaml").read_text())
    choices = sweep["hydra"]["sweeper"]["params"]
    experiments = choices["+experiment"].split(",")
    assert experiments[0] == "naive"  # what the others are compared with
    assert set(choices) == {"+experiment", "content", "style"}
    for name in experiments:
        config = compose_plain(f"+experiment={name}", "+sweep=benchmark")
        assert (config["name"], config["size"]) == (name, 256)
        assert config["steps"] == (200 if name == "masked_content" else 100)
        assert config["tracking"]["mode"] == "off"


def test_a_run_measures_itself_for_wandb(tmp_path: Path) -> None:
    run(tmp_path, "+experiment=naive", *SMALL[:2], "tracking=offline", "evaluate=true")
    found = numbers(tmp_path)
    assert set(found) > DEPTH
    summary = {}
    for record in records(tmp_path):
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
    known = [summary[name] for name in ("ssim", "judge_name", "status")]
    assert known == [found["ssim"], "tiny", "done"]


def test_a_run_that_cannot_be_measured_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str, weights: str | None = None, key: str = "") -> None:
        raise InputError("depth_net.weights", "nothing", "a file")

    monkeypatch.setattr(stylize, "depth_network", missing)
    run(tmp_path, "+experiment=naive", *SMALL, "evaluate=true")
    assert (tmp_path / "summary.json").exists()
    assert not (tmp_path / "metrics.json").exists()
    error = capsys.readouterr().err
    assert "not measured: depth_net.weights: got nothing; expected a file" in error
