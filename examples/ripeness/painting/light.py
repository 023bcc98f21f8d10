"""From colours to camera pixels: daylight, haze, lens and sensor."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from examples.ripeness.arrays import Floats, Pixels
    from examples.ripeness.conditions import Moment, SceneParams


def sunlight(time_of_day: float) -> Floats:
    """Return the direction of the light: from the left at dawn, from above at noon, from the right at dusk."""
    swing = (time_of_day - 0.5) * 2.2
    vector = np.array([math.sin(swing), -0.75 * math.cos(swing) - 0.15, 0.62], np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


SHOULDER: Final = 0.8
"""Share of full scale above which highlights are compressed."""


def expose(colour: Floats, params: SceneParams, moment: Moment) -> Pixels:
    """Apply air, light, lens and sensor, and return 8-bit pixels."""
    height, width = colour.shape[:2]
    picture = _fogged(colour, params.fog)
    if params.blur > 0:
        sigma = params.blur * height / 1000
        picture = cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.05)).astype(np.float32)
    picture *= _light(params, moment.light) * _vignette(width, height)
    if params.noise > 0:
        grain = np.random.default_rng([moment.grain_seed, 7]).standard_normal((height, width, 3), dtype=np.float32)
        picture += grain * params.noise
    # A shoulder instead of a hard limit keeps highlights from turning into flat white.
    bright = picture > SHOULDER
    room = 1 - SHOULDER
    picture[bright] = SHOULDER + room * np.tanh((picture[bright] - SHOULDER) / room)
    pixels: Pixels = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels


def _fogged(colour: Floats, fog: float) -> Floats:
    """Mix in haze, thicker towards the top, where humid air gathers."""
    if fog <= 0:
        return colour
    thick = np.linspace(0.85, 0.6, colour.shape[0], dtype=np.float32)[:, None, None] * min(fog, 1.0)
    haze = np.array([0.82, 0.82, 0.78], np.float32)
    return (colour + (haze - colour) * thick).astype(np.float32)


def _light(params: SceneParams, factor: float) -> Floats:
    """Return the BGR gains of the daylight; dawn and dusk are warmer and a little darker than noon."""
    low = abs(params.time_of_day - 0.5) * 2
    warmth = params.warmth + 0.5 * low - 0.1
    gain = 1.15 * params.brightness * factor * (1 - 0.15 * low)
    return np.array([1 - 0.16 * warmth, 1.0, 1 + 0.12 * warmth], np.float32) * gain


@functools.lru_cache(maxsize=8)
def _vignette(width: int, height: int) -> Floats:
    """Return the lens's fall-off towards the corners, [H, W, 1]."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return (1.04 - 0.14 * (x * x + y * y))[..., None].astype(np.float32)
