"""The LightningModule: one parameter, steps, clamp, restart, resume."""

import itertools
from functools import partial
from pathlib import Path

import pytest
import torch

from src.lightning import Trainer, quiet
from src.objective import ContentTerm, Objective, TotalVariationTerm
from src.run_folder import RunFolder
from src.stylization import STARTS, Stylization, starting_picture
from src.tracking import save_checkpoint
from tests.running import tiny_backbone

ADAM = partial(torch.optim.Adam, lr=0.05)
LBFGS = partial(
    torch.optim.LBFGS, max_iter=1, history_size=5, tolerance_grad=0.0, tolerance_change=0.0
)


def picture(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(seed))


def stylization(optimizer: partial = ADAM, **settings: object) -> Stylization:
    backbone = tiny_backbone()
    target = backbone.features(picture(0), ["relu2"])
    objective = Objective(backbone, [ContentTerm(target, 1.0), TotalVariationTerm(0.1)])
    return Stylization(objective, picture(1), optimizer, **settings)


def fit(module: Stylization, steps: int, resume: Path | None = None) -> Trainer:
    quiet()
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(module, itertools.count(), ckpt_path=resume)
    return trainer


def test_the_pastiche_is_the_only_parameter() -> None:
    module = stylization()
    assert [name for name, _ in module.named_parameters()] == ["pastiche"]
    assert list(module.state_dict()) == ["pastiche"]


@pytest.mark.parametrize("optimizer", [ADAM, LBFGS])
def test_steps_lower_the_total(optimizer: partial) -> None:
    module = stylization(optimizer)
    before, _ = module.terms()
    trainer = fit(module, 10)
    after, _ = module.terms()
    assert trainer.global_step == 10
    assert after < before / 2


def test_lbfgs_evaluates_once_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    module = stylization(LBFGS)
    calls = []
    original = module.training_step
    monkeypatch.setattr(module, "training_step", lambda *a: calls.append(1) or original(*a))
    fit(module, 4)
    assert len(calls) == 4


def test_clamp_keeps_the_pastiche_in_range() -> None:
    wild = partial(torch.optim.Adam, lr=5.0)
    free, kept = stylization(wild), stylization(wild, clamp=True)
    fit(free, 2)
    fit(kept, 2)
    assert free.pastiche.min() < 0
    assert kept.pastiche.min() >= 0
    assert kept.pastiche.max() <= 1


def test_restart_is_a_new_optimizer_from_that_step() -> None:
    module = stylization(ADAM, restart=(3, 0.01))
    fit(module, 5)
    by_hand = stylization(ADAM)
    fit(by_hand, 3)
    fresh = stylization(partial(torch.optim.Adam, lr=0.01))
    fresh.pastiche.data = by_hand.pastiche.data
    fit(fresh, 2)
    assert torch.equal(module.pastiche, fresh.pastiche)


@pytest.mark.parametrize("optimizer", [ADAM, LBFGS])
@pytest.mark.parametrize("stop", [2, 3, 4])
def test_resume_equals_an_uninterrupted_run_bit_for_bit(
    optimizer: partial, stop: int, tmp_path: Path
) -> None:
    whole = stylization(optimizer, restart=(3, 0.01) if optimizer is ADAM else None)
    fit(whole, 6)
    first = stylization(optimizer, restart=(3, 0.01) if optimizer is ADAM else None)
    save_checkpoint(fit(first, stop), RunFolder(tmp_path))
    second = stylization(optimizer, restart=(3, 0.01) if optimizer is ADAM else None)
    trainer = fit(second, 6, tmp_path / "last.ckpt")
    assert trainer.global_step == 6
    assert torch.equal(second.pastiche, whole.pastiche)


def test_a_checkpoint_holds_the_pastiche_and_the_optimizer_only(tmp_path: Path) -> None:
    save_checkpoint(fit(stylization(), 2), RunFolder(tmp_path))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert list(state["state_dict"]) == ["pastiche"]
    assert state["optimizer_states"][0]["state"][0]["exp_avg"].shape == (1, 3, 8, 10)
    assert (tmp_path / "last.ckpt").stat().st_size < 40_000


def test_starts() -> None:
    content, generator = picture(0), torch.Generator().manual_seed(0)
    assert torch.equal(starting_picture("content", content, generator), content)
    noise = starting_picture("noise", content, generator)
    assert noise.shape == content.shape
    assert 0 <= noise.min() < 0.1
    assert 0.9 < noise.max() <= 1
    assert set(STARTS) == {"content", "noise"}


def test_the_start_is_not_changed_by_the_fit() -> None:
    start = picture(1)
    backbone = tiny_backbone()
    objective = Objective(backbone, [TotalVariationTerm(1.0)])
    fit(Stylization(objective, start, ADAM), 2)
    assert torch.equal(start, picture(1))
