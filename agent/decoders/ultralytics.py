"""Detectors exported by Ultralytics: YOLOv5, YOLOv8 to YOLO11, and the end-to-end ones (YOLOv10, YOLO26).

All take RGB from 0 to 1, letterboxed in the middle of grey 114. Boxes come in pixels of the tensor. Definitions:
`yolov5/models/yolo.py` (`Detect.forward` when exporting) and `ultralytics/nn/modules/head.py` (`Detect`, `v10Detect`).
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import corners, in_picture, select, single
from agent.decoders.reading import (
    are_scores,
    cells,
    class_names,
    from_ultralytics,
    image_input,
    literal,
    only_output,
    says_true,
)

BOX = 4
"""Numbers that a box takes in an output."""

V5_ANCHORS = 3
"""Boxes per cell: YOLOv5 has three anchors on each level."""

V5_LEVELS = ((8, 16, 32), (8, 16, 32, 64), (16, 32))
"""Strides of YOLOv5, of its P6 models, and of YOLOv3-tiny in the same code."""

V8_LEVELS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Strides of YOLOv8, of its P6 and of its P2 models."""

MOST_ROWS = 300
"""Rows of an end-to-end output unless its maker changed `max_det`."""

ROW = 6
"""An end-to-end row: x1, y1, x2, y2, score, class."""


def preparation_of(graph: Graph) -> Preparation:
    """RGB, 0 to 1, in the middle of grey 114; a uint8 input is taken to scale by itself.

    Raises:
        ValueError: The graph takes no colour picture.
    """
    image = image_input(graph)
    if image.channels != 3:  # noqa: PLR2004  # red, green, blue
        raise ValueError("its input has one channel; this family takes colour")
    unit = 1.0 if image.dtype == "uint8" else 1 / 255
    return Preparation(image.width, image.height, scale=(unit,) * 3, dtype=image.dtype, layout=image.layout)


class V5:
    """YOLOv5: [1, rows, 5 + classes], a row being centre x, y, width, height, objectness, class scores."""

    family: ClassVar[str] = "ultralytics-v5"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By three rows per cell of the grid."""
        shape = only_output(graph, 3)
        names = class_names(graph.metadata)
        if shape is None or shape[2] < BOX + 2 or (names and len(names) != shape[2] - BOX - 1):
            return None
        image = image_input(graph)
        for strides in V5_LEVELS:
            if shape[1] == V5_ANCHORS * cells(image.width, image.height, strides) and _scores_from(graph, BOX):
                return f"{shape[1]} rows are three for each cell of strides {_listed(strides)}, with objectness"
        return None

    def __init__(self, graph: Graph) -> None:
        shape = only_output(graph, 3)
        if shape is None or shape[2] < BOX + 2:
            raise ValueError("YOLOv5 has one output [1, rows, 5 + classes]")
        self.preparation = preparation_of(graph)
        self.suppresses = True
        self.class_count: int | None = shape[2] - BOX - 1
        self._shape = shape

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is objectness times the best class's; one label a row."""
        rows = single(outputs, self._shape)[0]
        # A product of numbers up to 1 is at most its first factor: most rows are done with here.
        rows = rows[rows[:, BOX] >= thresholds.score]
        class_ids = rows[:, BOX + 1 :].argmax(axis=1)
        scores = rows[:, BOX] * rows[np.arange(len(rows)), BOX + 1 + class_ids]
        good = scores >= thresholds.score
        return select(corners(rows[good]), scores[good], class_ids[good], placement, thresholds)


