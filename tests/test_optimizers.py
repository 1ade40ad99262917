"""L-BFGS of a picture, against torch's, against another set of variables, and at its limits."""

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src.core.errors import InputError
from src.core.settings import check_arguments
from src.optimizers import LBFGS, MAX_STEP, reset_optimizer
from src.optimizers import spectral_preconditioner as precondition

Loss = Callable[[Tensor], Tensor]
Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
TORCHS: Make = partial(
    torch.optim.LBFGS, max_iter=1, history_size=4, tolerance_grad=0.0, tolerance_change=0.0
)
PLAIN: Make = partial(LBFGS, history_size=4, preconditioner_exponent=0.0)


def step(optimizer: torch.optim.Optimizer, loss: Loss, x: nn.Parameter) -> float:
    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value

    return optimizer.step(closure).item()


def steps(make: Make, loss: Loss, start: Tensor, count: int) -> list[Tensor]:
    """The pictures after every step, the first one in front."""
    x = nn.Parameter(start.clone())
    optimizer = make([x])
    found = [start]
    for _ in range(count):
        step(optimizer, loss, x)
        found.append(x.detach().clone())
    return found


def bowl(start: Tensor) -> Loss:
    """Steeper in some pixels than in others, and not quite a parabola."""
    target = start + 0.1 * torch.rand(start.shape, dtype=start.dtype)
    weights = 0.02 + torch.rand(start.shape, dtype=start.dtype)
    return lambda x: (weights * ((x - target) ** 2 + 0.1 * x**4)).sum()


def test_without_smoothing_the_steps_are_torchs() -> None:
    """Of 255 colours, for which torch's first step is as long as ours."""
    start = torch.rand(1, 3, 5, 17, dtype=torch.float64)
    loss = bowl(start)
    both = (steps(make, loss, start, 12) for make in (PLAIN, TORCHS))
    for ours, torchs in zip(*both, strict=True):
        assert torch.allclose(ours, torchs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("side", [4, 32])
def test_the_first_step_changes_colours_by_one_of_255_levels(side: int, scale: float) -> None:
    start = torch.rand(1, 3, side, side)
    loss = bowl(start)
    _, moved = steps(LBFGS, lambda x: scale * loss(x), start, 1)
    assert float((moved - start).abs().mean()) == pytest.approx(1 / 255, rel=1e-4)


def test_without_curvature_every_step_is_twice_the_one_before() -> None:
    start = torch.rand(1, 3, 4, 4)
    pictures = steps(partial(LBFGS, lr=0.5), lambda x: 7 * x.sum(), start, 5)
    moved = [float((b - a).abs().mean()) for a, b in itertools.pairwise(pictures)]
    assert moved == pytest.approx([0.5 * 2**k / 255 for k in range(5)], rel=1e-3)
    # With nothing to descend there is no step.
    assert torch.equal(steps(LBFGS, lambda x: (0 * x).sum(), start, 2)[-1], start)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_smoothing_is_a_change_of_variables(exponent: float) -> None:
    """Steps in x with the first guess P are plain steps in z with x = root(P) z.

    Up to a scale of z, by which the first step becomes as long in x.
    """
    start = 0.01 * torch.rand(1, 3, 6, 7, dtype=torch.float64)
    loss = bowl(start)
    x = nn.Parameter(start.clone())
    loss(x).backward()
    assert x.grad is not None
    length_in_z, length_in_x = (
        float(precondition(x.grad, e).abs().mean()) for e in (exponent / 2, exponent)
    )
    scale = length_in_z / length_in_x

    def to_x(z: Tensor) -> Tensor:
        return scale * precondition(z, exponent / 2)

    in_z = steps(PLAIN, lambda z: loss(to_x(z)), precondition(start, -exponent / 2) / scale, 10)
    in_x = steps(partial(LBFGS, history_size=4, preconditioner_exponent=exponent), loss, start, 10)
    for x_after, z in zip(in_x, in_z, strict=True):
        assert torch.allclose(x_after, to_x(z), rtol=1e-7, atol=1e-9)


def test_smoothing_by_hand() -> None:
    across = torch.arange(8.0) / 8
    wave = torch.cos(2 * math.pi * 2 * across).expand(4, 8)  # two waves in eight pixels
    assert torch.allclose(precondition(wave, 1.0), 4 * wave, atol=1e-5)
    assert torch.allclose(precondition(wave, 2.0), 16 * wave, atol=1e-4)
    flat = torch.ones(4, 8)
    # As the lowest frequency, one in eight.
    assert torch.allclose(precondition(flat, 1.0), 8 * flat)
    assert precondition(flat, 0.0) is flat


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 5), (1, 9)])
def test_smoothing_is_symmetric_and_positive(height: int, width: int, inside: bool) -> None:
    count = height * width
    basis = torch.eye(count, dtype=torch.float64).view(count, height, width)
    region = torch.rand(height, width, dtype=torch.float64) if inside else None
    matrix = precondition(basis, 1.0, region).flatten(1)
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


