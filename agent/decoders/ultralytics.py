"""Detectors exported by Ultralytics: YOLOv5, YOLOv8 to YOLO12, and the end-to-end ones (YOLOv10, YOLO26).

All take RGB from 0 to 1, letterboxed in the middle of grey 114. Boxes come in pixels of the tensor. How their outputs
are laid out: `ultralytics_rows`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import in_picture, select, single
from agent.decoders.reading import (
    class_names,
    colour_input,
    from_ultralytics,
    literal,
    only_output,
    says_nothing,
    says_true,
)
from agent.decoders.ultralytics_rows import (
    BOX,
    MOST_ROWS,
    ROW,
    V5_ANCHORS,
    V5_LEVELS,
    V8_LEVELS,
    from_anchored,
    from_columns,
    from_selected,
    keep,
    levels,
    sample_of,
    scores_from,
    whole_classes,
)

SAME = 0.01
"""How far apart class scores may lie that nothing was learnt for."""


def preparation_of(graph: Graph) -> Preparation:
    """RGB, 0 to 1, in the middle of grey 114; a uint8 input is taken to scale by itself.

    Raises:
        ValueError: The graph takes no colour picture.
    """
    image = colour_input(graph)
    unit = 1.0 if image.dtype == "uint8" else 1 / 255
    return Preparation(image.width, image.height, scale=(unit,) * 3, dtype=image.dtype, layout=image.layout)


class V5:
    """YOLOv5: [1, rows, 5 + classes], a row being centre x, y, width, height, objectness, class scores.

    Exports before v6.2, and those of YOLOv7, give the maps that the rows were made of, too; they are not read. A YOLOv7
    of one class never trains its class score, and leaves it out (`utils/general.py`, `non_max_suppression`): so does
    this where nothing else than YOLOv5 wrote the file, which it says, and where that score is the same everywhere.
    """

    family: ClassVar[str] = "ultralytics-v5"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By three rows per cell of the grid."""
        graph, _ = _without_maps(graph)
        shape = only_output(graph, 3) if _task(graph) == "detect" else None
        names = class_names(graph.metadata)
        if shape is None or shape[2] < BOX + 2 or (names and len(names) != shape[2] - BOX - 1):
            return None
        strides = levels(graph, shape[1], V5_ANCHORS, V5_LEVELS)
        if strides is None or not scores_from(graph, shape, slice(BOX, None)) or says_nothing(graph, shape[2]):
            return None
        return f"{shape[1]} rows are three for each cell of strides {_listed(strides)}, with objectness"

    def __init__(self, graph: Graph) -> None:
        graph, self._place = _without_maps(graph)
        shape = only_output(graph, 3)
        if shape is None or shape[2] < BOX + 2:
            raise ValueError("YOLOv5 has one output [1, rows, 5 + classes]")
        _only_boxes(graph)
        self.preparation = preparation_of(graph)
        self.suppresses = True
        self._classes = shape[2] - BOX - 1
        self.class_count: int | None = self._classes
        self._shape = shape
        self._objectness_alone = _is_untrained(graph, shape)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is objectness times the best class's; one label a row."""
        values = single(outputs[self._place :], self._shape)[0]
        if self._objectness_alone:
            values = np.concatenate((values[:, : BOX + 1], np.ones((len(values), 1), np.float32)), axis=1)
        rows = from_anchored(values, self._classes, thresholds.score)
        return select(rows.boxes, rows.scores, rows.class_ids, placement, thresholds)


class V8:
    """YOLOv8, v9, 11, 12 and YOLOv5u: [1, 4 + classes, columns], a column being centre x, y, width, height, scores."""

    family: ClassVar[str] = "ultralytics-v8"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By metadata with as many names, or by one column per cell of the grid."""
        shape = only_output(graph, 3) if _task(graph) == "detect" else None
        names = class_names(graph.metadata)
        if shape is None or shape[1] < BOX + 1 or (names and len(names) != shape[1] - BOX):
            return None
        if not scores_from(graph, shape, slice(BOX, None), axis=0):
            return None
        if names and graph.metadata.get("task") == "detect" and not says_true(graph.metadata, "end2end"):
            return f"its metadata says detect with {len(names)} names, and the output has 4 rows more"
        if strides := levels(graph, shape[2], 1, V8_LEVELS):
            return f"{shape[2]} columns are one for each cell of strides {_listed(strides)}"
        return None

    def __init__(self, graph: Graph) -> None:
        shape = only_output(graph, 3)
        if shape is None or shape[1] < BOX + 1:
            raise ValueError("YOLOv8 has one output [1, 4 + classes, columns]")
        _only_boxes(graph)
        self.preparation = preparation_of(graph)
        self.suppresses = True
        self._classes = shape[1] - BOX
        self.class_count: int | None = self._classes
        self._shape = shape

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the best class's; one label a column."""
        rows = from_columns(single(outputs, self._shape)[0], self._classes, thresholds.score)
        return select(rows.boxes, rows.scores, rows.class_ids, placement, thresholds)


