"""What a scene looks like, and how it changes over time.

Lengths are in units of the image height, x from the centre of the view and y from its top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.ripeness.arrays import Rng

CLASS_NAMES: Final = ("green", "turning", "ripe")

TURNING_FROM: Final = 0.4
"""Ripeness (0 to 1) from which a fruit is called turning."""

RIPE_FROM: Final = 0.7
"""Ripeness (0 to 1) from which a fruit is called ripe."""


def stage(ripeness: float) -> int:
    """Return the class of a fruit by its ripeness (0 to 1)."""
    return int(ripeness >= TURNING_FROM) + int(ripeness >= RIPE_FROM)


@dataclass(frozen=True)
class SceneParams:
    """What a scene looks like; the seed decides the rest."""

    width: int = 640
    """Image width in pixels."""
    height: int = 480
    """Image height in pixels."""
    season: float = 0.5
    """0 is early (small, green fruit), 1 is late (large, ripe fruit)."""
    time_of_day: float = 0.5
    """0 is dawn, 0.5 noon, 1 dusk: where the light comes from and how warm it is."""
    brightness: float = 1.0
    """Factor on all light; 0.35 is a dim morning."""
    warmth: float = 0.0
    """Colour temperature on top of the time of day: -1 is bluish, 1 is golden."""
    blur: float = 0.0
    """Standard deviation of the lens blur in thousandths of the image height."""
    noise: float = 0.008
    """Standard deviation of the sensor noise, of full scale."""
    fog: float = 0.0
    """0 is clear air, 1 hides most of the picture."""
    occlusion: float = 0.3
    """Chance that a leaf hangs in front of a fruit."""
    leaf_density: float = 0.6
    """0 is a bare vine, 1 is a thicket."""
    fruit_count: int = 10
    """Fruit on the plant; some may be hidden or outside the view."""
    zoom: float = 1.0
    """Factor on the size of fruit and leaves."""


@dataclass(frozen=True)
class Moment:
    """The plant and the camera at one instant of a video; the default is a still picture."""

    cycle: float = 0.0
    """Place in the loop, 0 to 1; movements repeat after 1."""
    wind: float = 0.0
    """0 is still air, 1 makes leaves swing widely."""
    camera: tuple[float, float] = (0.0, 0.0)
    """How far the camera has moved right and down, in image heights."""
    ripening: float = 0.0
    """Ripeness gained by every fruit since the plant was grown."""
    light: float = 1.0
    """Factor on the brightness."""
    passer_x: float | None = None
    """Centre of somebody walking through the view, in image heights."""
    insect: tuple[float, float] | None = None
    """Place of an insect in front of the plant, in image heights."""
    grain_seed: int = 0
    """Seed of the sensor noise, different for every frame."""


@dataclass(frozen=True)
class Motion:
    """How a scene plays as a video that can be looped."""

    seconds: float = 30.0
    fps: float = 10.0
    wind: float = 0.5
    sway: float = 0.012
    """How far the camera sways, in image heights."""
    ripening: float = 0.1
    """Ripeness gained by every fruit over the whole loop."""
    light_swing: float = 0.1
    """How far the brightness rises and falls, as a share."""
    passer: bool = False
    """Somebody walks by close to the lens while the loop wraps, which hides the change of ripeness."""
    insect: bool = False
    away: tuple[tuple[float, float], ...] = ()
    """Parts of the loop (from, to; 0 to 1) in which the camera looks at a plant without fruit."""


def random_params(rng: Rng, width: int = 640, height: int = 480) -> SceneParams:
    """Draw the conditions of one picture for training or validation, from dim fog to a clear noon."""
    dim, soft, foggy, bare = rng.random(4) < (0.25, 0.2, 0.2, 0.04)
    return SceneParams(
        width=width,
        height=height,
        season=float(rng.random()),
        time_of_day=float(rng.random()),
        brightness=float(rng.uniform(0.35, 0.7) if dim else rng.uniform(0.7, 1.2)),
        warmth=float(rng.uniform(-0.7, 0.7)),
        blur=float(rng.uniform(1.5, 5.0) if soft else rng.uniform(0.0, 1.5)),
        noise=float(rng.uniform(0.0, 0.035)),
        fog=float(rng.uniform(0.2, 0.55) if foggy else rng.uniform(0.0, 0.15)),
        occlusion=float(rng.uniform(0.0, 0.7)),
        leaf_density=float(rng.uniform(0.15, 1.0)),
        fruit_count=0 if bare else int(rng.integers(3, 19)),
        zoom=float(np.exp(rng.uniform(math.log(0.7), math.log(1.7)))),
    )


def moment_of(motion: Motion, cycle: float, grain_seed: int) -> Moment:
    """Say where camera, light, wind and visitors are at `cycle` (0 to 1) of the loop."""
    turn = 2 * math.pi * cycle
    pan = _away_share(motion.away, cycle) * AWAY_DISTANCE
    camera = (
        motion.sway * (math.sin(2 * turn) + 0.4 * math.sin(5 * turn)) + pan,
        motion.sway * 0.5 * (math.sin(3 * turn + 1.0) - math.sin(1.0)),
    )
    since_wrap = (cycle + 0.5) % 1.0 - 0.5
    passer_x = since_wrap * motion.seconds * PASSER_SPEED
    flight = (0.75 * math.sin(3 * turn) + 0.1 * math.sin(17 * turn), 0.45 + 0.3 * math.sin(4 * turn + 2.0))
    return Moment(
        cycle=cycle,
        wind=motion.wind * (0.7 + 0.3 * math.sin(2 * turn + 0.7)),
        camera=camera,
        ripening=motion.ripening * cycle,
        light=1 + motion.light_swing * math.sin(turn - 0.8),
        passer_x=passer_x if motion.passer and abs(passer_x) < PASSER_GONE else None,
        insect=flight if motion.insect else None,
        grain_seed=grain_seed,
    )


AWAY_DISTANCE: Final = 1.9
"""How far the camera moves to see no fruit, in image heights."""

AWAY_MOVE: Final = 0.06
"""Share of the loop that moving away or back takes."""

PASSER_SPEED: Final = 1.2
"""Image heights per second."""

PASSER_GONE: Final = 2.2
"""Distance from the centre, in image heights, from which a passer-by is out of view."""


def _away_share(stretches: Sequence[tuple[float, float]], cycle: float) -> float:
    """Return 1 where the camera looks away, 0 where it looks at the plant, smooth between."""
    share = 0.0
    for start, end in stretches:
        rise = _smooth((cycle - start) / AWAY_MOVE) if start > 0 else 1.0
        fall = _smooth((end - cycle) / AWAY_MOVE) if end < 1 else 1.0
        share = max(share, min(rise, fall))
    return share


def _smooth(share: float) -> float:
    """Ease from 0 to 1."""
    clipped = min(max(share, 0.0), 1.0)
    return clipped * clipped * (3 - 2 * clipped)
