"""The tab on which pictures are chosen, their depth is seen, and runs are started and watched."""

import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from src.core.errors import InputError
from src.pipeline.config import format_error, override
from src.runs.reader import Run
from src.studio import panels
from src.studio.choices import (
    BORDER_STEP,
    CENTER,
    SIZE,
    SLOPE,
    STEEPEST,
    Choices,
    about,
    command,
    defaults,
    names,
)
from src.studio.files import MOST_RUNS, NEAR, Files, newest_picture, short
from src.studio.queue import Queue

if TYPE_CHECKING:
    import numpy as np

FIRST = "masked_style"
NEWEST = "the newest"
OF_EXPERIMENT = (SLOPE, "steps", "strength", "loss.depth.weight", "colors", "init")
COLORS = [("painting's", "style"), ("photo's", "content"), ("matched", "match")]
STARTS = ["content", "noise"]
POINTER = (Path(__file__).parent / "pointer.js").read_text(encoding="utf-8")
PICTURES = ["image", ".heic", ".heif", ".avif", ".tif", ".tiff", ".npy"]
DEPTHS = [*PICTURES, ".npz", ".exr", ".pfm"]
BRUSHES = [("sets the border", "border"), ("paints", "white"), ("erases", "black")]
# Of every event. Gradio's queue forgets one that comes just when the last of the page has ended.
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def checked(answer: Callable[..., Any]) -> Callable[..., tuple[Any, str]]:
    """An answer to an event, and why there is none as a second output, where the first stays."""

    @wraps(answer)
    def answered(*inputs: Any) -> tuple[Any, str]:
        try:
            return answer(*inputs), ""
        except (InputError, OSError) as error:
            return gr.skip(), panels.problem(format_error(error, []))

    return answered


