"""A sheet to choose by looking: what a picture's depth gives."""

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from src import masks
from src.core.images import to_uint8
from src.inputs.scenes import Scene

TILE = 320  # pixels, width of a tile
GAP = 12
CAPTION = 22  # pixels, height of a line of text
COLUMNS = 4
PAPER, INK = (250, 249, 246), (40, 40, 40)
MASKS: tuple[Callable[..., Tensor], ...] = (masks.linear, masks.sigmoid, masks.step, masks.band)


def preview(scene: Scene) -> Image.Image:
    """The photo, its depth, where it was measured, and each mask function at its defaults."""
    depth, valid = scene.depth, scene.valid
    assert depth is not None
    assert valid is not None
    measured = f"measured: {valid.float().mean().item():.0%}"
    if scene.is_estimated:
        measured = scene.depth_from
    low, high = scene.depth_span or (0.0, 1.0)
    unit = " m" if scene.depth_unit == "m" else ""
    threshold = masks.otsu_threshold(depth, valid)
    tiles = [
        (f"{scene.name}: content", scene.image),
        (f"depth: black is {low:.3g}{unit}, white {high:.3g}{unit}", depth),
        (measured, valid.float()),
    ]
    made = {f"mask=sigmoid center=auto ({threshold:.2f})": masks.sigmoid(depth, threshold)}
    made |= {f"mask={mask.__name__}": mask(depth) for mask in MASKS}
    if scene.is_estimated:  # as a run does it (refine_masks)
        made = {name: masks.refine(mask, scene.image) for name, mask in made.items()}
    tiles += [(f"{name}: {mask.mean().item():.0%}", mask) for name, mask in made.items()]
    return _sheet([(caption, _tile(image)) for caption, image in tiles])


def _tile(tensor: Tensor) -> Image.Image:
    image = Image.fromarray(to_uint8(tensor)).convert("RGB")
    return image.resize((TILE, max(1, round(TILE * image.height / image.width))))


def _sheet(tiles: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    row = max(tile.height for _, tile in tiles) + CAPTION + GAP
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, rows * row + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (caption, tile) in enumerate(tiles):
        left, top = GAP + number % COLUMNS * (TILE + GAP), GAP + number // COLUMNS * row
        draw.text((left, top), caption, INK, font)
        sheet.paste(tile, (left, top + CAPTION))
    return sheet
