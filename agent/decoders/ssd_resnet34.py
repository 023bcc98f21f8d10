"""SSD with ResNet-34, of MLPerf and of ONNX' model zoo (`ssd-12`): `bboxes`, `labels` and `scores`, selected.

Takes RGB with ImageNet's mean and deviation, stretched (1200x1200). Definition:
`vision/object_detection_segmentation/ssd` of the zoo, `single_stage_detector` of MLPerf's inference: corners in parts
of the picture, labels that count the 80 classes from 1, and a selection that the graph has made.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import pick, several
from agent.decoders.coco import CATEGORIES
from agent.decoders.reading import IMAGENET_DEVIATION, IMAGENET_MEAN, class_names, colour_input, scaling

NAMES = ("bboxes", "labels", "scores")
BOX = 4


class SsdResNet34:
    """Three outputs, with as many rows as the graph selected."""

    family: ClassVar[str] = "ssd-resnet34"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the names and shapes of the outputs."""
        if _places(graph) is None or len(graph.inputs) != 1:
            return None
        return "its outputs are bboxes, labels and scores"

    def __init__(self, graph: Graph) -> None:
        places = _places(graph)
        if places is None:
            raise ValueError("this SSD has the outputs bboxes [1, n, 4], labels [1, n] and scores [1, n]")
        image = colour_input(graph)
        mean, scale = scaling(image, IMAGENET_MEAN, IMAGENET_DEVIATION)
        self.preparation = Preparation(
            image.width, image.height, fit="stretch", mean=mean, scale=scale, dtype=image.dtype, layout=image.layout
        )
        self.suppresses = False
        self._places = places
        names = class_names(graph.metadata)
        self.class_count: int | None = len(names) if names else len(CATEGORIES)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Rows above the threshold, best first."""
        if len(outputs) != len(NAMES):
            raise ValueError(f"the model gave {len(outputs)} outputs, expected {len(NAMES)}")
        read = [outputs[place] for place in self._places]
        n = np.size(read[1])
        boxes, labels, scores = several(read, [(1, n, BOX), (1, n), (1, n)])
        ids = np.rint(labels[0]).astype(np.int64) - 1
        known = ids >= 0
        size = np.array([self.preparation.width, self.preparation.height] * 2, dtype=np.float32)
        return pick(boxes[0][known] * size, scores[0][known], ids[known], placement, thresholds)


def _places(graph: Graph) -> list[int] | None:
    """Where boxes, labels and scores are; None when one is missing or has another shape."""
    names = [port.name for port in graph.outputs]
    if sorted(names) != sorted(NAMES):
        return None
    places = [names.index(name) for name in NAMES]
    boxes, labels, scores = (graph.outputs[place].shape for place in places)
    fits = len(labels) == 2 and labels[0] == 1 and scores == labels and boxes == (*labels, BOX)  # noqa: PLR2004  # [1, n]
    return places if fits else None
