"""Layers, views and meshes of a picture with depth, against slow ways to compute the same."""

import base64
import io
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src.core.images import to_uint8
from src.depth_nets.network import FAR_OVER_NEAR, depth_from_disparity, invert_depth
from src.inputs import load_scene
from src.rendering import mesh, stereo
from src.rendering.depth_pictures import depth_segments, save_jpeg
from src.rendering.layers import JUMP, REACH, Layers, fringe, make_layers
from src.rendering.motion import MOTIONS, RATE, loop_frames
from src.rendering.page import write_page
from src.rendering.renderer import FOCUS, SHIFT, Eye, Renderer

EYES = [Eye(-1), Eye(1), Eye(0, -1), Eye(0, 1), Eye(forward=1), Eye(-0.7, 0.7)]


def two_planes(height: int = 60, width: int = 90) -> tuple[Tensor, Tensor]:
    """Noise, and depth: a square of depth 0 in front of a plane of depth 1."""
    image = torch.rand(1, 3, height, width).mul(255).round() / 255
    depth = torch.ones(1, 1, height, width)
    depth[..., 20:40, 30:60] = 0
    return image, depth


def plain_layers(image: Tensor, disparity: Tensor) -> Layers:
    """Layers that hide nothing, with a margin of 8."""
    nothing = torch.zeros_like(disparity, dtype=torch.bool)
    return Layers(image, disparity, image, disparity, nothing, 8)


def test_disparity_is_inverse_depth_and_goes_back() -> None:
    depth = torch.linspace(0, 1, 50)
    near, far = 1.0, FAR_OVER_NEAR
    metric = near + depth.numpy() * (far - near)
    expected = (1 / metric - 1 / far) / (1 / near - 1 / far)
    np.testing.assert_allclose(invert_depth(depth), expected, atol=1e-6)
    torch.testing.assert_close(invert_depth(invert_depth(depth)), depth, atol=1e-6, rtol=0)


def test_disparity_of_an_estimate_is_the_networks_own() -> None:
    disparity = torch.linspace(0, 1, 101).reshape(1, 1, 1, 101)
    again = invert_depth(depth_from_disparity(disparity))
    inner = slice(5, -5)  # what is outside its percentiles is cut off
    between = np.polyfit(disparity[0, 0, 0, inner], again[0, 0, 0, inner], 1)
    line = np.polyval(between, disparity[0, 0, 0, inner])
    np.testing.assert_allclose(again[0, 0, 0, inner], line, atol=1e-3)