def test_smoothing_does_not_cross_into_what_stays() -> None:
    x, region = torch.rand(1, 3, 8, 9), torch.ones(1, 1, 8, 9)
    assert torch.allclose(precondition(x, 1.0, region), precondition(x, 1.0), atol=1e-5)
    region[..., :4] = 0
    inside = torch.where(region > 0, x, 0)
    assert bool((precondition(inside, 1.0, region)[..., :4] == 0).all())
    found = precondition(inside, 1.0, region)[..., 4:]
    assert torch.allclose(found, precondition(inside, 1.0)[..., 4:])
    outside = x - inside
    alone = torch.zeros(8, 9)
    alone[0, 0] = 1
    found = precondition(outside, 1.0, region)
    assert torch.allclose(found, precondition(alone, 1.0)[0, 0] * outside, atol=1e-5)


def test_what_stays_is_moved_by_its_own_gradient_alone() -> None:
    """A loss of one half; the other has none to be moved by."""
    region = torch.zeros(1, 1, 4, 4)
    region[..., :2] = 1
    start = torch.rand(1, 3, 8, 8)
    loss = bowl(start[..., :4])
    found = steps(partial(LBFGS, region=region), lambda x: loss(x[..., :4]), start, 6)[-1]
    assert bool((found != start)[..., :3].any())
    assert torch.equal(found[..., 6:], start[..., 6:])
    everywhere = steps(LBFGS, lambda x: loss(x[..., :4]), start, 6)[-1]
    assert not torch.equal(everywhere[..., 6:], start[..., 6:])


def test_a_rejected_first_pair_does_not_throw_the_picture_away() -> None:
    """Steep and without curvature at first, a bowl farther away."""

    def loss(x: Tensor) -> Tensor:
        return 1e5 * nn.functional.huber_loss(x, torch.full_like(x, 3.0), delta=0.5)

    start = torch.rand(4, 5)
    torchs = steps(TORCHS, loss, start, 30)
    assert max(float((b - a).abs().max()) for a, b in itertools.pairwise(torchs)) > 100
    for exponent in (0.0, 1.0):
        ours = steps(partial(LBFGS, preconditioner_exponent=exponent), loss, start, 60)
        moved = [float((b - a).abs().max()) for a, b in itertools.pairwise(ours)]
        assert max(moved) <= MAX_STEP * (1 + 1e-6)
        assert torch.allclose(ours[-1], torch.full_like(start, 3.0), atol=0.05)


def test_what_it_remembers_of_a_shortened_step_is_the_step_it_made() -> None:
    start = torch.tensor([[300.0, 200.0]])
    weights = torch.tensor([1.0, 4.0])
    x = nn.Parameter(start.clone())
    optimizer = LBFGS([x], preconditioner_exponent=0.0)
    pictures = [x.detach().clone()]
    for _ in range(4):
        step(optimizer, lambda x: 0.5 * (weights * x**2).sum(), x)
        pictures.append(x.detach().clone())
    assert float((pictures[2] - pictures[1]).abs().max()) == pytest.approx(MAX_STEP)
    remembered = [moved for moved, *_ in optimizer.state[x]["pairs"]]
    for moved, (before, after) in zip(remembered, itertools.pairwise(pictures), strict=False):
        assert torch.allclose(moved, after - before, rtol=1e-3, atol=1e-3)


def test_colours_stay_in_range_as_by_a_term_of_the_loss() -> None:
    start = torch.rand(1, 3, 6, 5, dtype=torch.float64)
    target = 3 * torch.rand(start.shape, dtype=start.dtype) - 1

    def loss(x: Tensor) -> Tensor:
        return ((x - target) ** 2).sum()

    weight = 7 * float(loss(start))

    def with_term(x: Tensor) -> Tensor:
        beyond = torch.relu(x - 1) + torch.relu(-x)
        return loss(x) + weight * (beyond**2).mean()

    ours = steps(partial(PLAIN, range_penalty_weight=7.0), loss, start, 12)
    theirs = steps(PLAIN, with_term, start, 12)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
    free = steps(PLAIN, loss, start, 12)[-1]
    firm = steps(partial(PLAIN, range_penalty_weight=100.0), loss, start, 100)[-1]
    assert torch.allclose(free, target, atol=1e-6)
    assert torch.allclose(firm, target.clamp(0, 1), atol=0.1)
    assert float((firm - firm.clamp(0, 1)).abs().max()) < 0.02


