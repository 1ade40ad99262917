"""L-BFGS whose steps are bounded."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from src.optimizers import LBFGS, LONGEST, start_afresh

SETTINGS = {"lr": 1.0, "max_iter": 1, "tolerance_grad": 0.0, "tolerance_change": 0.0}


def steps(
    kind: type[torch.optim.LBFGS], loss: Callable[[Tensor], Tensor], start: Tensor, count: int
) -> list[Tensor]:
    """The pictures after every step, the first one in front."""
    x = nn.Parameter(start.clone())
    optimizer = kind([x], **SETTINGS)
    found = [start]

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value

    for _ in range(count):
        optimizer.step(closure)
        found.append(x.detach().clone())
    return found


def test_short_steps_are_torchs_bit_for_bit() -> None:
    target, start = torch.rand(2, 3, 4), torch.rand(2, 3, 4)

    def loss(x: Tensor) -> Tensor:
        return ((x - target) ** 2).sum() + 0.1 * (x**4).sum()

    for ours, torchs in zip(
        steps(LBFGS, loss, start, 8), steps(torch.optim.LBFGS, loss, start, 8), strict=True
    ):
        assert torch.equal(ours, torchs)


def test_a_rejected_first_pair_does_not_throw_the_picture_away() -> None:
    """Steep and without curvature at first, a bowl farther away."""

    def loss(x: Tensor) -> Tensor:
        return 1e5 * nn.functional.huber_loss(x, torch.full_like(x, 3.0), delta=0.5)

    start = torch.rand(4, 5)
    torchs = steps(torch.optim.LBFGS, loss, start, 30)
    assert max(float((b - a).abs().max()) for a, b in itertools.pairwise(torchs)) > 100
    ours = steps(LBFGS, loss, start, 30)
    moved = [float((b - a).abs().max()) for a, b in itertools.pairwise(ours)]
    assert max(moved) <= LONGEST * (1 + 1e-6)
    assert torch.allclose(ours[-1], torch.full_like(start, 3.0), atol=0.05)


def test_what_it_remembers_of_a_shortened_step_is_the_step_it_made() -> None:
    bowl = torch.tensor([1.0, 4.0])
    start = torch.tensor([300.0, 200.0])

    def loss(x: Tensor) -> Tensor:
        return 0.5 * (bowl * x**2).sum()

    x = nn.Parameter(start.clone())
    optimizer = LBFGS([x], **SETTINGS)
    pictures = [x.detach().clone()]
    for _ in range(3):

        def closure() -> Tensor:
            optimizer.zero_grad()
            value = loss(x)
            value.backward()
            return value

        optimizer.step(closure)
        pictures.append(x.detach().clone())
    remembered = optimizer.state[x]["old_stps"]
    for pair, (before, after) in zip(remembered, itertools.pairwise(pictures), strict=False):
        assert torch.allclose(pair, after - before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [LBFGS, torch.optim.LBFGS, torch.optim.Adam])
def test_after_a_fresh_start_the_parameter_may_have_another_size(
    kind: type[torch.optim.Optimizer],
) -> None:
    def go(x: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            value = ((x - 0.3) ** 4).sum()
            value.backward()
            return value

        for _ in range(4):
            optimizer.step(closure)

    settings = SETTINGS if issubclass(kind, torch.optim.LBFGS) else {"lr": 0.1}
    x = nn.Parameter(torch.rand(2, 3))
    optimizer = kind([x], **settings)
    go(x, optimizer)
    larger = torch.rand(4, 6)
    x.grad, x.data = None, larger.clone()
    start_afresh(optimizer, lr=0.5)
    go(x, optimizer)
    alone = nn.Parameter(larger.clone())
    go(alone, kind([alone], **{**settings, "lr": 0.5}))
    assert torch.equal(x, alone)
