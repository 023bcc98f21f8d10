"""YOLOX (Megvii): [1, cells, 5 + classes], one row per cell: offsets and log sizes, objectness, class scores.

Takes BGR from 0 to 255 as it is, at the top left of grey 114. Definition: `yolox/models/yolo_head.py`
(`decode_outputs`), `yolox/utils/demo_utils.py` (`demo_postprocess`) and `yolox/data/data_augment.py` (`preproc`).
Exports made with `--decode_in_inference` hold pixels instead of offsets. YOLOv6 has the same shape then but another
preparation: its objectness is 1 everywhere (`holds_ones`), which that of YOLOX never is.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import corners, select, single
from agent.decoders.grids import grid
from agent.decoders.reading import (
    are_scores,
    cells,
    class_names,
    from_ultralytics,
    image_input,
    only_output,
    says_nothing,
)

STRIDES = (8, 16, 32)
MIDDLE_MIN = 0.15
"""Around what offsets lie at least on an empty picture: about 0.5 as trained, about 0 for FreeYOLO."""

BOX = 4
"""Numbers that a box takes in a row."""


class Yolox:
    """YOLOX with any number of classes and any input size."""

    family: ClassVar[str] = "yolox"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By one row per cell of the grid, with an objectness, and offsets that are not around 0."""
        middle = middle_of_offsets(graph)
        return None if middle is not None and middle < MIDDLE_MIN else claim_rows(graph)

    def __init__(self, graph: Graph) -> None:
        shape = only_output(graph, 3)
        image = image_input(graph)
        count = cells(image.width, image.height, STRIDES)
        if shape is None or shape[2] < BOX + 2 or shape[1] != count:
            raise ValueError(f"YOLOX has one output [1, {count}, 5 + classes] for {image.width}x{image.height}")
        if image.channels != 3:  # noqa: PLR2004  # blue, green, red
            raise ValueError("its input has one channel; this family takes colour")
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="letterbox_corner",
            colour="bgr",
            scale=(1.0, 1.0, 1.0),
            dtype=image.dtype,
            layout=image.layout,
        )
        self.suppresses = True
        self.class_count: int | None = shape[2] - BOX - 1
        self._shape = shape
        self._cells, self._strides = grid(image.width, image.height, STRIDES)
        self._in_pixels = _holds_pixels(graph)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is objectness times the best class's; one label a row."""
        rows = single(outputs, self._shape)[0]
        # A product of numbers up to 1 is at most its first factor: most rows are done with here.
        likely = np.flatnonzero(rows[:, BOX] >= thresholds.score)
        class_ids = rows[likely, BOX + 1 :].argmax(axis=1)
        scores = rows[likely, BOX] * rows[likely, BOX + 1 + class_ids]
        good = scores >= thresholds.score
        boxes = self._boxes(rows, likely[good])
        return select(corners(boxes), scores[good], class_ids[good], placement, thresholds)

    def _boxes(self, rows: NDArray[np.float32], which: NDArray[np.int64]) -> NDArray[np.float32]:
        """[n, 4] centre and size in tensor pixels of the rows `which`."""
        if self._in_pixels:
            return rows[which, :BOX]
        stride = self._strides[which, None]
        with np.errstate(over="ignore"):  # infinite sizes are refused where boxes are mapped
            size = np.exp(rows[which, 2:BOX]) * stride
        return np.concatenate(((rows[which, :2] + self._cells[which]) * stride, size), axis=1)


def claim_rows(graph: Graph) -> str | None:
    """Why `graph` has one row per cell with an objectness, in a few words; None when it has not."""
    shape = only_output(graph, 3)
    names = class_names(graph.metadata)
    if shape is None or shape[2] < BOX + 2 or (names and len(names) != shape[2] - BOX - 1):
        return None
    image = image_input(graph)
    if shape[1] != cells(image.width, image.height, STRIDES) or from_ultralytics(graph.metadata):
        return None
    if says_nothing(graph, shape[2]):
        return None
    if graph.sample and (not are_scores(graph.sample[0][0, :, BOX:]) or holds_ones(graph)):
        return None
    unit = ", boxes in pixels" if _holds_pixels(graph) else ""
    return f"{shape[1]} rows are one for each cell of strides 8, 16, 32, with objectness{unit}"


def middle_of_offsets(graph: Graph) -> float | None:
    """Around what the sample's centres lie within their cells; None without a sample, in pixels, or where it is 0."""
    shape = only_output(graph, 3)
    if not graph.sample or shape is None or shape[2] < BOX + 2:
        return None
    image = image_input(graph)
    centres = graph.sample[0][0, :, :2].astype(np.float32)
    if shape[1] != cells(image.width, image.height, STRIDES) or _holds_pixels(graph):
        return None
    medians = np.median(centres, axis=0)
    return float(medians.mean()) if medians.any() else None


def holds_ones(graph: Graph) -> bool:
    """Whether the objectness of the sample is 1 in every row: YOLOv6 has none, but leaves room for it."""
    return bool(graph.sample) and bool((graph.sample[0][0, :, BOX] == 1).all())


def _holds_pixels(graph: Graph) -> bool:
    """Whether the centres of the sample fit the grid in pixels better than as offsets within cells."""
    if not graph.sample:
        return False
    image = image_input(graph)
    places, strides = grid(image.width, image.height, STRIDES)
    centres = graph.sample[0][0, :, :2].astype(np.float32)
    as_offsets = np.median(np.abs(centres - 0.5))
    as_pixels = np.median(np.abs(centres / strides[:, None] - places - 0.5))
    return bool(as_pixels < as_offsets)