def test_the_range_weighs_as_much_after_a_fresh_start() -> None:
    x = nn.Parameter(torch.rand(1, 1, 4, 4))
    optimizer = LBFGS([x], range_penalty_weight=3.0)
    first = step(optimizer, bowl(x.detach()), x)
    reset_optimizer(optimizer)
    step(optimizer, bowl(x.detach()), x)
    assert optimizer.param_groups[0]["range_weight"] == pytest.approx(3 * first)


def test_a_step_that_doubles_the_loss_is_taken_back() -> None:
    """A slope down to a steep wall, which the second step runs into."""

    def loss(x: Tensor) -> Tensor:
        return (0.01 * x**2 - x + 10 + 1e3 * torch.relu(x - 0.5) ** 2).sum()

    x = nn.Parameter(torch.full((1, 1), 0.2))
    optimizer = LBFGS([x], preconditioner_exponent=0.0)
    pictures, values = [x.item()], []
    for _ in range(6):
        values.append(step(optimizer, loss, x))
        pictures.append(x.item())
    worst = next(i for i in range(1, 6) if values[i] > 2 * values[i - 1])
    ((moved, *_),) = optimizer.state[x]["pairs"][worst - 1 : worst]
    assert float(moved) == pytest.approx(pictures[worst] - pictures[worst - 1])
    # From where it came from, not from behind the wall.
    remaining = pictures[worst + 1] - pictures[worst - 1]
    assert 0 < remaining < 0.1 * float(moved)
    assert values[worst + 1] < values[worst - 1]


def resumed(change: Callable[[dict[str, Any]], object], **settings: float) -> bool:
    """Whether steps from a changed copy of its state are those without a break."""
    start = 2 * torch.rand(1, 3, 5, 6)  # partly out of range
    loss = bowl(start)
    first = nn.Parameter(start.clone())
    one = LBFGS([first], history_size=3, preconditioner_exponent=0.5, range_penalty_weight=10.0)
    for _ in range(8):
        step(one, loss, first)
    assert len(one.state[first]["pairs"]) == 3
    state = copy.deepcopy(one.state_dict())
    change(state)
    second = nn.Parameter(first.detach().clone())
    other = LBFGS([second], **settings)
    other.load_state_dict(state)
    for _ in range(4):
        step(one, loss, first)
        step(other, loss, second)
    return torch.equal(first, second)


def of_release_0_4(state: dict[str, Any]) -> None:
    (group,) = state["param_groups"]
    group["smoothing"] = group.pop("preconditioner_exponent")
    group["range_penalty"] = group.pop("range_penalty_weight")


def of_an_earlier_release(state: dict[str, Any]) -> None:
    of_release_0_4(state)
    (group,) = state["param_groups"]
    del group["range_penalty"], group["range_weight"], state["state"][0]["value"]


def test_it_resumes_from_its_state_bit_for_bit() -> None:
    assert resumed(lambda state: None)
    assert resumed(of_release_0_4)
    # Without the penalty, and not from what the settings say now.
    assert not resumed(of_an_earlier_release, range_penalty_weight=10.0)


def test_settings_out_of_range_are_refused() -> None:
    for name in ("history_size", "preconditioner_exponent", "range_penalty_weight"):
        with pytest.raises(InputError, match=rf"^optimizer\.{name}: got -1; expected .* or more"):
            check_arguments("optimizer", LBFGS, {name: -1}, ["params"])


def test_a_rate_of_zero_and_several_parameters_are_refused() -> None:
    x = nn.Parameter(torch.zeros(1, 1))
    with pytest.raises(ValueError, match=r"lr: got 0\.0; expected more than 0"):
        LBFGS([x], lr=0.0)
    with pytest.raises(ValueError, match="expected one"):
        LBFGS([x, nn.Parameter(torch.zeros(1, 1))])


@pytest.mark.parametrize(
    "make", [LBFGS, TORCHS, partial(torch.optim.Adam, lr=0.1)], ids=["ours", "torchs", "adam"]
)
def test_after_a_fresh_start_the_parameter_may_have_another_size(make: Make) -> None:
    def go(x: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(4):
            step(optimizer, lambda x: ((x - 0.3) ** 4).sum(), x)

    x = nn.Parameter(torch.rand(2, 3))
    optimizer = make([x])
    go(x, optimizer)
    larger = torch.rand(4, 6)
    x.grad, x.data = None, larger.clone()
    reset_optimizer(optimizer, lr=0.5)
    go(x, optimizer)
    alone = nn.Parameter(larger.clone())
    other = make([alone])
    other.param_groups[0]["lr"] = 0.5
    go(alone, other)
    assert torch.equal(x, alone)
