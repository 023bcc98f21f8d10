"""FreeYOLO (yjh0410): rows as YOLOX has them, but offsets from the middle of a cell, and the root of the score.

Takes its pictures as YOLOX does. Definition: `models/yolo_free/yolo_free.py` of FreeYOLO (`decode_boxes`) and the
samples for its ONNX exports: a centre is that of its cell and an offset in cells, a score the root of objectness times
class. On an empty picture offsets lie around 0 where those of YOLOX lie around a half.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Task, Thresholds
from agent.decoders.boxes import corners, select, single
from agent.decoders.yolox import BOX, Yolox, claim_rows, middle_of_offsets

MIDDLE_MAX = 0.25
"""Where offsets may lie: half of what YOLOX has."""

HALF = np.array([0.5, 0.5, 0, 0], dtype=np.float32)
"""From a cell's corner to its middle, in cells."""


class FreeYolo(Yolox):
    """FreeYOLO with any number of classes and any input size."""

    family: ClassVar[str] = "freeyolo"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By one row per cell of the grid, and offsets around 0."""
        middle = middle_of_offsets(graph)
        if middle is None or middle >= MIDDLE_MAX or (why := claim_rows(graph)) is None:
            return None
        return f"{why}, and offsets lie around the middle of a cell"

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the root of objectness times the best class's; one label a row."""
        rows = single(outputs, self._shape)[0]
        best = rows[:, BOX + 1 :].max(axis=1)
        scores = np.sqrt(np.clip(rows[:, BOX], 0, None) * np.clip(best, 0, None))
        good = np.flatnonzero(scores >= thresholds.score)
        moved = rows if self._in_pixels else rows[:, :BOX] + HALF
        class_ids = rows[good, BOX + 1 :].argmax(axis=1)
        return select(corners(self._boxes(moved, good)), scores[good], class_ids, placement, thresholds)
