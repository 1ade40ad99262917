"""The one door to Lightning, opened without the six seconds that its import costs.

Lightning imports torch's compiler (to recognise compiled modules) and torchmetrics, and with them
torchvision, sympy and scipy.signal. Nothing here compiles a module or logs a metric object, so
placeholders substitute both during the import; what imports them later gets the real ones.
"""

import logging
import sys
import warnings
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import torch


def _placeholders() -> dict[str, ModuleType]:
    compiler = ModuleType("torch._dynamo")
    metrics = ModuleType("torchmetrics")
    compiler.__dict__["OptimizedModule"] = type("OptimizedModule", (), {})
    compiler.__dict__["disable"] = lambda function=None, *_, **__: function
    metrics.__dict__["__version__"] = metadata.version("torchmetrics")
    for name in ("Metric", "MetricCollection"):
        metrics.__dict__[name] = type(name, (), {})
    return {module.__name__: module for module in (compiler, metrics)}


def _mark_optimizer_as_uncompiled() -> None:
    """Say beforehand what torch's optimisers import the compiler for: "do not compile this"."""
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        method: Any = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            setattr(method, "__dynamo_disable", method)


def _import_lean() -> None:
    placeholders = {n: m for n, m in _placeholders().items() if n not in sys.modules}
    sys.modules.update(placeholders)
    try:
        import_module("pytorch_lightning")
    except (AttributeError, ImportError):  # another release wants more of them: import it whole
        for name in [n for n in sys.modules if n.startswith(("pytorch_lightning", "lightning_"))]:
            del sys.modules[name]
    finally:
        for name in placeholders:
            del sys.modules[name]
    _mark_optimizer_as_uncompiled()


if "pytorch_lightning" not in sys.modules:
    _import_lean()

import pytorch_lightning  # noqa: E402  below code: the placeholders have to be there first
from pytorch_lightning import Callback, LightningModule, Trainer  # noqa: E402  as above
from pytorch_lightning.plugins.environments import LightningEnvironment  # noqa: E402  as above
from pytorch_lightning.utilities.types import STEP_OUTPUT  # noqa: E402  as above

__all__ = [
    "STEP_OUTPUT",
    "Callback",
    "LightningEnvironment",
    "LightningModule",
    "Trainer",
    "quiet",
    "seed_everything",
]


def quiet() -> None:
    """Keep Lightning's own advice off the screen: device lines, tips, loader warnings."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning_fabric|pytorch_lightning")


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's random numbers."""
    pytorch_lightning.seed_everything(seed, verbose=False)
