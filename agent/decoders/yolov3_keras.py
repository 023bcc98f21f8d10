"""YOLOv3 and tiny YOLOv3 of ONNX' model zoo, made from keras-yolo3: boxes, scores, and which of them were selected.

Takes RGB from 0 to 1, in the middle of grey 128, and beside it `image_shape`, the height and width of the picture.
Definition: `vision/object_detection_segmentation/yolov3` of the zoo, `yolo3/model.py` of keras-yolo3: boxes [1, n, 4],
top, left, bottom and right in pixels of that shape, without the padding that it implies; scores [1, classes, n]; rows
of batch, class and box, [m, 3] or [1, m, 3], that the graph selected. The shape given is the tensor's own, so nothing
is implied.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import pick, several
from agent.decoders.reading import IMAGE_SHAPE, class_names, colour_input, scaling

BOX = 4
PAD = 128
SELECTED = 3
"""Batch, class and box."""

RANKS = (2, 3)


class Yolov3Keras:
    """Three outputs, of which the last says what counts."""

    family: ClassVar[str] = "yolov3-keras"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the shape that it takes, and its outputs."""
        if not _fits(graph) or not any(port.name == IMAGE_SHAPE for port in graph.inputs):
            return None
        return f"it takes {IMAGE_SHAPE}, and its outputs are boxes, scores and what was selected of them"

    def __init__(self, graph: Graph) -> None:
        if not _fits(graph):
            raise ValueError("this YOLOv3 has the outputs [1, n, 4], [1, classes, n] and rows of three")
        image = colour_input(graph)
        mean, scale = scaling(image)
        self.preparation = Preparation(
            image.width, image.height, pad=PAD, mean=mean, scale=scale, dtype=image.dtype, layout=image.layout
        )
        self.suppresses = False
        self._shapes = [port.shape for port in graph.outputs[:2]]
        names = class_names(graph.metadata)
        self.class_count: int | None = len(names) if names else self._shapes[1][1]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """What the graph selected."""
        if len(outputs) != 3 or np.shape(outputs[2])[-1:] != (SELECTED,):  # noqa: PLR2004  # boxes, scores, which
            raise ValueError(f"the model gave {len(outputs)} outputs, expected 3, the last of rows of {SELECTED}")
        boxes, scores = several(outputs[:2], self._shapes)
        _, class_ids, places = np.asarray(outputs[2], dtype=np.int64).reshape(-1, SELECTED).T
        if class_ids.min(initial=0) < 0 or class_ids.max(initial=0) >= scores.shape[1]:
            raise ValueError(f"the output has class ids from {class_ids.min()} to {class_ids.max()}")
        if places.min(initial=0) < 0 or places.max(initial=0) >= boxes.shape[1]:
            raise ValueError(f"the output selects boxes from {places.min()} to {places.max()} of {boxes.shape[1]}")
        placed = boxes[0, places][:, [1, 0, 3, 2]]
        return pick(placed, scores[0, class_ids, places], class_ids, placement, thresholds)


def _fits(graph: Graph) -> bool:
    shapes = [port.shape for port in graph.outputs]
    if len(shapes) != 3 or len(shapes[0]) != 3 or len(shapes[1]) != 3 or len(shapes[2]) not in RANKS:  # noqa: PLR2004
        return False
    return shapes[0][::2] == (1, BOX) and shapes[1][::2] == (1, shapes[0][1]) and shapes[2][-1] == SELECTED
