"""Built-in style pictures, drawn by the formulas below: nobody's copyright, nothing to download.

`python -m src.inputs.paintings` redraws the PNG files in `assets/`. Lengths and positions are in
picture heights, x running from 0 to width / height, so that a painting is the same at any size.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree

from src.errors import InputError

ASSETS = Path(__file__).parent / "assets"
SIZE = (512, 640)  # height and width of the files there
SEED = 2  # theirs too, chosen by eye
OVERSAMPLING = 2  # everything is drawn twice as large, then averaged: PIL's lines have hard edges

NIGHT = "050a24 0b1c55 123c94 1e62b8 3d90cc 86c2d2 dfe0a4 f6d557 f2ae1c"
FIELDS = "040d1c 0a2440 124a5c 2c7468 7d9a5a d9b24a"
ACCENTS = "d98a2e 5b3f9a 3fb5a8"
GOLD = "b5651d d99a2b f0c75e f7e2a0"
CRIMSON = "6d1a1f a3312a c8452b"
TESSERAE = "f3e3b3 e0a526 c8452b 7b1e22 e98a2b 1f5a5c f6c95b 9c2f1f 2b2a33"
MORTAR = "261816"
CREAM, OCHRE, VERMILION, BLACK = "f2e5c8", "d99e3f", "cc3921", "17130f"

Array = np.ndarray


def _colours(codes: str) -> Array:
    """Hexadecimal colours, separated by blanks, as (N, 3) floats in 0-255."""
    return np.array([list(bytes.fromhex(code)) for code in codes.split()], float)


def _ramp(position: Array, codes: str) -> Array:
    """The colour at each position in [0, 1] of a gradient through evenly spaced colours."""
    stops = _colours(codes)
    where = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(position, where, channel) for channel in stops.T], axis=-1)


def _grid(height: int, width: int) -> tuple[Array, Array]:
    """The y and x of every pixel's centre, (height, width) each."""
    y, x = np.mgrid[:height, :width]
    return (y + 0.5) / height, (x + 0.5) / height


def _noise(rng: np.random.Generator, y: Array, x: Array, frequency: float) -> Array:
    """Smooth noise of variance 1: plane waves of random direction, `frequency` per height or less.

    Waves and not filtered pixels: their sum has a value at any point, whatever the picture's size.
    """
    angle, phase = rng.uniform(0, 2 * np.pi, (2, 10))
    wave = 2 * np.pi * frequency * rng.uniform(0.5, 1, 10)
    rows = zip(wave * np.sin(angle), wave * np.cos(angle), phase, strict=True)
    return sum(np.cos(ky * y + kx * x + p) for ky, kx, p in rows) / np.sqrt(5)


def _at(field: Array, points: Array) -> Array:
    """`field` (H, W, ...) at the pixels nearest to `points` (..., 2), edges going on for ever."""
    row, column = np.moveaxis(np.floor(points * len(field)).astype(int), -1, 0)
    return field[np.clip(row, 0, field.shape[0] - 1), np.clip(column, 0, field.shape[1] - 1)]


def _canvas(colour: Array) -> Image.Image:
    """A picture to paint on; its alpha channel holds the height of the paint, low at first."""
    ground = np.concatenate([colour, np.full_like(colour[..., :1], 90)], axis=-1)
    big = ground.repeat(OVERSAMPLING, axis=0).repeat(OVERSAMPLING, axis=1)
    return Image.fromarray(np.clip(big, 0, 255).astype(np.uint8))


def _lit(canvas: Image.Image, strength: float) -> Array:
    """The canvas at its final size, its relief lit from the upper left, (H, W, 3) uint8."""
    paint = np.asarray(canvas.reduce(OVERSAMPLING), float)
    scale = len(paint) / 512
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(paint[..., 3], 0.6 * scale) * scale)
    light = -(slope_x + 1.2 * slope_y)[..., None] / 100
    gloss = 50 * np.clip(light - 0.12, 0, 1)
    lit = paint[..., :3] * (1 + strength * np.clip(light, -0.6, 0.6)) + gloss
    return np.clip(lit, 0, 255).astype(np.uint8)


