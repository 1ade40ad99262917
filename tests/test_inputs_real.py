"""Real photos with real depth, where the folder of them is beside the project."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from src.inputs import Scene, depth_files, depth_maps, holes, load_scene, load_style, pictures

DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real pictures at {DATA}")

# photo, depth file, how to read it, share that was measured, and two points (row, column, as
# parts of the height and width) of which the first is nearer: seen in the photo.
Point = tuple[float, float]
Pair = tuple[str, str, Mapping[str, str], float, Point, Point]
PAIRS: dict[str, Pair] = {
    "7scenes": (
        "7scenes_kitchen_000000_rgb.jpg",
        "7scenes_kitchen_000000_depth.png",
        {},
        0.89,
        (0.6, 0.6),
        (0.3, 0.1),
    ),
    "kitti": (
        "kitti_0000000050_rgb.png",
        "kitti_0000000050_depth.png",
        {"depth_preset": "kitti"},
        0.42,
        (0.95, 0.5),
        (0.45, 0.53),
    ),
    "nyu": (
        "nyu_metric3d_00000_rgb.jpg",
        "nyu_metric3d_00000_depth.png",
        {},
        0.74,
        (0.5, 0.4),
        (0.35, 0.8),
    ),
    "dining": (
        "nyu_rcnndepth_dining_rgb.png",
        "nyu_rcnndepth_dining_rawdepth.png",
        {},
        0.84,
        (0.9, 0.5),
        (0.2, 0.6),
    ),
    "pgm": (
        "nyu_slambook_ch5_1_rgb.png",
        "nyu_slambook_ch5_1_depth.pgm",
        {},
        0.69,
        (0.7, 0.9),
        (0.4, 0.2),
    ),
    "sun": (
        "sunrgbd_open3d_corridor_rgb.jpg",
        "sunrgbd_open3d_corridor_depth.png",
        {},
        0.82,
        (0.5, 0.95),
        (0.45, 0.42),
    ),
    "sun_v2": (
        "sunrgbd_kv2_office144_rgb.jpg",
        "sunrgbd_kv2_office144_depth.png",
        {"depth_preset": "sun_rgbd"},
        0.88,
        (0.8, 0.05),
        (0.3, 0.6),
    ),
    "tum": (
        "tum_open3d_desk_rgb.png",
        "tum_open3d_desk_depth.png",
        {"depth_preset": "tum"},
        0.81,
        (0.8, 0.15),
        (0.3, 0.95),
    ),
    "icl": (
        "icl_slambook_ch12_SYNTHETIC_rgb.png",
        "icl_slambook_ch12_SYNTHETIC_depth.png",
        {"depth_preset": "icl"},
        1.0,
        (0.5, 0.02),
        (0.3, 0.5),
    ),
    "orchard": (
        "outdoor_peach_192_rgb.png",
        "outdoor_peach_192_depth.png",
        {},
        0.40,
        (0.9, 0.5),
        (0.6, 0.58),
    ),
    "cones": (
        "middlebury_cones_left.png",
        "middlebury_cones_disp.png",
        {"depth_kind": "disparity"},
        0.97,
        (0.9, 0.5),
        (0.1, 0.3),
    ),
}


def at(scene: Scene, point: Point) -> float:
    assert scene.depth is not None
    height, width = scene.depth.shape[-2:]
    return scene.depth[0, 0, int(point[0] * height), int(point[1] * width)].item()


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str) -> None:
    photo, file, how, measured, near, far = PAIRS[name]
    folder = DATA / "rgbd"
    scene = load_scene(folder / photo, depth_path=folder / file, size=320, **how)
    assert max(scene.image.shape[-2:]) == 320
    assert scene.valid is not None
    assert scene.valid.float().mean() == pytest.approx(measured, abs=0.03)
    assert at(scene, near) < at(scene, far) - 0.1


@pytest.mark.parametrize(
    ("file", "near", "far", "span"),
    [
        ("iphone_portrait_pug.heic", (0.75, 0.45), (0.2, 0.6), (0.233, 0.663)),
        ("iphoneX_jpeg_with_disparity.jpg", (0.5, 0.5), (0.2, 0.1), (0.40, 1.5)),
        ("android_gdepth_dahlia.jpg", (0.55, 0.3), (0.05, 0.5), (25.6, 334)),
    ],
)
def test_phones(file: str, near: Point, far: Point, span: tuple[float, float]) -> None:
    scene = load_scene(DATA / "phone" / file, size=256)
    assert at(scene, near) < at(scene, far) - 0.1
    assert scene.depth_span == pytest.approx(span, rel=0.05)
    assert scene.valid is not None
    assert scene.valid.all()


@pytest.mark.parametrize(
    ("name", "near", "far"),
    [
        ("tunnel", (0.95, 0.5), (0.4, 0.5)),
        ("flowers", (0.81, 0.41), (0.05, 0.4)),
        ("shelf", (0.75, 0.4), (0.1, 0.1)),
    ],
)
def test_lens_blur_maps_are_near_black(name: str, near: Point, far: Point) -> None:
    scene = load_scene(
        DATA / "phone" / f"lensblur_{name}_image.jpg",
        depth_path=DATA / "phone" / f"lensblur_{name}_depth.jpg",
        depth_preset="near_black",
        size=256,
    )
    assert at(scene, near) < at(scene, far) - 0.2


@pytest.mark.parametrize("file", sorted(p.name for p in DATA.glob("style/*")))
def test_paintings(file: str) -> None:
    found = load_style(DATA / "style" / file, size=128)
    assert max(found.shape[-2:]) == 128
    assert found.std() > 0.1


def test_holes_are_filled_better_than_by_the_nearest_point() -> None:
    """Hide what lies under each pair's own holes, mirrored, and compare with what was measured."""
    from scipy import ndimage

    ours, nearest = [], []
    for name in ("dining", "nyu", "sun", "tum", "sun_v2", "pgm"):
        photo, file, how, *_ = PAIRS[name]
        image = pictures.read(DATA / "rgbd" / photo, key="content", size=256).image
        raw = depth_files.read(DATA / "rgbd" / file, preset=how.get("depth_preset"))
        low, high = depth_maps.span(raw.values[raw.valid])
        scaled = np.clip((raw.values - low) / (high - low), 0, 1)
        depth, density = depth_maps.resample(scaled, raw.valid, *image.shape[-2:])
        known = density > 0
        hidden = ~known[:, ::-1] & known
        left = known & ~hidden
        filled = holes.fill(np.where(left, depth, 0), left, image[0].permute(1, 2, 0).numpy())
        index = ndimage.distance_transform_edt(~left, return_distances=False, return_indices=True)
        ours.append(np.abs(filled - depth)[hidden].mean())
        nearest.append(np.abs(depth[tuple(index)] - depth)[hidden].mean())
    ratio = np.exp(np.mean(np.log(ours) - np.log(nearest)))
    assert ratio < 0.92, (ours, nearest)
