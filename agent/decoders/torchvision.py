"""Detectors by torchvision: Faster R-CNN, RetinaNet, FCOS, SSD, SSDlite; scaling and selection are in the graph.

Takes RGB from 0 to 1. Definition: `torchvision/models/detection/generalized_rcnn.py` and `transform.py`: boxes [n, 4],
corners in pixels of the tensor; labels [n] whole numbers, of which 0 is the background; scores [n]. Their order
differs from model to model, and n from picture to picture. Except for the SSDs, pictures keep their aspect, and are
padded at the right and at the bottom.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import pick, several
from agent.decoders.reading import are_scores, class_names, colour_input, scaling

BOX = 4
BACKGROUND = ("__background__", "background", "n/a", "none")
"""What the first name is called where names begin with it."""


class Torchvision:
    """Three outputs, known by their shapes and types: what a detector in torchvision gives for one picture."""

    family: ClassVar[str] = "torchvision"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By boxes, whole labels and scores of as many rows, without a batch."""
        places = _places(graph)
        if places is None or len(graph.inputs) != 1:
            return None
        if graph.sample and not are_scores(graph.sample[places[2]]):
            return None
        return "its outputs are boxes [n, 4], whole labels [n] and scores [n]"

    def __init__(self, graph: Graph) -> None:
        places = _places(graph)
        if places is None:
            raise ValueError("a detector by torchvision has the outputs boxes [n, 4], labels [n] and scores [n]")
        image = colour_input(graph)
        mean, scale = scaling(image)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="letterbox_corner",
            mean=mean,
            scale=scale,
            dtype=image.dtype,
            layout=image.layout,
        )
        self.suppresses = False
        self._places = places
        names = class_names(graph.metadata)
        self._named_background = bool(names) and names is not None and names[0].lower() in BACKGROUND
        self.class_count: int | None = len(names) if names else None

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """What the graph selected; labels count from 0 without the background, unless the names begin with it."""
        if len(outputs) != len(self._places):
            raise ValueError(f"the model gave {len(outputs)} outputs, expected {len(self._places)}")
        rows = np.shape(outputs[self._places[1]])[:1] or (0,)
        read = [outputs[place] for place in self._places]
        boxes, labels, scores = several(read, [(*rows, BOX), rows, rows])
        class_ids = np.rint(labels).astype(np.int64) - (0 if self._named_background else 1)
        known = class_ids >= 0
        return pick(boxes[known], scores[known], class_ids[known], placement, thresholds)


def _places(graph: Graph) -> tuple[int, int, int] | None:
    """Where boxes, labels and scores are among the outputs; None when that is not what they are."""
    kinds = [_kind(port.shape, port.dtype) for port in graph.outputs]
    if sorted(map(str, kinds)) != ["boxes", "labels", "scores"]:
        return None
    boxes, labels, scores = (kinds.index(kind) for kind in ("boxes", "labels", "scores"))
    rows = {graph.outputs[place].shape[0] for place in (boxes, labels, scores)}
    return (boxes, labels, scores) if len(rows) == 1 else None


def _kind(shape: tuple[int, ...], dtype: str) -> str | None:
    if len(shape) == 2 and shape[1] == BOX and dtype.startswith("float"):  # noqa: PLR2004  # [n, 4]
        return "boxes"
    if len(shape) == 1:
        return "labels" if dtype == "int64" else "scores" if dtype.startswith("float") else None
    return None
