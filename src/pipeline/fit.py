"""The steps of a stylization, by Lightning's trainer."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from src.core.errors import InputError
from src.core.lightning import Callback, LightningEnvironment, Trainer
from src.pipeline.schema import Config
from src.stylization import Stylization
from src.tracking import StepTimer


def fit(
    config: Config,
    stylization: Stylization,
    callbacks: Sequence[Callback],
    timer: StepTimer,
    checkpoint: Path | None = None,
) -> Trainer:
    """Make the configuration's steps, from a checkpoint on where there is one.

    Raises:
        InputError: the checkpoint is of another optimiser.
    """
    trainer = Trainer(
        **config.trainer,
        max_steps=config.steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[LightningEnvironment()],  # one process: else SLURM's would want to be srun
        callbacks=[timer, *callbacks],
    )
    try:
        trainer.fit(stylization, itertools.count(), ckpt_path=checkpoint, weights_only=True)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if checkpoint is None or timer.first_step is not None:
            raise
        got = f"{checkpoint}, which cannot be restored ({' '.join(str(error).split())[:120]})"
        raise InputError("resume", got, "a checkpoint of a run with this optimizer") from error
    return trainer
