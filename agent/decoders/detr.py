"""The DETR family: DETR, YOLOS, RT-DETR, D-FINE, DEIM, DEIMv2 and RF-DETR. A query is a box, and nothing is suppressed.

The whole picture is stretched to the tensor. Definitions: `RTDETRPostProcessor` and `tools/export_onnx.py` of RT-DETR,
of which D-FINE and DEIM are forks; `ultralytics/models/rtdetr`; `PostProcess` and the exporter of RF-DETR;
`post_process_object_detection` of the models in Transformers.

Forks expect `orig_target_sizes` as width and height, some samples feed height and width: Vigie gives ones
(`reading.beside`), so boxes come as parts of the picture, whatever the order.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import corners, pick, several, sigmoid, single
from agent.decoders.coco import CATEGORIES, COCO_91, coco_80
from agent.decoders.reading import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    are_scores,
    class_names,
    colour_input,
    from_ultralytics,
    only_output,
    scaling,
)
from agent.decoders.ultralytics_rows import ROW, from_selected, scores_from, selects, whole_classes

BOX = 4
"""Numbers that a box takes in an output."""

SELECTED = ("labels", "boxes", "scores")
"""Outputs of an export that ends in its own selection."""

RAW = (("dets", "labels"), ("pred_boxes", "logits"))
"""Boxes and logits: by RF-DETR's exporter, and by that of Transformers."""

SOFTMAX_COCO = 92
"""Logits of a DETR or YOLOS for COCO: 91 categories, and last that a query is no object."""

DEFORMABLE_COCO = 91
"""Logits of a Deformable DETR for COCO, whose preparation is another."""

MOSTLY = 0.9
"""Share of queries that are no object on an empty picture, at least, where the last logit says that."""

SLACK = 0.55
"""How far corners of a box whose centre lies in the picture may stick out, as a part of it."""


class Detr:
    """RT-DETR, D-FINE, DEIM, DEIMv2: labels [1, q], boxes [1, q, 4] corners, scores [1, q], already selected."""

    family: ClassVar[str] = "detr"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By outputs of these names, and boxes that follow the size that the graph is given."""
        places = _selected(graph)
        if places is None or len(graph.inputs) != 2 or not _fits(graph, places):  # noqa: PLR2004  # picture and size
            return None
        return f"its outputs are labels, boxes and scores of {graph.outputs[places[0]].shape[1]} queries"

    def __init__(self, graph: Graph) -> None:
        places = _selected(graph)
        if places is None or len(graph.inputs) != 2:  # noqa: PLR2004  # picture and size
            raise ValueError(
                "a DETR has the inputs picture and size, and the outputs labels [1, q], boxes [1, q, 4], scores [1, q]"
            )
        self.preparation = _stretched(graph)
        self.suppresses = False
        self._places = places
        self._shapes = [port.shape for port in graph.outputs]
        names = class_names(graph.metadata)
        beyond = bool(graph.sample) and bool((graph.sample[places[0]].astype(int) >= len(CATEGORIES)).any())
        self.class_count: int | None = len(names) if names else None if beyond else len(CATEGORIES)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Queries above the threshold, best first."""
        values = several(outputs, self._shapes)
        labels, boxes, scores = (values[place][0] for place in self._places)
        class_ids = np.rint(labels).astype(np.int64)
        if class_ids.min(initial=0) < 0:
            raise ValueError(f"the output has the class id {class_ids.min()}")
        return pick(_to_pixels(boxes, self.preparation), scores, class_ids, placement, thresholds)


