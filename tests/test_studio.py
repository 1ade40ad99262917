"""The studio: the command that is shown, what is served, and in a real browser a person's way."""

import importlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from src.core.errors import InputError
from src.core.images import load_png
from src.inputs import load_scene
from src.inputs.__main__ import main as inputs
from src.pipeline.config import compose
from src.runs.reader import Run, find_runs
from src.studio import panels
from src.studio.__main__ import main
from src.studio.choices import Choices, about, arguments, command, defaults, names
from src.studio.files import KINDS, NEAR, Files, result, views
from src.studio.preview import SIDE, Mask, preview
from src.studio.queue import Queue
from tests.conftest import ROOT, Command
from tests.fake_runs import fake_run
from tests.test_gallery import NASTY

LONG = 300  # seconds, before something counts as lost: a busy machine is slow


# ---- the command line -------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_what_is_not_chosen_is_not_in_the_command(name: str) -> None:
    usual = defaults(name)
    assert arguments(name, usual) == [f"+experiment={name}"]
    assert arguments(name, dict.fromkeys(usual)) == [f"+experiment={name}"]


@pytest.mark.parametrize(
    "text",
    [
        *("a b.jpg", "été (1).jpg", "it's [x],{y}.png", 'q"uo\\te.png', "007", "null", "1e5"),
        *("a:b", "~x", "-x", "/abs/x y", "back\\", 'a\\\\"b\\"', "$HOME`x`", "nyu:0123", "Off"),
    ],
)
def test_every_name_comes_through_the_command(text: str) -> None:
    keys = ("content", "style", NEAR, "mask.path", "init", "output_dir")
    line = command("src.run", *arguments("two_styles", dict.fromkeys(keys, text)))
    config = compose(*shlex.split(line)[3:])
    assert [config.content, config.style, config.init, config.output_dir] == [text] * 4
    assert [style.path for style in config.styles.values()] == [text] * 2
    assert config.mask
    assert config.mask["path"] == text


def test_every_choice_is_in_the_command() -> None:
    values = {
        "depth.source": "estimate",
        "mask.center": 0.25,
        "mask.slope": 7.5,
        "mask.invert": True,
        "refine_masks": False,
        "size": 96,
        "steps": 40,
        "strength": 0.7,
        "loss.depth.weight": 1e5,
        "colors": "match",
        "init": "noise",
    }
    config = compose(*arguments("masked_style", values))
    assert config.mask
    assert (config.mask["center"], config.mask["slope"], config.mask["invert"]) == (0.25, 7.5, True)
    assert (config.depth.source, config.refine_masks) == ("estimate", False)
    assert (config.size, config.steps, config.strength) == (96, 40, 0.7)
    assert config.loss.terms["depth"]["weight"] == 1e5
    assert (config.colors, config.init) == ("match", "noise")


@pytest.mark.parametrize("name", names())
def test_what_an_experiment_is_for_is_said(name: str) -> None:
    assert about(name)[0].isupper()
    assert "python" not in about(name)


# ---- preview ----------------------------------------------------------------------------------


def strokes() -> np.ndarray:
    """A drawing: on the left half paint, on the right none, nothing between."""
    drawn = np.zeros((10, 10, 4), np.uint8)
    drawn[:, :4], drawn[:, 7:] = (255, 255, 255, 255), (0, 0, 0, 255)
    return drawn


def test_the_preview_shows_the_mask_of_the_formula() -> None:
    shown = preview("+experiment=masked_style")
    depth = load_scene("motorcycle", size=SIDE).depth
    assert depth is not None
    expected = torch.sigmoid(15 * (depth - 0.3))
    torch.testing.assert_close(shown.paint(Mask(0.3, 15)), {"in paint": expected})
    two = preview("+experiment=two_styles").paint(Mask(0.3, 15))
    torch.testing.assert_close(list(two.values()), [1 - expected, expected])
    assert preview("+experiment=naive").paint(Mask(0.3, 15)) == {}
    kept = preview("+experiment=masked_content").paint(Mask(0.3, 15))
    torch.testing.assert_close(kept, {"in paint": expected})  # where content is not held


