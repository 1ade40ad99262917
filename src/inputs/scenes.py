"""A picture with its depth, whatever files they come in: `load_scene` and `load_style`."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src.core import video
from src.core.errors import InputError, did_you_mean
from src.inputs import depth_files, depth_maps, embedded, pictures, samples
from src.inputs.depth_maps import RawDepth
from src.inputs.pictures import Picture

log = logging.getLogger(__name__)

ENLARGED = 4  # times as large, and a painting is a blur
SOURCES = ("auto", "file", "embedded", "estimate")
# From a picture, (1, 3, H, W) in [0, 1], to its depth, (1, 1, H, W) in [0, 1], and who says so.
Estimator = Callable[[Tensor], tuple[Tensor, str]]


@dataclass(frozen=True)
class Scene:
    """A content picture and its depth, its holes filled; depth and valid are None without any."""

    image: Tensor  # (1, 3, H, W) float32 sRGB in [0, 1]
    depth: Tensor | None  # (1, 1, H, W) float32, 0 at the nearest valid point, 1 at the farthest
    valid: Tensor | None  # (1, 1, H, W) bool, where depth was measured
    alpha: Tensor | None  # (1, 1, H, W) float32 in [0, 1], where the picture has transparency
    name: str  # for titles
    depth_from: str = ""  # where the depth comes from, in words
    depth_span: tuple[float, float] | None = None  # the depths that became 0 and 1
    depth_unit: str = ""  # theirs: `m` or `relative`
    is_estimated: bool = False  # and not measured


def load_scene(
    path: str | Path,
    *,
    index: int | None = None,
    depth_source: str = "auto",
    depth_path: str | Path | None = None,
    depth_kind: str = "auto",
    depth_scale: str | float = "auto",
    depth_preset: str | None = None,
    size: int | None = None,
    short_side: int | None = None,
    need_depth: bool = True,
    estimate: Estimator | None = None,
) -> Scene:
    """Load a content picture and its depth; an InputError names the key that cannot be used.

    `path` is a built-in name (`motorcycle`), a picture file, an NYU Depth v2 `.mat` or a video (of
    which `index` says which image, from 0), or `nyu:0123`. `depth_source` is `file`, `embedded`
    (what the picture carries), `estimate`, or `auto`: the file where `depth_path` is given, else
    what the picture carries, else an estimate, if one is needed. The file's aspect must be the
    picture's; for its `depth_kind`, `depth_scale` and `depth_preset` see `depth_files.read`, for
    `size` and `short_side`, in pixels, `images.fit`.
    """
    if depth_source not in SOURCES:
        raise InputError("depth.source", repr(depth_source), f"one of {', '.join(SOURCES)}")
    if depth_source == "file" and depth_path is None:
        raise InputError("depth.path", "nothing", "a depth file, because depth.source=file")
    from_file = depth_path is not None and depth_source in ("auto", "file")
    if not from_file:
        _check_unused(depth_source, depth_path, depth_kind, depth_scale, depth_preset)
    picture, name, embedded_depth = _read_content(str(path), index, size, short_side)
    raw: RawDepth | None = None
    if from_file:
        file = Path(str(depth_path)).expanduser()
        raw = depth_files.read(file, kind=depth_kind, scale=depth_scale, preset=depth_preset)
        raw = raw.oriented_like(picture.file_size, picture.orientation)
        depth_maps.check_aspect(raw, picture.file_size, "depth.path")
    elif depth_source != "estimate":
        try:
            raw = embedded_depth()
        except InputError as error:
            if need_depth or depth_source == "embedded":
                raise
            log.warning("%s", error)
    if raw is None:
        is_needed = need_depth or depth_source != "auto"
        return _without_depth(picture, name, depth_source, estimate, is_needed)
    key = "depth.path" if from_file else "content"
    depth, valid, span, unit = depth_maps.prepare(raw, picture.image, key)
    measured = f"{span[0]:.3g} to {span[1]:.3g} {unit}, {valid.float().mean().item():.0%} measured"
    log.info("depth of %s from %s: %s", name, raw.origin, measured)
    return Scene(picture.image, depth, valid, picture.alpha, name, raw.origin, span, unit)


def load_style(
    path: str | Path, *, key: str = "style", size: int | None = None, short_side: int | None = None
) -> Tensor:
    """Load a style picture, (1, 3, h, w) float32 sRGB in [0, 1]; what is transparent is white.

    `path` is the name of a built-in painting or of a classic (`classics.py`), or a picture file;
    an InputError has the `key` that named it. For `size` and `short_side` see `images.fit`.
    """
    name, built_in = str(path), samples.paintings()
    if name in samples.CLASSICS:
        file = samples.fetch_classic(name, key)
    else:
        file = built_in.get(name) or Path(path).expanduser()
    if not file.exists():
        raise _unknown_name(key, name, [*built_in, *samples.CLASSICS], pictures.EXPECTED)
    picture = pictures.read(file, key=key, size=size, short_side=short_side)
    (rows, columns), (height, width) = picture.file_size, picture.image.shape[-2:]
    if height >= ENLARGED * rows:
        text = "%s: %d x %d pixels, enlarged to %d x %d, have no strokes left: try a larger picture"
        log.warning(text, file, columns, rows, width, height)
    if picture.alpha is None:
        return picture.image
    return torch.lerp(torch.ones(()), picture.image, picture.alpha)


def _read_content(
    path: str, index: int | None, size: int | None, short_side: int | None
) -> tuple[Picture, str, Callable[[], RawDepth | None]]:
    """A content picture by built-in name or path, its short name, and how to read its depth."""
    sides = {"size": size, "short_side": short_side}
    file, is_named = Path(path).expanduser(), path.startswith("nyu:")
    is_video = file.suffix.lower() in video.FORMATS
    if index is not None and not is_video and not path.lower().endswith(".mat"):
        expected = "null: only a .mat or a video holds many pictures"
        raise InputError("content_index", repr(index), expected)
    if path in samples.PHOTOS:
        photo, depth = samples.PHOTOS[path]
        return pictures.read(photo(), key="content", **sides), path, depth
    if is_named or file.suffix.lower() == ".mat":
        from src.inputs import nyu  # brings h5py: 0.3 s

        frame = nyu.read_named(path) if is_named else nyu.read_mat(file, index or 0)
        return pictures.from_pixels(frame.rgb, **sides), frame.name, lambda: frame.depth
    if file.is_dir():
        expected = "one picture of it"
        raise InputError("content", f"'{path}', a folder", expected)
    if not file.exists():
        expected = f"{pictures.EXPECTED}, a video, an NYU Depth v2 .mat"
        raise _unknown_name("content", path, samples.PHOTOS, expected)
    if is_video:
        pixels = video.frame(file, index or 0, "content")
        return pictures.from_pixels(pixels, **sides), f"{file.stem}_{index or 0:06d}", lambda: None
    picture = pictures.read(file, key="content", **sides)
    return picture, file.stem, lambda: embedded.read(file, picture)


def _unknown_name(key: str, name: str, known: Iterable[str], kinds: str) -> InputError:
    got = f"'{name}', neither a file nor a built-in name"
    return InputError(key, got, f"{kinds}, or {did_you_mean(name, known)}")


def _check_unused(
    source: str, path: str | Path | None, kind: str, scale: str | float, preset: str | None
) -> None:
    """Refuse what would be ignored: each of these says something of a depth file."""
    if path is not None:
        got = f"'{path}' beside depth.source={source}"
        raise InputError("depth.path", got, "depth.source=auto or file, or no depth.path")
    for key, value in {"kind": kind, "scale": scale, "preset": preset}.items():
        if value != (None if key == "preset" else "auto"):
            got = f"{value!r} without a depth file"
            raise InputError(f"depth.{key}", got, "depth.path=FILE with it")


def _without_depth(
    picture: Picture, name: str, source: str, estimate: Estimator | None, is_needed: bool
) -> Scene:
    """The scene of a picture that carries no depth: with an estimate, of which none is measured."""
    if not is_needed:
        return Scene(picture.image, None, None, picture.alpha, name)
    if estimate is None or source == "embedded":
        carries = "" if source == "estimate" else f" and '{name}', which carries no depth"
        hint = "" if estimate is None else ", or depth.source=estimate"
        expected = f"depth.path=FILE with the depth of this view{hint}"
        raise InputError("depth.source", f"{source}{carries}", expected)
    depth, by = estimate(picture.image)
    log.info("depth of %s estimated by %s", name, by)
    valid, origin = torch.ones_like(depth, dtype=torch.bool), f"estimated by {by}"
    span = (0.0, 1.0)
    return Scene(picture.image, depth, valid, picture.alpha, name, origin, span, "relative", True)
