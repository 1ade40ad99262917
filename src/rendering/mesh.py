"""A picture with depth as a mesh: GLB, textured, unlit, cut at silhouettes."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from src.core.errors import InputError
from src.core.files import replace_whole
from src.core.images import to_uint8
from src.rendering.layers import JUMP, Layers

LONGEST_GRID = 320  # points: files of 4 to 8 MB, which phones open
FIELD_OF_VIEW = math.radians(55)  # along the long side; phones' main cameras have 50 to 70 degrees
RELIEF = 1.6  # times as far away as the nearest point is the farthest


def library() -> ModuleType:
    """trimesh; an InputError where it is not installed."""
    try:
        import trimesh
    except ImportError as error:
        expected = "`make setup`, or `pip install trimesh`"
        raise InputError("mesh.glb", "no trimesh to write it", expected) from error
    module: ModuleType = trimesh
    return module


def write_mesh(layers: Layers, path: Path) -> None:
    """Write both layers as one GLB file, whole or not at all.

    The eye that took the picture is on the positive z axis, y is up, and the picture's middle
    disparity lies at z = 0. Distances are in units of the nearest point's. It is a relief: seen
    from there no different, but less deep, for with all its depth most of it is gaps from aside.
    """
    trimesh = library()
    scene = trimesh.Scene()
    parts = {
        "picture": (layers.image, layers.disparity, None),
        "hidden": (layers.hidden_image, layers.hidden_disparity, layers.inside(layers.hidden)),
    }
    for name, (image, disparity, hidden) in parts.items():
        vertices, places, faces = grid_mesh(layers.inside(disparity), hidden)
        if not len(faces):
            continue
        texture = Image.fromarray(to_uint8(layers.inside(image)))
        material = trimesh.visual.material.PBRMaterial(
            name=name,
            baseColorTexture=texture,
            metallicFactor=0.0,
            roughnessFactor=1.0,
            doubleSided=True,
        )
        visual = trimesh.visual.TextureVisuals(uv=places, material=material)
        mesh = trimesh.Trimesh(vertices, faces, visual=visual, process=False)
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    glb = trimesh.exchange.gltf.export_glb(scene, tree_postprocessor=_unlit)
    with replace_whole(path) as part:
        part.write_bytes(glb)


def grid_mesh(
    disparity: Tensor, hidden: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A surface over the picture's plane, without the walls of its silhouettes.

    Args:
        disparity: (1, 1, H, W) in [0, 1].
        hidden: (1, 1, H, W) bool, where alone there is a surface; this one has walls, behind the
            picture, so that from aside there are no gaps.

    Returns:
        Vertices (N, 3), their places in the texture (N, 2) from the lower left corner, and
        triangles (M, 3), counterclockwise as the eye sees them.
    """
    height, width = disparity.shape[-2:]
    scale = min(1.0, LONGEST_GRID / max(height, width))
    rows, columns = (max(2, round(scale * side)) for side in (height, width))
    points = F.interpolate(disparity, (rows, columns), mode="nearest-exact")[0, 0].numpy()
    # Pixel centres, as the renderer has them.
    u = np.tile((np.arange(columns) + 0.5) / columns, (rows, 1))
    v = np.tile(1 - (np.arange(rows)[:, None] + 0.5) / rows, (1, columns))
    distance = _distance(points)
    side = 2 * math.tan(FIELD_OF_VIEW / 2) / max(height, width)
    x, y = (u - 0.5) * width * side * distance, (v - 0.5) * height * side * distance
    vertices = np.stack([x, y, _distance(0.5) - distance], -1).reshape(-1, 3)

    index = np.arange(rows * columns).reshape(rows, columns)
    corners = [slice(None, -1), slice(1, None)]
    a, b, c, d = (index[i, j].ravel() for i in corners for j in corners)
    faces = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)])
    if hidden is None:
        is_used = np.ptp(points.ravel()[faces], 1) <= JUMP
    else:
        near_hidden = F.adaptive_max_pool2d(hidden.float(), (rows, columns))[0, 0].numpy() > 0
        is_used = near_hidden.ravel()[faces].any(1)
    faces = faces[is_used]
    kept, faces = np.unique(faces, return_inverse=True)
    places = np.stack([u, v], -1).reshape(-1, 2)
    return vertices[kept], places[kept], faces.reshape(-1, 3)


def _distance(disparity: Any) -> Any:
    """In units of the nearest point's."""
    return 1 / (disparity + (1 - disparity) / RELIEF)


def _unlit(tree: dict[str, Any]) -> None:
    """Paint has its own light (KHR_materials_unlit)."""
    tree["extensionsUsed"] = ["KHR_materials_unlit"]
    for material in tree["materials"]:
        material["extensions"] = {"KHR_materials_unlit": {}}
