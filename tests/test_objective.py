"""Terms and their sum, on a network of two convolutions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src import losses, masks
from src.backbones.chain import Backbone
from src.errors import InputError
from src.objective import (
    ContentTerm,
    DepthTerm,
    Objective,
    Style,
    StyleTerm,
    TotalVariationTerm,
    at_layers,
    check_size,
    sizes,
)
from tests.running import TinyDepthNet, tiny_backbone

LAYERS = ["relu1", "relu2"]


@pytest.fixture
def backbone() -> Backbone:
    return tiny_backbone()


def picture(seed: int, height: int = 12, width: int = 16) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def grams(backbone: Backbone, image: Tensor) -> dict[str, Tensor]:
    features = backbone.features(image, LAYERS)
    return {layer: losses.gram_matrix(features[layer]) for layer in LAYERS}


def half(height: int = 12, width: int = 16) -> Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


def test_total_is_the_weighted_sum_of_the_reported_terms(backbone: Backbone) -> None:
    content, style, pastiche = picture(0), picture(1, 10, 10), picture(2)
    features = backbone.features(content, LAYERS)
    objective = Objective(
        backbone,
        [
            ContentTerm({"relu2": features["relu2"]}, 3.0),
            StyleTerm(
                {"a": Style(grams(backbone, style), 2.0), "b": Style(grams(backbone, content))},
                5.0,
                sizes(features),
            ),
            TotalVariationTerm(7.0),
        ],
    )
    total, terms = objective(pastiche)
    assert list(terms) == ["content", "style", "style_a", "style_b", "tv"]
    assert terms["style"] == pytest.approx(float(2 * terms["style_a"] + terms["style_b"]))
    expected = 3 * terms["content"] + 5 * terms["style"] + 7 * terms["tv"]
    assert float(total) == pytest.approx(float(expected))


def test_terms_are_the_losses_of_the_features(backbone: Backbone) -> None:
    content, style, pastiche, mask = picture(0), picture(1), picture(2), half()
    target = backbone.features(content, ["relu2"])
    features = backbone.features(pastiche, LAYERS)
    at = {layer: masks.at_layer(mask, *features[layer].shape[-2:]) for layer in LAYERS}
    style_term = StyleTerm(
        {"main": Style(grams(backbone, style), mask=mask)}, 1, sizes(features), [0.5, 0.25]
    )
    expected = sum(
        omega
        * losses.style_loss(
            losses.gram_matrix(features[layer], at[layer]), grams(backbone, style)[layer]
        )
        for layer, omega in zip(LAYERS, [0.5, 0.25], strict=True)
    )
    assert torch.equal(style_term(pastiche, features)["style"], torch.as_tensor(expected))
    content_term = ContentTerm(target, 1, mask, "sum")
    loss = losses.content_loss(features["relu2"], target["relu2"], at["relu2"])
    assert torch.equal(content_term(pastiche, features)["content"], loss)


@pytest.mark.parametrize("make", [ContentTerm, TotalVariationTerm])
def test_mean_divides_the_sum_by_the_number_of_values(
    backbone: Backbone, make: Callable[..., ContentTerm | TotalVariationTerm]
) -> None:
    target = backbone.features(picture(0), ["relu2"])
    args = (target, 1.0) if make is ContentTerm else (1.0,)
    count = target["relu2"].numel() if make is ContentTerm else picture(0).numel()
    features = backbone.features(picture(2), ["relu2"])
    values = {
        reduction: next(iter(make(*args, reduction=reduction)(picture(2), features).values()))
        for reduction in ("sum", "mean")
    }
    assert float(values["sum"]) == pytest.approx(float(values["mean"]) * count)


def test_layer_weights_default_to_one_over_channels_squared(backbone: Backbone) -> None:
    features = backbone.features(picture(2), LAYERS)
    style = {"main": Style(grams(backbone, picture(1)))}
    default = StyleTerm(style, 1, sizes(features))
    given = StyleTerm(style, 1, sizes(features), [1 / 16, 1 / 36])
    pair = [term(picture(2), features)["style"] for term in (default, given)]
    assert torch.equal(*pair)


def test_wrong_number_of_layer_weights_names_the_key(backbone: Backbone) -> None:
    style = {"main": Style(grams(backbone, picture(1)))}
    with pytest.raises(InputError, match=r"loss.style.layer_weights: got 3 numbers; .* 2 layers"):
        StyleTerm(style, 1, {}, [1, 2, 3])


def test_a_term_of_weight_zero_is_reported_but_has_no_gradient(backbone: Backbone) -> None:
    pastiche = picture(2).requires_grad_()
    target = backbone.features(picture(0), ["relu2"])
    with_zero = Objective(backbone, [ContentTerm(target, 1.0), TotalVariationTerm(0.0)])
    total, terms = with_zero(pastiche)
    (gradient,) = torch.autograd.grad(total, pastiche)
    alone, _ = Objective(backbone, [ContentTerm(target, 1.0)])(pastiche)
    (expected,) = torch.autograd.grad(alone, pastiche)
    assert terms["tv"] > 0
    assert torch.equal(gradient, expected)


def test_one_pass_serves_all_terms(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    content = picture(0)
    features = backbone.features(content, LAYERS)
    objective = Objective(
        backbone,
        [
            ContentTerm({"relu2": features["relu2"]}, 1.0),
            StyleTerm({"main": Style(grams(backbone, picture(1)))}, 1.0, sizes(features)),
        ],
    )
    passes = []
    original = backbone.one_by_one
    monkeypatch.setattr(backbone, "one_by_one", lambda *a: passes.append(1) or original(*a))
    objective(picture(2))
    assert len(passes) == 1


def test_identical_pictures_cost_nothing(backbone: Backbone) -> None:
    image = picture(0)
    features = backbone.features(image, LAYERS)
    objective = Objective(
        backbone,
        [
            ContentTerm(features, 1.0),
            StyleTerm({"main": Style(grams(backbone, image))}, 1.0, sizes(features)),
        ],
    )
    total, _ = objective(image)
    assert float(total) == 0


def test_where_the_style_mask_is_zero_there_is_no_style_gradient(backbone: Backbone) -> None:
    """Paper, section 5.2: "no style is applied ... where the depth mask is dark"."""
    pastiche = picture(2).requires_grad_()
    features = backbone.features(pastiche, LAYERS)
    term = StyleTerm(
        {"main": Style(grams(backbone, picture(1)), mask=half())}, 1.0, sizes(features)
    )
    (gradient,) = torch.autograd.grad(term(pastiche, features)["style"], pastiche)
    reach = 8 + 4  # the mask's edge and the reach of two 3x3 windows with a pool between
    assert gradient[..., reach:].abs().max() == 0
    assert gradient[..., :6].abs().min() > 0


def test_a_mask_that_vanishes_is_refused_with_the_layer_and_the_key() -> None:
    mask = torch.zeros(1, 1, 12, 16)
    mask[..., 0, 0] = 1
    assert at_layers(mask, {"relu1": (12, 16)}, "mask")
    with pytest.raises(InputError, match=r"^styles.far.mask: got .* the layer relu2; expected"):
        at_layers(mask, {"relu1": (12, 16), "relu2": (3, 4)}, "styles.far.mask")


def test_no_mask_gives_no_masks() -> None:
    assert at_layers(None, {"relu1": (12, 16)}, "mask") == {}


def test_a_picture_too_small_for_a_layer_is_refused(backbone: Backbone) -> None:
    check_size(picture(0, 2, 2), backbone, LAYERS, "size")
    with pytest.raises(InputError, match=r"size: got a picture of 9 x 1 pixels; .* at least 2 .*"):
        check_size(picture(0, 1, 9), backbone, LAYERS, "size")


def tensors(thing: object) -> list[Tensor]:
    if isinstance(thing, Tensor):
        return [thing]
    if isinstance(thing, dict):
        return [t for value in thing.values() for t in tensors(value)]
    return []


def test_moving_moves_every_target(backbone: Backbone) -> None:
    content = picture(0)
    features = backbone.features(content, LAYERS)
    style = Style(grams(backbone, content), mask=half())
    for term, count in (
        (ContentTerm(features, 1.0, half()), 4),  # two layers: targets and masks
        (StyleTerm({"main": style}, 1.0, sizes(features)), 6),  # and what is divided by
    ):
        Objective(backbone, [term]).to(torch.device("meta"))
        found = [t for value in vars(term).values() for t in tensors(value)]
        assert len(found) == count
        assert {t.device.type for t in found} == {"meta"}


def test_five_steps_lower_every_term(backbone: Backbone) -> None:
    content = picture(0)
    features = backbone.features(content, LAYERS)
    parts = [
        ContentTerm(features, 1.0, half()),
        StyleTerm({"main": Style(grams(backbone, picture(1)), mask=half())}, 1.0, sizes(features)),
        TotalVariationTerm(1.0),
    ]
    for part in parts:
        pastiche = picture(2).requires_grad_()
        objective = Objective(backbone, [part])
        optimizer = torch.optim.SGD([pastiche], lr=1e-3)
        values = []
        for _ in range(6):
            optimizer.zero_grad()
            total, _ = objective(pastiche)
            values.append(total.item())
            total.backward()
            optimizer.step()
        assert values == sorted(values, reverse=True), part.name
        assert values[-1] < values[0]


# Depth


def depth_term(net: TinyDepthNet, **settings: float | str) -> DepthTerm:
    return DepthTerm(net, net.disparity(picture(0), {}), 3.0, **settings)


@pytest.mark.parametrize(
    ("mode", "loss"), [("aligned", losses.aligned_depth_loss), ("raw", losses.depth_loss)]
)
def test_depth_term_is_the_loss_of_the_two_disparities(
    mode: str, loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    net = TinyDepthNet()
    content, pastiche = (net.disparity(picture(i), {}) for i in (0, 2))
    found = depth_term(net, mode=mode)(picture(2), {})
    assert list(found) == ["depth"]
    assert torch.equal(found["depth"], loss(pastiche, content))
    found = depth_term(net, mode=mode, gradient=0.5)(picture(2), {})
    edges = losses.depth_gradient_loss(pastiche, content)
    assert torch.equal(found["depth_gradient"], edges)
    assert torch.equal(found["depth"], loss(pastiche, content) + 0.5 * edges)


def test_depth_network_reads_the_features_of_the_same_pass(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = TinyDepthNet("relu1")
    net.share(backbone)
    whole = backbone.features
    target = net.disparity(picture(0), whole(picture(0), ["relu1"]))
    content = whole(picture(0), ["relu2"])
    passes = []
    original = backbone.one_by_one
    monkeypatch.setattr(
        backbone,
        "one_by_one",
        lambda image, layers: passes.append(layers) or original(image, layers),
    )
    objective = Objective(backbone, [ContentTerm(content, 1.0), DepthTerm(net, target, 1.0)])
    _, terms = objective(picture(2))
    assert passes == [["relu2", "relu1"]]
    monkeypatch.undo()
    seen = net.disparity(picture(2), whole(picture(2), ["relu1"]))
    assert torch.equal(terms["depth"], losses.aligned_depth_loss(seen, target))


def test_warm_up_raises_the_weight_in_equal_steps(backbone: Backbone) -> None:
    objective = Objective(backbone, [depth_term(TinyDepthNet(), warmup=4)])
    value = float(objective(picture(2))[1]["depth"])
    totals = [float(objective(picture(2), step)[0]) for step in (0, 1, 3, 4, 9)]
    assert totals == pytest.approx([3 * value * f for f in (0.25, 0.5, 1, 1, 1)])
    assert float(objective(picture(2))[0]) == pytest.approx(3 * value)


def test_every_second_step_the_network_looks_and_counts_twice(backbone: Backbone) -> None:
    net = TinyDepthNet()
    objective = Objective(backbone, [depth_term(net, every=2)])
    net.looked = 0
    totals, reported = [], []
    for step in range(4):
        total, terms = objective(picture(2 + step), step)
        totals.append(float(total))
        reported.append(float(terms["depth"]))
    assert net.looked == 2
    assert totals == pytest.approx([6 * reported[0], 0, 6 * reported[2], 0])
    assert reported[1] == reported[0]
    assert reported[3] == reported[2] != reported[0]


def test_a_content_without_depth_to_compare_is_refused() -> None:
    net = TinyDepthNet()
    with pytest.raises(InputError, match="content: got a picture whose depth tiny finds the same"):
        DepthTerm(net, torch.ones(1, 1, 8, 8), 1.0)
