"""Detectors by TensorFlow's Object Detection API, SSD above all: selection, resizing and scaling are in the graph.

Takes RGB from 0 to 255, stretched. Definition: `object_detection/exporter.py`: `detection_boxes` [1, n, 4], top, left,
bottom and right in parts of the picture; `detection_classes` [1, n], counted from 1; `detection_scores` [1, n];
`num_detections` [1]; n may differ from picture to picture. A float input is one of a graph whose preprocessing was cut
off, whose scale nothing says: refused.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import pick, several
from agent.decoders.coco import CATEGORIES, COCO_91, class_of
from agent.decoders.reading import are_scores, class_names, colour_input, image_input

KINDS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
RAW_SCORES = "raw_detection_scores"
"""An output of newer exports: for each anchor a score of each class, the background in front."""

BOX = 4


class Ssd:
    """Four outputs, or more, of which the others are not read."""

    family: ClassVar[str] = "ssd"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the names of the outputs, and an input of bytes."""
        places = _places(graph)
        if places is None or image_input(graph).dtype != "uint8":
            return None
        if graph.sample and not are_scores(graph.sample[places["detection_scores"]]):
            return None
        return "its outputs are detection_boxes, detection_classes, detection_scores and num_detections"

    def __init__(self, graph: Graph) -> None:
        places = _places(graph)
        if places is None:
            raise ValueError(f"this family has the outputs {', '.join(KINDS)}")
        image = colour_input(graph)
        if image.dtype != "uint8":
            raise ValueError("this family takes uint8; nothing says how a float input is scaled")
        self.preparation = Preparation(
            image.width, image.height, fit="stretch", scale=(1.0,) * 3, dtype=image.dtype, layout=image.layout
        )
        self.suppresses = False
        self._places = places
        self._number_shape = graph.outputs[places["num_detections"]].shape
        names, raw = class_names(graph.metadata), _plain_names(graph)
        count = graph.outputs[raw.index(RAW_SCORES)].shape[-1] - 1 if RAW_SCORES in raw else None
        self._coco = names is None and count in (None, COCO_91 - 1)
        self.class_count: int | None = len(CATEGORIES) if self._coco else len(names) if names else count

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """As many as the graph says that there are."""
        if len(outputs) <= max(self._places.values()):
            raise ValueError(
                f"the model gave {len(outputs)} outputs, expected {max(self._places.values()) + 1} or more"
            )
        read = [outputs[place] for place in self._places.values()]  # others, such as masks, may have any shape
        n = np.size(read[1])
        boxes, classes, scores, number = several(read, [(1, n, BOX), (1, n), (1, n), self._number_shape])
        stop = int(number.ravel()[0])
        ids = np.rint(classes[0, :stop]).astype(np.int64)
        ids = class_of(ids) if self._coco else ids - 1
        known = ids >= 0
        size = np.array([self.preparation.width, self.preparation.height] * 2, dtype=np.float32)
        placed = boxes[0, :stop][:, [1, 0, 3, 2]] * size
        return pick(placed[known], scores[0, :stop][known], ids[known], placement, thresholds)


def _plain_names(graph: Graph) -> list[str]:
    """Names of the outputs, without the `:0` that TensorFlow adds."""
    return [port.name.partition(":")[0] for port in graph.outputs]


def _places(graph: Graph) -> dict[str, int] | None:
    """Where the four outputs are; None when one is missing or has another shape."""
    names = _plain_names(graph)
    if any(kind not in names for kind in KINDS):
        return None
    places = {kind: names.index(kind) for kind in KINDS}
    boxes, classes, scores, number = (graph.outputs[place].shape for place in places.values())
    fits = len(boxes) == 3 and boxes[::2] == (1, BOX) and classes == scores == boxes[:2]  # noqa: PLR2004
    return places if fits and number in ((), (1,), (1, 1)) else None
