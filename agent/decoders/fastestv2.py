"""Yolo-FastestV2: for strides 16 and 32 [1, rows, columns, 15 + classes], three boxes a cell that share its classes.

Takes BGR from 0 to 1, stretched. Definition: `model/detector.py` (`export_onnx`), `utils/utils.py` (`handel_preds`) and
`data/coco.data`: per cell three boxes of four numbers, three objectnesses and the classes; all have been through a
sigmoid, the classes through a softmax. Score is objectness times class. The sizes that boxes are scaled with (anchors)
are not in the file: those for COCO at 352x352 are taken, and only a model of 80 classes at that size is claimed.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, corners, select, several
from agent.decoders.grids import grid
from agent.decoders.reading import are_scores, class_names, colour_input, image_input, scaling

STRIDES = (16, 32)
PER_CELL = 3
BOX = 4
HEAD = PER_CELL * (BOX + 1)
"""Boxes and objectnesses, before the classes."""

ANCHORS = np.array(
    [[[12.64, 19.39], [37.88, 51.48], [55.71, 138.31]], [[126.91, 78.23], [131.57, 214.55], [279.92, 258.87]]],
    dtype=np.float32,
)
"""[strides, boxes a cell, 2] width and height in tensor pixels, for COCO at 352x352."""

SIDE, COCO = 352, 80
"""What these anchors belong to."""

SUM_SLACK = 0.1
"""How far from 1 a quantised softmax may add up to."""


class FastestV2:
    """Yolo-FastestV2 with the anchors of its published model."""

    family: ClassVar[str] = "yolo-fastestv2"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By maps of the cells of strides 16 and 32, at the size and of the classes that the anchors belong to."""
        count, names = _classes(graph), class_names(graph.metadata)
        if count != COCO or (names and len(names) != count) or not _fits(graph):
            return None
        image = image_input(graph)
        if (image.width, image.height) != (SIDE, SIDE):
            return None
        return "its outputs are maps of the cells of strides 16 and 32, with three boxes and 80 classes for each cell"

    def __init__(self, graph: Graph) -> None:
        count = _classes(graph)
        if count is None:
            raise ValueError("Yolo-FastestV2 has outputs [1, rows, columns, 15 + classes] of the strides 16 and 32")
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
        )
        self.suppresses = True
        self.class_count: int | None = count
        self._shapes = [port.shape for port in graph.outputs]
        self._grids = [grid(image.width, image.height, (stride,))[0][:, None] for stride in STRIDES]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """One label a box, the best class of its cell."""
        levels = [self._level(values, number) for number, values in enumerate(several(outputs, self._shapes))]
        boxes, scores, class_ids = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        good = np.flatnonzero(scores >= thresholds.score)
        return select(boxes[good], scores[good], class_ids[good], placement, thresholds)

    def _level(self, values: Floats, number: int) -> tuple[Floats, Floats, Array]:
        """Corners in tensor pixels, scores and classes of every box of one stride."""
        cells = values.reshape(-1, values.shape[3])
        raw = cells[:, : PER_CELL * BOX].reshape(-1, PER_CELL, BOX)
        centres = (raw[..., :2] * 2 - 0.5 + self._grids[number]) * STRIDES[number]
        sizes = (raw[..., 2:] * 2) ** 2 * ANCHORS[number]
        scores = cells[:, PER_CELL * BOX : HEAD] * cells[:, HEAD:].max(axis=1, keepdims=True)
        class_ids = np.repeat(cells[:, HEAD:].argmax(axis=1), PER_CELL)
        boxes = np.concatenate((centres, sizes), axis=2).reshape(-1, BOX)
        return corners(boxes), scores.ravel(), class_ids


def _classes(graph: Graph) -> int | None:
    """How many classes there are; None when the outputs are not such maps."""
    image, shapes = image_input(graph), [port.shape for port in graph.outputs]
    maps = [(1, -(-image.height // stride), -(-image.width // stride)) for stride in STRIDES]
    if [shape[:3] for shape in shapes] != maps or any(len(shape) != 4 for shape in shapes):  # noqa: PLR2004  # a map
        return None
    count = shapes[0][3] - HEAD
    return count if count > 0 and shapes[0][3] == shapes[1][3] else None


def _fits(graph: Graph) -> bool:
    """Whether the samples hold what has been through a sigmoid, and classes that add up to 1."""
    if not graph.sample:
        return False
    values = [sample.astype(np.float32) for sample in graph.sample]
    sums = np.concatenate([sample[..., HEAD:].sum(axis=3).ravel() for sample in values])
    return all(map(are_scores, values)) and bool((np.abs(sums - 1) <= SUM_SLACK).all())
