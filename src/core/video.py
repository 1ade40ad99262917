"""Video files: upright 8-bit sRGB frames in, H.264 or animated WebP out."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from src.core.errors import InputError
from src.core.files import Signature, check_decoded_size, file_signature

# By suffix, FFmpeg's format. It would also take a playlist for a video, and open what that names.
FORMATS = {".mp4": "mov", ".mov": "mov", ".m4v": "mov", ".mkv": "matroska", ".webm": "matroska"}
FORMATS |= {".avi": "avi"}
LONGEST = 10**6  # frames
CODECS = {  # with a quality at which the eye sees no loss
    "mp4": ("libx264", "yuv420p", {"crf": "16", "preset": "slow"}),
    "webp": ("libwebp", "bgra", {"quality": "85"}),
}
BT709, LIMITED = 1, 1  # ITU-T H.273's numbers


class EndOfVideo(InputError):
    """There are not so many frames."""


class VideoInfo(NamedTuple):
    """What a video file says of itself."""

    length: int  # frames
    rate: Fraction  # frames per second, their mean


def library(key: str) -> ModuleType:
    """PyAV; an InputError with `key` where it is not installed."""
    try:
        import av
    except ImportError as error:
        expected = "`make setup`, or `pip install av opencv-python-headless`"
        raise InputError(key, "a video, for which PyAV is not installed", expected) from error
    module: ModuleType = av
    return module


def info(path: Path, key: str) -> VideoInfo:
    """Length and rate of a video file; its frames are counted where it does not say how many.

    Raises:
        InputError: with `key`, PyAV is not installed, or the file holds no video.
    """
    av = library(key)
    errors = (av.FFmpegError, IndexError, OSError, ValueError)
    try:
        with _open(av, path) as container:
            stream = container.streams.video[0]
            count, rate = stream.frames, stream.average_rate or Fraction(25)
            if not count:
                count = sum(packet.pts is not None for packet in container.demux(stream))
    except errors as error:
        raise _unreadable(path, key, error) from error
    if not 1 <= count <= LONGEST:
        got = f"'{path}', a video of {count:,} frames"
        raise InputError(key, got, f"one of 1 to {LONGEST:,}")
    return VideoInfo(count, rate)


def frame(path: Path, index: int, key: str) -> np.ndarray:
    """A frame of a video file by its index from 0, (H, W, 3) uint8, upright.

    In order they cost no more than reading the file once.

    Raises:
        EndOfVideo: there are not so many frames.
        InputError: as `info`.
    """
    reader = _reader(path, file_signature(path), key)
    if reader.index > index:
        _reader.cache_clear()
        reader = _reader(path, file_signature(path), key)
    for pixels in reader.frames:
        reader.index += 1
        if reader.index > index:
            return pixels
    got = f"{index} of a video of {reader.index} frames"
    raise EndOfVideo("content_index", got, f"a whole number from 0 to {reader.index - 1}")


class _Reader:
    """A video's frames, and the index of the next."""

    def __init__(self, frames: Iterator[np.ndarray]) -> None:
        self.frames, self.index = frames, 0


@lru_cache(maxsize=1)
def _reader(path: Path, signature: Signature, key: str) -> _Reader:
    return _Reader(frames(path, key))


def frames(path: Path, key: str) -> Iterator[np.ndarray]:
    """The frames of a video file in order, (H, W, 3) uint8, upright.

    Raises:
        InputError: as `info`.
    """
    av = library(key)
    errors = (av.FFmpegError, IndexError, OSError, ValueError)
    try:
        with _open(av, path) as container:
            stream = container.streams.video[0]
            check_decoded_size(3 * stream.width * stream.height)
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                quarters = round(frame.rotation / 90)
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarters))
    except errors as error:
        raise _unreadable(path, key, error) from error


def _open(av: ModuleType, path: Path) -> Any:
    options = {"protocol_whitelist": "file"}
    return av.open(str(path), format=FORMATS[path.suffix.lower()], options=options)


def _unreadable(path: Path, key: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:120]
    got = f"'{path}', which cannot be read as a video ({reason})"
    return InputError(key, got, "a clip: MP4, MOV, MKV, WebM or AVI")


def write(
    images: Iterable[np.ndarray],
    path: Path,
    kind: str,
    rate: Fraction,
    key: str = "clip.format",
    exact_start: bool = False,
) -> None:
    """Write (H, W, 3) uint8 frames of one size as `mp4` (H.264) or animated `webp`, endless.

    Without PyAV an InputError with `key`. With `exact_start` the first frame of a WebP is lossless.

    H.264 is what every player and browser knows. It has colours at half the resolution, and so an
    even number of rows and columns: of an odd number the last is left out there.
    """
    av = library(key)
    multiple = 2 if kind == "mp4" else 1
    codec, pixel_format, options = CODECS[kind]
    endless = {"loop": "0"} if kind == "webp" else {}
    with closing(av.open(str(path), "w", format=kind, options=endless)) as container:
        stream = None
        for number, pixels in enumerate(images):
            height, width = (side - side % multiple for side in pixels.shape[:2])
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options)
                stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
                if kind == "mp4":
                    _tag(stream.codec_context)
            whole = np.ascontiguousarray(pixels[:height, :width])
            frame = av.VideoFrame.from_ndarray(whole, format="rgb24")
            if kind == "mp4":
                frame = frame.reformat(format=pixel_format, dst_colorspace=BT709)
            frame.pts, frame.time_base = number, 1 / rate
            if exact_start and kind == "webp" and number == 0:
                container.mux(_lossless(av, frame, stream))
            else:
                container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))


def _lossless(av: ModuleType, frame: Any, stream: Any) -> list[Any]:
    """A frame's packets for a WebP's stream, by an encoder of its own."""
    encoder = av.CodecContext.create("libwebp", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "bgra"
    encoder.time_base, encoder.options = frame.time_base, {"lossless": "1"}
    packets = encoder.encode(frame.reformat(format="bgra")) + encoder.encode(None)
    for packet in packets:
        packet.stream = stream
    return list(packets)


def _tag(encoder: Any) -> None:
    """Say which colours they are: players take small untagged videos for another standard's."""
    encoder.color_primaries = encoder.color_trc = encoder.colorspace = BT709
    encoder.color_range = LIMITED
