"""Memory and time before a run: the formula, what is free, the line that refuses, the key."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch

from src.core.errors import InputError
from src.core.memory import available, resident
from src.pipeline import costs, forecast
from src.pipeline.config import plain_values, resolve
from src.pipeline.costs import Sizes
from src.pipeline.forecast import check
from src.pipeline.schema import Config
from src.runs.identity import config_hash
from tests.conftest import Command
from tests.running import SMALL, compose, tiny_backbone

ROOT = Path(__file__).parent.parent
NAIVE = ("+experiment=naive", "trainer.accelerator=cpu", "precision=float32")
TINY = (*NAIVE, "loss.content.layers=[relu2]", "loss.style.layers=[relu1,relu2]")
GIGABYTE = 10**9


@cache
def tiny(*overrides: str) -> Config:
    return resolve(compose(*TINY, *overrides))


def squares(side: int, *styles: int) -> Sizes:
    return Sizes((side, side), [(style, style) for style in styles or (256,)])


def needs(config: Config, sizes: Sizes) -> float:
    return costs.memory(config, tiny_backbone(), sizes)


def test_a_pass_keeps_the_layers_of_a_picture() -> None:
    found = costs.pass_memory(tiny_backbone(), ("relu1", "relu2"))
    # The picture, normalised, of 3 channels, relu1 of 4, and at half the size pool1 of 4, with its
    # indices of 8 bytes, and relu2 of 6. conv1 and conv2 are overwritten by their ReLU.
    assert found.kept == pytest.approx(4 * (3 + 4) + (4 * 4 + 8 * 4 + 4 * 6) / 4, rel=1e-3)
    assert found.largest == 4 * 4
    assert costs.pass_memory(tiny_backbone(), ()) == (0, 0)


def test_a_pass_in_bfloat16_keeps_half() -> None:
    whole, half = (
        costs.pass_memory(tiny_backbone().to_dtype(dtype), ("relu1", "relu2"))
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert half.largest == whole.largest / 2
    assert half.kept < 0.7 * whole.kept


def test_memory_grows_with_size_tiles_history_steps_styles_and_masks() -> None:
    def at(side: int = 1000, styles: tuple[int, ...] = (500,), *overrides: str) -> float:
        return needs(tiny(*overrides), squares(side, *styles))

    sides = [at(side) for side in (100, 200, 500, 1000, 1500)]
    assert sides == sorted(set(sides))
    tiles = [at(3000, (256,), f"tile_size={tile}") for tile in ("256", "512", "1024", "null")]
    assert tiles == sorted(set(tiles))
    histories = [at(1000, (500,), f"optimizer.history_size={n}") for n in (1, 10, 50)]
    assert histories == sorted(set(histories))
    # No more steps are remembered than there are.
    assert at(1000, (500,), "optimizer.history_size=50", "steps=10") == histories[1]
    assert at(1000, (500,), "optimizer=adam") == histories[0]
    assert at(styles=(500, 500)) > at() > at(styles=(100,))
    assert at(styles=(3000,)) > at(styles=(500, 500))
    assert at(1000, (500,), "loss.depth.weight=1") > at()


def test_a_large_picture_is_forecast_in_tiles_by_itself() -> None:
    sizes = squares(3000)
    whole, auto = needs(tiny("tile_size=null"), sizes), needs(tiny(), sizes)
    assert auto < whole
    assert auto == needs(tiny("tile_size=1024"), sizes)


def test_time_goes_by_pixels_steps_tiles_and_styles() -> None:
    config = tiny("pyramid.levels=3", "pyramid.steps_per_level=20", "steps=100")
    found = costs.stages(config, tiny_backbone(), squares(400), 1e-5)
    assert [(stage.size, stage.steps) for stage in found] == [
        ((100, 100), 20),
        ((200, 200), 20),
        ((400, 400), 60),
    ]
    seconds = [stage.seconds for stage in found]
    assert seconds == pytest.approx([seconds[2] / 16, seconds[2] / 4, seconds[2]])
    (whole,), (tiled,), (two,) = (
        costs.stages(tiny(*more), tiny_backbone(), squares(400, *styles), 1e-5)
        for more, styles in (((), ()), (("tile_size=100",), ()), ((), (256, 256)))
    )
    assert whole.seconds < two.seconds < tiled.seconds


def test_the_rate_is_measured_once() -> None:
    backbone = tiny_backbone()
    before = torch.get_rng_state()
    first = costs.rate(tiny(), backbone)
    assert first > 0
    assert costs.rate(tiny("size=64"), backbone) == first
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("tile_size", ["null", "auto", "1024"])
@pytest.mark.parametrize("free", [3, 8, 14])
def test_too_large_a_run_is_told_what_would_fit(tile_size: str, free: int) -> None:
    config, sizes = tiny("size=13000", f"tile_size={tile_size}"), squares(13000)
    with pytest.raises(InputError) as raised:
        check(config, tiny_backbone(), sizes, free * GIGABYTE)
    line = str(raised.value)
    found = re.fullmatch(
        rf"size: got 13000 with tile_size={tile_size}, which takes about [\d.]+ GB of the "
        rf"{free}\.0 GB that are free; expected size=(\d+)(, or tile_size=\d+ \(about .* GB\))?",
        line,
    )
    assert found is not None, line
    side = int(found[1])
    check(config, tiny_backbone(), squares(side), free * GIGABYTE)
    with pytest.raises(InputError):
        check(config, tiny_backbone(), squares(int(1.5 * side)), free * GIGABYTE)


def test_tiles_that_fit_are_named() -> None:
    sizes = squares(6000)
    config = tiny("size=6000", "tile_size=null", "steps=1")
    free = needs(tiny("size=6000", "tile_size=512", "steps=1"), sizes) / forecast.SUGGESTED
    with pytest.raises(InputError, match=r"expected size=\d+, or tile_size=512 \(about"):
        check(config, tiny_backbone(), sizes, free + 1)


def test_a_painting_that_is_too_large_is_no_matter_of_the_size() -> None:
    config = tiny("size=300", "style_size=20000", "tile_size=null")
    with pytest.raises(InputError, match=r"expected tile_size=1024 \(about"):
        check(config, tiny_backbone(), squares(300, 20000), 9 * GIGABYTE)
    with pytest.raises(InputError, match="expected smaller pictures"):
        check(config, tiny_backbone(), squares(300, 20000), GIGABYTE)


def test_the_short_side_is_named_where_it_was_given() -> None:
    config = tiny("short_side=10000", "tile_size=null")
    with pytest.raises(InputError, match=r"short_side: got 10000 .* expected short_side=\d+"):
        check(config, tiny_backbone(), Sizes((10000, 15000), [(256, 256)]), 4 * GIGABYTE)


def test_a_run_that_just_fits_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    need = needs(tiny(), squares(500))
    check(tiny(), tiny_backbone(), squares(500), need / 0.8)
    check(tiny(), tiny_backbone(), squares(500), None)
    assert not caplog.records
    check(tiny(), tiny_backbone(), squares(500), 0.81 * need)
    with pytest.raises(InputError):
        check(tiny(), tiny_backbone(), squares(500), 0.79 * need)
    (record,) = caplog.records
    assert re.fullmatch(
        r"memory: this run takes about .* GB of the .* GB that are free", record.getMessage()
    )


LIMITS = "Max data size             {data}            unlimited            bytes\n"
LIMITS += "Max address space         {space}            unlimited            bytes\n"
STATUS = "VmSize:\t 3000 kB\nVmRSS:\t 1000 kB\nVmData:\t 2000 kB\n"
MEMINFO = "MemTotal:       9000 kB\nMemAvailable:   8000 kB\n"
KB = 1024
V2 = {"memory.max": 5000 * KB, "memory.current": 2000 * KB}
V1 = {"memory.limit_in_bytes": 5000 * KB, "memory.usage_in_bytes": 2000 * KB}


def system(root: Path, groups: Mapping[str, Mapping[str, object]], **limits: object) -> Path:
    """A root with /proc and /sys of a process in the cgroup /a/b."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "proc/self/status").write_text(STATUS)
    bounds = {"data": "unlimited", "space": "unlimited"} | limits
    (root / "proc/self/limits").write_text(LIMITS.format(**bounds))
    (root / "proc/self/cgroup").write_text("5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/a/b\n")
    for folder, files in groups.items():
        path = root / "sys/fs/cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (path / name).write_text(f"{value}\n")
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "left"),
    [
        ({}, {}, 8000),
        ({"a/b": V2}, {}, 3000),
        ({"a/b": V2 | {"memory.stat": f"anon 1\ninactive_file {500 * KB}"}}, {}, 3500),
        ({"a/b": V2 | {"memory.max": "max"}}, {}, 8000),
        ({"a/b": V2 | {"memory.max": "max"}, "a": V2}, {}, 3000),
        ({"a/b": V2, "a": V2 | {"memory.current": 4000 * KB}}, {}, 1000),
        ({".": V2}, {}, 3000),  # of a container, that knows the host's path only
        ({"memory/a/b": V1}, {}, 3000),
        ({"memory/a/b": V1 | {"memory.limit_in_bytes": 2**63 - 4096}, "memory/a": V1}, {}, 3000),
        ({"memory/a/b": V1 | {"memory.stat": f"total_inactive_file {KB}"}}, {}, 3001),
        ({"a/b": V2 | {"memory.current": 6000 * KB}}, {}, 0),
        ({}, {"space": 7000 * KB}, 4000),
        ({}, {"data": 7000 * KB}, 5000),
        ({"a/b": V2}, {"data": 4000 * KB}, 2000),
    ],
)
def test_what_is_left_is_the_least_of_all_limits(
    groups: Mapping[str, Mapping[str, object]],
    limits: Mapping[str, object],
    left: int,
    tmp_path: Path,
) -> None:
    root = system(tmp_path, groups, **limits)
    assert available(root) == left * KB
    assert resident(root) == 1000 * KB