def _brush(
    rng: np.random.Generator,
    canvas: Image.Image,
    potential: Array,
    colour: Callable[[Array], Array],
    width: float,
    length: float,
    coats: float,
    where: Array | None = None,
) -> None:
    """Paint strokes of five bristles along the level curves of a potential.

    Args:
        rng: source of all chance.
        canvas: painted on, colour and paint height.
        potential: (H, W); a stroke keeps to one value of it.
        colour: (N, 2) middles of strokes to (N, 3) colours.
        width: of a stroke, in picture heights.
        length: of a stroke, in picture heights.
        coats: how many strokes lie above each other, on average.
        where: (H, W), the probability that a stroke is painted; everywhere without it.
    """
    bristles, unit = 5, canvas.height
    slope_y, slope_x = np.gradient(potential)
    along = np.stack([-slope_x, slope_y], axis=-1)
    along /= np.linalg.norm(along, axis=-1, keepdims=True) + 1e-12

    margin = length / 2  # strokes that start outside cover the picture's edges
    area = np.array([1, canvas.width / unit]) + 2 * margin
    middle = rng.uniform(-margin, area - margin, (int(coats * area.prod() / width / length), 2))
    if where is not None:
        middle = middle[rng.uniform(size=len(middle)) < _at(where, middle)]
    step = 0.7 * width
    halves = []
    for sign in (-1, 1):
        point, path = middle, [middle]
        for _ in range(round(margin / step)):
            half_way = point + 0.5 * sign * step * _at(along, point)  # midpoint rule: no drift
            point = point + sign * step * _at(along, half_way)
            path.append(point)
        halves.append(path)
    line = np.stack(halves[0][:0:-1] + halves[1], axis=1)  # (N, T, 2)
    tangent = np.gradient(line, axis=1)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-12
    normal = tangent[..., ::-1] * [1, -1]

    n = len(line)
    offset = np.linspace(-1, 1, bristles)
    spread = 0.42 * width * offset * rng.uniform(0.7, 1.15, (n, 1))
    tracks = (line[:, None] + normal[:, None] * spread[..., None, None])[..., ::-1] * unit
    tint = colour(middle)[:, None] + rng.normal(0, 9, (n, bristles, 1))
    ridge = 150 + 60 * (1 - offset**2) + rng.normal(0, 28, (n, bristles))
    paint = np.clip(np.concatenate([tint, ridge[..., None]], axis=-1), 0, 255).astype(int)
    ragged = rng.integers(0, 3, (n, bristles, 2))  # bristles touch down and lift off unevenly
    thickness = max(1, round(1.25 * width * unit / bristles))
    pen = ImageDraw.Draw(canvas)
    for i in range(n):
        for j in rng.permutation(bristles):
            start, end = ragged[i, j, 0], line.shape[1] - ragged[i, j, 1]
            track = tracks[i, j, start:end].ravel().tolist()
            pen.line(track, fill=tuple(paint[i, j].tolist()), width=thickness, joint="curve")


