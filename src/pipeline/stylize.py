"""One run: from a composed configuration to the files in its folder."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.core.errors import InputError
from src.core.files import write_json, write_text
from src.core.lightning import quiet, seed_everything
from src.core.memory import give_back_freed_memory, keep_freed_memory
from src.inputs.exif import camera_exif
from src.inputs.plausibility import announce_depth
from src.pipeline import resume
from src.pipeline.build import Job, build
from src.pipeline.clip import ClipStylizer, frame_config, open_clip, progress_bar
from src.pipeline.config import CONF, format_error, plain_values
from src.pipeline.fit import fit
from src.pipeline.forecast import announce
from src.pipeline.networks import depth_network
from src.pipeline.schema import Config, validate
from src.pipeline.targets import TRUST
from src.runs.identity import NON_RESULT_KEYS, RunMetadata, config_hash, precision, run_metadata
from src.runs.reader import CONFIG, FAILED, SUMMARY, Run, read_yaml
from src.runs.summary import git_commit, versions
from src.runs.writer import RunWriter, TermsLog
from src.tracking import ImageSaver, LossLogger, StepTimer, StopOnSignal, tracked


def stylize(
    cfg: DictConfig,
    path: Path,
    began: float,
    overrides: Sequence[str] = (),
    sweep: str | None = None,
) -> float | tuple[float, ...]:
    """One run: compose, build, fit, write.

    Args:
        cfg: the composed configuration.
        path: the run's folder.
        began: when the process started, in seconds since 1970.
        overrides: what the command line set for this run: its name in W&B.
        sweep: the sweep's name, where the run belongs to one: its group in W&B.

    Returns:
        The total of the final pastiche, or those of its terms that `optimized_metric` names.

    Raises:
        InputError: something in the configuration cannot be used.
        KeyboardInterrupt: after everything was written, if Ctrl-C ended the run.
    """
    quiet()
    keep_freed_memory()
    writer = RunWriter(path)
    try:
        plain = plain_values(cfg)
        _write_config(cfg, writer)
        config = validate(plain)
        metadata = run_metadata(plain, overrides, sweep)
        seed_everything(config.seed)
        return _run(config, plain, writer, began, metadata)
    except Exception as error:
        write_text(path / FAILED, format_error(error, sys.argv[1:]) + "\n")
        raise


def _run(
    config: Config,
    plain: dict[str, Any],
    writer: RunWriter,
    began: float,
    metadata: RunMetadata,
) -> float | tuple[float, ...]:
    tracking = config.tracking
    with tracked(
        tracking.mode, writer.path, metadata, plain, tracking.project, tracking.entity
    ) as logger:
        checkpoint = resume.find(config.resume)
        clip = open_clip(config)
        first_config = config if clip is None else frame_config(config, clip, 0)
        later_steps = 0 if clip is None else clip.later_steps(config.clip.steps)
        announce(first_config, later_steps)
        job = build(first_config)
        if first_config.depth.path is not None:
            announce_depth(job.scene, first_config.depth.kind)
        give_back_freed_memory()  # pictures and targets were made of other blocks than steps are
        first_step = 0
        if checkpoint is not None:
            is_clip = clip is not None
            first_step = resume.check(checkpoint, job.stylization, config.steps, is_clip)
        earlier = None if checkpoint is None else checkpoint.parent
        timer, progress = StepTimer(), progress_bar(config, clip)
        terms_log = TermsLog(writer, earlier, first_step)
        losses = LossLogger(terms_log, logger, config.log_every_n_steps, progress)
        alpha = job.scene.alpha
        saver = ImageSaver(writer, logger, config.save_every_n_steps, alpha, job.images)
        callbacks = [losses, saver, progress, StopOnSignal()]
        trainer = fit(config, job.stylization, callbacks, timer, checkpoint)
        if timer.first_step is None:  # of a checkpoint after the last step Lightning begins nothing
            for callback in (losses, saver):
                callback.on_train_end(trainer, job.stylization)
        pastiche = job.stylization.current_image
        output = config.output
        exif = camera_exif(Path(str(first_config.content)), output.location)
        file = writer.result(
            pastiche, alpha, output.format, output.bits, exif, _shared_settings(writer)
        )
        interrupted = trainer.global_step < config.steps
        if pastiche.shape != job.stylization.pastiche.shape:
            _warn_enlarged(job.stylization.pastiche.shape, pastiche.shape)
        logger.log_image("pastiche", pastiche, trainer.global_step)
        if job.predict_depth is not None:
            depth = job.predict_depth(pastiche)
            writer.image("depth_pastiche.png", depth)
            logger.log_image("depth_pastiche", depth, trainer.global_step)
        frames: dict[str, Any] = {}
        if clip is not None and not interrupted:
            later = ClipStylizer(config, clip, job, writer, logger)
            try:
                frames["frames"] = later.run(earlier)
            finally:  # also of a clip with a frame that cannot be read
                if later.done:
                    file = later.write()
            interrupted = later.interrupted
            logger.log_video(file, trainer.global_step + later.done)
        if config.evaluate:
            logger.summary(_evaluated(writer.path))
        summary = {
            "experiment": config.name,
            "status": "interrupted" if interrupted else "done",
            "steps": trainer.global_step,
            "seconds": round(time.time() - began, 3),
            "seconds_per_step": timer.seconds_per_step,
            "startup_seconds": None if timer.first_step is None else timer.first_step - began,
            "device": str(trainer.strategy.root_device),
            "size": list(pastiche.shape[-2:]),
            "total": losses.total,
            "terms": losses.terms,
            **frames,
            **_settings(config, plain, job),
            "versions": versions(),
            "git_commit": git_commit(),
        }
        write_json(writer.path / SUMMARY, summary)
        logger.summary({**summary, **losses.terms})
        values = {"total": losses.total, **losses.terms}
        logger.log_table(metadata.name, pastiche, values)
        if config.views and not interrupted:
            _make_views(config, writer.path)
    print(f"{'interrupted' if interrupted else 'done'}: {file}", flush=True)
    if interrupted:
        raise KeyboardInterrupt
    if config.optimized_metric is None:
        return losses.total
    return tuple(values[name] for name in config.optimized_metric)


def _settings(config: Config, plain: dict[str, Any], job: Job) -> dict[str, Any]:
    """What summary.json says of the settings."""
    depth_net = str(config.depth_net["_target_"]).rpartition(".")[2]
    return {
        "precision": precision(config.precision, config.accelerator),
        "seed": config.seed,
        "backbone": str(config.backbone["_target_"]).rpartition(".")[2],
        "depth_net": None if job.predict_depth is None else depth_net,
        "mask_border": job.mask_border,
        "config_hash": config_hash(plain),
    }


def _warn_enlarged(before: Sequence[int], after: Sequence[int]) -> None:
    sizes = [f"{shape[-1]} x {shape[-2]}" for shape in (before, after)]
    text = (
        f"stopped at a smaller size: the pastiche of {sizes[0]} pixels was enlarged to {sizes[1]}"
    )
    print(text, file=sys.stderr, flush=True)


def _evaluated(path: Path) -> Mapping[str, Any]:
    """The run's metrics; a run that cannot be evaluated has its pastiche all the same."""
    from src.metrics.evaluation import JUDGE, DepthEvaluator, measure_run_folder  # few want it

    try:
        return measure_run_folder(path, DepthEvaluator(JUDGE, depth_network(JUDGE)))
    except InputError as error:
        print(f"not measured: {error}", file=sys.stderr, flush=True)
        return {}