def slow_hidden(disparity: np.ndarray, reach: int) -> np.ndarray:
    """By definition: is there a far side that moves into view before the point has left it?"""
    edge = fringe(torch.tensor(disparity)[None, None])[0, 0].numpy()
    near = np.where(edge <= 1, edge, disparity)
    height, width = near.shape
    far_sides = []
    for row in range(height):
        for column in range(width):
            around = near[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if around.max() - near[row, column] > JUMP / 2:
                far_sides.append((row, column))
    hidden = np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            for y, x in far_sides:
                away = max(abs(y - row), abs(x - column))
                moves = (near[row, column] - near[y, x]) * reach
                hidden[row, column] |= 0 < away <= reach and moves > away + 1e-4
    return hidden


def test_what_is_hidden_is_what_can_come_into_view() -> None:
    image, depth = two_planes()
    layers = make_layers(image, depth)
    reach = round(REACH * 90)
    expected = slow_hidden(layers.disparity[0, 0].numpy(), reach)
    assert expected.any()
    assert torch.equal(layers.hidden[0, 0], torch.tensor(expected))


def test_what_is_hidden_looks_like_the_far_side_mirrored() -> None:
    image, depth = two_planes()
    image = image[..., :1, :].expand_as(image)
    layers = make_layers(image, depth)
    assert layers.hidden_disparity[layers.hidden].max() == 0
    assert torch.equal(
        layers.hidden_image.where(~layers.hidden, layers.image),
        layers.image.where(~layers.hidden, layers.image),
    )
    # The square begins at column 30; with the fringe of one pixel its edge is between 28 and 29.
    row, left = 30, 30 + layers.margin
    for column in (left - 1, left, left + 1):
        mirrored = 2 * (left - 2) - column
        assert layers.hidden[0, 0, row, column]
        assert torch.equal(layers.hidden_image[..., row, column], layers.image[..., row, mirrored])


def test_a_slope_hides_nothing() -> None:
    depth = torch.linspace(0, 1, 300).expand(1, 1, 60, 300)
    layers = make_layers(torch.rand(1, 3, 60, 300), depth)
    assert not layers.hidden.any()


def test_blurred_silhouettes_become_sharp() -> None:
    depth = torch.zeros(1, 1, 40, 60)
    depth[..., 30:] = 1
    depth[..., 27:33] = torch.linspace(0, 1, 6)
    disparity = make_layers(torch.rand(1, 3, 40, 60), depth).disparity
    steps = disparity.diff(dim=3).abs()[0, 0, 20]
    assert (steps > JUMP).sum() == 1


@pytest.mark.parametrize("size", [(3, 200), (200, 3), (17, 16)])
def test_narrow_pictures_have_layers_and_views(size: tuple[int, int]) -> None:
    depth = torch.zeros(1, 1, *size)
    depth[..., : size[0] // 2, : size[1] // 2] = 1
    image = torch.rand(1, 3, *size)
    renderer = Renderer(make_layers(image, depth))
    assert (renderer.render(Eye()) - image).abs().max() < 1e-3
    assert renderer.render(Eye(1, 1)).shape == image.shape


def test_at_rest_the_view_is_the_picture() -> None:
    image, depth = two_planes()
    view = Renderer(make_layers(image, depth), strength=2).render(Eye())
    assert np.array_equal(to_uint8(view), to_uint8(image))


def slow_view(layers: Layers, eye: Eye) -> np.ndarray:
    """Every ray in a thousand steps from near to far, one pixel after another."""
    surface, image = layers.disparity[0, 0].numpy(), layers.image[0].numpy()
    height, width = surface.shape
    rows, columns = height - 2 * layers.margin, width - 2 * layers.margin

    def at(channel: np.ndarray, y: float, x: float) -> float:
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        top, left = min(int(y), height - 2), min(int(x), width - 2)
        down, right = y - top, x - left
        corners = channel[top : top + 2, left : left + 2]
        return float(np.array([1 - down, down]) @ corners @ np.array([1 - right, right]))

    view = np.zeros((3, rows, columns))
    for row in range(rows):
        for column in range(columns):
            for plane in np.linspace(1, 0, 1001):
                shift = SHIFT * max(rows, columns) * (plane - FOCUS)
                y = row + layers.margin + eye.down * shift
                x = column + layers.margin + eye.right * shift
                if at(surface, y, x) >= plane:
                    break
            view[:, row, column] = [at(channel, y, x) for channel in image]
    return view


def test_views_are_those_of_slow_rays() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    image = torch.stack([rows / 40, columns / 60, (rows + columns) / 100])[None]
    disparity = 0.5 + 0.4 * torch.sin(rows / 9) * torch.cos(columns / 11)
    layers = plain_layers(image, disparity[None, None])
    for eye in (Eye(1), Eye(-0.6, 0.8)):
        np.testing.assert_allclose(
            Renderer(layers).render(eye)[0], slow_view(layers, eye), atol=2e-3
        )


def test_planes_move_by_their_disparity_and_the_near_one_hides_the_far_one() -> None:
    image, depth = two_planes(100, 200)
    strength = 4 / (SHIFT * 200)  # nearest against farthest by four pixels: both by two
    view = Renderer(make_layers(image, depth), strength).render(Eye(1))
    close = {"atol": 1e-4, "rtol": 0}
    torch.testing.assert_close(view[..., 22:38, 30:56], image[..., 22:38, 32:58], **close)
    torch.testing.assert_close(view[..., 60:90, 20:180], image[..., 60:90, 18:178], **close)
    # Beside the square's right edge comes into view what it hid: the far plane, mirrored.
    assert not torch.allclose(view[..., 25:35, 58:61], image[..., 25:35, 58:61])


@pytest.mark.parametrize("eye", EYES)
def test_silhouettes_are_cut_and_not_stretched(eye: Eye) -> None:
    _, depth = two_planes(100, 200)
    white = 1 - depth.expand(1, 3, 100, 200)
    view = Renderer(make_layers(white, depth), strength=2).render(eye)
    grown = (1 + 3 * SHIFT * 2 * eye.forward) ** 2
    assert view.sum() / white.sum() == pytest.approx(grown, abs=0.1)


def test_going_forward_enlarges_what_is_near_and_leaves_the_farthest() -> None:
    image = torch.rand(1, 3, 60, 90)
    far = Renderer(plain_layers(image, torch.zeros(1, 1, 60, 90))).render(Eye(forward=1))
    torch.testing.assert_close(far, image[..., 8:-8, 8:-8], atol=1e-4, rtol=0)
    columns = torch.arange(90.0).expand(1, 3, 60, 90) / 90
    near = Renderer(plain_layers(columns, torch.ones(1, 1, 60, 90))).render(Eye(forward=1))
    slope = near[0, 0, 20].diff().mean() / (1 / 90)
    assert slope == pytest.approx(1 - 3 * SHIFT, rel=1e-3)


@pytest.mark.parametrize("eye", EYES)
def test_no_black_at_the_border_and_no_gaps(eye: Eye) -> None:
    _, depth = two_planes()
    renderer = Renderer(make_layers(torch.ones(1, 3, 60, 90), depth), strength=2)
    torch.testing.assert_close(renderer.render(eye), torch.ones(1, 3, 60, 90))


def test_loops_begin_with_the_picture_and_close() -> None:
    image, depth = two_planes()
    renderer = Renderer(make_layers(image, depth))
    assert set(MOTIONS) == {"circle", "swing", "zoom"}
    for motion, way in MOTIONS.items():
        frames = loop_frames(renderer, motion, 0.5)
        assert len(frames) == RATE / 2
        assert np.array_equal(frames[0], to_uint8(image))
        np.testing.assert_allclose(way(0.0), way(1.0), atol=1e-9)
        assert max(abs(part) for t in np.linspace(0, 1, 50) for part in way(t)) <= 1
        assert not np.array_equal(frames[4], frames[0])


def shift_between(left: np.ndarray, right: np.ndarray) -> int:
    """By how many columns a band lies farther right in the left view."""
    shifts = range(-12, 13)
    errors = [np.abs(np.roll(right, shift, 1) - left)[:, 20:-20].mean() for shift in shifts]
    return shifts[int(np.argmin(errors))]


def test_stereo_disparity_grows_as_depth_falls() -> None:
    bands = 6
    image = torch.rand(1, 3, 20 * bands, 300)
    image = (image + image.roll(1, 3) + image.roll(2, 3)) / 3
    depth = (
        torch.linspace(0, 1, bands)
        .repeat_interleave(20)[None, None, :, None]
        .expand(1, 1, 20 * bands, 300)
    )
    renderer = Renderer(make_layers(image, depth), strength=2)
    both = stereo.side_by_side(renderer)
    left, right = both[0, 1, :, :300].numpy(), both[0, 1, :, 300:].numpy()
    rows = [slice(20 * i + 6, 20 * i + 14) for i in range(bands)]
    shifts = [shift_between(left[band], right[band]) for band in rows]
    assert shifts == sorted(shifts, reverse=True)
    assert shifts[0] > 0 > shifts[-1]  # before and behind the screen
    assert shifts[0] - shifts[-1] == round(2 * SHIFT * 300)


def test_two_eyes_side_by_side_crossed_and_in_colours() -> None:
    image, depth = two_planes()
    renderer = Renderer(make_layers(image, depth))
    parallel, crossed = stereo.side_by_side(renderer), stereo.side_by_side(renderer, crossed=True)
    assert torch.equal(parallel, torch.cat([crossed[..., 90:], crossed[..., :90]], 3))
    both = stereo.anaglyph(renderer)
    assert torch.equal(both[:, :1], parallel[:, :1, :, :90])
    assert torch.equal(both[:, 1:], parallel[:, 1:, :, 90:])


def test_a_quilt_begins_with_the_leftmost_view_at_the_bottom_left() -> None:
    image, depth = two_planes()
    renderer = Renderer(make_layers(image, depth))
    quilt = stereo.quilt(renderer)
    assert quilt.shape[-2:] == (6 * 60, 8 * 90)
    assert torch.equal(quilt[..., -60:, :90], renderer.render(Eye(-1)))
    assert torch.equal(quilt[..., :60, -90:], renderer.render(Eye(1)))
    second = renderer.render(Eye(2 * 8 / 47 - 1))
    assert torch.equal(quilt[..., -120:-60, :90], second)  # a row up
    assert stereo.quilt_name(1600, 1200) == "quilt_qs8x6a0.75.png"


def test_a_mesh_projects_back_to_the_picture() -> None:
    disparity = torch.rand(1, 1, 30, 40) * JUMP
    vertices, places, faces = mesh.grid_mesh(disparity)
    assert (len(vertices), len(faces)) == (1200, 2 * 29 * 39)
    np.testing.assert_allclose(
        places[[0, -1]], [[0.5 / 40, 1 - 0.5 / 30], [1 - 0.5 / 40, 0.5 / 30]]
    )
    eye = np.array([0, 0, 1 / (0.5 + 0.5 / mesh.RELIEF)])
    rays = vertices - eye
    width = 2 * math.tan(mesh.FIELD_OF_VIEW / 2)
    u = rays[:, 0] / -rays[:, 2] / width + 0.5
    v = rays[:, 1] / -rays[:, 2] / (width * 30 / 40) + 0.5
    np.testing.assert_allclose(np.stack([u, v], 1), places, atol=1e-6)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normals * (eye - corners[:, 0])).sum(1) > 0).all()  # they face the eye


