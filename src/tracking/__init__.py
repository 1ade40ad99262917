"""What is recorded while a run goes: the W&B run, losses, images, checkpoints, progress."""

from src.tracking.callbacks import ImageSaver, LossLogger, StepTimer, StopOnSignal, save_checkpoint
from src.tracking.progress import ProgressBar
from src.tracking.wandb_run import RunLogger, tracked

__all__ = [
    "ImageSaver",
    "LossLogger",
    "ProgressBar",
    "RunLogger",
    "StepTimer",
    "StopOnSignal",
    "save_checkpoint",
    "tracked",
]
