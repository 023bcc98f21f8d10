"""Segmentation by Ultralytics: YOLOv5-seg to YOLO26-seg, as boxes, classes and how much each mask covers.

The rows of a detector, each with coefficients after its scores, and prototypes [1, m, height, width]: a mask is where
the sum of prototypes times coefficients is above 0, inside its box. Definition: `process_mask` in
`ultralytics/utils/ops.py`. Pictures are prepared as for a detector.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Task, Thresholds
from agent.decoders.boxes import Floats, mapped, several
from agent.decoders.reading import class_names
from agent.decoders.ultralytics import preparation_of
from agent.decoders.ultralytics_rows import BOX, ROW, Layout, keep, layout_of, read, scores_from

LAYOUTS = {"columns": 1, "anchored": 2, "selected": 2}
"""The dimension of the first output that box, scores and coefficients take."""

BEFORE = {"columns": BOX, "anchored": BOX + 1, "selected": ROW}
"""Numbers of a row that are neither scores of classes nor coefficients."""


class Segment:
    """Two outputs: rows that end in mask coefficients, and the prototypes that they weigh."""

    family: ClassVar[str] = "ultralytics-segment"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By rows and prototypes that fit each other, and scores where they belong."""
        found = _read(graph)
        names = class_names(graph.metadata)
        if found is None or graph.metadata.get("task", "segment") != "segment":
            return None
        layout, shape, protos, classes = found
        if classes is not None:
            if names and len(names) != classes:
                return None
            span = slice(BOX, BEFORE[layout] + classes)
            if not scores_from(graph, shape, span, axis=0 if layout == "columns" else 1):
                return None
        return f"its outputs are boxes ({layout}) with {protos[1]} mask coefficients each, and as many prototypes"

    def __init__(self, graph: Graph) -> None:
        found = _read(graph)
        if found is None:
            raise ValueError(
                "a segmentation has two outputs: boxes with m mask coefficients, and [1, m, height, width]"
            )
        self._layout, self._shape, self._protos, self._classes = found
        self.preparation = preparation_of(graph)
        self.suppresses = self._layout != "selected"
        names = class_names(graph.metadata)
        self.class_count: int | None = self._classes or (len(names) if names else None)
        self._shapes = [port.shape for port in graph.outputs]
        self._first = self._shapes.index(self._shape)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Boxes as of a detector, and the area that each mask covers of the picture."""
        values = several(outputs, self._shapes)
        rows = read(values[self._first][0], self._layout, self.class_count, thresholds.score)
        rows = keep(rows, self._layout, thresholds)
        boxes, inside = mapped(rows.boxes, placement)
        boxes, rows = boxes[inside], rows.take(np.flatnonzero(inside))
        return Found(
            class_ids=rows.class_ids.astype(np.int64, copy=False),
            scores=np.clip(rows.scores, 0, 1).astype(np.float32, copy=False),
            boxes=boxes,
            areas=self._areas(boxes, rows.more, values[1 - self._first][0], placement),
        )

    def _areas(self, boxes: Floats, weights: Floats, protos: Floats, placement: Placement) -> Floats:
        """[n] pixels of the picture that the masks cover: cells of the prototypes, those at a side in part."""
        cell_x = self.preparation.width / self._protos[3] / placement.scale_x
        cell_y = self.preparation.height / self._protos[2] / placement.scale_y
        corner = np.array([placement.left / placement.scale_x, placement.top / placement.scale_y] * 2)
        in_cells = (boxes + corner) / np.array([cell_x, cell_y] * 2)
        areas = np.zeros(len(boxes), dtype=np.float32)
        for index, (x1, y1, x2, y2) in enumerate(in_cells.tolist()):
            columns, wide = _covered(x1, x2, self._protos[3])
            lines, high = _covered(y1, y2, self._protos[2])
            with np.errstate(over="ignore", invalid="ignore"):  # huge weights make a mask of noise, not a failure
                mask = np.tensordot(weights[index], protos[:, lines, columns], axes=1) > 0
            areas[index] = high @ mask @ wide * cell_x * cell_y
        return areas


def _covered(low: float, high: float, count: int) -> tuple[slice, Floats]:
    """Which of `count` cells lie between `low` and `high`, and how much of each does."""
    first, stop = max(0, int(low)), min(count, int(np.ceil(high)))
    edges = np.arange(first, max(first, stop) + 1, dtype=np.float32)
    share = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return slice(first, max(first, stop)), np.maximum(share, 0).astype(np.float32)


def _read(graph: Graph) -> tuple[Layout, tuple[int, ...], tuple[int, ...], int | None] | None:
    """Layout and shape of the boxes, shape of the prototypes, and the number of classes; None when it is no such model.

    The number of classes is None where the rows do not tell.
    """
    shapes = sorted((port.shape for port in graph.outputs), key=len)
    if [len(shape) for shape in shapes] != [3, 4] or any(shape[0] != 1 for shape in shapes):
        return None
    shape, protos = shapes
    layout = layout_of(graph, shape, protos[1])
    if layout is None:
        return None
    classes = shape[LAYOUTS[layout]] - BEFORE[layout] - protos[1]
    return layout, shape, protos, None if layout == "selected" else classes
