"""YuNet as it was until 2022: `loc` [n, 14], `conf` [n, 2] and `iou` [n, 1] of prepared boxes at four strides.

Takes BGR from 0 to 255, stretched. Definition: `models/face_detection_yunet/yunet.py` of OpenCV's model zoo until
`2022mar`, and `FaceDetectorYN` of OpenCV until 4.7: score is the root of class times the overlap that the model
expects; a box is an offset from the prepared one, in its own sizes, and the logarithm of a factor, both damped. The
zoo's detector of licence plates has the same outputs with four points in the place of a box.
"""

import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, corners, select, several
from agent.decoders.reading import colour_input, image_input

NAMES = ("loc", "conf", "iou")
WIDTHS = (14, 2, 1)
"""Numbers of each prepared box in each output: a box and five landmarks; background and face; overlap."""

SIDES = {8: (10, 16, 24), 16: (32, 48), 32: (64, 96), 64: (128, 192, 256)}
"""Stride to the sides of its prepared boxes in pixels."""

PLATES = (320, 240)
"""The size of the detector of licence plates."""

OFFSET = 0.1
GROWTH = np.array([0.1, 0.2], dtype=np.float32)
"""What offsets are damped with, and the logarithms of width and height, which the definition has unlike."""


class YuNet2022:
    """Three outputs, for any input size."""

    family: ClassVar[str] = "yunet-2022"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the names and shapes of the outputs."""
        image = image_input(graph)
        if _places(graph) is None or (image.width, image.height) == PLATES:
            return None
        return "its outputs are loc, conf and iou of the prepared boxes of strides 8, 16, 32, 64"

    def __init__(self, graph: Graph) -> None:
        places = _places(graph)
        if places is None:
            raise ValueError("the older YuNet has the outputs loc [n, 14], conf [n, 2] and iou [n, 1]")
        image = colour_input(graph)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="stretch",
            colour="bgr",
            scale=(1.0,) * 3,
            dtype=image.dtype,
            layout=image.layout,
        )
        self.suppresses = True
        self.class_count: int | None = 1
        self._places = places
        self._shapes = [port.shape for port in graph.outputs]
        self._prepared = prepared(image.width, image.height)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Every prepared box whose score counts is a face."""
        values = several(outputs, self._shapes)
        offsets, classes, overlaps = (
            values[place].reshape(-1, width) for place, width in zip(self._places, WIDTHS, strict=True)
        )
        scores = np.sqrt(np.clip(classes[:, 1], 0, 1) * np.clip(overlaps[:, 0], 0, 1))
        good = np.flatnonzero(scores >= thresholds.score)
        at, moved = self._prepared[good], offsets[good]
        centres = at[:, :2] + moved[:, :2] * OFFSET * at[:, 2:]
        with np.errstate(over="ignore"):  # infinite sizes are refused where boxes are mapped
            sizes = at[:, 2:] * np.exp(moved[:, 2:4] * GROWTH)
        faces = corners(np.concatenate((centres, sizes), axis=1))
        return select(faces, scores[good], np.zeros(len(good), dtype=np.int64), placement, thresholds)


def prepared(width: int, height: int) -> Floats:
    """[n, 4] centre and size in tensor pixels: stride by stride, row by row, cell by cell, side by side."""
    columns, rows = (width + 1) // 2 // 2, (height + 1) // 2 // 2
    boxes = []
    for stride, sides in SIDES.items():
        columns, rows = columns // 2, rows // 2
        for row, column, side in itertools.product(range(rows), range(columns), sides):
            boxes.append(((column + 0.5) * stride, (row + 0.5) * stride, side, side))
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _places(graph: Graph) -> list[int] | None:
    """Where the three outputs are; None when one is missing or has another shape."""
    names = [port.name for port in graph.outputs]
    if sorted(names) != sorted(NAMES):
        return None
    image = image_input(graph)
    count = len(prepared(image.width, image.height))
    places = [names.index(name) for name in NAMES]
    fits = (
        graph.outputs[place].shape in ((count, width), (1, count, width))
        for place, width in zip(places, WIDTHS, strict=True)
    )
    return places if all(fits) else None