def swirls(height: int, width: int, seed: int = SEED) -> Array:
    """A night sky in oil: long strokes, deep blue to yellow, that wind round vortices and stars.

    Strokes follow a potential (wind, vortices, a hump for each star), and its level curves also
    carry the bands of light and dark, so that colour and direction flow together.
    """
    rng = np.random.default_rng(seed)
    y, x = _grid(height, width)
    aspect = width / height
    vortices = [(0.45, 0.40, 0.15, 0.32), (0.34, 0.66, 0.09, -0.20)]  # y, x / aspect, radius, force
    stars = [(0.18, 0.87, 0.090), (0.15, 0.12, 0.055), (0.11, 0.36, 0.042), (0.10, 0.60, 0.040)]
    stars += [(0.43, 0.09, 0.045), (0.68, 0.17, 0.036), (0.46, 0.91, 0.045), (0.63, 0.70, 0.055)]

    wind = 0.5 * y + 0.04 * _noise(rng, y, x, 1.2)
    for cy, cx, radius, force in vortices:
        distance = np.hypot(y - cy, x - cx * aspect)
        wind += force * np.exp(-((distance / radius) ** 2) / 1.5)
    bands = 0.5 + 0.5 * np.sin(2 * np.pi * 9 * wind)
    glow = np.zeros_like(y)
    for cy, cx, radius in stars:
        distance = np.hypot(y - cy, x - cx * aspect) / radius
        wind += 2.6 * radius * np.exp(-((distance / 1.3) ** 2))
        rings = 0.55 + 0.45 * np.cos(2 * np.pi * distance / 0.75)
        halo = rings * np.exp(-((distance / 1.5) ** 2))
        glow = np.maximum(glow, halo + 0.7 * np.exp(-((distance / 0.5) ** 2)))
    sky = 0.13 + 0.36 * bands + 0.06 * _noise(rng, y, x, 1.5) + 0.85 * glow

    below = y - 0.80 - 0.05 * np.sin(2.2 * x + 0.5) - 0.035 * np.sin(5.1 * x + 2)  # the hills
    land = below > 0
    furrows = below * (1 - 0.4 * np.sin(3 * x)) + 0.02 * _noise(rng, y, x, 2)
    ground = 0.08 + 0.55 * (0.5 + 0.5 * np.sin(2 * np.pi * 12 * furrows))
    ground *= np.clip(below / 0.04, 0.3, 1)  # the ridge stays dark
    potential = np.where(land, furrows, wind)
    tone = np.where(land, ground, sky)

    def colour(points: Array) -> Array:
        shade = np.clip(_at(tone, points) + rng.normal(0, 0.07, len(points)), 0, 1)
        paint = np.where(_at(land, points)[:, None], _ramp(shade, FIELDS), _ramp(shade, NIGHT))
        accent = _colours(ACCENTS)[rng.integers(3, size=len(points))]
        stray = rng.uniform(size=(len(points), 1)) < 0.06
        paint = np.where(stray, 0.6 * paint + 0.4 * accent, paint)
        return paint + rng.normal(0, 9, paint.shape)

    shadow = np.clip(0.6 * tone, 0, 1)
    canvas = _canvas(np.where(land[..., None], _ramp(shadow, FIELDS), _ramp(shadow, NIGHT)))
    _brush(rng, canvas, potential, colour, width=0.018, length=0.14, coats=2.0)
    _brush(rng, canvas, potential, colour, width=0.013, length=0.11, coats=1.5)
    small = np.clip(1.5 * glow + 0.12, 0, 1)
    _brush(rng, canvas, potential, colour, width=0.010, length=0.065, coats=2.0, where=small)
    return _lit(canvas, strength=1.0)