def _make_views(config: Config, path: Path) -> None:
    """The run's views, painted; it is done whatever becomes of them."""
    from src.pipeline.views import WRITERS, ViewOptions, make_views  # few want them

    try:
        make_views(Run(path), ViewOptions(paint=True), WRITERS, config)
    except Exception as error:
        print(f"no views: {format_error(error, [])}", file=sys.stderr, flush=True)


def _shared_settings(writer: RunWriter) -> str:
    """config.yaml as a picture holds it: what made the picture, whatever run came to it.

    Equal for equal pictures: where it was written, tracked and resumed from is as in conf/.
    """
    settings, base, tracking = (
        dict(read_yaml(path))
        for path in (writer.path / CONFIG, CONF / CONFIG, CONF / "tracking" / "offline.yaml")
    )
    base |= {"tracking": tracking, "name": settings["name"]}
    settings |= {key: base[key] for key in NON_RESULT_KEYS if key in base and key != TRUST}
    return OmegaConf.to_yaml(OmegaConf.create(settings), sort_keys=True)


def _write_config(cfg: DictConfig, writer: RunWriter) -> None:
    """config.yaml, with the part of Hydra's own settings that a repeated run needs."""
    whole = OmegaConf.to_container(cfg, resolve=True)
    base = OmegaConf.load(CONF / "config.yaml")
    assert isinstance(whole, dict)
    assert isinstance(base, DictConfig)
    whole.pop(TRUST, None)  # it counts on the command line only
    whole["hydra"] = OmegaConf.to_container(base.hydra, resolve=False)
    write_text(writer.path / CONFIG, OmegaConf.to_yaml(OmegaConf.create(whole)))