def test_a_mesh_is_cut_at_silhouettes_and_read_back(tmp_path: Path) -> None:
    import trimesh

    image, depth = two_planes()
    layers = make_layers(image, depth)
    mesh.write_mesh(layers, tmp_path / "mesh.glb")
    scene = trimesh.load(tmp_path / "mesh.glb")
    picture, hidden = scene.geometry["picture"], scene.geometry["hidden"]
    z = picture.vertices[picture.faces][..., 2]
    assert np.ptp(z, axis=1).max() < 1e-6  # of two planes: no triangle leads from one to the other
    assert len(np.unique(picture.vertices[:, 2])) == 2
    assert hidden.faces.shape[0] > 0
    texture = np.asarray(picture.visual.material.baseColorTexture.convert("RGB")).astype(int)
    assert np.array_equal(texture, to_uint8(image))
    data = (tmp_path / "mesh.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    tree = json.loads(data[20 : 20 + length])
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    assert all("KHR_materials_unlit" in material["extensions"] for material in tree["materials"])


@pytest.mark.parametrize("size", [(40, 60), (700, 900)])
def test_gdepth_is_read_back_with_its_depth(tmp_path: Path, size: tuple[int, int]) -> None:
    # Noise does not compress: of the large one the extended XMP has several segments.
    depth = torch.rand(1, 1, *size).mul(255).round() / 255
    depth[..., 0, :10], depth[..., 1, :10] = 0, 1
    image = torch.rand(1, 3, *size)
    segments = depth_segments(depth)
    assert (segments.count(b"http://ns.adobe.com/xmp/extension/") > 1) == (size[0] > 100)
    save_jpeg(image, tmp_path / "both.jpg", b"", segments)
    scene = load_scene(tmp_path / "both.jpg")
    assert scene.depth_from == "GDepth in the JPEG"
    assert scene.depth is not None
    middle = (depth > 0.02) & (depth < 0.98)  # beyond, percentiles are cut off
    low, high = np.percentile(depth, [1, 99])
    expected = ((depth - low) / (high - low)).clamp(0, 1)
    torch.testing.assert_close(scene.depth[middle], expected[middle], atol=2e-3, rtol=0)


def page_data(page: Path) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)
    assert found
    return json.loads(found[1])


