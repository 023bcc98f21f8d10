"""Fruit: a lit, lobed ball whose skin shows how ripe it is, with a calyx on top."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

from examples.ripeness.conditions import RIPE_FROM, TURNING_FROM
from examples.ripeness.painting.canvas import FIXED_BITS, HALF, blend, fixed, line, window_of

if TYPE_CHECKING:
    from examples.ripeness.arrays import Floats
    from examples.ripeness.conditions import Moment
    from examples.ripeness.painting.canvas import Canvas
    from examples.ripeness.plants import Fruit


def draw_fruit(canvas: Canvas, fruit: Fruit, index: int, moment: Moment) -> float:
    """Draw one fruit, take over its pixels in the owner map, and return its whole area in pixels."""
    swing = math.sin(2 * math.pi * fruit.beats * moment.cycle + fruit.phase) - math.sin(fruit.phase)
    place = (fruit.centre[0] + 0.005 * moment.wind * swing, fruit.centre[1])
    x, y = canvas.to_pixels(place, moment.camera)
    radius = fruit.radius * canvas.height
    reach = radius * 1.3
    window = window_of(canvas, x - reach, y - reach, x + reach, y + reach)
    if window is None:
        return math.pi * radius * radius
    across, down = _grid(window, (x, y), radius)
    lean = fruit.lean_rad + 0.04 * moment.wind * swing
    surface = _surface(across, down, lean, fruit.lobe_phase, radius)
    _contact_shadow(canvas, window, across, down)
    colour = _fruit_colour(surface, fruit, min(1.0, fruit.ripeness + moment.ripening), lean, canvas.sun)
    canvas.colour[window] += (colour - canvas.colour[window]) * surface.cover[..., None]
    canvas.owner[window][surface.cover > HALF] = index
    origin = (x - window[1].start, y - window[0].start)
    _draw_calyx(canvas.colour[window], origin, radius, lean, fruit)
    return math.pi * radius * radius * OBLATE


OBLATE: Final = 0.93
"""Height of a fruit over its width."""


@dataclass(frozen=True)
class _Surface:
    """The visible half of a fruit in a window of the picture; every array is [h, w] or [h, w, 3]."""

    cover: Floats
    normal: Floats


def _grid(window: tuple[slice, slice], centre: tuple[float, float], radius: float) -> tuple[Floats, Floats]:
    """Return how far right of and below the centre each pixel is, in radii."""
    rows, columns = window
    across = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - centre[0]) / radius
    down = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - centre[1]) / radius
    return np.broadcast_to(across, (len(down), len(across))), np.broadcast_to(down[:, None], (len(down), len(across)))


def _surface(across: Floats, down: Floats, lean: float, lobe_phase: float, radius: float) -> _Surface:
    """Bend a slightly flattened, lobed ball into the window."""
    cosine, sine = math.cos(lean), math.sin(lean)
    u, v = cosine * across + sine * down, (cosine * down - sine * across) / OBLATE
    lobes = 1 + 0.018 * np.cos(5 * np.arctan2(v, u) + lobe_phase)
    rho = np.hypot(u, v) / lobes
    cover = np.clip((1 - rho) * radius + 0.5, 0, 1).astype(np.float32)
    depth = np.sqrt(np.clip(1 - rho * rho, 0, 1))
    normal = np.stack([across / np.maximum(rho, 1), down / np.maximum(rho, 1), depth], axis=-1)
    return _Surface(cover, normal.astype(np.float32))


def _contact_shadow(canvas: Canvas, window: tuple[slice, slice], across: Floats, down: Floats) -> None:
    """Darken what is right behind a fruit, on the side away from the light."""
    distance = np.hypot(across + 0.12 * canvas.sun[0], down - 0.1)
    canvas.colour[window] *= 1 - 0.45 * np.clip((1.22 - distance) / 0.3, 0, 1)[..., None]


def _fruit_colour(surface: _Surface, fruit: Fruit, ripeness: float, lean: float, sun: Floats) -> Floats:
    """Light a fruit: its own colour, daylight, light from the leaves and a window's highlight."""
    normal = surface.normal
    axis = _stem_end(lean, fruit.nod_rad)
    latitude = normal @ axis
    mottle = 0.12 * np.sin(5 * normal[..., 0] + fruit.lobe_phase) * np.sin(4 * normal[..., 1] + fruit.phase)
    blush = 1 / (1 + np.exp((latitude + mottle - _blush_limit(ripeness)) / 0.13))
    unripe, hot = _skin(ripeness)
    skin = unripe + (hot - unripe) * blush[..., None]
    sunlit = np.clip(normal @ sun, 0, 1)
    shaded = 0.5 + 0.75 * sunlit - 0.12 * np.clip(normal[..., 1], 0, 1)
    half = sun + np.array([0, 0, 1], np.float32)
    glance = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)
    gloss = 0.5 * glance**70 + 0.12 * glance**12
    rim = 0.10 * (1 - normal[..., 2]) ** 3
    bounce = np.array([0.35, 0.7, 0.5], np.float32) * rim[..., None]
    lit: Floats = (skin * (shaded * fruit.shade)[..., None] + gloss[..., None] + bounce).astype(np.float32)
    return lit


