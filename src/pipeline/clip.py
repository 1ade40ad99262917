"""The frames of a clip after the first: each from the one before it, moved by optical flow."""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from src import motion
from src.core import video
from src.core.errors import InputError
from src.core.files import replace_whole
from src.inputs import Scene
from src.inputs.clips import Clip, find_clip
from src.objective import Previous
from src.pipeline import pictures
from src.pipeline.build import Job, build
from src.pipeline.fit import fit
from src.pipeline.networks import NetworkLoader
from src.pipeline.schema import Clip as ClipSettings
from src.pipeline.schema import Config, Restart
from src.runs.clip import write_clip
from src.runs.reader import CLIP_CHECKPOINT, FRAMES, FRAMES_TABLE, Run
from src.runs.writer import RunWriter, TermsLog
from src.tracking import LossLogger, ProgressBar, StepTimer, StopOnSignal
from src.tracking.wandb_run import RunLogger

log = logging.getLogger(__name__)
LEAST_VISIBLE = 0.25  # of a frame in the one before it; with less there is a cut between them


def open_clip(config: Config) -> Clip | None:
    """The clip that is the content, its first frames where a `count` says so; None for a picture.

    Raises:
        InputError: it cannot be read, or a library for it is not installed.
    """
    if config.content_index is not None:
        return None
    clip = find_clip(str(config.content), config.depth.path, config.depth.source)
    if clip is None:
        if config.clip != ClipSettings():
            log.warning("clip: not used, for content=%s is one picture", config.content)
        return None
    motion.check_library("content")
    video.library("content")
    return Clip(clip.frames[: config.clip.count], _rate(config, clip))


def _rate(config: Config, clip: Clip) -> Fraction:
    rate = config.clip.rate
    return clip.rate if rate is None else Fraction(rate).limit_denominator(1001)


def frame_config(config: Config, clip: Clip, number: int) -> Config:
    """The configuration of one frame, from 0, as of a picture of its own."""
    frame = clip.frames[number]
    path = None if frame.depth_path is None else str(frame.depth_path)
    depth = replace(config.depth, path=path)
    return replace(config, content=str(frame.path), content_index=frame.index, depth=depth)


def _later(config: Config) -> Config:
    """A frame's configuration where it starts from the one before it."""
    pyramid = replace(config.pyramid, levels=1)  # a smaller size would have less than the start
    return replace(config, steps=config.clip.steps, pyramid=pyramid, restart=Restart(None, None))


def progress_bar(config: Config, clip: Clip | None, number: int = 0) -> ProgressBar:
    """That of a frame of a clip, which shows the time left for all of them; or of one picture."""
    if clip is None:
        return ProgressBar(str(config.name))
    count = len(clip.frames)
    left = clip.later_steps(config.clip.steps) - number * config.clip.steps
    return ProgressBar(f"{config.name} frame {number + 1}/{count}", left)


@dataclass
class State:
    """What a frame leaves to the next one."""

    number: int  # the frame's, from 0
    pastiche: Tensor  # (1, 3, H, W)
    depth: Tensor | None  # (1, 1, H, W)
    steps: int  # of the first frame: of other steps, other frames
    shot: int = 0  # the first frame since the last cut

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        with replace_whole(path) as part:
            torch.save(vars(self), part)

    @classmethod
    def read(cls, path: Path, steps: int, shape: torch.Size) -> "State | None":
        """The state in a file; None where there is none, or one of another first frame.

        Raises:
            InputError: the file is broken, or of another size.
        """
        if not path.is_file():
            return None
        try:
            state = cls(**torch.load(path, map_location="cpu", weights_only=True))
            number, other = int(state.number), state.pastiche.shape
        except Exception as error:  # torch, zipfile and pickle each have their own
            expected = "one that this program wrote"
            got = f"{path}, which is not a clip's checkpoint"
            raise InputError("resume", got, expected) from error
        if other != shape:
            got = f"frames of {other[-1]} x {other[-2]} pixels"
            raise InputError("resume", got, f"{shape[-1]} x {shape[-2]}, as this run's are")
        return state if state.steps == steps and number >= 0 else None