@pytest.mark.parametrize("experiment", ["masked_style", "masked_content", "two_styles"])
def test_a_run_has_the_mask_that_was_drawn(
    command: Command, experiment: str, tmp_path: Path
) -> None:
    values = dict.fromkeys(KINDS, "") | {
        "mask.center": 0.3,
        "mask.slope": 15.0,
        "mask.invert": False,
        "content": "motorcycle",
        "style": "swirls",
        NEAR: "mosaic",
        "size": 64,
        "steps": 1,
        "loss.depth.weight": 0,
        "init": "content",
    }
    choices = Choices(Files(tmp_path), experiment, values, strokes())
    shown = choices.preview.paint(choices.mask)
    paint = list(shown.values())[-1]
    assert paint[..., : SIDE // 3].min() > 0.99
    assert paint[..., -SIDE // 4 :].max() < 0.01
    assert command(*choices.words()[1:], "loss.normalize_masks=false").code == 0
    (run,) = find_runs(tmp_path)
    name = {"masked_content": "mask_content", "two_styles": "mask_far"}.get(experiment, "mask_main")
    made = load_png(run.inputs[name])
    made = 1 - made if experiment == "masked_content" else made
    small = torch.nn.functional.interpolate(paint, made.shape[-2:], mode="area")
    assert (made - small).abs().mean() < 0.01


# ---- files and panels -------------------------------------------------------------------------


def test_what_is_dropped_is_kept_once_by_a_harmless_name(tmp_path: Path) -> None:
    files = Files(tmp_path / "outputs")
    for number, shade in enumerate((0, 0, 9)):
        file = tmp_path / f"{number}" / "we$ird; ..\\name.PNG"
        file.parent.mkdir()
        Image.new("RGB", (8, 8), (shade, 0, 99)).save(file)
        files.keep(file, "content")
    kept = sorted(path.name for path in (tmp_path / "outputs/studio/photos").iterdir())
    assert kept == ["we_ird_ .._name 2.png", "we_ird_ .._name.png"]
    assert {name for name, _ in files.choices("content")} == {"motorcycle", *kept}
    for value in ("/etc/passwd", "../x.png", None, ""):
        with pytest.raises(InputError, match="content: got"):
            files.check("content", value)
    (tmp_path / "bad.png").write_text("no picture")
    for key in KINDS:
        with pytest.raises(InputError, match=f"^{key}: got 'bad.png'"):
            files.keep(tmp_path / "bad.png", key)


def test_only_runs_below_the_outputs_folder_are_shown(tmp_path: Path) -> None:
    outside, files = fake_run(tmp_path / "outside" / "run"), Files(tmp_path / "outputs")
    inside = fake_run(files.outputs / "naive" / "a")
    (files.outputs / "link").symlink_to(outside.parent)
    assert [run.path for run in files.runs()] == [inside]
    assert files.folders() == [".", "naive"]
    assert files.run("naive/a")
    for name in ("../outside/run", str(outside), "link/run", "", None):
        assert files.run(name) is None
    for folder in ("..", str(outside), "link"):
        with pytest.raises(InputError, match="folder: got"):
            files.runs(folder)
    (inside / "views").symlink_to(outside)
    assert views(Run(inside)) == []
    assert result(Run(inside)) == inside / "pastiche.png"


def test_panels_escape_what_runs_say(tmp_path: Path) -> None:
    run = Run(fake_run(tmp_path / "a<b>&", overrides=[f"style={NASTY}"]))
    shown = panels.progress(Queue(tmp_path), run)
    assert shown.count("<polyline") >= 3
    for text in (panels.code(run.command or ""), panels.problem(NASTY), shown):
        assert "&amp;" in text
        assert "<script" not in text
        assert "<b>&" not in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--host 0.0.0.0", "error: --host: got '0.0.0.0' without a password"),
        ("--port 99999", "error: --port: got 99999; expected"),
        ("--host 192.0.2.1 --password x", "error: --host and --port: got 192.0.2.1 and None"),
    ],
)
def test_an_address_that_cannot_be_served(
    words: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--outputs", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(line)


def test_one_command_at_a_time_whoever_looks_on(tmp_path: Path) -> None:
    first, second = Queue(tmp_path), Queue(tmp_path)
    first.add("http.server", "0")
    first.turn()
    second.add("src.inputs", "list")
    for _ in range(3):
        second.turn()
        first.turn()
    assert second.current == first.current
    assert second.current
    assert second.current.words == ["http.server", "0"]
    assert first.waiting() == [["src.inputs", "list"]]
    os.kill(second.current.number, signal.SIGINT)

    def started() -> bool:
        second.turn()
        return second.waiting() == []

    until(started)
    second.add("src.inputs", "list")
    second.stop()  # and nothing that waits
    assert first.waiting() == []

    def ended() -> bool:
        for queue in (first, second):
            queue.turn()
        return first.current is None

    until(ended)
    ended()  # and leaves no process behind


# ---- the page ---------------------------------------------------------------------------------


class Page(NamedTuple):
    """A running studio."""

    url: str
    outputs: Path
    process: subprocess.Popen[str]


Start = Callable[..., Page]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Starts studios, and ends them."""
    processes = []

    def started(outputs: Path, *options: str) -> Page:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # A proxy that is not there: what would leave the machine fails.
        nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "all")}
        words = [*("--port", str(port)), *("--outputs", str(outputs)), *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "src.studio", *words],
            cwd=ROOT,
            env=os.environ | nowhere | {"OMP_NUM_THREADS": "1"},  # other tests run beside it
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline().startswith("the page: http://127.0.0.1:")
        return Page(f"http://127.0.0.1:{port}", outputs.resolve(), process)

    yield started
    for process in processes:
        process.send_signal(signal.SIGINT)
    for process in processes:
        process.wait(20)
        assert process.stdout
        process.stdout.close()


@pytest.fixture(scope="module")
def studio(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return start(tmp_path_factory.mktemp("studio") / "my outputs")


@pytest.fixture
def page(browser: Any, studio: Page) -> Iterator[Any]:
    """A page of the studio, on which nothing goes wrong and from which nothing else is asked."""
    yield from opened(browser, studio.url)


def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    page = browser.new_page(**{"viewport": {"width": 1200, "height": 900}, **options})
    page.set_default_timeout(LONG * 1000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if other(request.url) else None)
    page.goto(url)
    page.wait_for_selector("img.photo")
    page.wait_for_selector("img.painting")
    yield page
    page.close()
    assert problems == []


def other(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def until(check: Callable[[], Any]) -> Any:
    """What a check gives once that is true."""
    ends = time.time() + LONG
    while not (found := check()):
        assert time.time() < ends
        time.sleep(0.1)
    return found


def shown_command(page: Any) -> list[str]:
    """The command's words after `python -m src.run`; none where there is no command."""
    line = page.query_selector("#command .cm-content")
    return shlex.split(line.inner_text())[3:] if line else []


def set_number(page: Any, part: str, value: float) -> None:
    page.fill(f"#{part} input[type=number]", str(value))
    page.locator(f"#{part} input[type=number]").blur()
    until(lambda: any(x.endswith(f"={value:g}") for x in shown_command(page)))


def choose(page: Any, part: str, option: str) -> None:
    page.click(f"#{part} input")
    page.get_by_role("option", name=option, exact=True).click()


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def status_of(url: str) -> int:
    try:
        with OPENER.open(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_dragging_moves_the_mask_and_a_click_sets_the_border(page: Any) -> None:
    before = page.get_attribute("img.photo", "src")
    page.evaluate(
        """() => { const s = document.querySelector('#mask-center input[type=range]');
        s.value = 0.7; s.dispatchEvent(new Event('input', {bubbles: true})); }"""
    )
    until(lambda: "mask.center=0.7" in shown_command(page))
    assert until(lambda: page.get_attribute("img.photo", "src") != before)
    box = page.locator("img.photo").bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.85 * box["height"])
    depth = preview("+experiment=masked_style").depth_at(0.5, 0.85)
    assert abs(depth - 0.7) > 0.05
    until(lambda: abs(float(page.input_value("#mask-center input[type=number]")) - depth) < 0.03)
    center = page.input_value("#mask-center input[type=number]")
    until(lambda: f"mask.center={center}" in shown_command(page))


def test_a_mask_is_drawn_on_the_photo(page: Any, studio: Page) -> None:
    page.get_by_label("paints").check()
    box = page.locator("img.photo").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.8 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    until(lambda: "mask=file" in shown_command(page))
    config = compose(*shown_command(page))
    assert config.mask
    drawn = load_png(Path(config.mask["path"]))
    assert Path(config.mask["path"]).parent == studio.outputs / "studio" / "masks"
    assert drawn[0, 0, round(0.8 * drawn.shape[2]), round(0.5 * drawn.shape[3])] > 0.99
    page.click("#forget")
    until(lambda: "mask=file" not in shown_command(page))


def test_photos_paintings_and_bad_files(page: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "été (1).png")
    page.set_input_files("#content-file input[type=file]", tmp_path / "bad.png")
    until(lambda: "content: got 'bad.png', which is not a picture" in page.inner_text("#problem"))
    assert page.input_value("#content input") == "motorcycle"
    page.wait_for_selector("#content-file input[type=file]", state="attached")
    page.set_input_files("#content-file input[type=file]", tmp_path / "été (1).png")
    until(lambda: "estimated by" in page.inner_text("#preview"))
    choose(page, "experiment", "two_styles")
    page.set_input_files("#styles-near-path-file input[type=file]", tmp_path / "été (1).png")
    until(lambda: any(x.startswith("styles.near.path") for x in shown_command(page)))
    config = compose(*shown_command(page))
    assert Path(str(config.content)).name == "été (1).png"
    assert config.styles["near"].path == str(config.content).replace("photos", "paintings")
    assert page.locator("img.painting").count() == 2


def test_a_depth_file_is_its_photos(page: Any, tmp_path: Path) -> None:
    depth = np.linspace(1000, 5000, 500 * 741).reshape(500, 741).astype(np.uint16)
    Image.fromarray(depth).save(tmp_path / "depth.png")
    Image.fromarray((depth // 20).astype(np.uint8)).save(tmp_path / "8 bits.png")
    page.click("text=its depth")
    page.set_input_files("#depth-path-file input[type=file]", tmp_path / "depth.png")
    until(lambda: any(x.startswith("depth.path=") for x in shown_command(page)))
    page.wait_for_selector("#depth-path-file input[type=file]", state="attached")
    page.set_input_files("#depth-path-file input[type=file]", tmp_path / "8 bits.png")
    until(lambda: "depth.kind: got auto and an 8-bit map" in page.inner_text("#problem"))
    page.get_by_label("bright").check()
    until(lambda: "depth.kind=disparity" in shown_command(page))
    page.set_input_files("#content-file input[type=file]", tmp_path / "depth.png")
    until(lambda: any("photos/depth.png" in x for x in shown_command(page)))
    until(lambda: not any(x.startswith("depth.") for x in shown_command(page)))


def test_a_number_that_cannot_be_is_said(page: Any) -> None:
    page.fill("#size input", "-5")
    until(lambda: "size: got -5" in page.inner_text("#problem"))
    assert shown_command(page) == []
    page.fill("#size input", "64")
    until(lambda: "size=64" in shown_command(page))
    assert page.inner_text("#problem").strip() == ""


def test_a_run_is_watched_and_compared(page: Any, browser: Any, studio: Page) -> None:
    fake_run(studio.outputs / "naive" / "earlier", {"mask.center": 0.1})
    set_number(page, "size", 96)
    set_number(page, "steps", 4)
    words = shown_command(page)
    page.click("#run")
    until(lambda: "running" in page.inner_text("#progress"))
    second = next(opened(browser, studio.url))  # finds the run
    until(lambda: shlex.join(words) in second.inner_text("#progress"))
    until(lambda: "done. 4 steps" in page.inner_text("#progress"))
    second.close()
    run = Files(studio.outputs).runs()[0]
    assert (run.status, run.overrides) == ("done", words)
    page.wait_for_selector("#picture img", state="attached")
    assert page.locator("#progress polyline").count() >= 3
    page.fill("#count input", "3")
    page.click("#more")
    until(lambda: "steps: got 3; expected more than the 4" in page.inner_text("#refusal"))
    page.fill("#count input", "6")
    page.click("#more")
    until(lambda: "done. 6 steps" in page.inner_text("#progress"))
    run = Files(studio.outputs).runs()[0]
    page.get_by_role("button", name="Another painting from here").click()
    until(lambda: any(x.startswith("init=") for x in shown_command(page)))
    assert compose(*shown_command(page)).init == str(run.path / "pastiche.png")

    page.get_by_role("tab", name="Compare").click()
    until(lambda: page.locator("#gallery img").count() == 3)
    until(lambda: page.locator("#slider img").count() >= 2)
    until(lambda: "python -m src.run" in page.inner_text("#made-by"))
    with page.expect_download() as download:
        page.click("#download")
    assert inputs(["settings", str(download.value.path())]) == 0
    choose(page, "left", "naive/earlier")
    until(lambda: "naive/earlier" in page.inner_text("#table"))
    assert "mask.center" in page.inner_text("#table")
    page.click("#views")
    until(lambda: (run.path / "views" / "mesh.glb").exists())
    choose(page, "left", "its photo")
    page.wait_for_selector("#loop img")
    assert "mesh.glb" in "".join(page.inner_text("#files").split())


def test_a_run_outlives_its_page_and_is_stopped_by_the_next(
    start: Start, browser: Any, tmp_path: Path
) -> None:
    first = start(tmp_path / "outputs")
    page = next(opened(browser, first.url))
    set_number(page, "size", 96)
    set_number(page, "steps", 5000)
    page.click("#run")
    until(lambda: list(first.outputs.glob("*/*/terms.csv")))
    page.click("#run")  # waits
    until(lambda: "waiting" in page.inner_text("#progress"))
    first.process.kill()
    page.close()
    second = start(tmp_path / "outputs")
    page = next(opened(browser, second.url))
    until(lambda: "running" in page.inner_text("#progress"))
    assert "waiting" in page.inner_text("#progress")
    page.click("#stop")
    until(lambda: "interrupted after" in page.inner_text("#progress"))
    page.close()
    (run,) = find_runs(second.outputs)
    assert run.status == "interrupted"
    assert run.pastiche


def test_a_run_that_fails_says_why_in_one_line(page: Any) -> None:
    set_number(page, "size", 48)
    page.evaluate(
        """() => { const s = document.querySelector('#mask-center input[type=range]');
        s.value = 1; s.dispatchEvent(new Event('input', {bubbles: true})); }"""
    )
    until(lambda: "mask.center=1" in shown_command(page))
    page.click("#run")
    until(lambda: "error: styles.main.mask: got" in page.inner_text("#progress"))
    assert page.locator("#progress .problem").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_everything(browser: Any, studio: Page, scheme: str) -> None:
    screen = {"viewport": {"width": 390, "height": 800}, "color_scheme": scheme}
    for page in opened(browser, studio.url, **screen):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        dark = page.evaluate("document.body.classList.contains('dark')")
        assert dark == (scheme == "dark")


def test_nothing_else_is_served(studio: Page) -> None:
    secret = studio.outputs.parent / "secret.txt"
    secret.write_text("secret")
    inside = studio.outputs / "inside.txt"
    inside.write_text("inside")
    link = studio.outputs / "link.txt"
    link.symlink_to(secret)
    file = f"{studio.url}/gradio_api/file="
    quote = urllib.request.quote
    assert status_of(file + quote(str(inside))) == 200
    for path in (
        *(secret, link, ROOT / "README.md", "/etc/passwd", studio.outputs / "../secret.txt"),
        *("../secret.txt", "https://127.0.0.1:9/x.png", "HTTP://127.0.0.1:9/x"),
    ):
        assert status_of(file + quote(str(path), safe="/:")) in (403, 404), path
        assert status_of(file + quote(quote(str(path), safe=""), safe="")) in (403, 404), path
    assert status_of(f"{studio.url}/gradio_api/proxy=https://example.com/") in (403, 404)


def test_a_password_is_asked_for(start: Start, tmp_path: Path) -> None:
    page = start(tmp_path, "--password", "secret")
    running = page.outputs / "studio" / "running.json"
    for path in ("/config", "/gradio_api/info", f"/gradio_api/file={running}"):
        assert status_of(page.url + path) == 401
    jar = urllib.request.HTTPCookieProcessor()
    client = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
    for password, status in (("no", 400), ("secret", 200)):
        data = urllib.parse.urlencode({"username": "studio", "password": password}).encode()
        try:
            found = client.open(f"{page.url}/login", data).status
        except urllib.error.HTTPError as error:
            found = error.code
        assert found == status
    assert client.open(f"{page.url}/config").status == 200


def test_no_address_is_fetched(tmp_path: Path) -> None:
    from gradio import processing_utils

    importlib.import_module("src.studio.page")  # which sees to it
    with pytest.raises(ValueError, match="nothing is fetched"):
        processing_utils.ssrf_protected_download("https://example.com/x.png", str(tmp_path))


def test_a_request_for_another_host_is_refused(studio: Page) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        request = urllib.request.Request(f"{studio.url}/gradio_api/run/predict", headers=headers)
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps({"fn_index": 0, "data": [], "session_hash": "x"}).encode()
        with pytest.raises(urllib.error.HTTPError, match="HTTP Error 403"):
            OPENER.open(request)
