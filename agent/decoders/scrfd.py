"""SCRFD, the face detector of InsightFace: for each stride scores, distances to the sides of a box, and landmarks.

Takes RGB less 127.5, over 128, at the top left of black. Definition: `insightface/model_zoo/scrfd.py`: two boxes a cell
with three strides, one with five; distances from the cell's corner, in cells. The landmarks are not read. Outputs have
other names in every export, and often no batch: their shapes tell which is which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, select, several
from agent.decoders.grids import grid
from agent.decoders.reading import are_scores, cells, colour_input, image_input, scaling

LEVELS = {3: ((8, 16, 32), 2), 5: ((8, 16, 32, 64, 128), 1)}
"""Number of strides: the strides, and boxes per cell."""

SCORE, BOX, LANDMARKS = 1, 4, 10
"""Numbers of a box in each kind of output."""

MEAN = (127.5,) * 3
DEVIATION = (128.0,) * 3


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are: for each stride the output of scores and that of distances, and how many boxes a cell has."""

    strides: tuple[int, ...]
    per_cell: int
    scores: tuple[int, ...]
    boxes: tuple[int, ...]


class Scrfd:
    """Two or three outputs for each of three or five strides."""

    family: ClassVar[str] = "scrfd"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the shapes of the outputs, and scores that are some."""
        layout = _layout(graph)
        if layout is None or (graph.sample and not all(are_scores(graph.sample[place]) for place in layout.scores)):
            return None
        return (
            f"its outputs are scores and distances of {layout.per_cell} boxes a cell of {len(layout.strides)} strides"
        )

    def __init__(self, graph: Graph) -> None:
        layout = _layout(graph)
        if layout is None:
            raise ValueError("SCRFD has outputs of scores [n, 1] and of distances [n, 4] for each of 3 or 5 strides")
        image = colour_input(graph)
        mean, scale = scaling(image, MEAN, DEVIATION)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="letterbox_corner",
            pad=0,
            mean=mean,
            scale=scale,
            dtype=image.dtype,
            layout=image.layout,
        )
        self.suppresses = True
        self.class_count: int | None = 1
        self._layout = layout
        self._shapes = [port.shape for port in graph.outputs]
        places, strides = grid(image.width, image.height, layout.strides)
        self._strides = np.repeat(strides, layout.per_cell)
        self._corners = np.repeat(places * strides[:, None], layout.per_cell, axis=0)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Every box whose score counts is a face."""
        values = several(outputs, self._shapes)
        scores = np.concatenate([values[place].ravel() for place in self._layout.scores])
        good = np.flatnonzero(scores >= thresholds.score)
        reach = _rows(values, self._layout.boxes)[good] * self._strides[good, None]
        corner = self._corners[good]
        boxes = np.concatenate((corner - reach[:, :2], corner + reach[:, 2:]), axis=1)
        return select(boxes, scores[good], np.zeros(len(good), dtype=np.int64), placement, thresholds)


def _rows(values: Sequence[Floats], places: Sequence[int]) -> Floats:
    """[n, 4] of all strides, whether an output has a batch or not."""
    return np.concatenate([values[place].reshape(-1, BOX) for place in places])


def _layout(graph: Graph) -> Layout | None:
    """Where scores and distances of each stride are; None when the outputs are not of this kind."""
    image = image_input(graph)
    for count, (strides, per_cell) in LEVELS.items():
        if len(graph.outputs) not in (2 * count, 3 * count):
            continue
        rows = [per_cell * cells(image.width, image.height, (stride,)) for stride in strides]
        scores, boxes, landmarks = (_of_width(graph, rows, width) for width in (SCORE, BOX, LANDMARKS))
        if scores and boxes and (landmarks or len(graph.outputs) == 2 * count):
            return Layout(strides, per_cell, scores, boxes)
    return None


def _of_width(graph: Graph, rows: Sequence[int], width: int) -> tuple[int, ...] | None:
    """The outputs of `width` numbers for each of `rows`, in that order; None when one of them is missing."""
    shapes = [port.shape for port in graph.outputs]
    found = [[place for place, shape in enumerate(shapes) if shape in ((n, width), (1, n, width))] for n in rows]
    return tuple(places[0] for places in found) if all(len(places) == 1 for places in found) else None