def test_the_page_holds_the_very_picture_and_no_address(tmp_path: Path) -> None:
    image, depth = two_planes()
    layers = make_layers(image, depth)
    write_page(layers, 1.5, "<b>&", "a & b", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>&lt;b&gt;&amp;</title>" in text
    assert "a &amp; b" in text
    assert not re.search(r"(src|href)=|https?://|url\(", text)
    data = page_data(tmp_path / "page.html")
    picture = Image.open(io.BytesIO(base64.b64decode(data["image"].partition(",")[2])))
    assert np.array_equal(np.asarray(picture), to_uint8(layers.image))
    assert (data["view"], data["shift"]) == ([90, 60], pytest.approx(1.5 * SHIFT * 90))


def canvas_pixels(page: Any) -> np.ndarray:
    address = page.evaluate("document.querySelector('canvas').toDataURL()")
    file = io.BytesIO(base64.b64decode(address.partition(",")[2]))
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def wait_for_eye(page: Any, x: float, y: float) -> None:
    for _ in range(600):
        eye = page.evaluate("(document.body.dataset.eye || '9 9').split(' ').map(Number)")
        if abs(eye[0] - x) + abs(eye[1] - y) < 0.02:
            return
        time.sleep(0.1)
    raise AssertionError(f"the eye is at {eye}")


def test_the_page_follows_the_pointer_as_the_renderer_would(browser: Any, tmp_path: Path) -> None:
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(90.0), indexing="ij")
    image = torch.stack([rows / 60, columns / 90, (rows // 5 + columns // 5) % 2])[None]
    _, depth = two_planes()
    layers = make_layers(image, depth)
    write_page(layers, 2.0, "page", "90 x 60 pixels", tmp_path / "page.html")
    page = browser.new_page(viewport={"width": 800, "height": 600})
    problems: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    wait_for_eye(page, 0, 0)
    assert np.abs(canvas_pixels(page) - to_uint8(image)).max() <= 1
    renderer = Renderer(layers, strength=2.0)
    for x, y, eye in ((0, 300, Eye(-1)), (799, 300, Eye(1)), (400, 599, Eye(0, 1))):
        page.mouse.move(x, y)
        wait_for_eye(page, eye.right, eye.down)
        difference = np.abs(canvas_pixels(page) - to_uint8(renderer.render(eye)))
        assert np.median(difference) <= 2
        assert (difference.max(2) > 40).mean() < 0.05  # along edges, by a part of a pixel
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    wait_for_eye(page, -0.75, 1)
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()


def test_a_browser_without_webgl_shows_the_picture(browser: Any, tmp_path: Path) -> None:
    image, depth = two_planes()
    write_page(make_layers(image, depth), 1.0, "page", "", tmp_path / "page.html")
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("img")
    assert "no WebGL" in page.inner_text("p")
    page.close()
