"""L-BFGS of a picture, against torch's, against another set of variables, and at its limits."""

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from src.optimizers import LBFGS, LONGEST, smooth, start_afresh

Loss = Callable[[Tensor], Tensor]
Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
TORCHS: Make = partial(
    torch.optim.LBFGS, max_iter=1, history_size=4, tolerance_grad=0.0, tolerance_change=0.0
)
PLAIN: Make = partial(LBFGS, history_size=4, smoothing=0.0)


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
    for ours, torchs in zip(
        steps(PLAIN, loss, start, 12), steps(TORCHS, loss, start, 12), strict=True
    ):
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


def test_with_nothing_to_descend_the_first_step_is_none() -> None:
    start = torch.rand(1, 3, 4, 4)
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
        float(smooth(x.grad, e).abs().mean()) for e in (exponent / 2, exponent)
    )
    scale = length_in_z / length_in_x

    def to_x(z: Tensor) -> Tensor:
        return scale * smooth(z, exponent / 2)

    in_z = steps(PLAIN, lambda z: loss(to_x(z)), smooth(start, -exponent / 2) / scale, 10)
    in_x = steps(partial(LBFGS, history_size=4, smoothing=exponent), loss, start, 10)
    for x_after, z in zip(in_x, in_z, strict=True):
        assert torch.allclose(x_after, to_x(z), rtol=1e-7, atol=1e-9)


def test_smoothing_by_hand() -> None:
    across = torch.arange(8.0) / 8
    wave = torch.cos(2 * math.pi * 2 * across).expand(4, 8)  # two waves in eight pixels
    assert torch.allclose(smooth(wave, 1.0), 4 * wave, atol=1e-5)
    assert torch.allclose(smooth(wave, 2.0), 16 * wave, atol=1e-4)
    flat = torch.ones(4, 8)
    assert torch.allclose(smooth(flat, 1.0), 8 * flat)  # as the lowest frequency, one in eight
    assert smooth(flat, 0.0) is flat


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 5), (1, 9)])
def test_smoothing_is_symmetric_and_positive(height: int, width: int) -> None:
    count = height * width
    basis = torch.eye(count, dtype=torch.float64).view(count, height, width)
    matrix = smooth(basis, 1.0).flatten(1)
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


def test_smoothing_does_not_cross_into_what_stays() -> None:
    x, where = torch.rand(1, 3, 8, 9), torch.ones(1, 1, 8, 9)
    assert torch.allclose(smooth(x, 1.0, where), smooth(x, 1.0), atol=1e-5)
    where[..., :4] = 0
    inside = torch.where(where > 0, x, 0)
    assert bool((smooth(inside, 1.0, where)[..., :4] == 0).all())
    assert torch.allclose(smooth(inside, 1.0, where)[..., 4:], smooth(inside, 1.0)[..., 4:])
    outside = x - inside
    found = smooth(outside, 1.0, where)
    alone = torch.zeros(8, 9)
    alone[0, 0] = 1
    assert torch.allclose(found, smooth(alone, 1.0)[0, 0] * outside, atol=1e-5)


def test_smoothing_is_positive_wherever_it_is() -> None:
    basis = torch.eye(42, dtype=torch.float64).view(42, 6, 7)
    matrix = smooth(basis, 1.0, torch.rand(6, 7, dtype=torch.float64)).flatten(1)
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


def test_what_stays_is_moved_by_its_own_gradient_alone() -> None:
    """A loss of one half; the other has none to be moved by."""
    where = torch.zeros(1, 1, 4, 4)
    where[..., :2] = 1
    start = torch.rand(1, 3, 8, 8)
    loss = bowl(start[..., :4])
    found = steps(partial(LBFGS, where=where), lambda x: loss(x[..., :4]), start, 6)[-1]
    assert bool((found != start)[..., :3].any())
    assert torch.equal(found[..., 6:], start[..., 6:])
    everywhere = steps(LBFGS, lambda x: loss(x[..., :4]), start, 6)[-1]
    assert not torch.equal(everywhere[..., 6:], start[..., 6:])


def test_smoothing_gets_coarse_structure_sooner() -> None:
    """The target is a slope; a loss of differences of neighbours is steep in fine detail."""
    target = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    start = torch.rand(1, 1, 32, 32)

    def loss(x: Tensor) -> Tensor:
        off = x - target
        return off.diff(dim=-1).square().sum() + off.diff(dim=-2).square().sum()

    plain, smoothed = (
        float(loss(steps(partial(LBFGS, smoothing=s), loss, start, 12)[-1])) for s in (0.0, 1.0)
    )
    assert smoothed < 0.5 * plain


