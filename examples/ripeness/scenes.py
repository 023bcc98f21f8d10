"""Greenhouse scenes with known contents: fruit on a vine at three ripening stages.

A scene is grown once (`grow`) and drawn as often as wanted (`draw`), so that a video shows one plant
moving in the wind and not a new plant per frame. `render` is both in one step for a still picture.
Everything follows from the seed: the same seed and parameters give the same pixels and the same boxes.

Geometry is in units of the image height, x from the centre of the view and y from its top, so one plant
can be drawn at any size. Colours are BGR, 0 to 1, until the last step turns them into 8-bit pixels.
A second picture of the same size, the owner map, holds which item each pixel belongs to; the ground truth is
read from it, so a box is always the visible part of its fruit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from examples.ripeness.conditions import CLASS_NAMES, Moment, Motion, SceneParams, moment_of, random_params, stage
from examples.ripeness.painting.canvas import NOBODY, Canvas
from examples.ripeness.painting.fruit import draw_fruit
from examples.ripeness.painting.leaf import draw_leaf
from examples.ripeness.painting.light import expose, sunlight
from examples.ripeness.painting.strand import draw_strand
from examples.ripeness.painting.surroundings import draw_backdrop, draw_insect, draw_passer
from examples.ripeness.plants import Fruit, Plant, grow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from examples.ripeness.arrays import Floats, Ints, Owners, Pixels

__all__ = [
    "CLASS_NAMES",
    "Moment",
    "Motion",
    "Scene",
    "SceneParams",
    "draw",
    "grow",
    "moment_of",
    "play",
    "random_params",
    "render",
    "stage",
]

VISIBLE_SHARE_MIN: Final = 0.3
"""A fruit of which less than this share can be seen is not labelled."""

SIDE_MIN: Final = 0.024
"""A box with a side shorter than this, in image heights, is not labelled."""


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it."""

    image: Pixels
    """[H, W, 3], BGR."""
    boxes: Floats
    """[N, 4], x1 y1 x2 y2 in pixels, around what can be seen of each labelled fruit."""
    classes: Ints
    """[N], index into `CLASS_NAMES`."""


def render(params: SceneParams, seed: int) -> Scene:
    """Grow and draw one still picture."""
    return draw(grow(params, seed), params, Moment(grain_seed=seed))


def play(params: SceneParams, seed: int, motion: Motion) -> Iterator[Scene]:
    """Draw one plant over time: `motion.seconds * motion.fps` frames, each close to the one before."""
    plant = grow(params, seed)
    frames = round(motion.seconds * motion.fps)
    for number in range(frames):
        # The first frame is not the wrap, where somebody may be right in front of the lens.
        cycle = (number / frames + 0.12) % 1.0
        yield draw(plant, params, moment_of(motion, cycle, seed * 100_003 + number))


def draw(plant: Plant, params: SceneParams, moment: Moment) -> Scene:
    """Draw the plant as it is at `moment` and label what can be seen of its fruit."""
    canvas = Canvas(
        colour=draw_backdrop(plant.background, params, moment.camera),
        owner=np.full((params.height, params.width), NOBODY, np.int16),
        sun=sunlight(params.time_of_day),
    )
    for leaf in plant.back_leaves:
        draw_leaf(canvas, leaf, moment)
    for strand in plant.strands:
        draw_strand(canvas, strand, moment.camera)
    areas = [draw_fruit(canvas, fruit, index, moment) for index, fruit in enumerate(plant.fruit)]
    for leaf in plant.front_leaves:
        draw_leaf(canvas, leaf, moment, shadow=True)
    if moment.insect is not None:
        draw_insect(canvas, moment.insect, moment.cycle)
    if moment.passer_x is not None:
        draw_passer(canvas, moment.passer_x)
    boxes, classes = _labels(canvas.owner, plant.fruit, areas, moment.ripening)
    return Scene(expose(canvas.colour, params, moment), boxes, classes)


def _labels(owner: Owners, fruit: Sequence[Fruit], areas: Sequence[float], ripening: float) -> tuple[Floats, Ints]:
    """Read each fruit's visible box from the owner map and leave out what is nearly hidden."""
    boxes: list[tuple[int, int, int, int]] = []
    classes: list[int] = []
    side_min = SIDE_MIN * owner.shape[0]
    for index, (one, area) in enumerate(zip(fruit, areas, strict=True)):
        seen = owner == index
        if np.count_nonzero(seen) < VISIBLE_SHARE_MIN * area:
            continue
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        if min(box[2] - box[0], box[3] - box[1]) >= side_min:
            boxes.append(box)
            classes.append(stage(one.ripeness + ripening))
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)