class DetrUltralytics:
    """RT-DETR by Ultralytics: [1, queries, 4 + classes], a row being centre x, y, width, height as parts, scores.

    Since 8.4 it ends in its selection: [1, rows, 6], the same box, score and class.
    """

    family: ClassVar[str] = "detr-ultralytics"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By metadata with as many names as a row has scores, and values that are parts of the picture."""
        shape, names = only_output(graph, 3), class_names(graph.metadata)
        if shape is None or not names or not from_ultralytics(graph.metadata) or selects(graph):
            return None
        if _is_selected(graph, shape):
            boxes = scores_from(graph, shape, slice(0, BOX))
            return f"the output is {shape[1]} rows of a box in parts of the picture, score and class" if boxes else None
        if shape[2] != BOX + len(names) or not scores_from(graph, shape, slice(0, None)):
            return None
        return f"the output is {shape[1]} rows of a box in parts of the picture and {len(names)} scores"

    def __init__(self, graph: Graph) -> None:
        shape = only_output(graph, 3)
        if shape is None or shape[2] <= BOX:
            raise ValueError("RT-DETR by Ultralytics has one output [1, queries, 4 + classes] or [1, rows, 6]")
        self.preparation = _stretched(graph)
        self.suppresses = False
        self._selected = _is_selected(graph, shape)
        names = class_names(graph.metadata)
        of_names = len(names) if names else None
        self.class_count: int | None = of_names if self._selected else shape[2] - BOX
        self._shape = shape

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the best class's, one label a query; or what the selection has."""
        rows = single(outputs, self._shape)[0]
        if self._selected:
            found = from_selected(rows, self.class_count, thresholds.score)
            boxes = _to_pixels(corners(found.boxes), self.preparation)
            return pick(boxes, found.scores, found.class_ids, placement, thresholds)
        boxes = _to_pixels(corners(rows[:, :BOX]), self.preparation)
        return pick(boxes, rows[:, BOX:].max(axis=1), rows[:, BOX:].argmax(axis=1), placement, thresholds)


class DetrSoftmax:
    """DETR and YOLOS by Transformers: boxes [1, q, 4] in parts, logits [1, q, classes + 1], the last for no object."""

    family: ClassVar[str] = "detr-softmax"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By outputs of these names, and a last logit that leads on an empty picture, or that is one too many."""
        places = _raw(graph)
        if places is None or _is_rf(graph) or (graph.sample and not are_scores(graph.sample[places[0]])):
            return None
        if not _last_is_no_object(graph, places):
            return None
        count = graph.outputs[places[1]].shape[2] - 1
        return f"its outputs are boxes in parts of the picture, {count} logits each, and one for no object"

    def __init__(self, graph: Graph) -> None:
        places = _raw(graph)
        if places is None or graph.outputs[places[1]].shape[2] <= 1:
            raise ValueError("this family has the outputs pred_boxes [1, q, 4] and logits [1, q, classes + 1]")
        self.preparation = _stretched(graph, imagenet=True)
        self.suppresses = False
        self._places = places
        self._shapes = [port.shape for port in graph.outputs]
        names, columns = class_names(graph.metadata), graph.outputs[places[1]].shape[2]
        self._of_91 = columns == SOFTMAX_COCO and (names is None or len(names) != columns - 1)
        self.class_count: int | None = len(CATEGORIES) if self._of_91 else columns - 1

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the best class's share of the softmax over all logits; one label a query."""
        values = several(outputs, self._shapes)
        boxes, logits = (values[place][0] for place in self._places)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = powers[:, :-1] / powers.sum(axis=1, keepdims=True)
        shares = coco_80(shares) if self._of_91 else shares
        placed = _to_pixels(corners(boxes), self.preparation)
        return pick(placed, shares.max(axis=1), shares.argmax(axis=1), placement, thresholds)


class DetrRaw:
    """RF-DETR, and RT-DETR and D-FINE by Transformers: boxes [1, q, 4] in parts, logits [1, q, classes]."""

    family: ClassVar[str] = "detr-raw"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the names of the outputs, and boxes that are parts of the picture."""
        places = _raw(graph)
        if places is None or (graph.sample and not are_scores(graph.sample[places[0]])):
            return None
        count = graph.outputs[places[1]].shape[2]
        if not _is_rf(graph) and (count == DEFORMABLE_COCO or _last_is_no_object(graph, places)):
            return None
        return f"its outputs are boxes in parts of the picture and {count} logits each"

    def __init__(self, graph: Graph) -> None:
        places = _raw(graph)
        if places is None:
            raise ValueError("this family has the outputs dets [1, q, 4] and labels [1, q, classes]")
        self.preparation = _stretched(graph, imagenet=_is_rf(graph))
        self.suppresses = False
        self._places = places
        self._shapes = [port.shape for port in graph.outputs]
        names, columns = class_names(graph.metadata), graph.outputs[places[1]].shape[2]
        self._of_91 = columns == COCO_91 and (names is None or len(names) != columns)
        # RF-DETR has one logit more than a model of one's own has classes, after the others.
        self.class_count: int | None = (
            len(CATEGORIES) if self._of_91 else min(columns, len(names) if names else columns)
        )

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Score is the sigmoid of the best class's logit; one label a query."""
        values = several(outputs, self._shapes)
        boxes, logits = (values[place][0] for place in self._places)
        logits = coco_80(logits) if self._of_91 else logits[:, : self.class_count]
        scores = sigmoid(logits.max(axis=1))
        placed = _to_pixels(corners(boxes), self.preparation)
        return pick(placed, scores, logits.argmax(axis=1), placement, thresholds)