class EndToEnd:
    """YOLOv10, YOLO26, and exports with `nms=True`: [1, rows, 6], x1, y1, x2, y2, score, class; nothing to suppress."""

    family: ClassVar[str] = "ultralytics-end2end"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By what the exporter says, or by rows of six with whole class ids, best first."""
        shape = only_output(graph, 3) if _task(graph) == "detect" else None
        if shape is None or shape[2] != ROW or not whole_classes(graph, shape):
            return None
        arguments = literal(graph.metadata.get("args"))
        if isinstance(arguments, dict) and arguments.get("nms") is True:
            return "its metadata says that suppression is inside"
        if says_true(graph.metadata, "end2end"):
            return "its metadata says end2end"
        if from_ultralytics(graph.metadata):  # YOLOv10 by its versions before 8.4 and RT-DETR since: pixels or parts
            pixels = _best_first(graph, shape) and not scores_from(graph, shape, slice(0, BOX))
            return f"the output is {shape[1]} rows of corners in pixels, score and class" if pixels else None
        if shape[1] > MOST_ROWS and not _best_first(graph, shape):
            return None
        return f"the output is {shape[1]} rows of corners, score and class"

    def __init__(self, graph: Graph) -> None:
        shape = only_output(graph, 3)
        if shape is None or shape[2] != ROW:
            raise ValueError("an end-to-end model has one output [1, rows, 6]")
        _only_boxes(graph)
        self.preparation = preparation_of(graph)
        self.suppresses = False
        names = class_names(graph.metadata)
        self.class_count: int | None = len(names) if names else None

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Rows above the threshold, best first."""
        rows = from_selected(single(outputs, (1, None, ROW))[0], self.class_count, thresholds.score)
        kept = keep(rows, "selected", thresholds)
        return in_picture(kept.boxes, kept.scores, kept.class_ids, placement)


def _without_maps(graph: Graph) -> tuple[Graph, int]:
    """`graph` with its rows as the only output, and where they are, if all others are maps [1, 3, rows, columns, n]."""
    rows = [place for place, port in enumerate(graph.outputs) if len(port.shape) == 3]  # noqa: PLR2004  # not a map
    if len(rows) != 1:
        return graph, 0
    place = rows[0]
    width = graph.outputs[place].shape[2]
    maps = [port.shape for port in graph.outputs if port is not graph.outputs[place]]
    if not all(len(shape) == 5 and shape[:2] == (1, V5_ANCHORS) and shape[4] == width for shape in maps):  # noqa: PLR2004
        return graph, 0
    return replace(graph, outputs=(graph.outputs[place],), sample=graph.sample[place : place + 1]), place


def _is_untrained(graph: Graph, shape: Sequence[int]) -> bool:
    """Whether there is one class, whose score is about the same in all rows of the sample, and YOLOv5 left no word."""
    rows = sample_of(graph, shape)
    if rows is None or shape[2] != BOX + 2 or "stride" in graph.metadata:
        return False
    return float(np.ptp(rows[:, BOX + 1].astype(np.float32))) <= SAME


def _task(graph: Graph) -> str:
    """What the file says that it does."""
    return graph.metadata.get("task", "detect")


def _only_boxes(graph: Graph) -> None:
    """Raise ValueError for a model of another task, whose rows hold more than this family reads."""
    if _task(graph) != "detect":
        raise ValueError(f"its metadata says {_task(graph)!r}, which is another family's")


def _best_first(graph: Graph, shape: Sequence[int]) -> bool:
    """Whether the sample is there and its scores never rise: a selection is sorted, the rows of a grid are not."""
    rows = sample_of(graph, shape)
    return rows is not None and bool(np.all(np.diff(rows[:, BOX].astype(np.float32)) <= 0))


def _listed(strides: Sequence[int]) -> str:
    return ", ".join(map(str, strides))
