"""The grid of a page as one picture, to be sent or printed."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from src.core.files import replace_whole
from src.core.images import open_picture
from src.gallery.table import Table, in_order
from src.gallery.thumbnails import Pictures
from src.runs.comparison import short_text

CELL = 256  # px, both sides of the largest picture
GAP, CAPTION, MARGIN = 8, 20, 120  # px; MARGIN: of the names of rows
PER_ROW, MOST = 6, 300  # pictures, where there are no columns
PAPER, INK = (250, 249, 246), (40, 40, 40)


def write_sheet(path: Path, table: Table, pictures: Pictures, names: Sequence[str]) -> None:
    """Draw the runs' thumbnails by the table's rows and columns; in a cell of several the first.

    Args:
        path: of the JPEG.
        table: of the runs; without rows or columns they follow each other under their names.
        pictures: of the runs.
        names: of the runs.
    """
    places: dict[tuple[int, int], int] = {}
    heads, sides = [""], [""]
    if table.columns is None:
        shown = [i for i, picture in enumerate(pictures) if picture][:MOST]
        places = {divmod(n, PER_ROW): i for n, i in enumerate(shown)}
        sides *= 1 + max(row for row, _ in places)
        heads *= min(PER_ROW, len(shown))
    else:
        columns = table.keys[table.columns]
        rows = table.keys[table.rows] if table.rows else [None] * len(columns)
        ends = in_order(rows), in_order(columns)
        sides, heads = (list(map(short_text, values)) for values in ends)
        for i, place in enumerate(zip(rows, columns, strict=True)):
            if pictures[i]:
                row, column = (values.index(v) for values, v in zip(ends, place, strict=True))
                places.setdefault((row, column), i)
    left = MARGIN if any(sides) else GAP
    sheet = Image.new(
        "RGB", (left + len(heads) * (CELL + GAP), len(sides) * (CELL + CAPTION + GAP)), PAPER
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, text in enumerate(sides):
        draw.text((GAP, row * (CELL + CAPTION + GAP) + CAPTION + CELL // 2), text[:16], INK, font)
    for (row, column), i in places.items():
        x, y = left + column * (CELL + GAP), row * (CELL + CAPTION + GAP)
        caption = heads[column] if table.columns else names[i]
        draw.text((x, y + 2), caption[:36], INK, font)
        picture = pictures[i]
        assert picture is not None
        with open_picture(picture.path, ("WEBP",)) as image:
            image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
            mask = image if "A" in image.getbands() else None
            sheet.paste(image, (x, y + CAPTION), mask)
    with replace_whole(path) as part:
        sheet.save(part, "JPEG", quality=92)
