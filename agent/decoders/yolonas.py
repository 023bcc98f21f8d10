"""YOLO-NAS and DAMO-YOLO: boxes [1, cells, 4], corners in pixels of the tensor, and scores [1, cells, classes].

YOLO-NAS (super-gradients: `documentation/source/models_export.md`, `processing.py`) gives the boxes first and takes
RGB from 0 to 1 in the middle of grey 114; its own four pixels of margin are left out. Its `export()` also writes
suppression into the graph, as rows [n, 7] of batch, corners, score and class, or as a number, boxes, scores and
classes, and then takes bytes. The PP-YOLOE of super-gradients looks the same but is trained on ImageNet's mean,
stretched: only its uint8 exports are right as they are, but for the stretching.

DAMO-YOLO (`tools/demo.py`, `damo/utils/demo_utils.py`) gives the scores first and takes RGB from 0 to 255, at the top
left of black. Either has strides 8, 16 and 32, and scores that have been through a sigmoid.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, Ids, pick, select, several, single
from agent.decoders.reading import are_scores, cells, class_names, colour_input, image_input
from agent.decoders.ultralytics import preparation_of

STRIDES = (8, 16, 32)
BOX = 4
RANK = 3
ROW = 7
FLAT = "flat_predictions"
"""Part of the name of the output of rows."""

BATCH = 4
"""Outputs of the format that has a number, boxes, scores and classes."""


class YoloNas:
    """YOLO-NAS without suppression, or with it in either format."""

    family: ClassVar[str] = "yolo-nas"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By boxes in front of scores for each cell, or by one of the formats of its exporter."""
        if _is_batch(graph):
            return "its outputs are a number, boxes, scores and classes"
        if _is_flat(graph) and FLAT in graph.outputs[0].name:
            return "its output is rows of batch, corners, score and class"
        return _claim_dense(graph, boxes=0)

    def __init__(self, graph: Graph) -> None:
        self._dense, self._batch = _is_dense(graph, boxes=0), _is_batch(graph)
        if not (self._dense or self._batch or _is_flat(graph)):
            raise ValueError(
                "YOLO-NAS has boxes [1, cells, 4] and scores [1, cells, classes], or rows [n, 7], or a number [1, 1], "
                "boxes [1, n, 4], scores [1, n] and classes [1, n]"
            )
        self.preparation = preparation_of(graph)
        self.suppresses = self._dense
        self._shapes = [port.shape for port in graph.outputs]
        names = class_names(graph.metadata)
        self.class_count: int | None = self._shapes[1][2] if self._dense else len(names) if names else None

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """One label a cell, or a row."""
        if self._dense:
            boxes, scores = several(outputs, self._shapes)
            return _best(boxes[0], scores[0], placement, thresholds)
        found, scores, class_ids = self._selected(outputs)
        known = class_ids >= 0  # what is left of a fixed number of rows is filled up with -1
        return pick(found[known], scores[known], class_ids[known], placement, thresholds)

    def _selected(self, outputs: Sequence[Array]) -> tuple[Floats, Floats, Ids]:
        """Corners, scores and classes."""
        if not self._batch:
            rows = single(outputs, (None, ROW))
            return rows[:, 1:5], rows[:, 5], np.rint(rows[:, 6]).astype(np.int64)
        number, boxes, scores, classes = several(outputs, self._shapes)
        stop = int(number[0, 0])
        return boxes[0, :stop], scores[0, :stop], np.rint(classes[0, :stop]).astype(np.int64)


class DamoYolo:
    """DAMO-YOLO with any number of classes."""

    family: ClassVar[str] = "damo-yolo"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By scores in front of boxes for each cell."""
        return _claim_dense(graph, boxes=1)

    def __init__(self, graph: Graph) -> None:
        if not _is_dense(graph, boxes=1):
            raise ValueError("DAMO-YOLO has the outputs scores [1, cells, classes] and boxes [1, cells, 4]")
        image = colour_input(graph)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="letterbox_corner",
            pad=0,
            scale=(1.0,) * 3,
            dtype=image.dtype,
            layout=image.layout,
        )
        self.suppresses = True
        self._shapes = [port.shape for port in graph.outputs]
        self.class_count: int | None = self._shapes[0][2]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """One label a cell."""
        scores, boxes = several(outputs, self._shapes)
        return _best(boxes[0], scores[0], placement, thresholds)


def _best(boxes: Floats, scores: Floats, placement: Placement, thresholds: Thresholds) -> Found:
    """The best class of each cell, after suppression."""
    best = scores.max(axis=1)
    good = np.flatnonzero(best >= thresholds.score)
    return select(boxes[good], best[good], scores[good].argmax(axis=1), placement, thresholds)


def _is_dense(graph: Graph, *, boxes: int) -> bool:
    """Whether there are two outputs, one row a cell, and that at `boxes` has four numbers."""
    if len(graph.outputs) != 2 or len(graph.inputs) != 1:  # noqa: PLR2004  # boxes and scores
        return False
    shapes = [port.shape for port in graph.outputs]
    image = image_input(graph)
    rows = (1, cells(image.width, image.height, STRIDES))
    return all(len(shape) == RANK and shape[:2] == rows for shape in shapes) and shapes[boxes][2] == BOX


def _claim_dense(graph: Graph, *, boxes: int) -> str | None:
    """In a few words; None when the outputs, the names or the sample do not fit."""
    if not _is_dense(graph, boxes=boxes) or not graph.sample:
        return None
    count, names = graph.outputs[1 - boxes].shape[2], class_names(graph.metadata)
    if (names and len(names) != count) or not are_scores(graph.sample[1 - boxes]) or are_scores(graph.sample[boxes]):
        return None
    order = "scores, then boxes in pixels," if boxes else "boxes in pixels, then scores,"
    return f"its outputs are {order} for each cell of strides 8, 16, 32"


def _is_flat(graph: Graph) -> bool:
    return len(graph.outputs) == 1 and len(graph.outputs[0].shape) == 2 and graph.outputs[0].shape[1] == ROW  # noqa: PLR2004


def _is_batch(graph: Graph) -> bool:
    """Whether the outputs are [1, 1], [1, n, 4], [1, n] and [1, n], and the last holds whole classes."""
    shapes = [port.shape for port in graph.outputs]
    if len(shapes) != BATCH or shapes[0] != (1, 1) or len(shapes[2]) != 2 or shapes[2][0] != 1:  # noqa: PLR2004
        return False
    return shapes[3] == shapes[2] and shapes[1] == (*shapes[2], BOX) and graph.outputs[3].dtype.startswith("int")
