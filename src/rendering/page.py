"""`parallax.html`: a page, to be opened from disk, on which the eye follows the pointer."""

import base64
import html
import io
import json
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.core.files import write_text
from src.core.images import to_uint8
from src.rendering.layers import Layers, walls
from src.rendering.renderer import SHIFT

TEMPLATE = Path(__file__).with_name("parallax.html")
# Lossless where it is seen at rest, which is then the very picture.
IMAGE: dict[str, Any] = {"format": "WEBP", "lossless": True}
HIDDEN: dict[str, Any] = {"format": "WEBP", "quality": 90}
NUMBERS: dict[str, Any] = {"format": "PNG"}


def write_page(layers: Layers, strength: float, title: str, caption: str, path: Path) -> None:
    """Write the page, whole or not at all: one file that needs no other.

    Args:
        layers: of the picture.
        strength: as the renderer's.
        title: of the page.
        caption: what it says below the picture.
        path: the page's.
    """
    height, width = layers.image.shape[-2:]
    view = width - 2 * layers.margin, height - 2 * layers.margin
    wall = walls(layers.disparity)
    both = torch.cat([layers.disparity, layers.hidden_disparity, layers.disparity], 1)
    data = {
        "size": [width, height],
        "view": view,
        "shift": strength * SHIFT * max(view),
        "image": _uri(layers.image, IMAGE),
        "hidden": _uri(layers.hidden_image, HIDDEN),
        "disparity": _uri(both, NUMBERS),
        "walls": _uri(torch.where(wall > 1, 0.0, wall), NUMBERS),
    }
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title), caption=html.escape(caption), data=json.dumps(data)
    )
    write_text(path, text)


def _uri(image: Tensor, options: dict[str, Any]) -> str:
    """An image, (1, 3 or 1, H, W) in [0, 1], as part of a page."""
    file = io.BytesIO()
    Image.fromarray(np.atleast_2d(to_uint8(image))).save(file, **options)
    kind = str(options["format"]).lower()
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
