"""The LightningModule: one parameter, steps, clamp, restart, resume."""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from src import optimizers
from src.core.images import resize
from src.core.lightning import Callback, Trainer, quiet
from src.objective import ContentTerm, Objective, TotalVariationTerm
from src.runs.writer import RunWriter
from src.stylization import STARTS, Level, Stylization, starting_picture
from src.tracking import save_checkpoint
from tests.running import picture, tiny_objective

ADAM = partial(torch.optim.Adam, lr=0.05)
LBFGS = partial(optimizers.LBFGS, history_size=5, range_penalty_weight=100.0)
# Nothing of the first size's loss in what follows.
FREE_LBFGS = partial(optimizers.LBFGS, history_size=5)


def objective(height: int = 8, width: int = 10) -> Objective:
    content = resize(picture(0, 8, 10), height, width)
    return tiny_objective([ContentTerm(["relu2"], 1.0), TotalVariationTerm(0.1)], content)


def stylization(optimizer: partial = ADAM, **settings: object) -> Stylization:
    return Stylization(objective(), picture(1, 8, 10), optimizer, **settings)


# Coarse to fine: the size at the first two steps, at the next three, and from then on.
SIZES = {0: (4, 5), 2: (6, 8), 5: (8, 10)}


def growing(optimizer: partial = ADAM, **settings: object) -> Stylization:
    first, *rest = ((step, objective(*size), *size) for step, size in SIZES.items())
    start = resize(picture(1, 8, 10), *first[2:])
    levels = [Level(*level) for level in rest]
    return Stylization(first[1], start, optimizer, levels=levels, **settings)


def fit(
    module: Stylization, steps: int, resume: Path | None = None, *callbacks: Callback
) -> Trainer:
    quiet()
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=list(callbacks),
    )
    trainer.fit(module, itertools.count(), ckpt_path=resume)
    return trainer


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


@pytest.mark.parametrize("make", [stylization, growing])
def test_a_last_step_that_is_worse_is_rejected(
    make: Callable[..., Stylization], tmp_path: Path
) -> None:
    """By an optimiser that goes down and up in turn, after any number of steps."""

    class DownAndUp(torch.optim.SGD):
        def step(self, closure: Callable[[], torch.Tensor]) -> torch.Tensor:
            found = super().step(closure)
            self.param_groups[0]["maximize"] ^= True
            return found

    swinging = partial(DownAndUp, lr=2e-3)
    whole = make(swinging)
    fit(whole, 8)
    worse = 0
    for stop in range(1, 8):
        seen, stopped = Totals(), make(swinging)
        save_checkpoint(fit(stopped, stop, None, seen), RunWriter(tmp_path))
        state = torch.load(tmp_path / "last.ckpt", weights_only=True)
        assert torch.equal(state["state_dict"]["pastiche"], stopped.pastiche)
        assert float(stopped.terms()[0]) <= seen.totals[-1]
        worse += "not_made" in state
        resumed = make(swinging)
        fit(resumed, 8, tmp_path / "last.ckpt")
        assert torch.equal(resumed.pastiche, whole.pastiche)
    assert worse >= 2


class Totals(Callback):
    """The total before every step."""

    def __init__(self) -> None:
        self.totals: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, module: Stylization, outputs: dict, *_: object):
        self.totals.append(float(outputs["loss"]))


def test_a_checkpoint_holds_the_pastiche_and_the_optimizer_only(tmp_path: Path) -> None:
    save_checkpoint(fit(stylization(), 2), RunWriter(tmp_path))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert list(state["state_dict"]) == ["pastiche"]
    assert state["optimizer_states"][0]["state"][0]["exp_avg"].shape == (1, 3, 8, 10)
    assert (tmp_path / "last.ckpt").stat().st_size < 40_000


def test_starts() -> None:
    content, generator = picture(0, 8, 10), torch.Generator().manual_seed(0)
    assert torch.equal(starting_picture("content", content, generator), content)
    noise = starting_picture("noise", content, generator)
    assert noise.shape == content.shape
    assert 0 <= noise.min() < 0.1
    assert 0.9 < noise.max() <= 1
    assert set(STARTS) == {"content", "noise"}


