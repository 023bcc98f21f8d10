"""What is around the plant: the greenhouse behind it, an insect or somebody in front of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from examples.ripeness.painting.canvas import FIXED_BITS, HALF, NOBODY, blend, fixed, window_of

if TYPE_CHECKING:
    from examples.ripeness.arrays import Floats, Rng
    from examples.ripeness.conditions import SceneParams
    from examples.ripeness.painting.canvas import Canvas

BACKDROP_WIDTH: Final = 4.0
"""Width of the background in image heights: room for the camera to look away."""

BACKDROP_ROWS: Final = 90
"""Height of the background in pixels: it is out of focus, so few suffice."""


def paint_backdrop(rng: Rng, params: SceneParams) -> Floats:
    """Paint the greenhouse behind the plant: glass roof, rows of foliage, ground cloth, all out of focus."""
    rows, columns = BACKDROP_ROWS, round(BACKDROP_ROWS * BACKDROP_WIDTH)
    horizon = rng.uniform(0.12, 0.4)
    y = np.linspace(0, 1, rows, dtype=np.float32)
    stops = [0.0, horizon, horizon + 0.12, 0.8, 1.0]
    bgr = [(0.86, 0.84, 0.78), (0.72, 0.78, 0.68), (0.30, 0.46, 0.34), (0.20, 0.34, 0.24), (0.34, 0.40, 0.38)]
    column = np.stack([np.interp(y, stops, [stop[c] for stop in bgr]) for c in range(3)], axis=1)
    picture = np.repeat(column[:, None, :].astype(np.float32), columns, axis=1)
    _paint_bars(rng, picture, horizon)
    _paint_bokeh(rng, picture, horizon, params.season)
    return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1.6, 3.4))).astype(np.float32)


def _paint_bars(rng: Rng, picture: Floats, horizon: float) -> None:
    """Draw glazing bars in the roof and posts below it."""
    rows, columns = picture.shape[:2]
    shift = int(rng.integers(0, 30))
    for x in range(-60, columns + 60, 30):
        foot = (x + shift, round(horizon * rows))
        cv2.line(picture, foot, (x + shift + 22, 0), (0.62, 0.62, 0.58), 2)
    cv2.line(picture, (0, round(horizon * rows)), (columns, round(horizon * rows)), (0.66, 0.68, 0.64), 2)
    for x in range(shift, columns, 90):
        cv2.line(picture, (x, round(horizon * rows)), (x, rows), (0.55, 0.6, 0.58), 2)


def _paint_bokeh(rng: Rng, picture: Floats, horizon: float, season: float) -> None:
    """Scatter blurred foliage, spots of light and a few far fruit."""
    rows, columns = picture.shape[:2]
    for _ in range(420):
        centre = (int(rng.integers(columns)), int(rows * rng.uniform(horizon, 0.98)))
        green = float(rng.uniform(0.16, 0.5))
        colour = (green * float(rng.uniform(0.5, 0.75)), green, green * float(rng.uniform(0.6, 0.9)))
        axes = (int(rng.integers(2, 7)), int(rng.integers(3, 10)))
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    for _ in range(40):
        centre = (int(rng.integers(columns)), int(rows * rng.uniform(0, 0.75)))
        cv2.circle(picture, centre, int(rng.integers(1, 4)), (0.8, 0.92, 0.86), -1)
    for _ in range(round(30 * season)):
        centre = (int(rng.integers(columns)), int(rows * rng.uniform(horizon + 0.1, 0.9)))
        cv2.circle(picture, centre, int(rng.integers(1, 3)), (0.16, 0.25, 0.62), -1)


def draw_backdrop(background: Floats, params: SceneParams, camera: tuple[float, float]) -> Floats:
    """Cut the part of the background that the camera sees; it is far, so it moves less than the plant."""
    scale = params.height / BACKDROP_ROWS * 1.06
    middle = background.shape[1] / 2 + camera[0] * 0.4 * BACKDROP_ROWS
    top = BACKDROP_ROWS * 0.028 + camera[1] * 0.4 * BACKDROP_ROWS
    matrix = np.array([[scale, 0, params.width / 2 - scale * middle], [0, scale, -scale * top]])
    size = (params.width, params.height)
    return cv2.warpAffine(background, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(
        np.float32
    )


def draw_insect(canvas: Canvas, place: tuple[float, float], cycle: float) -> None:
    """Draw a small bee in flight."""
    x, y = canvas.to_pixels(place, (0.0, 0.0))
    size = 0.012 * canvas.height
    window = window_of(canvas, x - 4 * size, y - 4 * size, x + 4 * size, y + 4 * size)
    if window is None:
        return
    mask = np.zeros(canvas.owner[window].shape, np.uint8)
    centre = np.array([x - window[1].start, y - window[0].start])
    beat = 40 * math.sin(997 * cycle)
    parts = [((0.0, -1.0), (1.3, 0.6), beat - 50, 130, (0.85, 0.85, 0.82)), ((0.0, 0.0), (1.4, 0.8), 15, 255, BEE)]
    for offset, axes, angle, cover, colour in parts:
        mask[:] = 0
        middle = fixed(centre + np.array(offset) * size)
        radii = fixed(np.array(axes) * size)
        shape = ((int(middle[0]), int(middle[1])), (int(radii[0]), int(radii[1])))
        cv2.ellipse(mask, *shape, angle, 0, 360, (cover,), -1, cv2.LINE_AA, FIXED_BITS)
        blend(canvas.colour[window], mask, np.array(colour, np.float32))
    canvas.owner[window][mask > HALF * 255] = NOBODY


BEE: Final = (0.1, 0.3, 0.38)


def draw_passer(canvas: Canvas, x: float) -> None:
    """Draw somebody in blue overalls so close to the lens that only a soft shape is seen."""
    rows, columns = canvas.owner.shape
    scale = 8
    small = np.zeros((rows // scale, columns // scale), np.float32)
    unit = rows / scale
    middle = small.shape[1] / 2 + x * unit
    torso = np.array([[-0.95, 1.2], [-0.9, 0.1], [-0.7, -0.15], [0.7, -0.15], [0.9, 0.1], [0.95, 1.2]])
    outline = np.round(torso * unit + (middle, 0)).astype(np.int32)
    cv2.fillPoly(small, [outline], (1.0,))
    cover = cv2.resize(cv2.GaussianBlur(small, (0, 0), unit * 0.04), (columns, rows), interpolation=cv2.INTER_LINEAR)
    fold = 0.9 + 0.1 * np.sin(((np.arange(columns) - columns / 2) / rows - x) * 9).astype(np.float32)
    cloth = np.array([0.46, 0.33, 0.22], np.float32) * fold[None, :, None]
    canvas.colour += (cloth - canvas.colour) * cover[..., None]
    canvas.owner[cover > HALF] = NOBODY