def _stem_end(lean: float, nod: float) -> Floats:
    """Return the unit vector from a fruit's middle to where its stem is: right, down, towards the viewer."""
    return np.array([math.sin(lean) * math.cos(nod), -math.cos(lean) * math.cos(nod), math.sin(nod)], np.float32)


def _blush_limit(ripeness: float) -> float:
    """Return the latitude (1 is the stem end) up to which the skin has turned; it steps where the class changes."""
    steps = [0.0, TURNING_FROM - 0.03, TURNING_FROM + 0.01, RIPE_FROM - 0.01, RIPE_FROM + 0.03, 1.0]
    return float(np.interp(ripeness, steps, [-2.0, -1.6, -0.15, 0.55, 1.5, 2.0]))


def _skin(ripeness: float) -> tuple[Floats, Floats]:
    """Return the colours of the part that has not turned and of the part that has."""
    stages = [0.0, TURNING_FROM, RIPE_FROM, RIPE_FROM + 0.05, 1.0]
    unripe = [(0.24, 0.55, 0.42), (0.32, 0.68, 0.58), (0.25, 0.6, 0.72), (0.1, 0.2, 0.8), (0.08, 0.1, 0.72)]
    hot = [(0.18, 0.6, 0.85), (0.16, 0.58, 0.93), (0.12, 0.36, 0.95), (0.1, 0.14, 0.88), (0.09, 0.07, 0.74)]
    pick = [[np.interp(ripeness, stages, [stop[c] for stop in table]) for c in range(3)] for table in (unripe, hot)]
    return np.array(pick[0], np.float32), np.array(pick[1], np.float32)


BEHIND: Final = -0.15
"""Mean depth, in radii, from which a sepal lies behind its fruit."""


def _draw_calyx(target: Floats, origin: tuple[float, float], radius: float, lean: float, fruit: Fruit) -> None:
    """Draw five sepals that follow the ball's surface from the stem end, and the stub of the stem."""
    axis = _stem_end(lean, fruit.nod_rad).astype(np.float64)
    right = np.array([math.cos(lean), math.sin(lean), 0.0])
    front = np.cross(right, axis)
    mask = np.zeros(target.shape[:2], np.uint8)

    def on_ball(polar: float, azimuth: float, lift: float) -> npt.NDArray[np.float64]:
        around = math.cos(azimuth) * right + math.sin(azimuth) * front
        return (math.cos(polar) * axis + math.sin(polar) * around) * lift

    for sepal in range(5):
        azimuth = fruit.lobe_phase + sepal * 2 * math.pi / 5
        length = 0.62 + 0.12 * math.sin(fruit.phase + 2.4 * sepal)
        blade = [(0.05, azimuth, 1.0), (0.45 * length, azimuth + 0.42, 1.02), (length, azimuth, 1.1)]
        blade.append((0.45 * length, azimuth - 0.42, 1.02))
        outline = np.array([on_ball(*corner) for corner in blade])
        if outline[:, 2].mean() > BEHIND:
            cv2.fillPoly(mask, [fixed(outline[:, :2] * radius + origin)], (255,), cv2.LINE_AA, FIXED_BITS)
    stub = np.stack([axis * 0.97, axis * 1.22])[:, :2] * radius + origin
    line(mask, stub, max(1, round(radius * 0.12)))
    blend(target, mask, np.array([0.15, 0.4, 0.27], np.float32) * fruit.shade)
