"""What is made of a finished run's picture and depth: the files in its folder `views/`."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from torch import Tensor

from src.core import images, video
from src.core.errors import InputError, did_you_mean
from src.core.files import replace_whole
from src.core.settings import Range
from src.depth_nets import estimate_depth, invert_depth, vgg_head
from src.inputs import Scene
from src.pipeline.schema import Config
from src.rendering import mesh, stereo
from src.rendering.depth_pictures import depth_segments, save_jpeg
from src.rendering.layers import MOST_STRENGTH, Layers, make_layers
from src.rendering.motion import RATE, loop_frames
from src.rendering.page import write_page
from src.rendering.renderer import Renderer
from src.runs.reader import PASTICHE, Run, is_number
from src.runs.result import read_picture

log = logging.getLogger(__name__)
FOLDER = "views"
PAINTED = "hidden.png"  # the hidden layer, painted, for the next time
LEAST_DEPTH = 0.02  # between the 5th and the 95th percentile of depth in [0, 1]


@dataclass(frozen=True)
class ViewOptions:
    """How the eye moves, and at what size; the picture is never enlarged."""

    motion: Literal["circle", "swing", "zoom"] = "circle"
    seconds: Annotated[float, Range(0.1, high=20)] = 3.0  # whose frames are held in memory
    strength: Annotated[float, Range(0, exclusive=True, high=MOST_STRENGTH)] = 1.0
    size: Annotated[int, Range(16, unit=" of pixels")] = 1024
    paint: bool = False


class Views:
    """The views of one run; layers and frames are made when the first needs them."""

    def __init__(self, run: Run, options: ViewOptions, config: Config | None = None) -> None:
        """Reads the pastiche and its depth; `config` is the run's where it is known already.

        Raises:
            InputError: there is none, it cannot be read, or nothing in it is nearer than the rest.
        """
        if run.pastiche is None:
            raise InputError(PASTICHE, run.reason or "nothing", "a run that is done")
        self._run, self._options, self._config = run, options, config
        self.pastiche = read_picture(run.pastiche, on_white=True)
        self.depth = self._read_depth()
        low, high = np.quantile(self.depth.numpy(), [0.05, 0.95])
        if high - low < LEAST_DEPTH:
            got = f"nearly the same everywhere ({high - low:.1%} of its range)"
            raise InputError("depth", got, "near and far, without which nothing moves")

    def _read_depth(self) -> Tensor:
        if "depth" in self._run.inputs:
            return self._read("depth")[:, :1]
        log.warning("%s: no depth; it is estimated by the shipped network", self._run.path)
        return estimate_depth(vgg_head(), self._read("content"))

    def _read(self, name: str) -> Tensor:
        """An input of the pastiche's size."""
        if name not in self._run.inputs:
            raise InputError(f"inputs/{name}.png", "nothing", "the picture that the run used")
        image = read_picture(self._run.inputs[name])
        (height, width), size = self.pastiche.shape[-2:], image.shape[-2:]
        if size != (height, width):
            got = f"{size[1]} x {size[0]} pixels"
            raise InputError(f"inputs/{name}.png", got, f"{width} x {height}, as the pastiche")
        return image

    @cached_property
    def exif(self) -> bytes:
        """The pastiche's, with the settings that made it."""
        with images.open_picture(self._run.path / PASTICHE, ("PNG",)) as file:
            return file.getexif().tobytes()

    @cached_property
    def layers(self) -> Layers:
        """The pastiche's at the size of the views, its hidden layer painted where that is asked."""
        height, width = self.pastiche.shape[-2:]
        size = images.fit(height, width, size=min(self._options.size, max(height, width)))
        if min(size) < 2:
            raise InputError("--size", str(self._options.size), "more, for a picture so narrow")
        pastiche, depth = (images.resize(x, *size) for x in (self.pastiche, self.depth))
        layers = make_layers(pastiche, depth)
        file = self._run.path / FOLDER / PAINTED
        if self._is_painted(file, layers):
            return layers._replace(hidden_image=read_picture(file))
        if self._options.paint:
            layers.inside(layers.hidden_image).copy_(self._paint(layers, depth, size[0] / height))
            images.save_png(layers.hidden_image, file)
        return layers

    def _is_painted(self, file: Path, layers: Layers) -> bool:
        assert self._run.pastiche is not None
        if file.is_symlink() or not file.is_file():
            return False
        if file.stat().st_mtime < self._run.pastiche.stat().st_mtime:
            return False
        return read_picture(file).shape == layers.hidden_image.shape

    def _paint(self, layers: Layers, depth: Tensor, scale: float) -> Tensor:
        """The hidden image without the margin, painted, `scale` as large as the run's."""
        from src.pipeline.arguments import run_config  # with the next 2 s, and few want them
        from src.pipeline.painting import paint_hidden

        content = make_layers(images.resize(self._read("content"), *depth.shape[-2:]), depth)
        image, disparity = map(layers.inside, (content.hidden_image, content.hidden_disparity))
        border = self._run.summary.get("mask_border")
        return paint_hidden(
            self._config or run_config(self._run.path),
            Scene(image, invert_depth(disparity), None, None, "hidden"),
            layers.inside(layers.hidden_image),
            layers.inside(layers.hidden),
            float(border) if border is not None and is_number(border) else None,
            scale,
        )

    @cached_property
    def renderer(self) -> Renderer:
        """Of the layers."""
        return Renderer(self.layers, self._options.strength)

    @cached_property
    def frames(self) -> list[np.ndarray]:
        """Of the loop."""
        return loop_frames(self.renderer, self._options.motion, self._options.seconds)

    def loop(self, path: Path) -> None:
        """The loop as a file of its suffix's kind."""
        with replace_whole(path) as part:
            video.write(
                self.frames, part, path.suffix[1:], Fraction(RATE), path.name, exact_start=True
            )

    def page(self, path: Path) -> None:
        """The page that follows the pointer."""
        height, width = self.pastiche.shape[-2:]
        rows, columns = self.renderer.shape
        caption = f"{columns} x {rows} pixels"
        if rows < height:
            caption += f", made smaller: the picture itself has {width} x {height}"
        write_page(self.layers, self._options.strength, self._run.path.name, caption, path)


