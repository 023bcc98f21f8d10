"""YuNet, the face detector of OpenCV: for each stride class, objectness, box and five landmarks.

Takes BGR from 0 to 255, stretched, as those do who set `FaceDetectorYN` to one input size. Definition:
`mmdet/models/dense_heads/yunet_head.py` of libfacedetection.train, and OpenCV's `FaceDetectorYN`: score is the root of
class times objectness; a box is an offset from the cell's corner and the logarithm of its size, both in cells. The
landmarks are not read.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import corners, select, several
from agent.decoders.grids import grid
from agent.decoders.reading import cells, colour_input, image_input

STRIDES = (8, 16, 32)
WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""What each output is called before its stride, and how many numbers a cell has in it."""


class YuNet:
    """Twelve outputs, `cls_8` to `kps_32`, or nine without landmarks, for any input size."""

    family: ClassVar[str] = "yunet"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the names and shapes of the outputs."""
        if _places(graph) is None:
            return None
        return "its outputs are cls, obj and bbox of the strides 8, 16, 32"

    def __init__(self, graph: Graph) -> None:
        places = _places(graph)
        if places is None:
            raise ValueError("YuNet has the outputs cls_8, obj_8, bbox_8 and so on for the strides 8, 16, 32")
        image = colour_input(graph)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="stretch",
            colour="bgr",
            scale=(1.0, 1.0, 1.0),
            dtype=image.dtype,
            layout=image.layout,
        )
        self.suppresses = True
        self.class_count: int | None = 1
        self._places = places
        self._shapes = [port.shape for port in graph.outputs]
        self._cells, self._strides = grid(image.width, image.height, STRIDES)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Every cell whose score counts is a face."""
        values = several(outputs, self._shapes)
        classes, objects, boxes = (
            np.concatenate([values[place][0] for place in self._places[kind]]) for kind in ("cls", "obj", "bbox")
        )
        scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
        good = np.flatnonzero(scores >= thresholds.score)
        stride = self._strides[good, None]
        centres = (self._cells[good] + boxes[good, :2]) * stride
        with np.errstate(over="ignore"):  # infinite sizes are refused where boxes are mapped
            sizes = np.exp(boxes[good, 2:]) * stride
        faces = corners(np.concatenate((centres, sizes), axis=1))
        return select(faces, scores[good], np.zeros(len(good), dtype=np.int64), placement, thresholds)


def _places(graph: Graph) -> dict[str, list[int]] | None:
    """Where the outputs of each kind are, stride by stride; None when one is missing or has another shape."""
    names = [port.name for port in graph.outputs]
    image = image_input(graph)
    places: dict[str, list[int]] = {}
    for kind, width in WIDTHS.items():
        for stride in STRIDES:
            shape = (1, cells(image.width, image.height, (stride,)), width)
            if f"{kind}_{stride}" in names and graph.outputs[names.index(f"{kind}_{stride}")].shape == shape:
                places.setdefault(kind, []).append(names.index(f"{kind}_{stride}"))
    complete = all(len(places.get(kind, ())) == len(STRIDES) for kind in ("cls", "obj", "bbox"))
    return places if complete else None
