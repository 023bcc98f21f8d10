"""Tiny YOLOv2 of ONNX' model zoo: [1, 5 * (5 + classes), rows, columns], five boxes for each cell of stride 32.

Takes RGB from 0 to 255, stretched; the graph scales it. Definition: `vision/object_detection_segmentation/tiny-yolov2`
of the zoo and what it refers to ("Real-time object detection with YOLO" of machinethink.net): a centre through a
sigmoid, in cells from the cell's corner; a size as the exponential times one of five, in cells; objectness through a
sigmoid, classes through a softmax. The five sizes are not in the file: those for Pascal VOC are taken, and only a
model of 20 classes at 416x416 is claimed.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, Ids, corners, select, sigmoid, single
from agent.decoders.grids import grid
from agent.decoders.reading import class_names, colour_input, image_input, only_output

STRIDE = 32
ANCHORS = np.array([[1.08, 1.19], [3.42, 4.41], [6.63, 11.38], [9.42, 5.11], [16.62, 10.52]], dtype=np.float32)
"""[boxes a cell, 2] width and height in cells, for Pascal VOC at 416x416."""

PER_CELL = 5
HEAD = 5
"""Box and objectness, before the classes."""

SIDE, VOC = 416, 20
"""What these sizes belong to."""


class TinyYolov2:
    """Tiny YOLOv2 with the anchors of its published model."""

    family: ClassVar[str] = "yolov2-tiny"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By a map of the cells of stride 32, at the size and of the classes that the anchors belong to."""
        count, names = _classes(graph), class_names(graph.metadata)
        if count != VOC or (names and len(names) != count):
            return None
        image = image_input(graph)
        if (image.width, image.height) != (SIDE, SIDE):
            return None
        return f"the output is a map of the cells of stride 32, with five boxes of {VOC} classes for each cell"

    def __init__(self, graph: Graph) -> None:
        count, shape = _classes(graph), only_output(graph, 4)
        if count is None or shape is None:
            raise ValueError("tiny YOLOv2 has one output [1, 5 * (5 + classes), rows, columns] of stride 32")
        image = colour_input(graph)
        self.preparation = Preparation(
            image.width, image.height, fit="stretch", scale=(1.0,) * 3, dtype=image.dtype, layout=image.layout
        )
        self.suppresses = True
        self.class_count: int | None = count
        self._shape = shape
        self._cells = grid(image.width, image.height, (STRIDE,))[0][:, None]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is objectness times the best class's; one label a box."""
        values = single(outputs, self._shape)[0].reshape(PER_CELL, -1, self._cells.shape[0]).transpose(2, 0, 1)
        scores, class_ids = _scores(values)
        good = scores >= thresholds.score
        return select(self._boxes(values)[good], scores[good], class_ids[good], placement, thresholds)

    def _boxes(self, values: Floats) -> Floats:
        """[cells, 5, 4] corners in tensor pixels."""
        centres = (sigmoid(values[..., :2]) + self._cells) * STRIDE
        with np.errstate(over="ignore"):  # infinite sizes are refused where boxes are mapped
            sizes = np.exp(values[..., 2:4]) * ANCHORS * STRIDE
        boxes = corners(np.concatenate((centres, sizes), axis=2).reshape(-1, 4))
        return boxes.reshape(-1, PER_CELL, 4)


def _scores(values: Floats) -> tuple[Floats, Ids]:
    """[cells, 5] scores, and the class of each."""
    logits = values[..., HEAD:]
    powers = np.exp(logits - logits.max(axis=2, keepdims=True))
    best = 1 / powers.sum(axis=2)  # the greatest logit's power is 1
    return sigmoid(values[..., 4]) * best, logits.argmax(axis=2)


def _classes(graph: Graph) -> int | None:
    """How many classes there are; None when the output is not such a map."""
    shape = only_output(graph, 4)
    if shape is None or shape[1] % PER_CELL or shape[1] // PER_CELL <= HEAD:
        return None
    image = image_input(graph)
    fits = shape[2:] == (-(-image.height // STRIDE), -(-image.width // STRIDE))
    return shape[1] // PER_CELL - HEAD if fits else None
