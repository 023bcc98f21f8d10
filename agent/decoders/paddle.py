"""PaddleDetection's PP-YOLOE and RT-DETR: rows [n, 6] of class, score and corners, and their number.

All take RGB, stretched. Definitions: `configs/ppyoloe/_base_/ppyoloe_reader.yml` (ImageNet's mean and deviation) and
`ppyoloe_plus_reader.yml` (0 to 1), `ppyoloe_head.py` (`post_process`; with `exclude_nms` boxes [1, n, 4] and scores
[1, classes, n]); `configs/rtdetr/_base_/rtdetr_reader.yml` (0 to 1), `DETRPostProcess`, which keeps all its queries.

`scale_factor` is given ones and `im_shape` the size of the tensor, so boxes are in tensor pixels. Nothing in a file
tells PP-YOLOE from PP-YOLOE+, nor from PicoDet at 640: all of them claim it, so that it is refused with their names.
"""

from collections.abc import Sequence
from typing import ClassVar

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import several
from agent.decoders.picodet import (
    SIDES,
    beside_picture,
    boxes_and_scores,
    decode_cells,
    decode_rows,
    is_rows,
)
from agent.decoders.reading import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Three,
    are_scores,
    class_names,
    colour_input,
    image_input,
    scaling,
)

STRIDES = (8, 16, 32)
BOX = 4

QUERIES_MIN = 100
"""A DETR keeps at least as many, whatever it sees; suppression leaves fewer of an empty picture."""


class PpYoloePlus:
    """PP-YOLOE+, with its suppression or without."""

    family: ClassVar[str] = "ppyoloe-plus"
    task: ClassVar[Task] = "detect"
    says: ClassVar[str] = "PP-YOLOE"
    normal: ClassVar[tuple[Three, Three]] = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By rows at a size that is not PicoDet's alone, or by boxes and scores of each cell."""
        if boxes_and_scores(graph, STRIDES) is not None:
            return "its outputs are boxes and scores for each cell of strides 8, 16, 32"
        image = image_input(graph)
        if not is_rows(graph) or beside_picture(graph) != ["scale_factor"] or {image.width, image.height} <= set(SIDES):
            return None
        return "it takes a scale factor, and its outputs are rows of class, score and corners, and their number"

    def __init__(self, graph: Graph) -> None:
        self._dense = boxes_and_scores(graph, STRIDES)
        if self._dense is None and not is_rows(graph):
            raise ValueError(
                f"{self.says} has rows [n, 6] and their number [1], or boxes [1, n, 4] and scores [1, classes, n]"
            )
        image = colour_input(graph)
        mean, scale = scaling(image, *self.normal)
        self.preparation = Preparation(
            image.width, image.height, fit="stretch", mean=mean, scale=scale, dtype=image.dtype, layout=image.layout
        )
        self.suppresses = self._dense is not None
        self._shapes = [port.shape for port in graph.outputs]
        names = class_names(graph.metadata)
        self.class_count: int | None = len(names) if names else None
        if self._dense is not None:
            self.class_count = self._shapes[self._dense[1]][1]

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """One label a cell, or a row."""
        if self._dense is not None:
            return decode_cells(several(outputs, self._shapes), self._dense, placement, thresholds)
        return decode_rows(outputs, placement, thresholds)


class PpYoloe(PpYoloePlus):
    """PP-YOLOE as it was before the plus."""

    family: ClassVar[str] = "ppyoloe"
    normal: ClassVar[tuple[Three, Three]] = (IMAGENET_MEAN, IMAGENET_DEVIATION)


class DetrPaddle(PpYoloePlus):
    """RT-DETR and D-FINE by PaddleDetection."""

    family: ClassVar[str] = "detr-paddle"
    says: ClassVar[str] = "RT-DETR by PaddleDetection"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the sizes that it takes, and rows that are not fewer for an empty picture."""
        if not is_rows(graph) or beside_picture(graph) != ["im_shape", "scale_factor"] or not graph.sample:
            return None
        rows, number = graph.sample
        if not len(rows) == int(number[0]) >= QUERIES_MIN or not are_scores(rows[:, 1]):
            return None
        return f"it takes its size and a scale factor, and keeps all {len(rows)} queries"