class ClipStylizer:
    """Stylises the frames after the first, each when the one before it is written."""

    def __init__(
        self, config: Config, clip: Clip, job: Job, writer: RunWriter, logger: RunLogger
    ) -> None:
        self._config, self._clip, self._first = config, clip, job
        self._writer, self._logger = writer, logger
        self._folder = writer.path / FRAMES
        self._folder.mkdir(exist_ok=True)
        self._networks = NetworkLoader.of(config)
        self.done, self.interrupted = 0, False

    def run(self, earlier: Path | None) -> dict[str, Any]:
        """Stylise the frames that `earlier`, a run's folder, does not have; for the summary."""
        began = time.time()
        pastiche = self._first.stylization.pastiche.detach().cpu()
        self._save(0, self._first)
        state = State(0, pastiche, self._first.scene.depth, self._config.steps)
        found: State | None = None
        if earlier is not None:
            path = earlier / CLIP_CHECKPOINT
            found = State.read(path, self._config.steps, pastiche.shape)
        if found is not None and self._copy(earlier, found.number):
            state = found
            if state.shot > 0:
                self._first = build(frame_config(self._config, self._clip, state.shot))
        table = TermsLog(self._writer, earlier, state.number + 1, FRAMES_TABLE)
        state.write(self._writer.path / CLIP_CHECKPOINT)
        self.done = state.number + 1
        try:
            for number in range(state.number + 1, len(self._clip.frames)):
                state = self._stylize(number, state, table)
                if self.interrupted:
                    break
                self.done = number + 1
        except KeyboardInterrupt:
            self.interrupted = True
        except video.EndOfVideo:
            text = "%s ends after %d of the %d frames that it says it has"
            log.warning(text, self._config.content, self.done, len(self._clip.frames))
        rows = Run(self._writer.path).frames
        return {
            "done": self.done,
            "of": len(self._clip.frames) if self.interrupted else self.done,
            "seconds": round(time.time() - began, 3),
            **{name: mean(rows[name]) for name in ("warped_difference", "visible") if name in rows},
        }

    def write(self) -> Path:
        """Write the clip of the frames that are done; its path."""
        files = [self._file(number) for number in range(self.done)]
        return write_clip(files, self._writer.path, self._clip.rate, self._config.clip.format)

    def _copy(self, earlier: Path | None, last: int) -> bool:
        """Take over an earlier run's frames up to one; False where any is missing, or a link."""
        assert earlier is not None
        sources = [earlier / FRAMES / self._file(number).name for number in range(1, last + 1)]
        links = any(path.is_symlink() for path in (earlier / FRAMES, *sources))
        if last >= len(self._clip.frames) or links or not all(map(Path.is_file, sources)):
            return False
        for source in sources:
            with replace_whole(self._folder / source.name) as part:
                shutil.copyfile(source, part)
        return True

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06d}.png"

    def _save(self, number: int, job: Job) -> Tensor:
        image = job.stylization.current_image
        self._writer.image(f"{FRAMES}/{self._file(number).name}", image, job.scene.alpha)
        return image

    def _stylize(self, number: int, state: State, table: TermsLog) -> State:
        """One frame from the state that the one before it left; the state that it leaves."""
        config = frame_config(self._config, self._clip, number)
        before = frame_config(self._config, self._clip, number - 1)
        has_depth = self._first.scene.depth is not None
        last_image = pictures.content_scene(before, self._networks, has_depth).image
        scene = pictures.content_scene(config, self._networks, has_depth)
        image = scene.image
        if image.shape != last_image.shape:
            got = f"frame {number} of {image.shape[-1]} x {image.shape[-2]} pixels"
            expected = f"{last_image.shape[-1]} x {last_image.shape[-2]}, as the one before it"
            hint = "; unrelated photos: -m +sweep=folder content=FOLDER"
            raise InputError("content", got, expected + hint)
        flow = motion.optical_flow(image, last_image)
        visible = motion.consistency(flow, motion.optical_flow(last_image, image))
        if float(visible.mean()) < LEAST_VISIBLE:
            job, shot = build(config), number
            self._first = job
        else:
            job, shot = self._follow(config, scene, state, flow, visible), state.shot
            config = _later(config)
        bar = progress_bar(self._config, self._clip, number)
        terms = LossLogger(None, RunLogger(), self._config.log_every_n_steps, bar)
        trainer = fit(config, job.stylization, [terms, bar, StopOnSignal()], StepTimer())
        if trainer.global_step < config.steps:
            self.interrupted = True
            return state
        pastiche = job.stylization.pastiche.detach().cpu()
        values: Mapping[str, float] = {
            "total": terms.total,
            **terms.terms,
            "temporal": terms.terms.get("temporal", 0.0),
            "warped_difference": motion.warped_difference(pastiche, state.pastiche, flow, visible),
            "visible": float(visible.mean()),
        }
        step = self._config.steps + number
        self._logger.log_image("frame", self._save(number, job), step)
        frame_only = ("temporal", "warped_difference", "visible")  # the rest are the first frame's
        self._logger.log({"step": step, **{name: values[name] for name in frame_only}})
        state = State(number, pastiche, job.scene.depth, state.steps, shot)
        table.add(number, values)
        state.write(self._writer.path / CLIP_CHECKPOINT)
        return state

    def _follow(
        self, config: Config, scene: Scene, state: State, flow: Tensor, visible: Tensor
    ) -> Job:
        """The job of a frame that continues the one before it."""
        if state.depth is not None:
            depth = motion.warp(state.depth, flow)
            scene = motion.steady_depth(scene, self._first.scene, depth, visible)
        styles = {
            name.removeprefix("style_"): style
            for name, style in self._first.images.items()
            if name.startswith("style_")
        }
        previous = Previous(motion.warp(state.pastiche, flow), visible)
        frame = pictures.Frame(scene, previous, self._first.mask_border, styles)
        return build(_later(config), frame)