class Paint:
    """The tab: its parts, and the answers to their events. It keeps nothing itself."""

    def __init__(self, files: Files, queue: Queue, page: gr.Blocks) -> None:
        self._files, self._queue, self._page = files, queue, page
        self._parts: dict[str, Any] = {}  # by the key of a run
        self._usual, self._strokes = defaults(FIRST), gr.State(None)
        self._turn = threading.RLock()  # an answer that takes longer never replaces a later one
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self._problem = gr.HTML(elem_id="problem")
                self._add_pictures()
            with gr.Column(scale=2, min_width=300):
                self._preview = gr.HTML(elem_id="preview", js_on_load=POINTER, min_height=420)
                with gr.Column() as self._mask:
                    self._add_mask()
        with gr.Row():
            self._add_settings()
        self._command = gr.Code(
            label="command", language="shell", interactive=False, lines=1, wrap_lines=True,
            show_line_numbers=False, buttons=["copy"], elem_id="command",
        )  # fmt: skip
        with gr.Row():
            run = gr.Button("Run", variant="primary", elem_id="run", scale=3)
            stop = gr.Button("Stop", variant="stop", elem_id="stop")
        with gr.Row():
            self._add_progress()
        self._wire()
        run.click(checked(self._run), self._inputs, [self._shown, self._refusal], **QUIET)
        stop.click(queue.stop, **QUIET)

    # ---- parts -----------------------------------------------------------------------------------

    def _add(self, key: str, kind: type, **options: Any) -> None:
        """A part that says the value of a key, at its default where `options` has no other."""
        options = {"value": self._usual.get(key), "elem_id": key.replace(".", "-")} | options
        self._parts[key] = kind(**options)

    def _add_file(self, key: str, label: str, value: str | None, kinds: list[str]) -> None:
        """A list of files, to which one can be dropped."""
        self._add(
            key,
            gr.Dropdown,
            choices=[("none", "")] if value == "" else [value],
            value=value,
            label=label,
        )
        part = self._parts[key]
        drop = gr.File(
            label=f"or drop a {label} here", file_types=kinds, height=84, elem_classes="drop",
            elem_id=f"{part.elem_id}-file",
        )  # fmt: skip

        def keep(upload: str | None) -> tuple[Any, ...]:
            if upload is None:
                return gr.skip(), gr.skip(), gr.skip()
            value, problem = checked(self._files.keep)(Path(upload), key)
            if problem:
                return gr.skip(), None, problem
            return gr.update(choices=self._files.choices(key), value=value), None, ""

        drop.upload(keep, drop, [part, drop, self._problem], **QUIET)
        self._page.load(lambda: gr.update(choices=self._files.choices(key)), None, part, **QUIET)

    def _add_pictures(self) -> None:
        self._add_file("content", "photo", self._usual["content"], PICTURES)
        with gr.Accordion("its depth", open=False):
            sources = [("auto", "auto"), ("what the photo carries", "embedded")]
            sources += [("an estimate", "estimate")]
            self._add("depth.source", gr.Radio, choices=sources, label="depth from")
            self._add_file("depth.path", "depth file", "", DEPTHS)
            kinds = [("as the file says", "auto"), ("dark (depth)", "depth")]
            kinds += [("bright (disparity)", "disparity")]
            self._add("depth.kind", gr.Radio, choices=kinds, label="in that file, near is")
        self._experiment = gr.Dropdown(
            names(), value=FIRST, label="experiment", info=about(FIRST), elem_id="experiment"
        )
        self._add_file("style", "painting", self._usual["style"], PICTURES)
        with gr.Column(visible=False) as self._near:
            self._add_file(NEAR, "near painting", "mosaic", PICTURES)

    def _add_mask(self) -> None:
        with gr.Row():
            border = {"minimum": 0, "maximum": 1, "step": BORDER_STEP, "value": 0.5, "buttons": []}
            self._add(CENTER, gr.Slider, label="border of near and far", **border)
            hard = {"minimum": 0, "maximum": STEEPEST, "step": 1, "buttons": []}
            self._add(SLOPE, gr.Slider, label="hardness of the border", **hard)
        with gr.Row():
            gr.Radio(
                BRUSHES, value="border", label="pointer on the photo", elem_id="brush",
                interactive=True,
            )  # fmt: skip
            refine = [("auto", "auto"), ("on", True), ("off", False)]
            self._add(
                "refine_masks", gr.Radio, choices=refine, label="follow the edges of the photo"
            )
        with gr.Row():
            self._add("mask.invert", gr.Checkbox, label="swap near and far")
            self._forget = gr.Button("Forget the drawing", elem_id="forget")

    def _add_settings(self) -> None:
        whole = {"precision": 0, "min_width": 100}
        self._add("size", gr.Number, value=SIZE, label="size, px", **whole)
        self._add("steps", gr.Number, label="steps", **whole)
        share = {"minimum": 0, "maximum": 1, "step": 0.05, "buttons": []}
        self._add("strength", gr.Slider, label="paint", **share)
        weight = {"value": 0, "min_width": 100}
        self._add("loss.depth.weight", gr.Number, label="depth loss", **weight)
        self._add("colors", gr.Dropdown, choices=COLORS, label="colours")
        self._add("init", gr.Dropdown, choices=STARTS, label="start from")

    def _add_progress(self) -> None:
        seen = gr.State("")
        with gr.Column(scale=1, min_width=300):
            self._shown = gr.Dropdown([NEWEST], value=NEWEST, label="run", elem_id="shown")
            self._refusal = gr.HTML(elem_id="refusal")
            progress = gr.HTML(elem_id="progress")
            with gr.Row():
                count = gr.Number(
                    200,
                    label="up to step",
                    precision=0,
                    min_width=100,
                    elem_id="count",
                )
                more = gr.Button("Go on", elem_id="more", min_width=100)
            again = gr.Button("Another painting from here", elem_id="again")
        picture = gr.Image(
            label="picture", interactive=False, buttons=["fullscreen"], elem_id="picture",
            scale=2, height=420,
        )  # fmt: skip
        shown, init = self._shown, self._parts["init"]
        more.click(checked(self._more), [shown, count], [shown, self._refusal], **QUIET)
        again.click(checked(self._again), shown, [init, self._refusal], **QUIET)
        watched = [progress, picture, seen, self._shown]
        gr.Timer(1.0).tick(self._watch, [self._shown, seen], watched, **QUIET)

    def _wire(self) -> None:
        """Say what is answered by what."""
        parts = self._parts
        self._inputs = [self._strokes, self._experiment, *parts.values()]
        settle: dict[str, Any] = {"fn": self._settle, "inputs": self._inputs} | QUIET
        settle["outputs"] = [self._preview, self._command, self._problem]
        newest: dict[str, Any] = settle | {"trigger_mode": "always_last"}
        sliders = [parts[key] for key in (CENTER, SLOPE)]
        gr.on([slider.input for slider in sliders], **newest | {"fn": self._live})
        gr.on([slider.release for slider in sliders], **settle)
        masks = [parts[key] for key in ("style", NEAR, "mask.invert", "refine_masks")]
        gr.on([part.change for part in masks], **newest)
        photo = [parts[key] for key in ("content", "depth.source", "depth.path", "depth.kind")]
        others = [part for part in parts.values() if part not in [*sliders, *masks, *photo]]
        line = {"fn": self._line, "outputs": settle["outputs"][1:]}
        gr.on([part.change for part in others], **newest | line)
        border: dict[str, Any] = newest | {"fn": self._border}
        border["outputs"] = [parts[CENTER], self._strokes]
        gr.on([self._page.load, *(part.change for part in photo)], **border).then(**settle)
        photo[0].change(lambda: ["", "auto"], None, photo[2:], **QUIET)  # a depth file is a photo's
        changed = [self._near, self._mask, self._experiment, *(parts[key] for key in OF_EXPERIMENT)]
        chosen = self._experiment.change(_settings, self._experiment, changed, **QUIET)
        clicked = self._preview.click(self._click, self._inputs, parts[CENTER], **QUIET)
        drawn = self._preview.apply(_strokes, None, self._strokes, **QUIET)
        forgotten = self._forget.click(lambda: None, None, self._strokes, **QUIET)
        for event in (chosen, clicked, drawn, forgotten):
            event.then(**settle)

    # ---- answers ---------------------------------------------------------------------------------

    def _choices(self, strokes: "np.ndarray | None", experiment: str, *values: Any) -> Choices:
        return Choices(
            self._files, experiment, dict(zip(self._parts, values, strict=True)), strokes
        )

    def _live(self, *inputs: Any) -> tuple[Any, ...]:
        """While a slider moves: preview, command, no problem."""
        try:
            choices = self._choices(*inputs)
            shown = choices.preview.html(choices.mask, live=True)
            return shown, command(*choices.words(keep=False)), ""
        except InputError:  # which `settle` says
            return gr.skip(), gr.skip(), gr.skip()

    def _settle(self, *inputs: Any) -> tuple[Any, ...]:
        """When it rests, with silhouettes: preview, command, what is wrong with them."""
        with self._turn:
            try:
                choices = self._choices(*inputs)
                shown = choices.preview.html(choices.mask)
            except InputError as error:
                return "", "", panels.problem(error)
            return shown, *self._line(*inputs)

    def _line(self, *inputs: Any) -> tuple[str, str]:
        """For what no preview shows: the command, or what is wrong with it."""
        with self._turn:
            try:
                return command(*self._choices(*inputs).words()), ""
            except InputError as error:
                return "", panels.problem(error)

    def _border(self, *inputs: Any) -> tuple[Any, ...]:
        """For another photo or depth: the border that `auto` gives, and no strokes."""
        with self._turn:
            try:
                return round(self._choices(*inputs).preview.border, 2), None
            except InputError:  # which `settle` says
                return gr.skip(), None

    def _click(self, event: gr.EventData, *inputs: Any) -> float:
        """The border's depth at a place of the photo, or on the histogram."""
        place: dict[str, Any] = event._data or {}
        if "depth" in place:
            return round(min(max(float(place["depth"]), 0), 1), 2)
        preview = self._choices(*inputs).preview
        return round(preview.depth_at(float(place["x"]), float(place["y"])), 2)

    def _run(self, *inputs: Any) -> str:
        """Start the command that is shown: the run to show."""
        self._queue.add(*self._choices(*inputs).words())
        return NEWEST

    def _more(self, shown: str, count: float | None) -> str:
        """Go on with the run that is shown, up to `count` steps: the run to show."""
        run = self._run_shown(shown)
        if run is None:
            raise InputError("run", "nothing", "one that is shown here")
        done = run.summary.get("steps", 0)
        if not count or count <= done:
            raise InputError("steps", repr(count), f"more than the {done} that the run has")
        resume = override("resume", short(run.path))
        place = override("output_dir", short(self._files.outputs))
        self._queue.add("src.run", resume, f"steps={int(count)}", place)
        return NEWEST

    def _again(self, shown: str) -> Any:
        """The list of what to start from, the run that is shown chosen."""
        run = self._run_shown(shown)
        if run is None or run.pastiche is None:
            raise InputError("run", "nothing", "one that is shown here, with a result")
        name = self._files.name(run)
        return gr.update(choices=[*STARTS, name], value=name)

    def _run_shown(self, shown: str) -> Run | None:
        if shown != NEWEST:
            return self._files.run(shown)
        return next((run for run in self._files.runs() if run.status != "failed"), None)

    def _watch(self, shown: str, seen: str) -> tuple[Any, ...]:
        """Once a second: what goes on, the picture on the way, a stamp of it, the runs."""
        run = self._run_shown(shown)
        picture = newest_picture(run) if run else None
        stamp = f"{picture} {picture.stat().st_mtime if picture else 0}"
        progress = panels.progress(self._queue, run)
        if stamp == seen:
            return progress, gr.skip(), seen, gr.skip()
        listed = [self._files.name(run) for run in self._files.runs()[:MOST_RUNS]]
        return progress, picture and str(picture), stamp, gr.update(choices=[NEWEST, *listed])


def _settings(experiment: str) -> tuple[Any, ...]:
    """Which parts an experiment has, what it is for, and its values for OF_EXPERIMENT."""
    usual = defaults(experiment)
    seen = (gr.update(visible=key in usual) for key in (NEAR, CENTER))
    values = {SLOPE: 20.0} | usual | {"loss.depth.weight": usual["loss.depth.weight"] or 0}
    return (*seen, gr.update(info=about(experiment)), *(values[key] for key in OF_EXPERIMENT))


def _strokes(event: gr.EventData) -> Any:
    """What was drawn on the photo."""
    from src.studio.preview import from_address

    return from_address(str((event._data or {}).get("strokes")))
