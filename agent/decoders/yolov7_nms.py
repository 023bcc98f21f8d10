"""YOLOv7 and YOLOv6 with their suppression in the graph: rows of seven, [n, 7].

YOLOv7 (`export.py --grid --end2end --max-wh`, `models/experimental.py`: `ONNX_ORT`) and YOLOv6
(`yolov6/models/end2end.py`) write batch, corners, class and score, and take RGB from 0 to 1 in
the middle of grey 114. Exports with TensorRT's suppression run in TensorRT alone.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Task, Thresholds
from agent.decoders.boxes import pick, single
from agent.decoders.reading import are_scores, class_names, from_ultralytics
from agent.decoders.ultralytics import preparation_of

ROW = 7
CORNER, CLASS, SCORE = 1, 5, 6
NAMES = ("output", "outputs", "num_dets")
"""What the exporters call the output (YOLOv6 as if it were the first of four); other tools, other orders."""


class Yolov7Nms:
    """Rows of boxes that the graph has selected."""

    family: ClassVar[str] = "yolov7-nms"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the name of the output, and rows of seven."""
        if not _is_rows(graph) or graph.outputs[0].name not in NAMES or from_ultralytics(graph.metadata):
            return None
        if graph.sample and not _fits(graph.sample[0]):
            return None
        return f"{graph.outputs[0].name!r} is rows of batch, corners, class and score"

    def __init__(self, graph: Graph) -> None:
        if not _is_rows(graph):
            raise ValueError("YOLOv7 with NMS has one output [n, 7]")
        self.preparation = preparation_of(graph)
        self.suppresses = False
        names = class_names(graph.metadata)
        self.class_count: int | None = len(names) if names else None

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Rows above the threshold, best first."""
        rows = single(outputs, (None, ROW))
        class_ids = np.rint(rows[:, CLASS]).astype(np.int64)
        known = class_ids >= 0
        return pick(rows[known, CORNER:CLASS], rows[known, SCORE], class_ids[known], placement, thresholds)


def _is_rows(graph: Graph) -> bool:
    return len(graph.outputs) == 1 and len(graph.outputs[0].shape) == 2 and graph.outputs[0].shape[1] == ROW  # noqa: PLR2004


def _fits(rows: Array) -> bool:
    """Whether rows, if there are any, are of the first picture and have whole classes and scores."""
    values = rows.astype(np.float32)
    whole = bool((values[:, CLASS] == np.rint(values[:, CLASS])).all() and (values[:, CLASS] >= 0).all())
    return whole and bool((values[:, 0] == 0).all()) and are_scores(values[:, SCORE])
