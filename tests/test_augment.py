"""Training pictures made various."""

from itertools import pairwise

import torch
from torch import Generator

from src.training import augment
from src.training.pairs import Pair
from tests.depth_networks import small_vgg


def random(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def ramp(height: int, width: int) -> torch.Tensor:
    return torch.linspace(0, 1, width).expand(height, width)


def test_picture_and_depth_are_cut_alike() -> None:
    # The picture's brightness is its inverse depth.
    values = torch.rand(6, 8, generator=random())
    smooth = torch.nn.functional.interpolate(values[None, None], (48, 64), mode="bicubic")[0, 0]
    smooth = smooth.clamp(0, 1)
    pair = Pair((smooth.expand(3, -1, -1) * 255).round().to(torch.uint8), smooth)
    pieces = []
    for seed in range(8):
        image, inverse = augment.crop(pair, 32, 48, random(seed))
        assert image.shape == (1, 3, 32, 48)
        assert inverse.shape == (1, 1, 16, 24)
        half = torch.nn.functional.avg_pool2d(image[:, :1], 2)
        known = inverse.isfinite()
        assert known.float().mean() > 0.8
        assert (half - inverse)[known].abs().mean() < 0.02
        pieces.append(image)
    assert all((one - other).abs().mean() > 0.01 for one, other in pairwise(pieces))
    again, _ = augment.crop(pair, 32, 48, random(7))
    assert torch.equal(again, pieces[-1])


def test_pieces_stay_inside_and_turn_little() -> None:
    pair = Pair((ramp(48, 64).expand(3, -1, -1) * 255).to(torch.uint8), ramp(48, 64))
    mirrored = 0
    for seed in range(12):
        image, _ = augment.crop(pair, 48, 64, random(seed))
        across = image[0, 0].mean(0)
        slope = across[-1] - across[0]
        assert 0.4 < abs(slope) <= 1  # a part of the picture, the same way up
        assert image[0, 0].mean(1).std() < 0.1
        mirrored += int(slope < 0)
    assert 2 < mirrored < 10


def test_holes_and_infinity_stay_what_they_are() -> None:
    inverse = torch.zeros(24, 32)
    inverse[:, 16:] = torch.nan
    pair = Pair(torch.zeros(3, 48, 64, dtype=torch.uint8), inverse)
    _, found = augment.crop(pair, 48, 64, random())
    assert found.isnan().any()
    assert (found[found.isfinite()] == 0).all()


def test_recoloured_pictures_differ_and_stay_pictures() -> None:
    image = torch.rand(4, 3, 16, 16, generator=random(1))
    found = augment.color_jitter(image, random())
    assert found.shape == image.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert ((found - image).abs().mean((1, 2, 3)) > 0.01).all()
    assert torch.equal(found, augment.color_jitter(image, random()))


def test_styled_features_have_the_statistics_of_a_painting() -> None:
    backbone = small_vgg()
    paintings = [torch.rand(1, 3, 40, 60, generator=random(i)) ** 3 for i in range(2)]
    found = augment.statistics(backbone, paintings, random())
    assert len(found) == 2 * augment.CROPS
    assert set(found[0]) == set(augment.STYLED)
    image = 0.5 + 0.1 * torch.rand(2, 3, 24, 24, generator=random(5))
    last = [augment.STYLED[-1]]
    plain = backbone.features(image, last)[last[0]].mean((2, 3))
    wanted = torch.stack([one[last[0]][0].flatten() for one in found]).mean(0)
    nearer = 0
    for seed in range(10):
        change = augment.styled(2, found, random(seed))
        styled = backbone.features(image, last, change)[last[0]].mean((2, 3))
        nearer += int((styled - wanted).norm() < (plain - wanted).norm())
    assert nearer >= 8


def test_layers_that_get_no_style_are_left_alone() -> None:
    black = {layer: (torch.zeros(1, 2, 1, 1),) * 2 for layer in augment.STYLED}
    change = augment.styled(1, [black], random())
    x = torch.rand(1, 2, 4, 4)
    assert change("conv1_1", x) is x
    assert not torch.equal(change("relu1_1", x), x)
