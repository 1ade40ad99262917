"""The tab on which what was made lies side by side."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import gradio as gr

from src.core.errors import InputError
from src.runs.comparison import settings, short_text, swept_keys, varied
from src.runs.reader import Run
from src.studio import panels
from src.studio.choices import command
from src.studio.files import MOST_RUNS, Files, result, short, views
from src.studio.paint import QUIET
from src.studio.queue import Queue

PHOTO = "its photo"
MOST_KEYS = 12  # that differ, in a table


class Compare:
    """The tab: its parts, and the answers to their events."""

    def __init__(self, files: Files, queue: Queue, tab: gr.Tab) -> None:
        self._files, self._queue = files, queue
        with gr.Row():
            folder = gr.Dropdown(["."], value=".", label="folder of runs", elem_id="folder")
            left = gr.Dropdown([PHOTO], value=PHOTO, label="left", elem_id="left")
            right = gr.Dropdown([], label="right", elem_id="right")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                slider = gr.ImageSlider(
                    label="before, after", interactive=False, elem_id="slider", type="filepath",
                    buttons=["fullscreen"], max_height=700,
                )  # fmt: skip
                made_by = gr.HTML(elem_id="made-by")
                with gr.Row():
                    download = gr.DownloadButton("Download", elem_id="download", interactive=False)
                    make = gr.Button("Make views in three dimensions", elem_id="views")
            with gr.Column(scale=1, min_width=300):
                gallery = gr.Gallery(
                    label="runs", columns=2, allow_preview=False, elem_id="gallery", height=420,
                    object_fit="contain", buttons=[],
                )  # fmt: skip
                loop = gr.Image(
                    label="loop", visible=False, type="filepath", elem_id="loop", buttons=[]
                )
                others = gr.Files(
                    label="views", interactive=False, visible=False, elem_id="files", height=220
                )
        table = gr.Dataframe(label="what differs", interactive=False, elem_id="table", wrap=True)
        names = gr.State([])
        lists: dict[str, Any] = {"fn": self._list, "inputs": [folder, left, right]} | QUIET
        lists["outputs"] = [gallery, names, left, right, folder]
        pair: dict[str, Any] = {"fn": self._compare, "inputs": [names, left, right]} | QUIET
        pair["outputs"] = [slider, made_by, download, loop, others, table]
        gr.on([tab.select, folder.input], **lists).then(**pair)
        gallery.select(_picked, names, right, **QUIET).then(**pair)
        gr.on([left.input, right.input], **pair)
        make.click(self._add_views, right, made_by, **QUIET)

    def _list(self, folder: str, left: str, right: str | None) -> tuple[Any, ...]:
        """A folder's runs: the gallery, their names, both lists to compare, folders."""
        runs = list(islice(filter(_has_picture, self._files.runs(folder)), MOST_RUNS))
        names = [self._files.name(run) for run in runs]
        newest = names[0] if names else None
        return (
            [(str(run.pastiche), name) for run, name in zip(runs, names, strict=True)],
            names,
            gr.update(choices=[PHOTO, *names], value=left if left in names else PHOTO),
            gr.update(choices=names, value=right if right in names else newest),
            gr.update(choices=self._files.folders()),
        )

    def _compare(self, names: list[str], left: str, right: str | None) -> tuple[Any, ...]:
        """Two pictures: the slider, its command, the download, views, what differs."""
        run, other = self._files.run(right), self._files.run(left)
        if run is None or run.pastiche is None:
            hidden = gr.update(visible=False)
            return None, "", gr.update(interactive=False), hidden, hidden, hidden
        files = [str(path) for path in views(run)]
        loop = next((file for file in files if file.endswith("loop.webp")), None)
        before = run.inputs.get("content") if other is None else other.pastiche
        runs = [other] if other else [self._files.run(name) for name in names if name != right]
        return (
            (str(before or run.pastiche), str(run.pastiche)),
            panels.code(run.command or ""),
            gr.update(value=str(result(run)), interactive=True),
            gr.update(value=loop, visible=loop is not None),
            gr.update(value=files, visible=bool(files)),
            self._differences([run, *filter(None, runs)]),
        )

    def _differences(self, runs: Sequence[Run]) -> Any:
        """The table of the settings in which runs differ, a row per run."""
        columns = varied([settings(run) for run in runs], swept_keys(runs))
        keys = list(columns)[:MOST_KEYS]
        rows = [
            [self._files.name(run), *(short_text(columns[key][i]) for key in keys)]
            for i, run in enumerate(runs)
        ]
        return gr.update(value={"headers": ["run", *keys], "data": rows}, visible=bool(keys))

    def _add_views(self, right: str | None) -> str:
        run = self._files.run(right)
        if run is None:
            return panels.problem(InputError("run", "nothing", "one on the right"))
        words = ["src.views", short(run.path)]
        self._queue.add(*words)
        said = "<p>Its progress is on the tab Paint; then choose the run again.</p>"
        return panels.code(command(*words)) + said


def _has_picture(run: Run) -> bool:
    from src.core.images import open_picture  # with torch, 3 s: the page is there before

    try:
        with open_picture(run.pastiche or Path()):
            return True
    except (OSError, ValueError):
        return False


def _picked(names: list[str], event: gr.SelectData) -> str:
    """The run of the picture that was clicked."""
    return names[int(event.index)]
