"""Lightning opens fast, works, and leaves nothing of the trick that makes it fast.

In a process of its own: only there is it known what has been imported.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

# Releases of Lightning that want more than the placeholders have: made up, with what they import.
OTHER_RELEASE = {
    "torchmetrics/__init__.py": "class Newer: ...",
    "pytorch_lightning/__init__.py": """
        import pytorch_lightning.early
        from torchmetrics import Newer
        class Callback: ...
        class LightningModule: ...
        class Trainer: ...
    """,
    "pytorch_lightning/early.py": "times = []",
    "pytorch_lightning/plugins/__init__.py": "",
    "pytorch_lightning/plugins/environments.py": "class LightningEnvironment: ...",
    "pytorch_lightning/utilities/__init__.py": "",
    "pytorch_lightning/utilities/types.py": "STEP_OUTPUT = dict",
}

SCRIPT = """
import json, logging, sys, warnings
import torch

found = {}
HEAVY = ["torch._dynamo", "torchmetrics", "torchvision", "scipy.signal", "sympy"]

def heavy():
    return [name for name in HEAVY if name in sys.modules]

# Another release, on the path before the real one.
sys.path.insert(0, sys.argv[1])
import src.core.lightning
import torchmetrics
found["other_release"] = [hasattr(torchmetrics, "Newer"), src.core.lightning.Trainer.__module__]
sys.path.pop(0)
for name in [n for n in sys.modules if n.startswith(("src", "pytorch_lightning", "torchmetrics"))]:
    del sys.modules[name]

import src.core.lightning
from src.core.lightning import Callback, LightningModule, Trainer, quiet, seed_everything
found["file"] = sys.modules["pytorch_lightning"].__file__
found["heavy_after_import"] = heavy()

class Tiny(LightningModule):
    def __init__(self, optimizer):
        super().__init__()
        self.optimizer = optimizer
        self.pastiche = torch.nn.Parameter(torch.ones(3))

    def training_step(self, batch, index):
        return (self.pastiche**2).sum()

    def configure_optimizers(self):
        return self.optimizer([self.pastiche], lr=0.1)

class Count(Callback):
    steps = 0

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.steps += 1

quiet()
found["levels"] = [
    logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")
]

def fit(optimizer):
    tiny, count = Tiny(optimizer), Count()
    trainer = Trainer(
        max_steps=5, max_epochs=-1, accelerator="cpu", logger=False, callbacks=[count],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(tiny, train_dataloaders=range(5))
    return [trainer.global_step, count.steps], tiny.pastiche.tolist(), heavy()

found["lbfgs"] = fit(lambda parameters, lr: torch.optim.LBFGS(parameters, lr=lr, max_iter=1))
found["adam"] = fit(torch.optim.Adam)

def draws():
    import random
    import numpy
    return [random.random(), numpy.random.rand(), torch.rand(()).item()]

seed_everything(7)
found["draws"] = [draws()]
seed_everything(7)
found["draws"] += [draws()]
seed_everything(8)
found["draws"] += [draws()]

import torch._dynamo
import torchmetrics
found["files"] = [torch._dynamo.__file__, torchmetrics.__file__]
found["real"] = [
    issubclass(torch._dynamo.OptimizedModule, torch.nn.Module),
    issubclass(torchmetrics.Metric, torch.nn.Module),
]
metric = torchmetrics.MeanMetric()
metric.update(torch.tensor([1.0, 3.0]))
found["metric"] = metric.compute().item()
found["compiled"] = torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(2)).tolist()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    folder = tmp_path_factory.mktemp("lightning")
    for name, source in OTHER_RELEASE.items():
        path = folder / "other" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line.strip() for line in source.splitlines()))
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder / "other")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def found(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_importing_it_imports_nothing_heavy(found: dict[str, Any]) -> None:
    assert found["heavy_after_import"] == []
    assert "site-packages" in Path(found["file"]).parts


def test_it_trains_without_anything_heavy(found: dict[str, Any]) -> None:
    steps, pastiche, _ = found["adam"]
    assert steps == [5, 5]
    assert pastiche == pytest.approx([0.5] * 3, abs=0.05)  # 5 steps of about 0.1
    steps, pastiche, heavy = found["lbfgs"]
    assert steps == [5, 5]
    assert max(pastiche) < 1
    assert heavy == []


def test_what_is_imported_later_is_the_real_thing(found: dict[str, Any]) -> None:
    assert [Path(file).name for file in found["files"]] == ["__init__.py"] * 2
    assert found["real"] == [True, True]
    assert found["metric"] == 2
    assert found["compiled"] == [2, 2]
    # A release that wants more than the placeholders have is imported whole.
    assert found["other_release"] == [True, "pytorch_lightning"]


def test_quiet_silences_it(
    found: dict[str, Any], process: subprocess.CompletedProcess[str]
) -> None:
    assert found["levels"] == [40, 40]
    assert process.stdout.count("\n") == 1
    assert process.stderr == ""


def test_a_seed_seeds_all_three_sources(found: dict[str, Any]) -> None:
    first, again, other = found["draws"]
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))