def test_the_start_is_not_changed_by_the_fit() -> None:
    start = picture(1, 8, 10)
    fit(Stylization(tiny_objective([TotalVariationTerm(1.0)], start), start, ADAM), 2)
    assert torch.equal(start, picture(1, 8, 10))


class Sizes(Callback):
    """What the parameter is at every step, and whether the optimiser still holds it."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Stylization, *_: object) -> None:
        ((held,),) = (group["params"] for group in trainer.optimizers[0].param_groups)
        assert held is pl_module.pastiche
        assert [name for name, _ in pl_module.named_parameters()] == ["pastiche"]
        assert pl_module.current_image.shape == (1, 3, 8, 10)
        assert pl_module.pastiche.is_contiguous()
        self.seen.append(tuple(pl_module.pastiche.shape[-2:]))


@pytest.mark.parametrize("optimizer", [ADAM, LBFGS])
def test_the_pastiche_grows_in_the_same_parameter(optimizer: partial) -> None:
    module, sizes = growing(optimizer), Sizes()
    parameter = module.pastiche
    fit(module, 8, None, sizes)
    assert module.pastiche is parameter
    assert sizes.seen == [(4, 5)] * 2 + [(6, 8)] * 3 + [(8, 10)] * 3
    assert [module.size_after(step) for step in range(1, 9)] == sizes.seen
    assert module.size_after(0) == (4, 5)
    assert torch.equal(module.current_image, parameter)


def test_the_work_of_steps_is_their_pixels() -> None:
    module = growing()
    for steps in range(10):
        sizes = [module.size_after(step) for step in range(1, steps + 1)]
        assert module.pixel_steps(steps) == sum(height * width for height, width in sizes)


@pytest.mark.parametrize("optimizer", [ADAM, FREE_LBFGS])
def test_every_size_is_a_stylization_of_its_own_from_the_enlarged_picture(
    optimizer: partial,
) -> None:
    module = growing(optimizer)
    fit(module, 8)
    start = picture(1, 8, 10)
    for size, steps in zip(SIZES.values(), (2, 3, 3), strict=True):
        one = Stylization(objective(*size), resize(start, *size), optimizer)
        fit(one, steps)
        start = one.pastiche.detach()
    assert torch.equal(module.pastiche, start)


@pytest.mark.parametrize("optimizer", [ADAM, LBFGS])
@pytest.mark.parametrize("stop", range(1, 8))
def test_resume_inside_and_between_sizes_equals_an_uninterrupted_run_bit_for_bit(
    optimizer: partial, stop: int, tmp_path: Path
) -> None:
    settings = {"restart": (3, 0.01)} if optimizer is ADAM else {}
    whole = growing(optimizer, **settings)
    fit(whole, 8)
    first = growing(optimizer, **settings)
    save_checkpoint(fit(first, stop), RunWriter(tmp_path))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert list(state["state_dict"]) == ["pastiche"]
    assert state["state_dict"]["pastiche"].shape[-2:] == first.size_after(stop)
    second, sizes = growing(optimizer, **settings), Sizes()
    fit(second, 8, tmp_path / "last.ckpt", sizes)
    assert sizes.seen[0] == second.size_after(stop + 1)
    assert torch.equal(second.pastiche, whole.pastiche)


def test_a_restart_where_a_size_begins_has_the_new_learning_rate_and_later_sizes_keep_it() -> None:
    rates = []

    class Rates(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(growing(ADAM, restart=(2, 0.01)), 6, None, Rates())
    assert rates == [0.05] * 2 + [0.01] * 4


def test_the_terms_of_a_step_are_those_of_its_size() -> None:
    module, found = growing(), {}

    class Terms(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: Stylization, outputs: dict, *_: object
        ) -> None:
            found[trainer.global_step - 1] = outputs["terms"]["tv"]

    fit(module, 2)
    enlarged = resize(module.pastiche.detach(), 6, 8)
    fit(growing(), 3, None, Terms())
    assert torch.equal(found[2], objective(6, 8)(enlarged)[1]["tv"])
