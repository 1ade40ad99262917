"""The gallery: what is on the page, and in a real browser that what is clicked happens."""

import json
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from src.core.errors import InputError
from src.gallery.__main__ import main
from src.gallery.page import SCRIPTS, write_gallery
from src.gallery.table import best, choose_axes, final_numbers, in_order, make_table, sample
from src.runs.comparison import settings, swept_keys, varied
from src.runs.reader import Run, find_runs
from tests.fake_runs import fake_run, fake_sweep, hostile_runs

NASTY = """</script><script>alert(1)</script> "quoted" 'and' <b>&amp; ünï"""


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return fake_sweep(
        tmp_path / "sweeps" / "now", loss__style__weight=[2e9, 2e8], mask__center=[0.7, 0.3, 0.5]
    )


def test_what_differs_becomes_keys_once_and_in_order(sweep: Path) -> None:
    table = make_table(find_runs(sweep))
    assert [*table.keys] == ["mask.center", "loss.style.weight"]  # not styles.main.mask.center
    assert (table.rows, table.columns) == ("loss.style.weight", "mask.center")
    data = data_of(write_gallery(sweep))
    assert data["keys"] == {"mask.center": [0.3, 0.5, 0.7], "loss.style.weight": [2e8, 2e9]}


def test_numbers_are_terms_metrics_and_times(tmp_path: Path) -> None:
    metrics = {"lpips": 0.25, "content": 7, "style": {"gram": 3}}
    run = Run(fake_run(tmp_path / "run", metrics=metrics))
    assert final_numbers(run)["metrics.content"] == 7
    names = list(make_table([run]).numbers)
    assert names[:4] == ["total", "content", "style", "tv"]  # style_main is style
    assert names[4:] == ["lpips", "metrics.content", "style.gram", "seconds", "seconds_per_step"]


