"""Terms and their sum, on a network of two convolutions."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from src import losses, masks
from src.backbones import Backbone, check_size
from src.core.errors import InputError
from src.objective import (
    ContentTerm,
    DepthTerm,
    GramDistance,
    Style,
    StyleDistance,
    StyleTerm,
    TotalVariationTerm,
    check_depth_size,
)
from src.objective.targets import masks_per_layer, style_statistics
from tests.running import TINY_LAYERS as LAYERS
from tests.running import TinyDepthNet, half, picture, style_term, tiny_backbone, tiny_objective


@pytest.fixture
def backbone() -> Backbone:
    return tiny_backbone()


def grams(backbone: Backbone, image: Tensor) -> dict[str, Tensor]:
    features = backbone.features(image, LAYERS)
    return {layer: losses.gram_matrix(features[layer]) for layer in LAYERS}


def test_total_is_the_weighted_sum_of_the_reported_terms() -> None:
    styles = {"a": Style(picture(1, 10, 10), 2.0), "b": Style(picture(0))}
    terms = [ContentTerm(["relu2"], 3.0), style_term(5.0), TotalVariationTerm(7.0)]
    objective = tiny_objective(terms, picture(0), styles)
    total, values = objective(picture(2))
    assert objective.terms == ["content", "style", "tv"]
    assert list(values) == ["content", "style", "style_a", "style_b", "tv"]
    assert values["style"] == pytest.approx(float(2 * values["style_a"] + values["style_b"]))
    expected = 3 * values["content"] + 5 * values["style"] + 7 * values["tv"]
    assert float(total) == pytest.approx(float(expected))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("normalizer", losses.NORMALIZERS)
def test_terms_are_the_losses_of_the_features(
    backbone: Backbone, masked: bool, normalizer: losses.Normalizer
) -> None:
    content, style, pastiche = picture(0), picture(1, 10, 10), picture(2)
    mask = picture(3)[:, :1] if masked else None
    content_term = ContentTerm(["relu2"], 1, "sum")
    term = StyleTerm(LAYERS, 1, GramDistance(normalizer), [0.5, 0.25])
    terms = [content_term, term, TotalVariationTerm(1, "sum")]
    styles = {"main": Style(style, mask=mask)}
    _, values = tiny_objective(terms, content, styles, mask)(pastiche)

    features, target = backbone.features(pastiche, LAYERS), grams(backbone, style)
    at = {
        layer: masks.downsample_mask(mask, *x.shape[-2:]) if masked else None
        for layer, x in features.items()
    }
    e = {
        layer: losses.style_loss(losses.gram_matrix(x, at[layer], normalizer), target[layer])
        for layer, x in features.items()
    }
    assert torch.equal(values["style"], 0.5 * e["relu1"] + 0.25 * e["relu2"])
    kept = backbone.features(content, ["relu2"])["relu2"]
    expected = losses.content_loss(features["relu2"], kept, at["relu2"])
    assert torch.equal(values["content"], expected)
    assert torch.equal(values["tv"], losses.total_variation(pastiche))


def test_mean_divides_the_sum_by_the_number_of_values(backbone: Backbone) -> None:
    def values(reduction: str) -> dict[str, Tensor]:
        terms = [ContentTerm(["relu2"], 1, reduction), TotalVariationTerm(1, reduction)]
        return tiny_objective(terms, picture(0))(picture(2))[1]

    counts = {"content": backbone.features(picture(0), ["relu2"])["relu2"].numel(), "tv": 576}
    for name, count in counts.items():
        assert float(values("sum")[name]) == pytest.approx(float(values("mean")[name]) * count)


def test_layers_are_named_or_counted_and_read_once_each() -> None:
    values = [
        tiny_objective([ContentTerm(layers, 1)], picture(0))(picture(2))[1]["content"]
        for layers in (["relu1", "relu2"], [1, 4, "relu1"])
    ]
    assert torch.equal(*values)
    with pytest.raises(InputError, match=r"^loss.content.layers: got the layer 'relu9'"):
        tiny_objective([ContentTerm(["relu9"], 1)], picture(0))


def test_layer_weights_default_to_one_over_channels_squared() -> None:
    styles = {"main": Style(picture(1))}
    pair = [
        tiny_objective([style_term(1, omega)], picture(0), styles)(picture(2))[1]["style"]
        for omega in (None, [1 / 16, 1 / 36])
    ]
    assert torch.equal(*pair)


def test_wrong_number_of_layer_weights_names_the_key() -> None:
    with pytest.raises(InputError, match=r"loss.style.layer_weights: got 3 numbers; .* 2 layers"):
        tiny_objective([style_term(1, [1, 2, 3])], picture(0), {"main": Style(picture(1))})


def test_a_term_of_weight_zero_is_reported_but_has_no_gradient() -> None:
    gradients = []
    for terms in ([TotalVariationTerm(0.0)], []):
        pastiche = picture(2).requires_grad_()
        total, values = tiny_objective([ContentTerm(["relu2"], 1.0), *terms], picture(0))(pastiche)
        gradients += torch.autograd.grad(total, pastiche)
        assert not terms or values["tv"] > 0
    assert torch.equal(*gradients)


def test_identical_pictures_cost_nothing() -> None:
    objective = tiny_objective(
        [ContentTerm(LAYERS, 1.0), style_term()], picture(0), {"main": Style(picture(0))}
    )
    assert float(objective(picture(0))[0]) == 0


def test_where_the_style_mask_is_zero_there_is_no_style_gradient() -> None:
    """Paper, section 5.2: "no style is applied ... where the depth mask is dark"."""
    pastiche = picture(2).requires_grad_()
    styles = {"main": Style(picture(1), mask=half())}
    total, _ = tiny_objective([style_term()], picture(0), styles)(pastiche)
    (gradient,) = torch.autograd.grad(total, pastiche)
    reach = 8 + 4  # the mask's edge and the reach of two 3x3 windows with a pool between
    assert gradient[..., reach:].abs().max() == 0
    assert gradient[..., :6].abs().min() > 0


@pytest.mark.parametrize("key", ["loss.content.mask", "styles.far.mask"])
def test_a_mask_that_vanishes_is_refused_with_the_layer_and_the_key(key: str) -> None:
    mask = torch.zeros(1, 1, 12, 16)
    mask[..., 0, 0] = 1
    assert masks_per_layer(mask, {"relu1": (12, 16)}, "mask")
    assert masks_per_layer(None, {"relu1": (12, 16)}, "mask") == {}
    styles = {"far": Style(picture(1), mask=mask if "far" in key else None)}
    terms = [ContentTerm(LAYERS, 1.0), style_term()]
    with pytest.raises(InputError, match=rf"^{key}: got .* the layer relu2; expected"):
        tiny_objective(terms, picture(0), styles, None if "far" in key else mask)


def test_a_picture_too_small_is_refused(backbone: Backbone) -> None:
    check_size(picture(0, 2, 2), backbone, LAYERS, "size")
    for key, content, style in (("size", (1, 9), (9, 9)), ("style_size", (9, 9), (1, 9))):
        terms = [ContentTerm(["relu1"], 1.0), style_term()]
        with pytest.raises(InputError, match=rf"^{key}: got a picture of 9 x 1 .* 2 .* relu2"):
            tiny_objective(terms, picture(0, *content), {"main": Style(picture(1, *style))})
    check_depth_size(picture(0, 8, 9), TinyDepthNet())
    for size, key in ((None, "size"), (6, "loss.depth.size")):
        content = picture(0, 7, 9) if size is None else picture(0)
        with pytest.raises(InputError, match=rf"^{key}: got a .*; expected .* 8 pixels for tiny"):
            tiny_objective([DepthTerm(1.0, size=size)], content)


def tensors(thing: object) -> list[Tensor]:
    if isinstance(thing, dict):
        return [t for value in thing.values() for t in tensors(value)]
    return [thing] if isinstance(thing, Tensor) else []


def test_moving_moves_every_target() -> None:
    terms = [ContentTerm(LAYERS, 1.0), style_term(), DepthTerm(1.0)]
    styles = {"main": Style(picture(0), mask=half())}
    tiny_objective(terms, picture(0), styles, half()).to(torch.device("meta"))
    for term, count in zip(terms, (4, 4, 1), strict=True):  # two layers: targets and masks
        found = [t for value in vars(term).values() for t in tensors(value)]
        assert [t.device.type for t in found] == ["meta"] * count


@dataclass(frozen=True)
class MeanDistance(StyleDistance):
    """Another distance: two methods."""

    def statistics(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        return (features if mask is None else features * mask).mean((2, 3))

    def distance(self, statistics: Tensor, target: Tensor) -> Tensor:
        return (statistics - target).square().sum()


def test_another_distance_takes_two_methods_and_is_refused_in_tiles(backbone: Backbone) -> None:
    term, styles = StyleTerm(["relu2"], 1, MeanDistance()), {"a": Style(picture(1), mask=half())}
    _, values = tiny_objective([term], picture(0), styles)(picture(2))
    own, other = (backbone.features(picture(i), ["relu2"])["relu2"] for i in (2, 1))
    mask = masks.downsample_mask(half(), 6, 8)
    expected = ((own * mask).mean((2, 3)) - other.mean((2, 3))).square().sum()
    assert torch.equal(values["style"], expected)
    with pytest.raises(InputError, match=r"^tile_size: got pieces with the term style; expected"):
        tiny_objective([term], picture(0), styles, tile_size=8)
    with pytest.raises(InputError, match=r"^tile_size: got pieces with MeanDistance\(\); expected"):
        style_statistics(backbone, picture(0), ("relu2",), MeanDistance(), 8)


def test_targets_are_computed_once_for_equal_distances(backbone: Backbone) -> None:
    image = picture(1)
    first, second, other = (
        style_statistics(backbone, picked, ("relu1",), GramDistance("paper"), None)
        for picked in (image, image, image.clone())
    )
    assert first is second
    assert other is not first


@pytest.mark.parametrize("gradient", [0.0, 0.5])
@pytest.mark.parametrize(
    ("mode", "loss"), [("aligned", losses.aligned_depth_loss), ("raw", losses.depth_loss)]
)
def test_depth_term_is_the_loss_of_the_two_disparities(
    mode: str, loss: Callable[[Tensor, Tensor], Tensor], gradient: float
) -> None:
    content, pastiche = (TinyDepthNet().disparity(picture(i), {}) for i in (0, 2))
    _, values = tiny_objective([DepthTerm(3.0, mode, gradient)], picture(0))(picture(2))
    edges = losses.depth_gradient_loss(pastiche, content)
    assert torch.equal(values["depth"], loss(pastiche, content) + gradient * edges)
    assert torch.equal(values.get("depth_gradient", edges), edges)
    assert list(values) == ["depth", "depth_gradient"][: 2 if gradient else 1]


def test_one_pass_serves_all_terms_and_the_depth_network(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = TinyDepthNet("relu1")
    net.attach_backbone(backbone)
    terms = [ContentTerm(["relu2"], 1.0), DepthTerm(1.0)]
    objective = tiny_objective(terms, picture(0), backbone=backbone, net=net)
    passes = []
    original = backbone.iter_features
    monkeypatch.setattr(
        backbone, "iter_features", lambda image, la: passes.append(la) or original(image, la)
    )
    _, values = objective(picture(2))
    assert passes == [("relu2", "relu1")]
    monkeypatch.undo()
    seen, target = (
        net.disparity(picture(i), backbone.features(picture(i), ["relu1"])) for i in (2, 0)
    )
    assert torch.equal(values["depth"], losses.aligned_depth_loss(seen, target))


def test_a_content_without_depth_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="content: got a picture whose depth tiny finds the same"):
        tiny_objective([DepthTerm(1.0)], torch.zeros(1, 3, 12, 16))
