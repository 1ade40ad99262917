"""Pictures in pieces: the same as in one."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from src import losses
from src.backbones import Backbone, vgg19
from src.backbones.chain import Preprocessing
from src.backbones.squeezenet import Fire
from src.errors import InputError
from src.objective import (
    ContentTerm,
    DepthTerm,
    Objective,
    Style,
    StyleTerm,
    Term,
    TotalVariationTerm,
    painting_grams,
    sizes,
)
from src.tiles import Tile, cut, features
from tests.running import TinyDepthNet, pastiche, run, terms, tiny_backbone

LAYERS = ["relu1_1", "relu3_1", "relu4_2", "relu5_1"]
TINY = ["relu1", "relu2"]


@pytest.fixture(scope="module")
def vgg() -> Backbone:
    return vgg19()


def picture(seed: int, height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


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
    found = features(vgg, image, LAYERS, cut(vgg, LAYERS, height, width, side))
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
    layers = ["relu1", "fire2", "fire3"]
    whole = net.features(image, layers)
    tiles = cut(net, layers, height, width, 16)
    assert len(tiles) > 8
    for layer, x in features(net, image, layers, tiles).items():
        assert same(x, whole[layer]), layer


@pytest.mark.parametrize("layer", LAYERS)
def test_what_a_layer_sees_is_what_changes_it(vgg: Backbone, layer: str) -> None:
    pixels = picture(0, 210, 200).requires_grad_()
    found = vgg.features(pixels, [layer])[layer]
    reach = vgg.reach(layer)
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
        for layer, size in sizes(found).items():
            assert net.size(layer, height, width) == size, layer


@pytest.mark.parametrize("height", [16, 31, 47, 48, 63, 64, 65, 100])
def test_every_position_belongs_to_one_piece(vgg: Backbone, height: int) -> None:
    tiles = cut(vgg, LAYERS, height, 40, 32)
    for layer in LAYERS:
        count = torch.zeros(1, 1, *vgg.size(layer, height, 40))
        for tile in tiles:
            tile.part(layer, count).add_(1)
        assert bool((count == 1).all()), layer


def test_one_piece_is_the_picture() -> None:
    net = tiny_backbone()
    (tile,) = cut(net, TINY, 12, 17, 17)
    image = picture(0, 12, 17)
    assert tile.pixels(image).shape == image.shape
    for layer, x in net.features(image, TINY).items():
        assert torch.equal(tile.own(layer, x), x)


def objective(net: Backbone, tiles: Sequence[Tile], extra: Sequence[Term] = ()) -> Objective:
    content, style = picture(0, 30, 44), picture(1, 20, 20)
    mask, other = picture(2, 30, 44)[:, :1], picture(3, 30, 44)[:, :1]
    found = net.features(content, TINY)
    grams = {la: losses.gram_matrix(x) for la, x in net.features(style, TINY).items()}
    styles = {
        "a": Style(grams, 2.0, mask),
        "b": Style({la: 2 * gram for la, gram in grams.items()}, 1.0, other),
        "plain": Style({la: 3 * gram for la, gram in grams.items()}),
        "plain too": Style(grams),
    }
    given = [
        ContentTerm(found, 3.0, mask),
        StyleTerm(styles, 5.0, sizes(found)),
        TotalVariationTerm(0.5),
        *extra,
    ]
    return Objective(net, given, tiles)


def evaluated(one: Objective) -> tuple[float, dict[str, float], Tensor]:
    pixels = picture(4, 30, 44).requires_grad_()
    total, values = one(pixels)
    (3 * total).backward()
    assert pixels.grad is not None
    return total.item(), {name: float(value) for name, value in values.items()}, pixels.grad


@pytest.mark.parametrize("side", [8, 16, 26])
def test_the_objective_in_pieces_is_the_objective(side: int) -> None:
    net = tiny_backbone()
    total, values, gradient = evaluated(objective(net, ()))
    got, parts, slope = evaluated(objective(net, cut(net, TINY, 30, 44, side)))
    assert got == pytest.approx(total, rel=1e-5)
    assert parts == pytest.approx(values, rel=1e-5)
    assert list(parts) == list(values)
    assert same(slope, gradient)


def test_the_objective_of_vgg_in_pieces_is_the_objective(vgg: Backbone) -> None:
    content, style, pixels = (picture(i, 96, 120) for i in range(3))
    found = vgg.features(content, LAYERS)
    gradients = []
    for side in (120, 32):
        tiles = cut(vgg, LAYERS, 96, 120, side)
        grams = painting_grams(vgg, style, LAYERS, side)
        term = StyleTerm({"main": Style(grams)}, 1e8, sizes(found))
        one = Objective(vgg, [ContentTerm({"relu4_2": found["relu4_2"]}, 1.0), term], tiles)
        leaf = pixels.clone().requires_grad_()
        one(leaf)[0].backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


def test_without_a_gradient_the_picture_goes_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny_backbone()
    tiles = cut(net, TINY, 30, 44, 16)
    one = objective(net, tiles)
    passes = []
    inside = net.one_by_one
    monkeypatch.setattr(net, "one_by_one", lambda *a: passes.append(1) or inside(*a))
    with torch.no_grad():
        total, _ = one(picture(4, 30, 44))
    assert not total.requires_grad
    assert len(passes) == len(tiles)


def test_terms_that_weigh_nothing_are_reported() -> None:
    net = tiny_backbone()
    content = picture(0, 30, 44)
    target = net.features(content, ["relu2"])
    tiles = cut(net, ["relu2"], 30, 44, 16)
    values = []
    for some in ((), tiles):
        pixels = picture(4, 30, 44).requires_grad_()
        total, parts = Objective(net, [ContentTerm(target, 0.0), TotalVariationTerm(1.0)], some)(
            pixels
        )
        total.backward()
        values.append((float(parts["content"]), pixels.grad))
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-5)
    assert torch.equal(values[0][1], values[1][1])


def test_a_depth_network_looks_at_the_whole_picture_made_small() -> None:
    net, depth = tiny_backbone(), TinyDepthNet()
    small = torch.nn.functional.interpolate(picture(0, 30, 44), (15, 22), mode="bilinear")
    target = depth.disparity(small, {})
    found = []
    for tiles in ((), cut(net, TINY, 30, 44, 16)):
        term = DepthTerm(depth, target, 1.0, alone=True)
        assert not term.layers
        found.append(evaluated(objective(net, tiles, [term])))
    assert found[0][1]["depth"] == pytest.approx(found[1][1]["depth"], rel=1e-5)
    assert found[0][1]["depth"] > 0
    assert same(found[1][2], found[0][2])


def test_a_term_that_needs_all_features_at_once_is_refused() -> None:
    net, depth = tiny_backbone(), TinyDepthNet("relu1")
    depth.share(net)
    image = picture(0, 30, 44)
    term = DepthTerm(depth, depth.disparity(image, net.features(image, ["relu1"])), 1.0)
    with pytest.raises(InputError, match="tile: got pieces with the term depth"):
        objective(net, cut(net, TINY, 30, 44, 16), [term])


@pytest.mark.parametrize("side", [16, 40])
def test_gram_matrices_of_a_painting_in_pieces(side: int) -> None:
    net = tiny_backbone()
    image = picture(5, 37, 50)
    for layer, gram in painting_grams(net, image, TINY, side).items():
        whole = losses.gram_matrix(net.features(image, [layer])[layer])
        assert same(gram, whole)
    at_once = painting_grams(net, image, TINY)
    whole = losses.gram_matrix(net.features(image, ["relu2"])["relu2"])
    assert torch.equal(at_once["relu2"], whole)


def test_a_run_in_tiles_ends_where_a_run_in_one_piece_does(tmp_path: Path) -> None:
    given = ("+experiment=two_styles", "size=80", "style_size=64", "precision=float32")
    whole = run(tmp_path / "whole", *given, "tile=null")
    pieces = run(tmp_path / "pieces", *given, "tile=32")
    assert (pastiche(whole) - pastiche(pieces)).abs().max() < 1e-3
    for one, other in zip(terms(whole), terms(pieces), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
