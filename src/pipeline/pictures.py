"""The pictures of a run by its configuration, each read once for the runs of a process."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from torch import Tensor

from src import masks
from src.core.errors import InputError
from src.core.files import Signature, file_signature
from src.inputs import Scene, load_scene, load_style
from src.objective import Previous
from src.pipeline.masks import drawn
from src.pipeline.networks import NetworkLoader
from src.pipeline.schema import Config, DepthInput, Name
from src.runs.identity import DEFAULT_SIZE


class Frame(NamedTuple):
    """A picture that continues another, as a clip's later frames do: what it has from before."""

    scene: Scene
    previous: Previous  # at the content's size
    mask_border: float | None  # that `auto` gave for the first one
    styles: Mapping[str, Tensor]  # the first one's style images, by the name of their band
    content_mask: Tensor | None = None  # (1, 1, H, W) in [0, 1], where the content counts


def content_scene(config: Config, networks: NetworkLoader, need_depth: bool) -> Scene:
    """The content image, and its depth where there is one, or one is needed and estimated.

    Raises:
        InputError: one cannot be read, or they do not go together.
    """
    content, depth = str(config.content), config.depth
    files = file_signature(content), file_signature(depth.path)
    sides = _sides(config)
    return _read_scene(content, config.content_index, depth, sides, need_depth, networks, files)


def _sides(config: Config) -> tuple[int | None, int | None]:
    """Long and short side of the pastiche."""
    return config.size if config.size or config.short_side else DEFAULT_SIZE, config.short_side


@lru_cache(maxsize=2)
def _read_scene(
    content: str,
    index: int | None,
    depth: DepthInput,
    sides: tuple[int | None, int | None],
    need_depth: bool,
    networks: NetworkLoader,
    files: tuple[Signature, Signature],
) -> Scene:
    return load_scene(
        content,
        index=index,
        depth_source=depth.source,
        depth_path=depth.path,
        depth_kind=depth.kind,
        depth_scale=depth.scale,
        depth_preset=depth.preset,
        size=sides[0],
        short_side=sides[1],
        need_depth=need_depth,
        estimate=networks.estimate,
    )


def style_image(config: Config, name: str, path: Name | None, scale: float) -> Tensor:
    """A painting of a style, (1, 3, h, w) in [0, 1], `scale` times as large as its keys say.

    Raises:
        InputError: it cannot be read.
    """
    if path is None or path == "":
        raise InputError(f"styles.{name}.path", "nothing", "a built-in painting's name or a path")
    sides = config.style_size, config.style_short_side
    is_main = name == "main" and config.styles[name].path == config.style
    key = "style" if is_main else f"styles.{name}.path"
    sides = sides if any(sides) else _sides(config)
    scale *= config.styles[name].scale
    scaled = [side and max(1, round(side * scale)) for side in sides]
    return _read_style(str(path), key, *scaled, file_signature(str(path)))


def style_region(config: Config, name: str, image: Tensor) -> Tensor | None:
    """Which part of a style's image counts, (1, 1, h, w) in [0, 1] at its size; None: all.

    Raises:
        InputError: it cannot be read, has another shape, or is black everywhere.
    """
    path = config.styles[name].region
    if path is None:
        return None
    key = f"styles.{name}.region"
    return _read_region(key, str(path), image, file_signature(str(path)))


@lru_cache(maxsize=12)
def _read_region(key: str, path: str, image: Tensor, signature: Signature) -> Tensor:
    region = masks.file(image[:, :1], drawn(key, path, image, "painting"))
    if not region.any():
        raise InputError(key, f"'{path}', black everywhere", "white where the painting counts")
    return region


@lru_cache(maxsize=12)
def _read_style(
    path: str, key: str, size: int | None, short_side: int | None, signature: Signature
) -> Tensor:
    try:
        return load_style(path, key=key, size=size, short_side=short_side)
    except InputError as error:
        if error.key not in ("size", "short_side"):
            raise
        expected = f"{error.expected}; unless given it is the pastiche's"
        raise InputError(f"style_{error.key}", f"{error.got}, {path}", expected) from error