def mosaic(height: int, width: int, seed: int = SEED) -> Array:
    """Discs of coloured rings on waves of gold and crimson, set in small square stones.

    The stones are a Voronoi diagram in the maximum metric turned to the local direction, relaxed
    by Lloyd's iterations (Hausner 2001, Simulating decorative mosaics). They shun the outlines of
    the discs, where the dark mortar shows.
    """
    rng = np.random.default_rng(seed)
    aspect = width / height
    count = round(2900 * aspect)
    y, x = _grid(240, round(240 * aspect))  # stones are laid on a coarse grid whatever the size
    discs = [(0.36, 0.33, 0.27), (0.78, 0.72, 0.25), (0.22, 0.82, 0.19), (0.86, 0.15, 0.18)]
    discs += [(0.60, 0.54, 0.12), (0.12, 0.56, 0.09), (0.52, 0.93, 0.10), (0.62, 0.08, 0.08)]
    discs += [(0.93, 0.42, 0.09), (0.08, 0.07, 0.11)]  # y, x / aspect, radius

    rows = y + 0.06 * np.sin(4.2 * x + 0.6) + 0.03 * np.sin(9 * x + 2)  # stones lie in rows of it
    region = np.zeros(y.shape, int)
    for i, (cy, cx, radius) in enumerate(discs, start=1):
        distance = np.hypot(y - cy, x - cx * aspect)
        rows = np.where(distance < radius, distance, rows)
        region[distance < radius] = i
    slope = np.stack(np.gradient(rows), axis=-1)
    axis = slope / np.linalg.norm(slope, axis=-1, keepdims=True).clip(1e-12)
    outline = ndimage.grey_dilation(region, 3) != ndimage.grey_erosion(region, 3)

    pixels = np.stack([y, x], axis=-1).reshape(-1, 2)
    weight = np.where(outline, 1e-6, 1.0).ravel()
    stones = rng.uniform([0, 0], [1, aspect], (count, 2))
    for _ in range(16):
        near = cKDTree(stones).query(pixels, 6)[1]
        down, right = np.moveaxis(pixels[:, None] - stones[near], -1, 0)
        sin, cos = _at(axis, stones).T[:, near]
        reach = np.maximum(abs(right * cos + down * sin), abs(down * cos - right * sin))
        owner = near[np.arange(len(pixels)), reach.argmin(axis=1)]
        mass = np.bincount(owner, weight, count)
        sums = [np.bincount(owner, weight * p, count) for p in pixels.T]
        kept = mass[:, None] > 1e-3
        stones = np.where(kept, np.stack(sums, axis=-1) / mass[:, None].clip(1e-9), stones)
        stones = stones.round(6)  # or the last digits of another machine's sine would add up

    level, disc = _at(rows, stones), _at(region, stones)
    palette = _colours(TESSERAE)
    schemes = palette[rng.permuted(np.tile(np.arange(len(palette)), (len(discs) + 1, 1)), axis=1)]
    ring = np.floor(level / 0.031).astype(int) % len(palette)
    gold = _ramp(0.5 + 0.4 * np.sin(40 * level), GOLD)
    crimson = _ramp(rng.uniform(size=count), CRIMSON)
    waves = np.where(np.floor(level / 0.09)[:, None] % 3 == 0, crimson, gold)
    colour = np.where(disc[:, None] == 0, waves, schemes[disc, ring])
    colour = colour * (1 + rng.normal(0, 0.11, (count, 1))) + rng.normal(0, 8, (count, 3))
    paint = np.clip(np.column_stack([colour, rng.normal(200, 25, count)]), 0, 255).astype(int)

    turn = np.arctan2(*_at(axis, stones).T) + rng.normal(0, 0.08, count)
    corner = turn[:, None] + np.pi * np.array([0.25, 0.75, 1.25, 1.75])
    half_diagonal = np.sqrt(aspect / count / 2)
    half_diagonal -= 0.5 / OVERSAMPLING / height  # PIL fills a polygon's edges too
    size = half_diagonal * rng.uniform(0.8, 0.95, (count, 1)) * rng.uniform(0.88, 1.06, (count, 4))
    vertex_x = stones[:, 1:] + size * np.cos(corner)
    vertex_y = stones[:, :1] + size * np.sin(corner)
    canvas = _canvas(np.broadcast_to(_colours(MORTAR)[0], (height, width, 3)))
    vertices = np.stack([vertex_x, vertex_y], axis=-1) * canvas.height
    pen = ImageDraw.Draw(canvas)
    for i in rng.permutation(count):
        pen.polygon(vertices[i].ravel().tolist(), fill=tuple(paint[i].tolist()))
    return _lit(canvas, strength=0.9)