def test_nothing_is_known_where_there_is_no_proc(tmp_path: Path) -> None:
    assert available(tmp_path) is None
    assert resident(tmp_path) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="known on Linux only")
def test_this_process_has_memory() -> None:
    left = available()
    assert left is not None
    assert left > 0
    assert resident() > 10**8


def test_a_forecast_leaves_nothing_behind(command: Command, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    arguments = (*NAIVE, "size=64", "steps=7", "forecast=true", f"output_dir={tmp_path}/out")
    found = command(*arguments)
    assert found.code == 0, found.err
    assert re.fullmatch(
        r"about [\d.]+ GB( of [\d.]+ GB free)?; 7 steps in about \d+ s\n"
        r"  64 x 43: 7 steps, [\d.e-]+ s each\n",
        found.out,
    )
    assert sorted(tmp_path.iterdir()) == before
    levels = ("pyramid.levels=2", "pyramid.steps_per_level=3")
    found = command(*arguments, *levels)
    lines = found.out.splitlines()
    assert [line.partition(" steps")[0] for line in lines[1:]] == ["  32 x 22: 3", "  64 x 43: 4"]
    assert sorted(tmp_path.iterdir()) == before


def test_a_forecast_of_what_is_wrong_says_so(command: Command, tmp_path: Path) -> None:
    found = command(*NAIVE, "content=nobody.jpg", "forecast=true", f"output_dir={tmp_path}/out")
    assert found.code == 1
    assert found.err.startswith("error: content: got 'nobody.jpg'")
    assert not (tmp_path / "out").exists()


def test_a_forecast_of_a_sweep_is_refused(command: Command, tmp_path: Path) -> None:
    found = command("-m", *NAIVE, "size=64,96", "forecast=true", f"output_dir={tmp_path}/out")
    assert found.code == 1
    assert found.err == "error: forecast: got true beside -m; expected one run, without -m\n"
    assert not (tmp_path / "out").exists()


def test_the_key_changes_no_hash() -> None:
    hashes = {config_hash(plain_values(compose(*NAIVE, f"forecast={x}"))) for x in (True, False)}
    assert len(hashes) == 1


def test_a_long_run_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(costs, "rate", lambda *_: 1e-6)
    forecast.announce(resolve(compose(*NAIVE, "size=200", "steps=500")))
    line = capsys.readouterr().err
    assert re.fullmatch(r"forecast: about .* GB( of .* GB free)?; 500 steps in about \d+ s\n", line)
    forecast.announce(resolve(compose(*NAIVE, *SMALL)))
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit of Linux")
def test_a_process_with_a_limit_gets_one_line(tmp_path: Path) -> None:
    arguments = [*NAIVE, "size=3000", "tile_size=null", f"output_dir={tmp_path}", "tracking=off"]
    limited = ["sh", "-c", 'ulimit -v 12000000; exec "$@"', "sh"]
    process = subprocess.run(
        [*limited, sys.executable, "-m", "src.run", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert process.returncode == 1
    line = process.stderr.strip().splitlines()[-1]  # before it: the painting is enlarged
    assert re.match(
        r"error: size: got 3000 with tile_size=null, which takes about [\d.]+ GB of the [\d.]+ GB "
        r"that are free; expected size=\d+, or tile_size=",
        line,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read as Linux has them")
def test_a_small_run_takes_what_was_forecast(tmp_path: Path) -> None:
    settings = (*NAIVE, "size=256", "steps=3", "tracking=off")
    # Its own peak: what wait4 tells begins with the parent's.
    script = "from src import run; run.main(); print(open('/proc/self/status').read())"
    process = subprocess.run(
        [sys.executable, "-c", script, *settings, f"output_dir={tmp_path}"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    peak = re.search(r"VmHWM:\s+(\d+) kB", process.stdout)
    assert peak is not None
    config = resolve(compose(*settings))
    found = forecast.forecast(config)
    assert 0.9 < found.memory / (KB * int(peak[1])) < 1.25


def test_a_long_time_is_in_hours_and_whole_seconds() -> None:
    stages = [costs.Stage((2947, 8000), 100, 950.0), costs.Stage((48, 64), 10, 0.123)]
    line, long, short = str(forecast.Forecast(GIGABYTE, None, stages)).splitlines()
    assert line.endswith("110 steps in about 26.4 h")
    assert long.endswith("100 steps, 950 s each")
    assert short.endswith("10 steps, 0.12 s each")