def test_terms_come_from_the_curve_where_the_summary_is_broken(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", terms={"content": 10.0})
    (run / "summary.json").write_text('{"status": "done", "terms": {"con')
    assert final_numbers(Run(run))["content"] == 20.0  # the last row of the fake curve


def test_names_of_functions_and_lists(tmp_path: Path) -> None:
    keys = {"mask._target_": "src.masks.step", "loss.content.layers": ["relu1_2", 28]}
    keys |= {"size": None, "tracking.mode": "off"}
    found = settings(Run(fake_run(tmp_path / "run", keys)))
    assert (found["mask"], found["loss.content.layers"]) == ("step", "relu1_2, 28")
    assert (found["experiment"], found["size"]) == ("masked_style", "null")
    assert "tracking.mode" not in found


def test_a_key_needs_two_values_to_differ() -> None:
    tables = [{"mask": "step", "mask.threshold": 0.5}, {"mask": "band"}, {"mask": "band", "x": 1}]
    assert varied(tables) == {"mask": ["step", "band", "band"]}
    assert varied([{"a": 1}, {"a": True}]) == {"a": [1, True]}


def test_a_setting_with_the_name_of_a_term_is_told_from_it(tmp_path: Path) -> None:
    runs = [Run(fake_run(tmp_path / name, {"style": name})) for name in ("ink", "swirls")]
    table = make_table(runs)
    assert table.keys == {"style (setting)": ["ink", "swirls"]}
    assert table.columns == "style (setting)"
    assert table.numbers["style"] == [0.004, 0.004]


def test_axes() -> None:
    pair = {"a": [1, 1, 2, 2], "b": [1, 2, 1, 2]}
    assert choose_axes(pair) == ("a", "b")
    assert choose_axes({"a": [1, 2, 3]}) == (None, "a")
    assert choose_axes({}) == (None, None)
    diagonal = {"a": [0.1, 0.2, 0.3], "b": [0.5, 0.4, 0.7]}
    assert choose_axes(diagonal) == (None, "a")
    many = {"a": [*range(10)] * 2, "b": [0] * 10 + [1] * 10}
    assert choose_axes(many) == ("a", "b")  # the longer one goes down
    assert choose_axes({"a": [*range(50)] * 2, "b": [0] * 50 + [1] * 50}) == ("a", "b")
    assert choose_axes({"seed": [*range(40)]}) == (None, "seed")
    assert choose_axes({"seed": [*range(90)]}) == (None, None)
    assert choose_axes({"a": [1, 2, None, None, None], "b": [1, 1, 1, 2, 2]}) == (None, "b")
    stacked = {"a": [1, 2] * 20, "b": [1, 1, 2, 2] * 10}
    assert choose_axes(stacked) == (None, "a")  # ten pictures a cell are no grid
    assert choose_axes({**pair, "c": [5, 5, 6, 6]}, swept=["c", "b"]) == ("c", "b")


def test_swept_keys_are_those_that_the_command_line_varied(tmp_path: Path) -> None:
    overrides = [
        ["+experiment=a", "mask=step", "size=1", "+mask@styles.mid.mask=band", "tracking=off"],
        ["+experiment=a", "mask=band", "size=1", "+mask@styles.mid.mask=step", "steps=2"],
    ]
    runs = [Run(tmp_path / str(i)) for i in range(3)]  # of the last nothing is known
    for run, own in zip(runs, overrides, strict=False):
        fake_run(run.path, overrides=own)
    assert swept_keys(runs) == ["mask", "styles.mid.mask", "steps"]
    assert swept_keys(runs[:1]) == swept_keys(runs[2:]) == swept_keys([]) == []


def test_order_best_and_samples() -> None:
    assert in_order(["b10", 2, None, "b9", 1.5, 2]) == [1.5, 2, "b9", "b10", None]
    numbers = {"style": [3.0, 1.0, None], "ssim": [0.2, 0.9, 0.95], "nothing": [None] * 3}
    assert best(numbers, [True] * 3) == {"style": 1, "ssim": 2}
    assert best(numbers, [True, False, False]) == {"style": 0, "ssim": 0}  # without a picture
    assert sample(3) == [0, 1, 2]
    assert sample(1001, 5) == [0, 250, 500, 750, 1000]
    assert len(sample(1000, 200)) == 200


def test_everything_is_beside_the_page_and_can_be_moved_with_it(sweep: Path) -> None:
    page = write_gallery(sweep)
    moved = sweep.parent / "elsewhere"
    sweep.rename(moved)
    text = (moved / page.name).read_text()
    assert "http" not in re.sub(r'id="data">.*?</script>', "", text, flags=re.S)
    assert str(sweep) not in text
    linked = re.findall(r'(?:src|href)="(gallery/[^"]+)"', text)
    assert linked == [f"gallery/{name}" for name in ("gallery.css", *SCRIPTS)]
    for run in data_of(moved / page.name)["runs"]:
        for url in (run["picture"], run["thumbnail"], *run["inputs"].values()):
            assert (moved / url).is_file()
    for name in (*linked, "gallery/plotly.min.js", "gallery/charts.js"):
        assert (moved / name).is_file()


@pytest.mark.parametrize("level", ["run", "sweep", "outputs"])
def test_it_works_on_a_run_a_sweep_and_all_outputs(sweep: Path, level: str) -> None:
    folder = {"run": sweep / "0", "sweep": sweep, "outputs": sweep.parent.parent}[level]
    data = data_of(write_gallery(folder))
    assert len(data["runs"]) == (1 if level == "run" else 6)
    assert data["runs"][0]["name"] == {"run": "0", "sweep": "0", "outputs": "sweeps/now/0"}[level]
    assert data_of(write_gallery(folder)) == data  # its own files are no runs


def test_the_line_at_the_top(sweep: Path) -> None:
    text = write_gallery(sweep).read_text()
    assert "6 runs: 6 done" in text
    command = "python -m src.run -m +experiment=masked_style loss.style.weight=2000000000.0,"
    assert f"<code>{command}" in text
    assert re.search(r'data-open="0" title="lowest: 0"><span>style</span> <b>0.002</b>', text)
    assert "their totals do not compare" in text


def test_best_by_knows_which_way_a_number_is_better(tmp_path: Path) -> None:
    higher = {"ssim", "edge_f1", "depth_delta", "sensor_spearman", "content_sensor_delta"}
    for i, value in enumerate((0.2, 0.8)):
        metrics = dict.fromkeys([*higher, "self_similarity"], value)
        fake_run(tmp_path / str(i), {"seed": i}, {"style": value}, metrics=metrics)
    text = write_gallery(tmp_path).read_text()
    for name in (*higher, "self_similarity", "style"):
        run, word = (1, "highest") if name in higher else (0, "lowest")
        assert f'data-open="{run}" title="{word}: {run}"><span>{name}</span>' in text


def test_a_run_alone_has_its_own_command_and_no_trade_off(sweep: Path) -> None:
    text = write_gallery(sweep / "4").read_text()
    command = "python -m src.run +experiment=masked_style loss.style.weight=200000000.0"
    assert f"<code>{command} mask.center=0.3</code>" in text
    assert 'id="trade-off"' not in text
    assert "Best by" not in text


def test_failed_and_cut_off_runs_are_listed_with_their_reason(sweep: Path) -> None:
    (sweep / "0" / "FAILED").write_text("loss.style.weight: got <none>; expected a number\n")
    (sweep / "0" / "pastiche.png").unlink()
    (sweep / "1" / "summary.json").write_text('{"status": ')
    (sweep / "2" / "summary.json").unlink()
    (sweep / "3" / "pastiche.png").write_bytes(b"\x89PNG\r\n\x1a\n half a picture")
    (sweep / "6").mkdir()
    page = write_gallery(sweep)
    problems = page.read_text().partition('id="problems"')[2]
    for reason in (
        "got &lt;none&gt;; expected a number",
        "summary.json is broken",
        "no summary.json: still running, or ended after step 20",
        "pastiche.png cannot be read as a picture",
        "before its first step",
    ):
        assert reason in problems
    pictures = [run["picture"] for run in data_of(page)["runs"]]
    assert [bool(picture) for picture in pictures] == [False, True, True, False, True, True, False]


def test_the_contact_sheet_has_every_picture_in_its_place(tmp_path: Path) -> None:
    colours = {("a", "ink"): (200, 0, 0), ("a", "mosaic"): (0, 200, 0), ("b", "ink"): (0, 0, 200)}
    for number, ((photo, painting), colour) in enumerate(colours.items()):
        values = {"content": f"photos/{photo}.jpg", "style": painting}
        overrides = [f"{key}={value}" for key, value in values.items()]
        fake_run(tmp_path / str(number), values, colour=colour, overrides=overrides)
    table = make_table(find_runs(tmp_path))
    assert {table.rows, table.columns} == {"content (setting)", "style (setting)"}
    write_gallery(tmp_path)
    with Image.open(tmp_path / "contact_sheet.jpg") as sheet:
        pixels = sheet.convert("RGB").resize((sheet.width // 4, sheet.height // 4))
    found = {}
    for (photo, painting), colour in colours.items():
        place = {"content (setting)": "ab".index(photo)}
        place["style (setting)"] = ["ink", "mosaic"].index(painting)
        column, row = place[str(table.columns)], place[str(table.rows)]
        seen = pixels.getpixel(((120 + column * 264 + 10) // 4, (row * 284 + 20 + 6) // 4))
        found[photo, painting] = max(abs(x - y) for x, y in zip(seen, colour, strict=True))
    assert max(found.values()) < 30, found


def test_a_sheet_without_a_grid_has_the_pictures_in_turn(sweep: Path, tmp_path: Path) -> None:
    run = next(iter(find_runs(sweep))).path
    write_gallery(run)
    with Image.open(run / "contact_sheet.jpg") as sheet:
        assert sheet.size == (8 + 264, 284)


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    name = NASTY.replace("/", "∕")  # the one character that a folder's name cannot have
    settings = {"style": f"/paintings/{NASTY}.png", "name": NASTY, NASTY: 1}
    nasty = fake_run(
        tmp_path / name, settings, {NASTY: 1}, metrics={NASTY: 1}, overrides=[f"a={NASTY}; $(id)"]
    )
    Image.new("RGB", (8, 8)).save(nasty / "inputs" / f"style_{name}.png")
    fake_run(tmp_path / "b", {"style": "swirls"})
    (fake_run(tmp_path / "javascript:c") / "FAILED").write_text(NASTY)
    page = write_gallery(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<" not in text.partition('id="data">')[2].partition("</script>")[0]
    urls = [run["picture"] for run in data_of(page)["runs"]]
    assert not any(":" in url for url in urls)
    command = data_of(page)["runs"][0]["command"]
    assert shlex.split(command)[-1] == f"a={NASTY}; $(id)"
    runs = data_of(page)["runs"]
    assert NASTY in runs[0]["keys"]["style (setting)"]
    assert runs[0]["name"] == name
    assert (page.parent / "gallery" / "charts.js").read_text().count("\n") == 1


def test_no_run_can_end_the_page(tmp_path: Path) -> None:
    names = hostile_runs(tmp_path)
    fake_run(tmp_path / "good")
    began = time.monotonic()
    page = write_gallery(tmp_path)
    assert time.monotonic() - began < 60
    assert page.stat().st_size < 400_000
    runs = {run["name"]: run for run in data_of(page)["runs"]}
    assert set(runs) == {*names, "good"}
    assert (runs["good"]["status"], runs["good"]["reason"]) == ("done", "")
    for name, reason in {
        "0 config.yaml": "cannot be read: config.yaml",
        "1 pastiche.png": "pastiche.png is a link",
        "1 FAILED": "?]0;owned??2J \ufffd\ufffd\ufffd",
        "2 inputs content.png": "cannot be read: content.png",
        "huge": "pastiche.png cannot be read as a picture",
    }.items():
        assert (runs[name]["status"] != "done", runs[name]["reason"]) == (True, reason)
    assert "a number of too many digits" in data_of(page)["keys"]["seed"]
    assert not re.search(r"[\x00-\x09\x1b]", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("place", ["gallery", "gallery/thumbnails"])
def test_a_page_is_not_written_through_links(tmp_path: Path, sweep: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.webp").touch()
    (sweep / place).parent.mkdir(exist_ok=True)
    (sweep / place).symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"FOLDER: got .*{place}, a link; expected"):
        write_gallery(sweep)
    assert [path.name for path in elsewhere.iterdir()] == ["mine.webp"]


def test_what_is_linked_from_elsewhere_is_not_given_away(tmp_path: Path, sweep: Path) -> None:
    secret = fake_run(tmp_path / "secret", {"size": "secret"}, colour=(1, 2, 3))
    (secret / "FAILED").write_text("secret")
    page = write_gallery(sweep)
    thumbnail = page.parent / data_of(page)["runs"][4]["thumbnail"]
    icon = thumbnail.with_suffix(".icon.webp")
    for i, name in enumerate(("config.yaml", "FAILED", "pastiche.png", "inputs")):
        if (path := sweep / str(i) / name).is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(secret / name)
    for path in (thumbnail, icon, page, sweep / "gallery" / "gallery.css"):
        path.unlink()
        path.symlink_to(secret / "FAILED")
    runs = data_of(write_gallery(sweep))["runs"]
    assert not any(path.is_symlink() for path in (thumbnail, icon, page))
    assert "secret" not in json.dumps(runs)
    assert [bool(run["picture"]) for run in runs] == [True, True, False, True, True, True]
    assert runs[3]["inputs"] == {}
    assert (secret / "FAILED").read_text() == "secret"


def test_thumbnails_are_kept_until_the_picture_changes(sweep: Path) -> None:
    write_gallery(sweep)
    folder = sweep / "gallery" / "thumbnails"
    first = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert len(first) == 12
    write_gallery(sweep)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == first
    Image.new("RGB", (30, 16)).save(sweep / "0" / "pastiche.png")
    data = data_of(write_gallery(sweep))
    assert len(set(first) - {file.name for file in folder.iterdir()}) == 2
    assert data["runs"][0]["width"] == 30


def test_the_command_ends_in_one_line(
    tmp_path: Path, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sweep / "4")]) == 0
    assert capsys.readouterr().out == f"done: {sweep / '4' / 'index.html'}\n"
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").touch()
    failed = fake_run(tmp_path / "failed")
    (failed / "pastiche.png").unlink()
    (failed / "FAILED").write_text("size: got 0; expected more\n")
    (sweep / "gallery").touch()  # a file where the folder should be
    for folder, words in (
        (tmp_path / "missing", "which is not there"),
        (tmp_path / "foreign", "in which no run is"),
        (failed, "left no picture (the first: size: got 0; expected more)"),
        (sweep, "gallery/thumbnails ("),
    ):
        assert main([str(folder)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: FOLDER: got ")
        assert words in err
        assert err.count("\n") == 1
        assert not (folder / "index.html").exists()


def test_a_folder_that_cannot_be_written(sweep: Path) -> None:
    (sweep / "gallery").write_text("a file, where the folder should be")
    with pytest.raises(InputError, match=r"gallery.*expected a folder that can be written"):
        write_gallery(sweep)


class Visit:
    """A page open in the browser, with what it asked for and complained about."""

    def __init__(self, browser: Any, file: Path, **settings: Any) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        settings = {"viewport": {"width": 1280, "height": 900}} | settings
        self.page = browser.new_context(**settings).new_page()
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        self.page.goto(file.as_uri())

    def runs(self) -> list[int]:
        """The runs in the grid as laid out."""
        return self.page.eval_on_selector_all("#grid .cell", "all => all.map(c => +c.dataset.run)")

    def close(self) -> None:
        self.page.context.close()
        assert self.problems == []


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    visits: list[Visit] = []

    def open_page(file: Path, **settings: Any) -> Visit:
        visits.append(Visit(browser, file, **settings))
        return visits[-1]

    yield open_page
    for one in visits:
        one.close()


def test_grid_sort_and_filter(sweep: Path, visit: Any) -> None:
    (sweep / "5" / "FAILED").write_text("a reason\n")
    (sweep / "5" / "pastiche.png").unlink()
    seen = visit(write_gallery(sweep))
    page = seen.page
    heads = page.locator("#grid th[scope=col]").all_text_contents()
    assert heads == ["0.3", "0.5", "0.7"]
    assert page.locator("#grid th[scope=row]").all_text_contents() == ["2e8", "2e9"]
    assert seen.runs() == [4, 5, 3, 1, 2, 0]
    assert "failed: no picture" in page.locator("#grid td").nth(3).text_content()
    page.select_option("#rows", "mask.center")
    page.select_option("#columns", "loss.style.weight")
    assert seen.runs() == [4, 1, 5, 2, 3, 0]
    page.select_option("#columns", "")
    assert page.locator("#grid h3").count() == 3
    page.select_option("#rows", "")
    page.select_option("#sort", "style")
    page.check("#descending")
    assert seen.runs() == [5, 4, 3, 2, 1, 0]
    page.select_option("#filter-field", "style")
    page.select_option("#filter-how", "most")
    page.fill("#filter-value", "many")
    page.click("text=Add filter")
    assert len(seen.runs()) == 6  # not a number
    page.fill("#filter-value", "0.006")
    page.keyboard.press("Enter")
    assert seen.runs() == [2, 1, 0]
    page.select_option("#filter-field", "mask.center")
    page.select_option("#filter-how", "is")
    page.fill("#filter-value", "0.3")
    page.click("text=Add filter")
    assert seen.runs() == [1]
    assert page.text_content("#status") == "1 of 6 runs shown"
    page.click("#filters button >> nth=0")
    assert seen.runs() == [4, 1]
    page.click("text=Numbers")
    page.check("#shown input[value=seconds]")
    assert "seconds 8" in page.locator("#grid figcaption").first.text_content()
    page.click("#table summary")
    page.click("#table th button >> text=content")
    assert page.locator("#table tbody th").all_text_contents() == ["4", "1"]
    assert page.get_attribute("#table th[aria-sort]", "aria-sort") == "ascending"


def test_enlarged_view_by_keyboard_and_mouse(sweep: Path, visit: Any) -> None:
    seen = visit(write_gallery(sweep))
    page = seen.page
    assert seen.runs() == [4, 5, 3, 1, 2, 0]
    page.locator("#grid button.picture").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    title = page.locator("#viewer-title")
    assert title.text_content() == "mask.center 0.5, loss.style.weight 2e9 (2)"
    inputs = page.locator("#viewer-inputs figcaption").all_text_contents()
    assert inputs == ["Content", "Style main", "Depth", "Mask main"]
    page.wait_for_function(
        "[...document.querySelectorAll('dialog img')].every(i => i.naturalWidth)"
    )
    page.keyboard.press("ArrowLeft")
    assert "0.3" in title.text_content()
    page.keyboard.press("ArrowUp")
    assert title.text_content() == "mask.center 0.3, loss.style.weight 2e8 (4)"
    page.keyboard.press("ArrowLeft")  # there is none further
    assert title.text_content().endswith("(4)")
    assert page.is_disabled("#previous")
    page.click("#next")
    assert title.text_content().endswith("(5)")
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50, steps=3)
    page.mouse.up()
    assert abs(int(page.input_value("#split")) - 50) <= 2
    clip = page.evaluate("getComputedStyle(document.getElementById('after')).clipPath")
    assert re.search(r"(49|50|51)%|calc", clip)
    page.keyboard.press("ArrowRight")  # after a drag too
    assert title.text_content().endswith("(3)")
    page.focus("#split")
    page.keyboard.press("ArrowRight")
    assert title.text_content().endswith("(3)")
    page.keyboard.press("Escape")
    assert not page.is_visible("#viewer")
    page.wait_for_function("document.activeElement.closest('.cell')?.dataset.run === '3'")
    page.click(".best button >> text=style")
    assert page.locator("#viewer-title").text_content().endswith("(0)")


def test_curves_of_the_chosen_runs(sweep: Path, visit: Any) -> None:
    seen = visit(write_gallery(sweep))
    page = seen.page
    page.locator("#grid figcaption input").nth(0).check()
    page.locator("#grid figcaption input").nth(3).check()
    page.locator("#curve-plot").scroll_into_view_if_needed()
    page.wait_for_selector("#curve-plot .scatterlayer .trace")
    lines = page.locator("#curve-plot .scatterlayer .trace")
    assert lines.count() == 2
    axis = "document.getElementById('curve-plot').layout.yaxis"
    assert page.evaluate(f"{axis}.type") == "log"
    page.select_option("#curve-term", "style")
    page.uncheck("#curve-log")
    page.wait_for_function(f"{axis}.type === 'linear' && {axis}.title.text === 'style'")
    page.click("#choose-all")
    page.wait_for_function("document.getElementById('curve-plot').data.length === 6")
    page.click("#choose-none")
    page.wait_for_function("document.querySelectorAll('.cell.chosen').length === 0")
    assert not any(url.startswith("http") for url in seen.requests)


def test_the_front_is_of_pictures_to_click(sweep: Path, visit: Any) -> None:
    fake_run(sweep / "6", {"mask.center": 0.3}, {"content": 99.0, "style": 0.02})  # worse
    seen = visit(write_gallery(sweep))
    page = seen.page
    page.locator("#scatter-plot").scroll_into_view_if_needed()
    page.wait_for_selector("#scatter-plot .layer-above image")
    assert page.locator("#scatter-plot .layer-above image").count() == 7
    assert "Not beaten in content, style at once: 6 of 7 runs" in page.text_content("#front")
    wide = "document.getElementById('scatter-plot').data.at(-1).marker.line.width"
    assert sorted(page.evaluate(wide)) == [0, 4, 4, 4, 4, 4, 4]
    point = page.locator("#scatter-plot .points path").nth(6).bounding_box()
    x, y = point["x"] + point["width"] / 2, point["y"] + point["height"] / 2
    page.mouse.move(x - 5, y)
    page.mouse.move(x, y)
    page.wait_for_selector("#hover:visible")
    assert "style 0.02" in page.text_content("#hover")
    page.mouse.click(x, y)
    page.wait_for_selector("#viewer:visible")
    assert page.text_content("#viewer-title").endswith("(6)")
    page.keyboard.press("Escape")
    page.select_option("#scatter-colour", "tv")
    page.check("#scatter-log")
    page.wait_for_selector("#scatter-plot .colorbar, #scatter-plot .cbbg", state="attached")
    page.wait_for_function("document.getElementById('scatter-plot').layout.xaxis.type === 'log'")
    page.click("#front button >> nth=0")
    assert page.is_visible("#viewer")


def test_the_front_knows_which_way_a_number_is_better(tmp_path: Path, visit: Any) -> None:
    for i, (edges, similarity) in enumerate([(0.9, 0.1), (0.5, 0.5)]):
        metrics = {"edge_f1": edges, "self_similarity": similarity, "sharpness_near": 0.5}
        fake_run(tmp_path / str(i), {"seed": i}, metrics=metrics)
    page = visit(write_gallery(tmp_path)).page
    page.select_option("#scatter-x", "edge_f1")
    page.select_option("#scatter-y", "self_similarity")
    page.select_option("#scatter-colour", "sharpness_near")  # of which neither way is better
    page.locator("#scatter-plot").scroll_into_view_if_needed()
    page.wait_for_selector("#front li")
    front = page.text_content("#front")
    assert front.startswith("Not beaten in edge_f1, self_similarity at once: 1 of 2 runs")
    assert "seed 0" in front
    page.select_option("#scatter-x", "seed")
    page.select_option("#scatter-y", "sharpness_near")
    page.wait_for_selector("#front li", state="detached")


def test_nasty_names_are_only_text(tmp_path: Path, visit: Any) -> None:
    name = NASTY.replace("/", "∕")
    fake_run(tmp_path / f"{name}#?%41", {"style": f"/paintings/{NASTY}.png"})
    fake_run(tmp_path / "b", {"style": "swirls"})
    page = visit(write_gallery(tmp_path)).page
    page.locator("#scatter-plot").scroll_into_view_if_needed()
    page.wait_for_selector("#scatter-plot .layer-above image")
    page.locator("#grid button.picture").first.click()
    page.wait_for_function(
        "[...document.querySelectorAll('dialog img')].every(i => i.naturalWidth)"
    )
    assert name in page.text_content("#viewer-title")
    assert page.locator("b:has-text('ünï')").count() == 0


def test_phone_width_and_darkness(sweep: Path, visit: Any) -> None:
    (sweep / "0" / "FAILED").write_text("x" * 300)
    file = write_gallery(sweep)
    phone = visit(file, viewport={"width": 360, "height": 740}, color_scheme="dark").page
    phone.locator("#curve-plot").scroll_into_view_if_needed()
    phone.wait_for_selector("#curve-plot .trace")
    phone.click("#table summary")
    assert phone.evaluate("document.documentElement.scrollWidth") == 360
    phone.locator("#grid button.picture").first.click()
    assert phone.evaluate("document.getElementById('viewer').scrollWidth") <= 360
    background = "getComputedStyle(document.body).backgroundColor"
    assert phone.evaluate(background) == "rgb(22, 21, 19)"
    assert visit(file, color_scheme="light").page.evaluate(background) == "rgb(250, 249, 246)"


def test_every_control_has_a_name(sweep: Path, visit: Any) -> None:
    page = visit(write_gallery(sweep)).page
    nameless = """all => all.filter(e => !(e.labels?.length || e.getAttribute('aria-label')
        || e.textContent.trim() || e.querySelector('img[alt]:not([alt=""])'))).length"""
    assert page.eval_on_selector_all("button, input, select", nameless) == 0
    assert page.eval_on_selector_all("#grid img", "all => all.filter(i => !i.alt).length") == 0


def test_five_hundred_runs_stay_quick(tmp_path: Path, visit: Any) -> None:
    centers = [round(0.02 * i, 2) for i in range(50)]
    sweep = fake_sweep(tmp_path / "big", mask__center=centers, seed=[*range(10)])
    began = time.monotonic()
    file = write_gallery(sweep)
    assert time.monotonic() - began < 20
    began = time.monotonic()
    seen = visit(file)
    assert len(seen.runs()) == 500
    assert time.monotonic() - began < 10
    seen.page.wait_for_timeout(300)
    assert 0 < sum(url.endswith(".webp") for url in seen.requests) < 250
    assert not any(url.endswith("plotly.min.js") for url in seen.requests)
