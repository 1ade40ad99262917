"""Clips: video files, and folders of frames with or without depth files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from src.core import video
from src.core.errors import InputError
from src.inputs.folders import DEPTH_MARK, RGB_MARK, depth_files_in, find_rgbd_pairs, pictures_in
from src.inputs.pictures import EXPECTED, as_input_error, open_still
from src.runs.reader import natural

log = logging.getLogger(__name__)
FOLDER_RATE = Fraction(25)  # frames per second of a folder, which does not say


@dataclass(frozen=True)
class Frame:
    """Where a frame and its depth are found, as `load_scene` takes it."""

    path: Path
    index: int | None  # in a video file
    depth_path: Path | None


@dataclass(frozen=True)
class Clip:
    """Frames in order."""

    frames: Sequence[Frame]
    rate: Fraction  # frames per second

    def later_steps(self, each: int) -> int:
        """Steps of all frames after the first."""
        return (len(self.frames) - 1) * each


def find_clip(path: str, depth_path: str | None, depth_source: str = "auto") -> Clip | None:
    """The clip that a content's path names; None where it is one picture.

    Args:
        path: a video file, or a folder of frames, each perhaps with its depth file beside it (as
            `find_rgbd_pairs` finds them).
        depth_path: a folder of depth files, one per frame, of the same names or in the same order.
        depth_source: as of `load_scene`; files beside the frames are for `auto` and `file`.

    Raises:
        InputError: a folder without pictures, a file that is no video, or not one depth file per
            frame.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        use_depth = depth_path is None and depth_source in ("auto", "file")
        frames, rate = _frames_of_folder(file, use_depth), FOLDER_RATE
    elif file.is_file() and file.suffix.lower() in video.FORMATS:
        count, rate = video.info(file, "content")
        frames = [Frame(file, index, None) for index in range(count)]
    else:
        return None
    if depth_path is not None:
        depths = _match_depths(frames, Path(depth_path).expanduser())
        frames = [Frame(x.path, x.index, y) for x, y in zip(frames, depths, strict=True)]
    return Clip(frames, rate)


def _frames_of_folder(folder: Path, use_depth: bool) -> list[Frame]:
    pictures = pictures_in(folder)
    pairs = {pair[0]: pair[1] for pair in find_rgbd_pairs(folder).values()}
    rest = set(pictures) - pairs.keys() - set(pairs.values())
    if pairs and not rest:
        pictures = list(pairs)
    elif pairs:
        log.warning("%s: not every frame has its depth file, so none is used", folder)
        pairs = {}
    if not pictures:
        expected = "a folder of frames, or a video file"
        raise InputError("content", f"'{folder}', without pictures", expected)
    _check_sizes(folder, pictures)
    pictures.sort(key=lambda picture: natural(picture.name))
    return [Frame(picture, None, pairs.get(picture) if use_depth else None) for picture in pictures]


def _check_sizes(folder: Path, files: Sequence[Path]) -> None:
    """Refuse what is no clip before anything is made of it."""
    sizes: set[tuple[int, ...]] = set()
    for file in files:
        with as_input_error(file, "content", EXPECTED), open_still(file, "content") as picture:
            sizes.add(tuple(sorted(picture.size, reverse=True)))
    if len(sizes) > 1:
        found = ", ".join(f"{width} x {height}" for width, height in sorted(sizes)[:3])
        got = f"'{folder}' with pictures of {found} pixels"
        expected = "frames of one size; unrelated photos: -m +sweep=folder content=FOLDER"
        raise InputError("content", got, expected)


def _match_depths(frames: Sequence[Frame], folder: Path) -> list[Path]:
    """A depth file for each frame."""
    if not folder.is_dir():
        got = f"'{folder}' for a clip of {len(frames)} frames"
        raise InputError("depth.path", got, "a folder with a depth file per frame")
    files = sorted(depth_files_in(folder), key=lambda file: natural(file.name))
    by_name = {DEPTH_MARK.sub("", file.stem): file for file in files}
    names = [RGB_MARK.sub("", frame.path.stem) for frame in frames]
    if frames[0].index is None and by_name.keys() >= set(names):
        return [by_name[name] for name in names]
    if len(files) != len(frames):
        got = f"'{folder}' with {len(files)} depth files for {len(frames)} frames"
        raise InputError("depth.path", got, "one per frame, of the same names or in their order")
    return files
