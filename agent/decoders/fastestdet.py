"""FastestDet: [1, 5 + classes, rows, columns], for each cell objectness, a box and class scores.

Takes BGR from 0 to 1, stretched, averaged where that shrinks (`example/onnx-runtime`, INTER_AREA). Definition:
`utils/tool.py` (`handle_preds`) and `module/detector.py`: objectness has been through a sigmoid and the classes through
a softmax; the box's centre goes through a hyperbolic tangent, in cells from the cell's corner, its size through a
sigmoid, in parts of the picture. Score is objectness^0.6 * class^0.4.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, corners, select, sigmoid, single
from agent.decoders.grids import grid
from agent.decoders.reading import are_scores, class_names, colour_input, image_input, only_output, scaling

STRIDE = 16
HEAD = 5
"""Objectness and a box, before the classes."""

OBJECTNESS_POWER = 0.6
CLASS_POWER = 0.4

SUM_SLACK = 0.1
"""How far from 1 a quantised softmax may add up to."""


class FastestDet:
    """FastestDet with any number of classes and any input size."""

    family: ClassVar[str] = "fastestdet"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By a map of the cells of stride 16, with classes that add up to 1."""
        shape, names = _map(graph), class_names(graph.metadata)
        if shape is None or (names and len(names) != shape[1] - HEAD) or not _fits(graph):
            return None
        return f"the output is a map of the cells of stride {STRIDE}, with objectness and {shape[1] - HEAD} classes"

    def __init__(self, graph: Graph) -> None:
        shape = _map(graph)
        if shape is None:
            raise ValueError(f"FastestDet has one output [1, 5 + classes, rows, columns] of stride {STRIDE}")
        image = colour_input(graph)
        mean, scale = scaling(image)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="stretch",
            colour="bgr",
            mean=mean,
            scale=scale,
            dtype=image.dtype,
            layout=image.layout,
            smooth=True,
        )
        self.suppresses = True
        self.class_count: int | None = shape[1] - HEAD
        self._shape = shape
        self._cells, _ = grid(image.width, image.height, (STRIDE,))
        self._steps = np.array([image.width / shape[3], image.height / shape[2]], dtype=np.float32)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """One label a cell, its best class."""
        rows = single(outputs, self._shape)[0].reshape(self._shape[1], -1).T
        best = rows[:, HEAD:].max(axis=1)
        scores = np.clip(rows[:, 0], 0, None) ** OBJECTNESS_POWER * np.clip(best, 0, None) ** CLASS_POWER
        good = np.flatnonzero(scores >= thresholds.score)
        boxes = self._boxes(rows[good], self._cells[good])
        return select(boxes, scores[good], rows[good, HEAD:].argmax(axis=1), placement, thresholds)

    def _boxes(self, rows: Floats, places: Floats) -> Floats:
        """[n, 4] corners in tensor pixels."""
        centres = (np.tanh(rows[:, 1:3]) + places) * self._steps
        sizes = sigmoid(rows[:, 3:HEAD]) * np.array([self.preparation.width, self.preparation.height], np.float32)
        return corners(np.concatenate((centres, sizes), axis=1))


def _map(graph: Graph) -> tuple[int, ...] | None:
    """The shape of the single output when it is such a map."""
    shape = only_output(graph, 4)
    if shape is None or shape[1] <= HEAD:
        return None
    image = image_input(graph)
    return shape if shape[2:] == (-(-image.height // STRIDE), -(-image.width // STRIDE)) else None


def _fits(graph: Graph) -> bool:
    """Whether the sample has an objectness, and classes that add up to 1."""
    if not graph.sample:
        return False
    values = graph.sample[0][0].astype(np.float32)
    sums = values[HEAD:].sum(axis=0)
    return are_scores(values[0]) and are_scores(values[HEAD:]) and bool((np.abs(sums - 1) <= SUM_SLACK).all())
