"""Grow a plant from a seed: where its stems, trusses, fruit and leaves are, and what is behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from examples.ripeness.conditions import AWAY_DISTANCE
from examples.ripeness.painting.surroundings import paint_backdrop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.ripeness.arrays import Floats, Rng
    from examples.ripeness.conditions import SceneParams

LEAF_SHAPES: Final = 14
"""How many different leaves there are to choose from."""


@dataclass(frozen=True)
class Leaf:
    """A compound leaf that hangs from `base`."""

    base: tuple[float, float]
    size: float
    angle_rad: float
    sprite: int
    tint: tuple[float, float, float]
    phase: float
    beats: int


@dataclass(frozen=True)
class Fruit:
    """One fruit of a truss."""

    centre: tuple[float, float]
    radius: float
    ripeness: float
    lean_rad: float
    nod_rad: float
    lobe_phase: float
    shade: float
    phase: float
    beats: int


@dataclass(frozen=True)
class Strand:
    """A stem, a truss or a string: a line with a width."""

    points: Floats
    """[P, 2], in image heights."""
    width: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Plant:
    """Everything that stands still in a scene, in drawing order from back to front."""

    background: Floats
    """[h, w, 3], soft picture of the greenhouse behind the plant, `BACKDROP_WIDTH` image heights wide."""
    back_leaves: tuple[Leaf, ...]
    strands: tuple[Strand, ...]
    fruit: tuple[Fruit, ...]
    front_leaves: tuple[Leaf, ...]


def grow(params: SceneParams, seed: int) -> Plant:
    """Decide where everything is; depends on the seed and on the parameters that shape the plant."""
    rng = np.random.default_rng([seed, 20_011])
    half_width = params.width / params.height / 2
    stems = _grow_stems(rng, half_width, params.zoom)
    trusses, fruit = _grow_trusses(rng, params, stems)
    neighbour = _stem(rng, AWAY_DISTANCE + float(rng.uniform(-0.15, 0.15)), 0.016)
    back, front = _grow_leaves(rng, params, [*stems, neighbour], fruit)
    strings = [Strand(np.array([[s.points[0, 0], -0.1], s.points[4]], np.float32), 0.003, STRING) for s in stems]
    return Plant(paint_backdrop(rng, params), back, (*strings, *stems, neighbour, *trusses), fruit, front)


STRING: Final = (0.62, 0.68, 0.7)
STEM: Final = (0.22, 0.5, 0.38)


def _stem(rng: Rng, x: float, width: float) -> Strand:
    """Bend one stem from the top of the view to the bottom."""
    y = np.linspace(-0.1, 1.1, 25)
    bend = 0.05 * np.sin(y * rng.uniform(2, 5) + rng.uniform(0, 6)) + 0.02 * np.sin(y * 11 + rng.uniform(0, 6))
    points = np.stack([x + bend, y], axis=1).astype(np.float32)
    return Strand(points, width, STEM)


WIDE: Final = 0.6
"""Half the width of the view, in image heights, from which three stems have room."""


def _grow_stems(rng: Rng, half_width: float, zoom: float) -> list[Strand]:
    """Place one to three stems next to each other."""
    count = int(rng.integers(1, 4)) if half_width > WIDE else int(rng.integers(1, 3))
    places = (np.arange(count) + 0.5) / count * 2 - 1 + rng.uniform(-0.25, 0.25, count) / count
    return [_stem(rng, float(place * half_width), 0.018 * math.sqrt(zoom)) for place in places]


def _grow_trusses(rng: Rng, params: SceneParams, stems: Sequence[Strand]) -> tuple[list[Strand], tuple[Fruit, ...]]:
    """Hang trusses with two to six fruit each on the stems, until all fruit has a place."""
    trusses: list[Strand] = []
    fruit: list[Fruit] = []
    while len(fruit) < params.fruit_count:
        stem = stems[int(rng.integers(len(stems)))]
        count = min(int(rng.integers(2, 7)), params.fruit_count - len(fruit))
        # Trusses share the room as they would on a pruned vine: the loneliest of a few places wins.
        tries = [_truss(rng, params, stem, count) for _ in range(4)]
        strand, hung = max(tries, key=lambda one: _clearance(one[1], fruit))
        trusses.append(strand)
        fruit.extend(hung)
    return trusses, tuple(sorted(fruit, key=lambda one: one.shade))


def _clearance(hung: Sequence[Fruit], others: Sequence[Fruit]) -> float:
    """Return the least distance between two groups of fruit, in image heights."""
    return min((math.dist(a.centre, b.centre) for a in hung for b in others), default=math.inf)


def _truss(rng: Rng, params: SceneParams, stem: Strand, count: int) -> tuple[Strand, list[Fruit]]:
    """Hang `count` fruit left and right of a bowed truss; the oldest, nearest the stem, ripens first."""
    radius = (0.046 + 0.022 * params.season) * params.zoom
    start = stem.points[int(rng.integers(2, 20))].astype(np.float64)
    side = float(rng.choice([-1.0, 1.0]))
    length = radius * (1.2 + 1.25 * count)
    middle = start + np.array([side * radius * rng.uniform(1.2, 2.2), -radius * 0.3])
    end = start + np.array([side * radius * rng.uniform(1.5, 3.0), length * rng.uniform(0.6, 0.9)])
    along = np.linspace(0, 1, 14)[:, None]
    points = (1 - along) ** 2 * start + 2 * along * (1 - along) * middle + along**2 * end
    age = params.season * 1.1 + (start[1] - 0.4) * 0.3 + rng.normal(0, 0.2)
    hung = []
    for number in range(count):
        at = points[min(13, 4 + round(9 * (number + 0.5) / count))]
        aside = radius * rng.uniform(0.55, 0.95) * (-1 if number % 2 else 1)
        centre = (float(at[0] + aside), float(at[1] + radius * rng.uniform(0.3, 0.8)))
        ripeness = float(np.clip(age + 0.05 - 0.07 * number + rng.normal(0, 0.1), 0, 1))
        hung.append(_fruit(rng, centre, radius, ripeness, aside / radius))
    return Strand(points.astype(np.float32), 0.010 * params.zoom**0.5, (0.24, 0.55, 0.44)), hung


def _fruit(rng: Rng, centre: tuple[float, float], radius: float, ripeness: float, aside: float) -> Fruit:
    """Give one fruit its size, pose and tint."""
    return Fruit(
        centre=centre,
        radius=radius * float(rng.uniform(0.78, 1.15)),
        ripeness=ripeness,
        lean_rad=float(rng.normal(-0.35 * aside, 0.25)),
        nod_rad=float(rng.uniform(-0.2, 0.5)),
        lobe_phase=float(rng.uniform(0, 6.28)),
        shade=float(rng.uniform(0.78, 1.06)),
        phase=float(rng.uniform(0, 6.28)),
        beats=int(rng.integers(7, 13)),
    )


def _grow_leaves(
    rng: Rng, params: SceneParams, stems: Sequence[Strand], fruit: Sequence[Fruit]
) -> tuple[tuple[Leaf, ...], tuple[Leaf, ...]]:
    """Put leaves behind the fruit along every stem, some in front, and some right over a fruit."""
    back: list[Leaf] = []
    front: list[Leaf] = []
    for stem in stems:
        for _ in range(round(6 + 16 * params.leaf_density)):
            base = stem.points[int(rng.integers(0, 24))]
            back.append(_leaf(rng, (float(base[0]), float(base[1])), params.zoom, depth=float(rng.uniform(0.35, 0.8))))
        for _ in range(round(4 * params.leaf_density)):
            base = stem.points[int(rng.integers(0, 24))]
            front.append(_leaf(rng, (float(base[0]), float(base[1])), params.zoom, depth=1.0))
    for one in fruit:
        if rng.random() < params.occlusion:
            away = rng.uniform(-1, 1, 2) * (1.6, 0.5) + (0, -2.0)
            base = (one.centre[0] + one.radius * float(away[0]), one.centre[1] + one.radius * float(away[1]))
            front.append(_leaf(rng, base, params.zoom * 0.75, depth=1.0))
    return tuple(sorted(back, key=lambda leaf: leaf.tint[1])), tuple(front)


def _leaf(rng: Rng, base: tuple[float, float], zoom: float, depth: float) -> Leaf:
    """Give one leaf its size, pose and tint; `depth` 1 is near and bright, 0 far and dark."""
    green = float(depth * rng.uniform(0.8, 1.15))
    dryness = float(rng.uniform(0.85, 1.2))
    return Leaf(
        base=base,
        size=float(rng.uniform(0.2, 0.36)) * zoom**0.7,
        angle_rad=float(rng.normal(0, 0.9)),
        sprite=int(rng.integers(LEAF_SHAPES)),
        tint=(green * float(rng.uniform(0.75, 1.1)), green, green * dryness),
        phase=float(rng.uniform(0, 6.28)),
        beats=int(rng.integers(6, 15)),
    )
