"""YOLOv4, as two converters write it.

`yolov4` (pytorch-YOLOv4: `tool/darknet2onnx.py`, `tool/yolo_layer.py`, `demo_darknet2onnx.py`), which converts other
models of Darknet, too: boxes [1, n, 1, 4], corners in parts of the picture, and confs [1, n, classes], objectness
times class. Takes RGB from 0 to 1, stretched.

`yolov4-maps` (tensorflow-yolov4-tflite, in ONNX' model zoo under `vision/object_detection_segmentation/yolov4`): for
strides 8, 16, 32 [1, rows, columns, 3, 5 + classes] of which objectness and classes have been through a sigmoid. A
centre goes through one that is stretched about the middle of its cell, a size is the exponential times one of nine,
which are not in the file: those for COCO are taken, and only a model of 80 classes at 416x416 is claimed. Takes RGB
from 0 to 1, in the middle of grey 128, channels last.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, corners, select, several, sigmoid
from agent.decoders.grids import grid
from agent.decoders.reading import are_scores, class_names, colour_input, image_input, scaling

BOX = 4
NAMES = ("boxes", "confs")

STRIDES = (8, 16, 32)
PER_CELL = 3
STRETCH = (1.2, 1.1, 1.05)
"""For each stride, how far a centre's sigmoid is stretched."""

ANCHORS = np.array(
    [
        [[12, 16], [19, 36], [40, 28]],
        [[36, 75], [76, 55], [72, 146]],
        [[142, 110], [192, 243], [459, 401]],
    ],
    dtype=np.float32,
)
"""[strides, boxes a cell, 2] width and height in tensor pixels, for COCO at 416x416."""

SIDE, COCO = 416, 80
"""What these belong to."""

PAD = 128


class Yolov4:
    """Two outputs, whatever the classes and the size."""

    family: ClassVar[str] = "yolov4"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the names and shapes of the outputs."""
        places, names = _places(graph), class_names(graph.metadata)
        if places is None or (graph.sample and not are_scores(graph.sample[places[1]])):
            return None
        count = graph.outputs[places[1]].shape[2]
        if names and len(names) != count:
            return None
        return f"its outputs are boxes and confs of {count} classes"

    def __init__(self, graph: Graph) -> None:
        places = _places(graph)
        if places is None:
            raise ValueError("YOLOv4 has the outputs boxes [1, n, 1, 4] and confs [1, n, classes]")
        image = colour_input(graph)
        mean, scale = scaling(image)
        self.preparation = Preparation(
            image.width, image.height, fit="stretch", mean=mean, scale=scale, dtype=image.dtype, layout=image.layout
        )
        self.suppresses = True
        self._places = places
        self._shapes = [port.shape for port in graph.outputs]
        self.class_count: int | None = self._shapes[places[1]][2]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the best class's; one label a box."""
        values = several(outputs, self._shapes)
        boxes, scores = values[self._places[0]][0, :, 0], values[self._places[1]][0]
        best = scores.max(axis=1)
        good = np.flatnonzero(best >= thresholds.score)
        size = np.array([self.preparation.width, self.preparation.height] * 2, dtype=np.float32)
        return select(boxes[good] * size, best[good], scores[good].argmax(axis=1), placement, thresholds)


class Yolov4Maps:
    """Three maps, with the anchors of the published model."""

    family: ClassVar[str] = "yolov4-maps"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By maps of the strides, at the size and of the classes that the anchors belong to."""
        count, names = _classes(graph), class_names(graph.metadata)
        if count != COCO or (names and len(names) != count) or not graph.sample:
            return None
        image = image_input(graph)
        if (image.width, image.height) != (SIDE, SIDE) or not all(are_scores(map_[..., BOX:]) for map_ in graph.sample):
            return None
        return "its outputs are maps of the cells of strides 8, 16, 32, with three boxes of 80 classes for each cell"

    def __init__(self, graph: Graph) -> None:
        count = _classes(graph)
        if count is None:
            raise ValueError(
                "this YOLOv4 has outputs [1, rows, columns, 3, 5 + classes] of the strides 8, 16, 32, in that order"
            )
        image = colour_input(graph)
        mean, scale = scaling(image)
        self.preparation = Preparation(
            image.width, image.height, pad=PAD, mean=mean, scale=scale, dtype=image.dtype, layout=image.layout
        )
        self.suppresses = True
        self.class_count: int | None = count
        self._shapes = [port.shape for port in graph.outputs]
        self._grids = [grid(image.width, image.height, (stride,))[0][:, None] for stride in STRIDES]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is objectness times the best class's; one label a box."""
        values = several(outputs, self._shapes)
        boxes = np.concatenate([self._boxes(level, number) for number, level in enumerate(values)])
        rows = np.concatenate([level.reshape(-1, level.shape[4])[:, BOX:] for level in values])
        scores = rows[:, 0] * rows[:, 1:].max(axis=1)
        good = np.flatnonzero(scores >= thresholds.score)
        return select(boxes[good], scores[good], rows[good, 1:].argmax(axis=1), placement, thresholds)

    def _boxes(self, values: Floats, number: int) -> Floats:
        """[n, 4] corners in tensor pixels of every box of one stride."""
        raw = values.reshape(-1, PER_CELL, values.shape[4])
        wide = STRETCH[number]
        centres = (sigmoid(raw[..., :2]) * wide - (wide - 1) / 2 + self._grids[number]) * STRIDES[number]
        with np.errstate(over="ignore"):  # infinite sizes are refused where boxes are mapped
            sizes = np.exp(raw[..., 2:BOX]) * ANCHORS[number]
        return corners(np.concatenate((centres, sizes), axis=2).reshape(-1, BOX))


def _places(graph: Graph) -> tuple[int, int] | None:
    """Where boxes and scores are; None when one is missing or has another shape."""
    names = [port.name for port in graph.outputs]
    if sorted(names) != sorted(NAMES):
        return None
    boxes, scores = (names.index(name) for name in NAMES)
    shape = graph.outputs[scores].shape
    fits = len(shape) == 3 and shape[0] == 1 and graph.outputs[boxes].shape == (*shape[:2], 1, BOX)  # noqa: PLR2004
    return (boxes, scores) if fits else None


def _classes(graph: Graph) -> int | None:
    """How many classes there are; None when the outputs are not such maps."""
    image, shapes = image_input(graph), [port.shape for port in graph.outputs]
    maps = [(1, -(-image.height // stride), -(-image.width // stride), PER_CELL) for stride in STRIDES]
    if [shape[:4] for shape in shapes] != maps or any(len(shape) != 5 for shape in shapes):  # noqa: PLR2004  # a map
        return None
    count = shapes[0][4] - BOX - 1
    return count if count > 0 and len({shape[4] for shape in shapes}) == 1 else None
