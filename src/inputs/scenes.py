"""A picture with its depth, whatever files they come in: `load_scene` and `load_style`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from src.errors import InputError
from src.inputs import classics, depth_files, depth_maps, embedded, pictures, samples
from src.inputs.classics import CLASSICS
from src.inputs.depth_maps import RawDepth, same_aspect
from src.inputs.pictures import Picture, turn

log = logging.getLogger(__name__)

SOURCES = ("auto", "file", "embedded", "estimate")

# From a picture, (1, 3, H, W) in [0, 1], to its depth, (1, 1, H, W) in [0, 1], and who says so.
Estimator = Callable[[Tensor], tuple[Tensor, str]]


@dataclass(frozen=True)
class Scene:
    """A content picture and its depth.

    Attributes:
        image: (1, 3, H, W) float32 sRGB in [0, 1].
        depth: (1, 1, H, W) float32 in [0, 1], 0 the nearest and 1 the farthest valid point (first
            and last percentile), holes filled; None where the picture has no depth.
        valid: (1, 1, H, W) bool, where depth was measured.
        alpha: (1, 1, H, W) float32 in [0, 1], where the picture has transparency.
        name: a short name for titles.
        depth_from: where the depth comes from, in words.
        depth_span: the depths that became 0 and 1.
        depth_unit: their unit: `m` or `relative`.
    """

    image: Tensor
    depth: Tensor | None
    valid: Tensor | None
    alpha: Tensor | None
    name: str
    depth_from: str = ""
    depth_span: tuple[float, float] | None = None
    depth_unit: str = ""


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
    """Load a content picture and its depth.

    Args:
        path: a built-in name (`motorcycle`) or a file: a picture or an NYU Depth v2 `.mat`.
        index: which image of a `.mat`, from 0; None is the first.
        depth_source: `file`, `embedded` (what the picture carries), `estimate`, or `auto`: the
            file where `depth_path` is given, else what the picture carries, else an estimate.
        depth_path: a depth file of the same view; its aspect must be the picture's.
        depth_kind: `depth`, `disparity`, or `auto` where the file says it.
        depth_scale: units per metre of the depth file, or `auto`.
        depth_preset: a known encoding: one of `depth_files.PRESETS`.
        size: long side of what comes back, in pixels; see `images.fit`.
        short_side: short side in pixels.
        need_depth: whether the depth of a picture that carries none is estimated, or an error
            where nothing estimates.
        estimate: a depth network.

    Raises:
        InputError: what was given cannot be used; it names the key.
    """
    if depth_source not in SOURCES:
        raise InputError("depth.source", repr(depth_source), f"one of {', '.join(SOURCES)}")
    if depth_source == "file" and depth_path is None:
        raise InputError("depth.path", "nothing", "a depth file, because depth.source=file")
    from_file = depth_path is not None and depth_source in ("auto", "file")
    if not from_file:
        _check_unused(depth_source, depth_path, depth_kind, depth_scale, depth_preset)
    found = _content(str(path), index, size, short_side)
    picture = found.picture

    raw: RawDepth | None = None
    if from_file:
        file = Path(str(depth_path)).expanduser()
        raw = depth_files.read(file, kind=depth_kind, scale=depth_scale, preset=depth_preset)
        raw = _turned_like(picture, raw)
        depth_maps.check_aspect(raw, picture.file_size, "depth.path")
    elif depth_source != "estimate":
        try:
            raw = found.depth()
        except InputError as error:
            if need_depth or depth_source == "embedded":
                raise
            log.warning("%s", error)
    if raw is None and (need_depth or depth_source != "auto"):
        return _estimated(picture, depth_source, found.name, estimate)
    if raw is None:
        return Scene(picture.image, None, None, picture.alpha, found.name)
    prepared = depth_maps.prepare(raw, picture.image, "depth.path" if from_file else "content")
    low, high = prepared.span
    measured = prepared.valid.float().mean().item()
    origin = f"{raw.origin}: {low:.3g} to {high:.3g} {prepared.unit}, {measured:.0%} measured"
    log.info("depth of %s from %s", found.name, origin)
    return Scene(
        image=picture.image,
        depth=prepared.depth,
        valid=prepared.valid,
        alpha=picture.alpha,
        name=found.name,
        depth_from=raw.origin,
        depth_span=prepared.span,
        depth_unit=prepared.unit,
    )


def load_style(
    path: str | Path, *, key: str = "style", size: int | None = None, short_side: int | None = None
) -> Tensor:
    """Load a style picture.

    Args:
        path: the name of a built-in painting or of a classic (`classics.py`), or a picture file.
        key: the configuration key that named it, for errors.
        size: long side in pixels; see `images.fit`.
        short_side: short side in pixels.

    Returns:
        (1, 3, h, w) float32 sRGB in [0, 1]; what is transparent is white.

    Raises:
        InputError: neither a name nor a picture.
    """
    name, built_in = str(path), samples.paintings()
    if name in built_in:
        file = built_in[name]
    elif name in CLASSICS:
        file = classics.fetch(name, key, list(built_in))
    else:
        file = Path(path).expanduser()
    if not file.exists():
        raise samples.unknown_name(name, [*built_in, *CLASSICS], key, pictures.EXPECTED)
    picture = pictures.read(file, key=key, size=size, short_side=short_side)
    if picture.alpha is None:
        return picture.image
    return torch.lerp(torch.ones(()), picture.image, picture.alpha)


@dataclass(frozen=True)
class _Content:
    """A content picture, and a way to the depth it carries, read only if it is wanted."""

    picture: Picture
    name: str
    depth: Callable[[], RawDepth | None]


def _content(path: str, index: int | None, size: int | None, short_side: int | None) -> _Content:
    """Find and read a content picture by built-in name or path."""
    sides = {"size": size, "short_side": short_side}
    if index is not None and not path.lower().endswith(".mat"):
        raise InputError("content_index", repr(index), "null: only a .mat holds many pictures")
    if path in samples.PHOTOS:
        sample = samples.PHOTOS[path]
        picture = pictures.read(sample.photo(), key="content", **sides)
        return _Content(picture, path, sample.depth)
    file = Path(path).expanduser()
    if path.startswith("nyu:") or file.suffix.lower() == ".mat":
        from src.inputs import nyu  # brings h5py: 0.3 s

        named = path.startswith("nyu:")
        frame = nyu.read_prepared(path) if named else nyu.read_mat(file, index)
        picture = pictures.from_pixels(frame.rgb, **sides)
        return _Content(picture, frame.name, lambda: frame.depth)
    if file.is_dir():
        instead = f"one picture; every picture of a folder: -m +sweep=folder content={path}"
        raise InputError("content", f"'{path}', a folder", instead)
    if not file.exists():
        kinds = f"{pictures.EXPECTED}, or an NYU Depth v2 .mat"
        raise samples.unknown_name(path, samples.PHOTOS, "content", kinds)
    picture = pictures.read(file, key="content", **sides)
    return _Content(picture, file.stem, lambda: embedded.read(file, picture))


def _check_unused(
    source: str,
    path: str | Path | None,
    kind: str,
    scale: str | float,
    preset: str | None,
) -> None:
    """Refuse what would be ignored: each of these says something of a depth file."""
    if path is not None:
        got = f"'{path}' beside depth.source={source}"
        raise InputError("depth.path", got, "depth.source=auto or file, or no depth.path")
    for key, value, unset in (
        ("depth.kind", kind, "auto"),
        ("depth.scale", scale, "auto"),
        ("depth.preset", preset, None),
    ):
        if value != unset:
            raise InputError(key, f"{value!r} without a depth file", "depth.path=FILE with it")


def _turned_like(picture: Picture, depth: RawDepth) -> RawDepth:
    """A depth file saved the way the sensor lay, beside a photo that EXIF turns by 90 degrees."""
    if picture.orientation < 5 or same_aspect(depth.values.shape, picture.file_size):
        return depth
    values, valid = (turn(x, picture.orientation).copy() for x in (depth.values, depth.valid))
    turned = replace(depth, values=values, valid=valid)
    return turned if same_aspect(values.shape, picture.file_size) else depth


def _estimated(picture: Picture, source: str, name: str, estimate: Estimator | None) -> Scene:
    """The scene of a picture whose depth a network guesses; nothing of it is measured."""
    if estimate is None or source == "embedded":
        carries = "" if source == "estimate" else f" and '{name}', which carries no depth"
        instead = "depth.path=FILE with the depth of this view"
        if estimate is not None:
            instead += ", or depth.source=estimate"
        raise InputError("depth.source", f"{source}{carries}", instead)
    depth, by = estimate(picture.image)
    log.info("depth of %s estimated by %s", name, by)
    return Scene(
        image=picture.image,
        depth=depth,
        valid=torch.ones_like(depth, dtype=torch.bool),
        alpha=picture.alpha,
        name=name,
        depth_from=f"estimated by {by}",
        depth_span=(0.0, 1.0),
        depth_unit="relative",
    )
