"""Images in tiles: the same as in one piece."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from src import losses
from src.backbones import Backbone, vgg19
from src.backbones.preprocessing import Preprocessing
from src.backbones.squeezenet import Fire
from src.masks import downsample_mask
from src.objective import (
    ContentTerm,
    DepthTerm,
    GramDistance,
    Objective,
    Style,
    Term,
    TotalVariationTerm,
)
from src.objective.targets import content_features, style_statistics
from src.objective.tiles import split
from tests.running import (
    TINY_LAYERS,
    TinyDepthNet,
    pastiche,
    picture,
    run,
    style_term,
    terms,
    tiny_backbone,
    tiny_objective,
)

LAYERS = ("relu1_1", "relu3_1", "relu4_2", "relu5_1")


@pytest.fixture(scope="module")
def vgg() -> Backbone:
    return vgg19()


def same(got: Tensor, expected: Tensor) -> bool:
    """To rounding: convolutions sum in another order at another size."""
    return bool((got - expected).abs().max() <= 2e-5 * expected.abs().max())


@pytest.mark.parametrize(
    ("height", "width", "side"), [(150, 203, 32), (97, 64, 48), (96, 128, 64), (33, 95, 16)]
)
def test_pieces_have_the_features_of_the_whole(
    vgg: Backbone, height: int, width: int, side: int
) -> None:
    image = picture(0, height, width)
    whole = vgg.features(image, LAYERS)
    found = content_features(vgg, image, LAYERS, side)
    for layer in LAYERS:
        assert same(found[layer], whole[layer]), layer


def overhanging() -> Backbone:
    """As SqueezeNet begins: no padding, pools that hang over, convolutions side by side."""
    layers = [
        ("conv1", nn.Conv2d(3, 4, 3, stride=2)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("fire2", Fire(4, 2, 3).to_empty(device="cpu")),
        ("pool2", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("fire3", Fire(6, 3, 4).to_empty(device="cpu")),
    ]
    for _, module in layers:
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
    return Backbone(layers, Preprocessing((0.5,) * 3, (0.25,) * 3), "overhanging")


@pytest.mark.parametrize(("height", "width"), [*product((63, 66, 81), (64, 77))])
def test_pieces_have_the_features_of_the_whole_where_pools_hang_over(
    height: int, width: int
) -> None:
    net, image = overhanging(), picture(1, height, width)
    layers = ("relu1", "fire2", "fire3")
    whole = net.features(image, layers)
    assert len(split(net, layers, image, 16)) > 8
    for layer, x in content_features(net, image, layers, 16).items():
        assert same(x, whole[layer]), layer


@pytest.mark.parametrize("layer", LAYERS)
def test_what_a_layer_sees_is_what_changes_it(vgg: Backbone, layer: str) -> None:
    pixels = picture(0, 210, 200).requires_grad_()
    found = vgg.features(pixels, [layer])[layer]
    reach = vgg.receptive_field(layer)
    row = found.shape[-2] // 2
    found[..., row, found.shape[-1] // 2].sum().backward()
    assert pixels.grad is not None
    touched = pixels.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(touched.min()) == row * reach.stride - reach.before
    assert int(touched.max()) == row * reach.stride + reach.after


@pytest.mark.parametrize("make", [vgg19, overhanging])
def test_the_size_of_features_is_known_beforehand(make: Callable[[], Backbone]) -> None:
    net = make()
    for height, width in ((48, 67), (49, 66), (50, 65), (51, 64)):
        found = net.features(picture(0, height, width), net.layers[:24])
        for layer, x in found.items():
            assert net.size(layer, height, width) == x.shape[-2:], layer


@pytest.mark.parametrize("height", [16, 31, 47, 48, 63, 64, 65, 100])
def test_every_position_belongs_to_one_piece(vgg: Backbone, height: int) -> None:
    tiles = split(vgg, LAYERS, picture(0, height, 40), 32)
    for layer in LAYERS:
        count = torch.zeros(1, 1, *vgg.size(layer, height, 40))
        for tile in tiles:
            tile.crop_full(layer, count).add_(1)
        assert bool((count == 1).all()), layer


def test_one_piece_is_the_picture() -> None:
    net = tiny_backbone()
    (tile,) = split(net, TINY_LAYERS, picture(0, 12, 17), 17)
    image = picture(0, 12, 17)
    assert tile.pixels(image).shape == image.shape
    for layer, x in net.features(image, TINY_LAYERS).items():
        assert torch.equal(tile.crop_features(layer, x), x)


WHOLE = 44


def objective(tile_size: int, extra: Sequence[Term] = (), **settings: object) -> Objective:
    mask, other = picture(2, 30, WHOLE)[:, :1], picture(3, 30, WHOLE)[:, :1]
    styles = {
        "a": Style(picture(1, 20, 20), 2.0, mask),
        "b": Style(picture(5, 20, 20), 1.0, other),
        "plain": Style(picture(6, 20, 20)),
        "plain too": Style(picture(7, 20, 20)),
    }
    parts = [ContentTerm(["relu2"], 3.0), style_term(5.0), TotalVariationTerm(0.5), *extra]
    content = picture(0, 30, WHOLE)
    return tiny_objective(parts, content, styles, mask, tile_size, **settings)


def evaluated(one: Objective, factor: float = 3) -> tuple[float, dict[str, float], Tensor]:
    pixels = picture(4, 30, WHOLE).requires_grad_()
    total, values = one(pixels)
    (factor * total).backward()
    assert pixels.grad is not None
    return total.item(), {name: float(value) for name, value in values.items()}, pixels.grad


@pytest.mark.parametrize("size", [8, 16, 26])
def test_the_objective_in_tiles_is_the_objective(size: int) -> None:
    depth = DepthTerm(1.0, size=22)
    total, values, gradient = evaluated(objective(WHOLE, [depth]))
    got, parts, slope = evaluated(objective(size, [depth]))
    assert got == pytest.approx(total, rel=1e-5)
    assert parts == pytest.approx(values, rel=1e-5)
    assert list(parts) == list(values)
    assert parts["depth"] > 0
    assert same(slope, gradient)


def test_without_a_gradient_the_picture_goes_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny_backbone()
    one = objective(16, backbone=net)
    passes = []
    inside = net.iter_features
    monkeypatch.setattr(net, "iter_features", lambda *a: passes.append(1) or inside(*a))
    with torch.no_grad():
        total, _ = one(picture(4, 30, WHOLE))
    assert not total.requires_grad
    assert len(passes) == len(split(net, TINY_LAYERS, picture(4, 30, WHOLE), 16))


def test_terms_that_weigh_nothing_are_reported() -> None:
    content, found = picture(0, 30, WHOLE), []
    for size in (WHOLE, 16):
        parts = [ContentTerm(["relu2"], 0.0), TotalVariationTerm(1.0)]
        found.append(evaluated(tiny_objective(parts, content, tile_size=size)))
    assert found[0][1]["content"] == pytest.approx(found[1][1]["content"], rel=1e-5)
    assert torch.equal(found[0][2], found[1][2])


def test_a_rest_too_short_for_a_tile_is_no_tile() -> None:
    depth = DepthTerm(1.0)
    found = [evaluated(objective(size, [depth])) for size in (WHOLE, WHOLE - 1)]
    assert found[0][:2] == found[1][:2]
    assert torch.equal(found[0][2], found[1][2])


def test_features_for_a_depth_network_are_not_tiled() -> None:
    net, depth = tiny_backbone(), TinyDepthNet("relu1")
    depth.attach_backbone(net)
    term = DepthTerm(1.0)
    for size, layers in ((WHOLE, ("relu1",)), (16, ())):
        objective(size, [term], backbone=net, net=depth)
        assert term.layers == layers


@pytest.mark.parametrize("size", [None, 16, 40])
def test_gram_matrices_of_a_style_image_in_tiles(size: int | None) -> None:
    net = tiny_backbone()
    image = picture(5, 37, 50)
    whole = net.features(image, TINY_LAYERS)
    region = torch.zeros(1, 1, 37, 50)
    region[..., 8:44] = 1
    for part in (None, region):
        found = style_statistics(net, image, TINY_LAYERS, GramDistance(), size, part)
        for layer, gram in found.items():
            mask = None if part is None else downsample_mask(part, *whole[layer].shape[-2:])
            expected = losses.gram_matrix(whole[layer], mask)
            assert torch.equal(gram, expected) if size is None else same(gram, expected)


def test_a_run_in_tiles_ends_where_a_run_in_one_piece_does(tmp_path: Path) -> None:
    given = ("+experiment=two_styles", "size=80", "style_size=64", "precision=float32")
    whole = run(tmp_path / "whole", *given, "tile_size=null")
    pieces = run(tmp_path / "pieces", *given, "tile_size=32")
    assert (pastiche(whole) - pastiche(pieces)).abs().max() < 1e-3
    for one, other in zip(terms(whole), terms(pieces), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