def _write(render: Callable[[Views], Tensor]) -> Callable[[Views, Path], None]:
    return lambda views, path: images.save_png(render(views), path)


# By file name; `quilt` has its layout in it.
WRITERS: Mapping[str, Callable[[Views, Path], None]] = {
    "loop.webp": Views.loop,
    "loop.mp4": Views.loop,
    "stereo.png": _write(lambda views: stereo.side_by_side(views.renderer)),
    "stereo_crossed.png": _write(lambda views: stereo.side_by_side(views.renderer, crossed=True)),
    "anaglyph.png": _write(lambda views: stereo.anaglyph(views.renderer)),
    "quilt.png": _write(lambda views: stereo.quilt(views.renderer)),
    "mesh.glb": lambda views, path: mesh.write_mesh(views.layers, path),
    "parallax.html": Views.page,
    "pastiche.jpg": lambda views, path: save_jpeg(views.pastiche, path, views.exif),
    "pastiche_depth.png": _write(lambda views: invert_depth(views.depth)),
    "pastiche_gdepth.jpg": lambda views, path: save_jpeg(
        views.pastiche, path, views.exif, depth_segments(views.depth)
    ),
}


def select(only: str) -> list[str]:
    """The files of a list of names with commas, with or without suffix; of an empty one all.

    Raises:
        InputError: no file has a name of the list.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in WRITERS and name not in map(_stem, WRITERS):
            known = dict.fromkeys([*map(_stem, WRITERS), *WRITERS])
            raise InputError("--only", repr(name), did_you_mean(name, known))
    return [file for file in WRITERS if not names or {file, _stem(file)} & set(names)]


def _stem(file: str) -> str:
    return file.partition(".")[0]


def make_views(
    run: Run, options: ViewOptions, files: Iterable[str], config: Config | None = None
) -> list[Path]:
    """Write the views of a run that `files` names; their paths. For `config` see `Views`.

    Raises:
        InputError: the run has nothing to see, or a library for one is not installed.
    """
    views, folder = Views(run, options, config), run.path / FOLDER
    if folder.is_symlink():
        raise InputError(f"{FOLDER}/", "a link", "a folder of the run's own")
    folder.mkdir(exist_ok=True)
    paths = []
    for file in files:
        path = folder / file
        if file == "quilt.png":
            path = folder / stereo.quilt_name(*views.renderer.shape)
        WRITERS[file](views, path)
        paths.append(path)
    return paths