def _lines(pattern: Array, tone: Array, pitch: float) -> Array:
    """Ink coverage in [0, 1] of lines along the level curves of `pattern`, `pitch` apart.

    Args:
        pattern: (H, W), in picture heights.
        tone: (H, W), the width of a line as a part of the pitch; below 0 none, above 1 all black.
        pitch: from one line to the next, in picture heights.
    """
    from_line = 2 * np.abs((pattern / pitch) % 1 - 0.5)  # 0 on a line, 1 midway to the next
    steepness = np.hypot(*np.gradient(pattern)).clip(1e-9)
    return np.clip((tone - from_line) * pitch / (2 * steepness) + 0.5, 0, 1)


def ink(height: int, width: int, seed: int = SEED) -> Array:
    """A woodcut: a red sun over ridges, black lines that swell and thin, ochre on cream paper."""
    rng = np.random.default_rng(seed)
    y, x = _grid(height * OVERSAMPLING, width * OVERSAMPLING)
    cream, ochre, vermilion, black = _colours(f"{CREAM} {OCHRE} {VERMILION} {BLACK}")
    washes = [0.35 * ochre + 0.65 * cream, 0.8 * ochre + 0.2 * cream]
    washes += [0.6 * vermilion + 0.4 * ochre, ochre]

    from_sun = np.hypot(y - 0.27, x - 0.64 * width / height)
    tone = 0.16 + 0.34 * np.clip((from_sun - 0.15) / 0.9, 0, 1) + 0.12 * _noise(rng, y, x, 2)
    tone = np.where(from_sun < 0.15, -1, tone.clip(0.06))
    lines = _lines(from_sun + 0.012 * _noise(rng, y, x, 2), tone, pitch=1 / 66)
    paper = np.where((from_sun < 0.143)[..., None], vermilion, cream)

    for i, wash in enumerate(washes):  # from the farthest ridge to the nearest
        ridge = 0.5 + 0.115 * i
        for octave in (1, 2, 4, 8):
            peaks = rng.uniform(-1, 1, 100)
            ridge += (0.12 - 0.02 * i) / octave * np.interp(2 * octave * x[0], range(100), peaks)
        below = y - ridge
        hill = below > 0
        depth = ndimage.distance_transform_edt(hill) / len(y)
        wobble = _noise(rng, y, x, 3)
        # contour lines and lines down the slope take turns, so that neighbours stay apart
        pattern = 0.9 * x + 0.35 * below + 0.02 * wobble if i % 2 else depth + 0.012 * wobble
        tone = np.clip(0.95 - 6 * depth, 0.12, 0.95) + 0.16 * _noise(rng, y, x, 3)
        tone = np.where(depth < 0.008, 2, tone)
        lines = np.where(hill, _lines(pattern, tone, pitch=1 / (78 - 10 * i)), lines)
        paper = np.where(hill[..., None], wash, paper)

    grain = 1 + 0.025 * _noise(rng, 8 * y, 0.6 * x, 6)  # of the wood, in the flat colours
    print_ = paper * grain[..., None] * (1 - lines[..., None]) + black * lines[..., None]
    big = Image.fromarray(np.clip(print_, 0, 255).astype(np.uint8))
    return np.array(big.reduce(OVERSAMPLING))


PAINTINGS: dict[str, Callable[[int, int, int], Array]] = {
    "swirls": swirls,
    "mosaic": mosaic,
    "ink": ink,
}


def draw(name: str, height: int, width: int, seed: int = SEED) -> Array:
    """Draw a built-in painting; the same arguments give the same picture.

    Args:
        name: one of `PAINTINGS`.
        height: pixels, 2 or more.
        width: pixels, 2 or more.
        seed: another number gives another picture in the same manner.

    Returns:
        (height, width, 3) uint8, sRGB.

    Raises:
        InputError: no painting has that name.
    """
    if name not in PAINTINGS:
        raise InputError("style", repr(name), f"a built-in painting: {', '.join(PAINTINGS)}")
    return PAINTINGS[name](height, width, seed)


def main() -> None:
    """Redraw every file in `assets/`."""
    ASSETS.mkdir(exist_ok=True)
    for name in PAINTINGS:
        Image.fromarray(draw(name, *SIZE)).save(ASSETS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