def test_a_rejected_first_pair_does_not_throw_the_picture_away() -> None:
    """Steep and without curvature at first, a bowl farther away."""

    def loss(x: Tensor) -> Tensor:
        return 1e5 * nn.functional.huber_loss(x, torch.full_like(x, 3.0), delta=0.5)

    start = torch.rand(4, 5)
    torchs = steps(TORCHS, loss, start, 30)
    assert max(float((b - a).abs().max()) for a, b in itertools.pairwise(torchs)) > 100
    for smoothing in (0.0, 1.0):
        ours = steps(partial(LBFGS, smoothing=smoothing), loss, start, 60)
        moved = [float((b - a).abs().max()) for a, b in itertools.pairwise(ours)]
        assert max(moved) <= LONGEST * (1 + 1e-6)
        assert torch.allclose(ours[-1], torch.full_like(start, 3.0), atol=0.05)


def test_what_it_remembers_of_a_shortened_step_is_the_step_it_made() -> None:
    start = torch.tensor([[300.0, 200.0]])
    weights = torch.tensor([1.0, 4.0])
    x = nn.Parameter(start.clone())
    optimizer = LBFGS([x], smoothing=0.0)
    pictures = [x.detach().clone()]
    for _ in range(4):
        step(optimizer, lambda x: 0.5 * (weights * x**2).sum(), x)
        pictures.append(x.detach().clone())
    assert float((pictures[2] - pictures[1]).abs().max()) == pytest.approx(LONGEST)
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

    ours = steps(partial(LBFGS, smoothing=0.0, range_penalty=7.0), loss, start, 12)
    theirs = steps(partial(LBFGS, smoothing=0.0), with_term, start, 12)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
    free = steps(partial(LBFGS, smoothing=0.0), loss, start, 12)[-1]
    firm = steps(partial(LBFGS, smoothing=0.0, range_penalty=100.0), loss, start, 100)[-1]
    assert torch.allclose(free, target, atol=1e-6)
    assert torch.allclose(firm, target.clamp(0, 1), atol=0.1)
    assert float((firm - firm.clamp(0, 1)).abs().max()) < 0.02


def test_the_range_weighs_as_much_after_a_fresh_start() -> None:
    x = nn.Parameter(torch.rand(1, 1, 4, 4))
    optimizer = LBFGS([x], range_penalty=3.0)
    first = step(optimizer, bowl(x.detach()), x)
    start_afresh(optimizer)
    step(optimizer, bowl(x.detach()), x)
    assert optimizer.param_groups[0]["range_weight"] == pytest.approx(3 * first)


def test_a_step_that_doubles_the_loss_is_taken_back() -> None:
    """A slope down to a steep wall, which the second step runs into."""

    def loss(x: Tensor) -> Tensor:
        return (0.01 * x**2 - x + 10 + 1e3 * torch.relu(x - 0.5) ** 2).sum()

    x = nn.Parameter(torch.full((1, 1), 0.2))
    optimizer = LBFGS([x], smoothing=0.0)
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


def test_it_remembers_no_more_than_it_was_told() -> None:
    start = torch.rand(1, 1, 4, 4)
    loss = bowl(start)
    x = nn.Parameter(start)
    optimizer = LBFGS([x], history_size=3)
    for _ in range(8):
        step(optimizer, loss, x)
    assert len(optimizer.state[x]["pairs"]) == 3


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    start = torch.rand(1, 3, 5, 6)
    loss = bowl(start)
    first = nn.Parameter(start.clone())
    one = LBFGS([first], history_size=3, range_penalty=10.0)
    for _ in range(5):
        step(one, loss, first)
    second = nn.Parameter(first.detach().clone())
    other = LBFGS([second], history_size=3, range_penalty=10.0)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for _ in range(4):
        step(one, loss, first)
        step(other, loss, second)
    assert torch.equal(first, second)


def test_it_goes_on_from_the_state_of_an_earlier_release() -> None:
    start = torch.rand(1, 3, 5, 6)
    loss = bowl(start)
    x = nn.Parameter(start.clone())
    optimizer = LBFGS([x], range_penalty=100.0)
    for _ in range(3):
        step(optimizer, loss, x)
    state = copy.deepcopy(optimizer.state_dict())
    del state["param_groups"][0]["range_penalty"], state["param_groups"][0]["range_weight"]
    del state["state"][0]["value"]
    other = LBFGS([x], range_penalty=100.0)
    other.load_state_dict(state)
    assert step(other, loss, x) >= step(other, loss, x)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lr": 0.0}, "lr: got 0.0; expected more than 0"),
        ({"history_size": 0}, "history_size: got 0; expected 1 or more"),
        ({"smoothing": -1.0}, "smoothing: got -1.0; expected 0 or more"),
        ({"range_penalty": -1.0}, "range_penalty: got -1.0; expected 0 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        LBFGS([nn.Parameter(torch.zeros(1, 1))], **settings)
    with pytest.raises(ValueError, match="expected one"):
        LBFGS([nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))])


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
    start_afresh(optimizer, lr=0.5)
    go(x, optimizer)
    alone = nn.Parameter(larger.clone())
    other = make([alone])
    other.param_groups[0]["lr"] = 0.5
    go(alone, other)
    assert torch.equal(x, alone)