class V8:
    """YOLOv8, v9, 11, 12 and YOLOv5u: [1, 4 + classes, columns], a column being centre x, y, width, height, scores."""

    family: ClassVar[str] = "ultralytics-v8"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By metadata with as many names, or by one column per cell of the grid."""
        shape = only_output(graph, 3)
        names = class_names(graph.metadata)
        if shape is None or shape[1] < BOX + 1 or (names and len(names) != shape[1] - BOX):
            return None
        if not _scores_from(graph, BOX, axis=1):
            return None
        if names and graph.metadata.get("task") == "detect" and not says_true(graph.metadata, "end2end"):
            return f"its metadata says detect with {len(names)} names, and the output has 4 rows more"
        image = image_input(graph)
        for strides in V8_LEVELS:
            if shape[2] == cells(image.width, image.height, strides):
                return f"{shape[2]} columns are one for each cell of strides {_listed(strides)}"
        return None

    def __init__(self, graph: Graph) -> None:
        shape = only_output(graph, 3)
        if shape is None or shape[1] < BOX + 1:
            raise ValueError("YOLOv8 has one output [1, 4 + classes, columns]")
        self.preparation = preparation_of(graph)
        self.suppresses = True
        self.class_count: int | None = shape[1] - BOX
        self._shape = shape

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the best class's; one label a column."""
        columns = single(outputs, self._shape)[0]
        # The greatest first, and which class it is only where it counts: argmax over all costs ten times as much.
        good = np.flatnonzero(columns[BOX:].max(axis=0) >= thresholds.score)
        kept = columns[:, good].T
        class_ids = kept[:, BOX:].argmax(axis=1)
        scores = kept[np.arange(len(kept)), BOX + class_ids]
        return select(corners(kept), scores, class_ids, placement, thresholds)


class EndToEnd:
    """YOLOv10, YOLO26, and exports with `nms=True`: [1, rows, 6], x1, y1, x2, y2, score, class; nothing to suppress."""

    family: ClassVar[str] = "ultralytics-end2end"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By what the exporter says, or by at most 300 rows of six with whole class ids."""
        shape = only_output(graph, 3)
        if shape is None or shape[2] != ROW or not _whole_classes(graph):
            return None
        arguments = literal(graph.metadata.get("args"))
        if isinstance(arguments, dict) and arguments.get("nms") is True:
            return "its metadata says that suppression is inside"
        if says_true(graph.metadata, "end2end"):
            return "its metadata says end2end"
        if shape[1] <= MOST_ROWS and not from_ultralytics(graph.metadata):
            return f"the output is {shape[1]} rows of corners, score and class"
        return None

    def __init__(self, graph: Graph) -> None:
        shape = only_output(graph, 3)
        if shape is None or shape[2] != ROW:
            raise ValueError("an end-to-end model has one output [1, rows, 6]")
        self.preparation = preparation_of(graph)
        self.suppresses = False
        names = class_names(graph.metadata)
        self.class_count: int | None = len(names) if names else None

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Rows above the threshold, best first."""
        rows = single(outputs, (1, None, ROW))[0]
        rows = rows[rows[:, BOX] >= thresholds.score]
        rows = rows[np.argsort(-rows[:, BOX], kind="stable")][: thresholds.most]
        class_ids = np.rint(rows[:, BOX + 1]).astype(np.int64)
        count = self.class_count
        if class_ids.size and (class_ids.min() < 0 or (count is not None and class_ids.max() >= count)):
            raise ValueError(
                f"the output has class ids from {class_ids.min()} to {class_ids.max()}, of {count} classes"
            )
        return in_picture(rows[:, :BOX], rows[:, BOX], class_ids, placement)


def _scores_from(graph: Graph, start: int, axis: int = 2) -> bool:
    """Whether everything from `start` along `axis` can be a score: keypoints and angles cannot."""
    return not graph.sample or are_scores(graph.sample[0].take(range(start, graph.sample[0].shape[axis]), axis))


def _whole_classes(graph: Graph) -> bool:
    """Whether the last column holds whole numbers from 0, and the one before it scores."""
    if not graph.sample:
        return True
    rows = graph.sample[0][0]
    classes = rows[:, BOX + 1].astype(np.float32)
    return are_scores(rows[:, BOX]) and bool(np.all((classes >= 0) & (classes == np.rint(classes))))


def _listed(strides: Sequence[int]) -> str:
    return ", ".join(map(str, strides))
