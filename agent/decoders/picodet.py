"""PP-PicoDet by PaddleDetection, exported in three ways: raw, with boxes, and with its own selection.

Takes RGB with ImageNet's mean and deviation, stretched. Definition: `configs/picodet` and `ppdet`'s `pico_head.py`:
raw, each of four strides has scores and distributions of distances, as NanoDet's, from the middle of a cell
(`export.benchmark`); without suppression boxes [1, n, 4] and scores [1, classes, n] (`export.nms=False`); else rows of
class, score and corners, and their number. The last two take `scale_factor`, given ones, so boxes are in tensor
pixels. Other models of PaddleDetection (`paddle`) end in the same rows but want their pictures otherwise: at a size
that both come in, both claim them.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, finite, pick, select, several, single
from agent.decoders.grids import grid
from agent.decoders.nanodet import Levels, by_stride, joined, named_plus, pick_cells
from agent.decoders.reading import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    are_scores,
    cells,
    class_names,
    colour_input,
    image_input,
    scaling,
)

STRIDES = (8, 16, 32, 64)
SIDES = (192, 320, 416)
"""What PicoDet comes in, and hardly another family of PaddleDetection."""

SHARED = 640
"""What PicoDet-L comes in as well as PP-YOLOE, so that both claim it."""

BOX = 4
ROW = 6
"""Class, score, x1, y1, x2, y2."""


class PicoDet:
    """PP-PicoDet with any number of classes."""

    family: ClassVar[str] = "picodet"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the outputs of one of its exports."""
        levels, boxes, names = _levels(graph), boxes_and_scores(graph, STRIDES), class_names(graph.metadata)
        count = graph.outputs[levels[0][0]].shape[2] if levels else graph.outputs[boxes[1]].shape[1] if boxes else None
        if count is not None and names and len(names) != count:
            return None
        if levels is not None:
            return f"{count} scores and four distributions for each cell of strides 8, 16, 32, 64"
        if boxes is not None:
            return f"boxes and {count} scores for each cell of strides 8, 16, 32, 64"
        image = image_input(graph)
        fits = {image.width, image.height} <= {*SIDES, SHARED}
        if is_rows(graph) and fits and beside_picture(graph) == ["scale_factor"]:
            return "it takes a scale factor, and its outputs are rows of class, score and corners, and their number"
        return None

    def __init__(self, graph: Graph) -> None:
        levels, boxes = _levels(graph), boxes_and_scores(graph, STRIDES)
        if levels is None and boxes is None and not is_rows(graph):
            raise ValueError(
                "PicoDet has scores and distances of the strides 8, 16, 32, 64, or boxes [1, n, 4] and scores "
                "[1, classes, n], or rows [n, 6] and their number [1]"
            )
        image = colour_input(graph)
        mean, scale = scaling(image, IMAGENET_MEAN, IMAGENET_DEVIATION)
        self.preparation = Preparation(
            image.width, image.height, fit="stretch", mean=mean, scale=scale, dtype=image.dtype, layout=image.layout
        )
        self._levels, self._boxes = levels, boxes
        self._shapes = [port.shape for port in graph.outputs]
        self.suppresses = levels is not None or boxes is not None
        names = class_names(graph.metadata)
        self.class_count: int | None = len(names) if names else None
        if levels is not None:
            self.class_count = graph.outputs[levels[0][0]].shape[2]
        elif boxes is not None:
            self.class_count = graph.outputs[boxes[1]].shape[1]
        places, self._strides = grid(image.width, image.height, STRIDES)
        self._centres = (places + 0.5) * self._strides[:, None]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """One label a cell, or a row."""
        if self._levels is not None:
            scores, distances = joined(several(outputs, self._shapes), self._levels)
            return pick_cells(scores, distances, self._centres, self._strides, placement, thresholds)
        if self._boxes is not None:
            return decode_cells(several(outputs, self._shapes), self._boxes, placement, thresholds)
        return decode_rows(outputs, placement, thresholds)


def _levels(graph: Graph) -> Levels | None:
    """Where scores and distances of each stride are; None when they are not, or are called as NanoDet-Plus has them."""
    return None if named_plus(graph) else by_stride(graph, STRIDES)


def boxes_and_scores(graph: Graph, strides: Sequence[int]) -> tuple[int, int] | None:
    """Where boxes and scores are when there is one of each for every cell; None otherwise."""
    if len(graph.outputs) != 2 or beside_picture(graph) not in ([], ["scale_factor"]):  # noqa: PLR2004
        return None
    image = image_input(graph)
    count = cells(image.width, image.height, strides)
    shapes = [port.shape for port in graph.outputs]
    for boxes, scores in ((0, 1), (1, 0)):
        fits = len(shapes[scores]) == 3 and shapes[scores][::2] == (1, count)  # noqa: PLR2004
        if fits and shapes[boxes] == (1, count, BOX) and (not graph.sample or are_scores(graph.sample[scores])):
            return boxes, scores
    return None


def decode_cells(
    values: Sequence[Floats], places: tuple[int, int], placement: Placement, thresholds: Thresholds
) -> Found:
    """Boxes [1, n, 4] and scores [1, classes, n], at `places` among `values`: one label a cell."""
    boxes, scores = (values[place][0] for place in places)
    best = scores.max(axis=0)
    good = np.flatnonzero(best >= thresholds.score)
    return select(boxes[good], best[good], scores[:, good].argmax(axis=0), placement, thresholds)


def decode_rows(outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
    """Rows [n, 6] that the graph has selected, and their number.

    Raises:
        ValueError: The outputs are not finite or not of the expected shape.
    """
    if len(outputs) != 2:  # noqa: PLR2004  # rows and their number
        raise ValueError(f"the model gave {len(outputs)} outputs, expected 2")
    rows = single(outputs, (None, ROW))
    rows = rows[: int(finite(np.asarray(outputs[1], dtype=np.float32)).sum())]
    class_ids = np.rint(rows[:, 0]).astype(np.int64)
    known = class_ids >= 0  # a row of class -1 says that there is none
    return pick(rows[known, 2:], rows[known, 1], class_ids[known], placement, thresholds)


def is_rows(graph: Graph) -> bool:
    """Whether the outputs are rows of six, and one number."""
    if len(graph.outputs) != 2 or len(graph.outputs[0].shape) != 2:  # noqa: PLR2004
        return False
    return graph.outputs[0].shape[1] == ROW and graph.outputs[1].shape == (1,)


def beside_picture(graph: Graph) -> list[str]:
    """Names of the inputs beside the picture, sorted."""
    return sorted(port.name for port in graph.inputs if len(port.shape) == 2)  # noqa: PLR2004
