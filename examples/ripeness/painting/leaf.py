"""Leaves: painted once, then only moved, turned and tinted."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

from examples.ripeness.painting.canvas import FIXED_BITS, HALF, NOBODY, fixed, window_of
from examples.ripeness.plants import LEAF_SHAPES

if TYPE_CHECKING:
    from examples.ripeness.arrays import Floats, Pixels, Rng
    from examples.ripeness.conditions import Moment
    from examples.ripeness.painting.canvas import Canvas
    from examples.ripeness.plants import Leaf

SPRITE_PX: Final = 256


@functools.lru_cache(maxsize=1)
def _leaf_sprites() -> tuple[tuple[Floats, ...], ...]:
    """Return `LEAF_SHAPES` leaves, each as [S, S, 4] BGR (times coverage) and coverage, at S = 256, 128 and 64."""
    sprites = []
    for number in range(LEAF_SHAPES):
        large = _paint_leaf(np.random.default_rng([number, 733]))
        half = cv2.resize(large, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        quarter = cv2.resize(half, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        sprites.append(tuple(one.astype(np.float32) for one in (large, half, quarter)))
    return tuple(sprites)


def _paint_leaf(rng: Rng) -> Floats:
    """Paint a compound leaf that hangs from the middle of the picture's upper edge."""
    side = SPRITE_PX * 2
    colour = np.zeros((side, side, 3), np.uint8)
    cover = np.zeros((side, side), np.uint8)
    bow = float(rng.uniform(-0.12, 0.12))
    along = np.linspace(0, 0.8, 20)
    rachis = np.stack([0.5 + bow * np.sin(along * 3), 0.02 + along], axis=1)
    for layer, tone in ((cover, (255,)), (colour, (70, 140, 100))):
        cv2.polylines(
            layer,
            [fixed(rachis * side)],
            isClosed=False,
            color=tone,
            thickness=7,
            lineType=cv2.LINE_AA,
            shift=FIXED_BITS,
        )
    for place in (0.34, 0.55, 0.76):
        at = rachis[round(place * 19)]
        for hand in (-1, 1):
            length = float(rng.uniform(0.2, 0.28) * (1.15 - 0.35 * abs(place - 0.5)))
            turn = hand * float(rng.uniform(0.95, 1.3))
            _paint_leaflet(rng, colour, cover, (float(at[0]), float(at[1])), length, turn)
    tip = rachis[-1]
    _paint_leaflet(rng, colour, cover, (float(tip[0]), float(tip[1]) - 0.14), 0.32, float(rng.normal(0, 0.15)))
    alpha = cv2.resize(cover, (SPRITE_PX, SPRITE_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # The colour spreads past the edge before it is weighted, or edges would show the black canvas.
    spread = np.where(cover[..., None] > 0, colour, cv2.dilate(colour, np.ones((5, 5), np.uint8)))
    small = cv2.resize(spread, (SPRITE_PX, SPRITE_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.dstack([small * alpha[..., None], alpha]).astype(np.float32)


def _paint_leaflet(
    rng: Rng, colour: Pixels, cover: Pixels, base: tuple[float, float], length: float, turn_rad: float
) -> None:
    """Paint one toothed leaflet: a lit half, a shaded half and veins."""
    side = cover.shape[0]
    s = np.linspace(0, 1, 41)
    teeth = 1 + 0.2 * (np.abs(((s * 5.5 + 0.3) % 1.0) - 0.4) - 0.3)
    half = 0.23 * length * float(rng.uniform(1.0, 1.35)) * np.sin(np.pi * s**0.8) ** 0.8 * teeth * (1.1 - 0.35 * s)
    droop = 0.12 * length * float(rng.uniform(-1, 1)) * s**2
    cosine, sine = math.cos(turn_rad), math.sin(turn_rad)

    def place(across: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        x, y = across + droop, s * length
        return fixed(np.stack([base[0] + cosine * x + sine * y, base[1] - sine * x + cosine * y], axis=1) * side)

    midrib, left, right = place(np.zeros(41)), place(-half), place(half)
    tone = float(rng.uniform(0.85, 1.1))
    lit, shaded = np.array([52, 148, 92]) * tone, np.array([40, 116, 66]) * tone
    if math.cos(turn_rad + 0.8) < 0:
        lit, shaded = shaded, lit
    outline = np.concatenate([left, right[::-1]])
    cv2.fillPoly(cover, [outline], (255,), cv2.LINE_AA, FIXED_BITS)
    cv2.fillPoly(colour, [outline], tuple(shaded), cv2.LINE_AA, FIXED_BITS)
    cv2.fillPoly(colour, [np.concatenate([left, midrib[::-1]])], tuple(lit), cv2.LINE_AA, FIXED_BITS)
    vein = tuple(np.array([84, 170, 124]) * tone)
    cv2.polylines(colour, [midrib], isClosed=False, color=vein, thickness=3, lineType=cv2.LINE_AA, shift=FIXED_BITS)
    for at in (8, 15, 22, 29):
        for edge in (left, right):
            far = midrib[at + 5] + ((edge[at + 5] - midrib[at + 5]) * 0.8).astype(np.int32)
            cv2.polylines(
                colour,
                [np.stack([midrib[at], far])],
                isClosed=False,
                color=vein,
                thickness=1,
                lineType=cv2.LINE_AA,
                shift=FIXED_BITS,
            )


def draw_leaf(canvas: Canvas, leaf: Leaf, moment: Moment, *, shadow: bool = False) -> None:
    """Turn, scale and tint a leaf's sprite and lay it over the picture."""
    flutter = math.sin(2 * math.pi * leaf.beats * moment.cycle + leaf.phase) - math.sin(leaf.phase)
    angle = leaf.angle_rad + 0.09 * moment.wind * flutter
    x, y = canvas.to_pixels(leaf.base, moment.camera)
    size = leaf.size * canvas.height
    if shadow:
        gap = 0.012 * canvas.height
        under = (x - gap * float(canvas.sun[0]), y + gap * 1.2)
        _lay(canvas, leaf.sprite, under, size, angle, None)
    _lay(canvas, leaf.sprite, (x, y), size, angle, leaf.tint)


def _lay(
    canvas: Canvas,
    sprite: int,
    base: tuple[float, float],
    size: float,
    angle: float,
    tint: tuple[float, float, float] | None,
) -> None:
    """Lay a leaf with its base at `base` (pixels) over the picture; without a tint, lay only its shadow."""
    levels = _leaf_sprites()[sprite]
    # The smallest copy that need not be enlarged: shrinking a large one would flicker.
    picture = levels[0] if size > SPRITE_PX / 2 else levels[1] if size > SPRITE_PX / 4 else levels[2]
    scale = size / picture.shape[0]
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    half = picture.shape[0] / 2
    matrix = np.array([[cosine, sine, base[0] - cosine * half], [-sine, cosine, base[1] + sine * half]])
    corners = np.array([[0, 0, 1], [2 * half, 0, 1], [0, 2 * half, 1], [2 * half, 2 * half, 1]]) @ matrix.T
    window = window_of(canvas, *corners.min(axis=0), *corners.max(axis=0))
    if window is None:
        return
    rows, columns = window
    matrix[:, 2] -= (columns.start, rows.start)
    extent = (columns.stop - columns.start, rows.stop - rows.start)
    laid = cv2.warpAffine(picture, matrix, extent, flags=cv2.INTER_LINEAR)
    cover = laid[..., 3:]
    if tint is None:
        soft = cv2.blur(laid[..., 3], (7, 7))
        canvas.colour[window] *= 1 - 0.45 * soft[..., None]
        return
    canvas.colour[window] *= 1 - cover
    canvas.colour[window] += laid[..., :3] * np.asarray(tint, np.float32)
    canvas.owner[window][cover[..., 0] > HALF] = NOBODY
