"""YOLOv6 (Meituan) and Gold-YOLO: [1, cells, 5 + classes], like YOLOX, but in pixels and without an objectness.

Takes RGB from 0 to 1, in the middle of grey 114. Definition: `yolov6/models/effidehead.py` (`forward` in `eval`):
centre and size in pixels of the tensor, a one where others have an objectness, class scores; `yolov6/core/inferer.py`.
Gold-YOLO is a fork of it.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Task, Thresholds
from agent.decoders.boxes import corners, select, single
from agent.decoders.reading import are_scores, cells, class_names, from_ultralytics, image_input, only_output
from agent.decoders.ultralytics import preparation_of
from agent.decoders.yolox import holds_ones

LEVELS = ((8, 16, 32), (8, 16, 32, 64))
"""Strides, and those of the P6 and the lite models."""

BOX = 4
"""Numbers that a box takes in a row."""


class Yolov6:
    """YOLOv6 with any number of classes."""

    family: ClassVar[str] = "yolov6"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By one row per cell of the grid, whose objectness is always 1."""
        shape, names = _shape(graph), class_names(graph.metadata)
        if shape is None or (names and len(names) != shape[2] - BOX - 1) or from_ultralytics(graph.metadata):
            return None
        if not holds_ones(graph) or not are_scores(graph.sample[0][0, :, BOX:]):
            return None
        return f"{shape[1]} rows are one for each cell, and their objectness is always 1"

    def __init__(self, graph: Graph) -> None:
        shape = _shape(graph)
        if shape is None:
            raise ValueError("YOLOv6 has one output [1, cells, 5 + classes] for the strides 8, 16, 32, perhaps 64")
        self.preparation = preparation_of(graph)
        self.suppresses = True
        self.class_count: int | None = shape[2] - BOX - 1
        self._shape = shape

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the best class's; one label a row."""
        rows = single(outputs, self._shape)[0]
        best = rows[:, BOX + 1 :].max(axis=1)
        good = np.flatnonzero(best >= thresholds.score)
        class_ids = rows[good, BOX + 1 :].argmax(axis=1)
        return select(corners(rows[good]), best[good], class_ids, placement, thresholds)


def _shape(graph: Graph) -> tuple[int, ...] | None:
    """The shape of the single output when it has one row a cell."""
    shape = only_output(graph, 3)
    if shape is None or shape[2] < BOX + 2:
        return None
    image = image_input(graph)
    return shape if shape[1] in [cells(image.width, image.height, strides) for strides in LEVELS] else None
