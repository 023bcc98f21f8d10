"""UltraFace and the single-shot detectors that it comes from: scores [1, n, classes], boxes [1, n, 4].

Takes RGB less 127, over 128, stretched. Definition: `vision/ssd/predictor.py` and `convert_to_onnx.py` of
Ultra-Light-Fast-Generic-Face-Detector, a fork of pytorch-ssd, whose exports look the same with more classes: the first
class is the background, scores have been through a softmax, boxes are corners in parts of the picture.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import select, several
from agent.decoders.reading import are_scores, class_names, colour_input, scaling

BOX = 4
RANK = 3
FACE_CLASSES = 2
"""Background and face."""

SUM_SLACK = 0.1
"""How far from 1 a quantised softmax may add up to."""

MEAN = (127.0,) * 3
DEVIATION = (128.0,) * 3


class SsdSoftmax:
    """pytorch-ssd: any number of classes, the background in front."""

    family: ClassVar[str] = "ssd-softmax"
    task: ClassVar[Task] = "detect"
    faces: ClassVar[bool] = False

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By scores that add up to 1 for each box."""
        places = _places(graph)
        if places is None or not _fits(graph, places[0]) or not _are_corners(graph, places[1]):
            return None
        count, names = graph.outputs[places[0]].shape[2], class_names(graph.metadata)
        if (count == FACE_CLASSES) is not cls.faces or (names and len(names) != count - 1):
            return None
        return f"{count} scores that add up to 1, and corners, for each of {graph.outputs[places[0]].shape[1]} boxes"

    def __init__(self, graph: Graph) -> None:
        places = _places(graph)
        if places is None or (self.faces and graph.outputs[places[0]].shape[2] != FACE_CLASSES):
            count = FACE_CLASSES if self.faces else "classes"
            raise ValueError(f"the family {self.family} has the outputs scores [1, n, {count}] and boxes [1, n, 4]")
        image = colour_input(graph)
        mean, scale = scaling(image, MEAN, DEVIATION)
        self.preparation = Preparation(
            image.width, image.height, fit="stretch", mean=mean, scale=scale, dtype=image.dtype, layout=image.layout
        )
        self.suppresses = True
        self.class_count: int | None = graph.outputs[places[0]].shape[2] - 1
        self._places = places
        self._shapes = [port.shape for port in graph.outputs]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """One label a box, its best class but the background."""
        values = several(outputs, self._shapes)
        scores, boxes = (values[place][0] for place in self._places)
        scores = scores[:, 1:]
        good = np.flatnonzero(scores.max(axis=1) >= thresholds.score)
        size = np.array([self.preparation.width, self.preparation.height] * 2, dtype=np.float32)
        kept = scores[good]
        return select(boxes[good] * size, kept.max(axis=1), kept.argmax(axis=1), placement, thresholds)


class UltraFace(SsdSoftmax):
    """UltraFace, slim or RFB, at any input size."""

    family: ClassVar[str] = "ultraface"
    faces: ClassVar[bool] = True


def _places(graph: Graph) -> tuple[int, int] | None:
    """Where scores and boxes are among the two outputs: by name, else by width; None when that is not what they are."""
    if len(graph.outputs) != 2 or any(len(port.shape) != RANK for port in graph.outputs):  # noqa: PLR2004
        return None
    boxes = [place for place, port in enumerate(graph.outputs) if port.shape[2] == BOX]
    if len(boxes) == 2:  # noqa: PLR2004  # three classes and the background
        boxes = [place for place in boxes if "box" in graph.outputs[place].name.lower()]
    if len(boxes) != 1:
        return None
    scores = 1 - boxes[0]
    shape = graph.outputs[scores].shape
    fits = shape[0] == 1 and shape[2] >= FACE_CLASSES and graph.outputs[boxes[0]].shape == (*shape[:2], BOX)
    return (scores, boxes[0]) if fits else None


def _are_corners(graph: Graph, place: int) -> bool:
    """Whether the boxes of the sample end after they begin: an export without its last steps has offsets instead."""
    boxes = graph.sample[place].astype(np.float32)
    return bool((boxes[..., 2:] >= boxes[..., :2]).all())


def _fits(graph: Graph, place: int) -> bool:
    """Whether the scores of the sample add up to 1 for each box."""
    if not graph.sample:
        return False
    scores = graph.sample[place].astype(np.float32)
    return are_scores(scores) and bool((np.abs(scores.sum(axis=2) - 1) <= SUM_SLACK).all())
