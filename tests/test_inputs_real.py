"""Real photos with real depth, where the folder of them is beside the project."""

from pathlib import Path

import numpy as np
import pytest

from src.inputs import Scene, depth_files, depth_maps, holes, load_scene, load_style, pictures

DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real pictures at {DATA}")

# The file names' beginning and both ends, how to read the depth, the share measured, and two
# points (row, column, as parts of the height and width) of which the first is nearer in the photo.
TABLE = """
7scenes 7scenes_kitchen_000000      _rgb.jpg  _depth.png    -               0.89 0.6  0.6  0.3  0.1
kitti   kitti_0000000050            _rgb.png  _depth.png    preset=kitti    0.42 0.95 0.5  0.45 0.53
nyu     nyu_metric3d_00000          _rgb.jpg  _depth.png    -               0.74 0.5  0.4  0.35 0.8
dining  nyu_rcnndepth_dining        _rgb.png  _rawdepth.png -               0.84 0.9  0.5  0.2  0.6
pgm     nyu_slambook_ch5_1          _rgb.png  _depth.pgm    -               0.69 0.7  0.9  0.4  0.2
sun     sunrgbd_open3d_corridor     _rgb.jpg  _depth.png    -               0.82 0.5  0.95 0.45 0.42
sun_v2  sunrgbd_kv2_office144       _rgb.jpg  _depth.png    preset=sun_rgbd 0.88 0.8  0.05 0.3  0.6
tum     tum_open3d_desk             _rgb.png  _depth.png    preset=tum      0.81 0.8  0.15 0.3  0.95
icl     icl_slambook_ch12_SYNTHETIC _rgb.png  _depth.png    preset=icl      1.0  0.5  0.02 0.3  0.5
orchard outdoor_peach_192           _rgb.png  _depth.png    -               0.4  0.9  0.5  0.6  0.58
cones   middlebury_cones            _left.png _disp.png     kind=disparity  0.97 0.9  0.5  0.1  0.3
"""
Point = tuple[float, float]
PAIRS = {line.split()[0]: line.split()[1:] for line in TABLE.strip().splitlines()}


def read_pair(name: str) -> tuple[Path, Path, dict[str, str]]:
    stem, photo, depth, how, *_ = PAIRS[name]
    options = {} if how == "-" else dict([how.split("=")])
    return DATA / "rgbd" / f"{stem}{photo}", DATA / "rgbd" / f"{stem}{depth}", options


def at(scene: Scene, point: Point) -> float:
    assert scene.depth is not None
    height, width = scene.depth.shape[-2:]
    return scene.depth[0, 0, int(point[0] * height), int(point[1] * width)].item()


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str) -> None:
    photo, depth, how = read_pair(name)
    measured, *points = map(float, PAIRS[name][4:])
    options = {f"depth_{key}": value for key, value in how.items()}
    scene = load_scene(photo, depth_path=depth, size=320, **options)
    assert max(scene.image.shape[-2:]) == 320
    assert scene.valid is not None
    assert scene.valid.float().mean() == pytest.approx(measured, abs=0.03)
    assert at(scene, (points[0], points[1])) < at(scene, (points[2], points[3])) - 0.1


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
        photo, file, how = read_pair(name)
        image = pictures.read(photo, key="content", size=256).image
        raw = depth_files.read(file, preset=how.get("preset"))
        low, high = depth_maps.span(raw.values[raw.valid])
        scaled = np.clip((raw.values - low) / (high - low), 0, 1)
        depth, density = depth_maps.resample(scaled, raw.valid, *image.shape[-2:])
        known = density > 0
        hidden = ~known[:, ::-1] & known
        left = known & ~hidden
        filled = holes.inpaint_depth(
            np.where(left, depth, 0), left, image[0].permute(1, 2, 0).numpy()
        )
        index = ndimage.distance_transform_edt(~left, return_distances=False, return_indices=True)
        ours.append(np.abs(filled - depth)[hidden].mean())
        nearest.append(np.abs(depth[tuple(index)] - depth)[hidden].mean())
    ratio = np.exp(np.mean(np.log(ours) - np.log(nearest)))
    assert ratio < 0.92, (ours, nearest)