def _stretched(graph: Graph, *, imagenet: bool = False) -> Preparation:
    """The whole picture, RGB from 0 to 1, then with ImageNet's mean and deviation if the family has it so."""
    image = colour_input(graph)
    mean, scale = scaling(image, IMAGENET_MEAN, IMAGENET_DEVIATION) if imagenet else scaling(image)
    return Preparation(
        image.width, image.height, fit="stretch", mean=mean, scale=scale, dtype=image.dtype, layout=image.layout
    )


def _is_selected(graph: Graph, shape: Sequence[int]) -> bool:
    """Whether the sample's rows end in a score and a whole class; two scores of a sigmoid do not."""
    return shape[2] == ROW and bool(graph.sample) and whole_classes(graph, shape)


def _selected(graph: Graph) -> tuple[int, int, int] | None:
    """Where labels, boxes and scores are among the outputs; None when that is not what they are."""
    names = [port.name for port in graph.outputs]
    if sorted(names) != sorted(SELECTED):
        return None
    labels, boxes, scores = (names.index(name) for name in SELECTED)
    shape = graph.outputs[labels].shape
    if len(shape) != 2 or shape[0] != 1 or graph.outputs[scores].shape != shape:  # noqa: PLR2004  # [1, q]
        return None
    return (labels, boxes, scores) if graph.outputs[boxes].shape == (*shape, BOX) else None


def _fits(graph: Graph, places: tuple[int, int, int]) -> bool:
    """Whether the sample has scores, and corners as parts of the picture."""
    if not graph.sample:
        return True
    boxes = graph.sample[places[1]].astype(np.float32)
    return are_scores(graph.sample[places[2]]) and bool(((boxes >= -SLACK) & (boxes <= 1 + SLACK)).all())


def _raw(graph: Graph) -> tuple[int, int] | None:
    """Where boxes and logits are among the outputs; None when that is not what they are."""
    names = [port.name for port in graph.outputs]
    for pair in RAW:
        if sorted(names) == sorted(pair):
            boxes, logits = (names.index(name) for name in pair)
            shape, wide = graph.outputs[boxes].shape, graph.outputs[logits].shape
            if len(shape) == len(wide) == 3 and shape[::2] == (1, BOX) and wide[:2] == shape[:2]:  # noqa: PLR2004
                return boxes, logits
    return None


def _last_is_no_object(graph: Graph, places: tuple[int, int]) -> bool:
    """Whether the last logit says that a query is no object: by its number, by the names, by an empty picture."""
    columns, names = graph.outputs[places[1]].shape[2], class_names(graph.metadata)
    if names and len(names) in (columns, columns - 1):
        return len(names) == columns - 1
    if columns == SOFTMAX_COCO or not graph.sample:
        return columns == SOFTMAX_COCO
    last = graph.sample[places[1]].argmax(axis=-1) == columns - 1
    return columns > 1 and bool(last.mean() >= MOSTLY)


def _is_rf(graph: Graph) -> bool:
    return any(port.name == "dets" for port in graph.outputs)


def _to_pixels(boxes: NDArray[np.float32], want: Preparation) -> NDArray[np.float32]:
    """[n, 4] corners as parts of the picture to tensor pixels."""
    return boxes * np.array([want.width, want.height] * 2, dtype=np.float32)
