"""YOLOX with its suppression in the graph, as MMDeploy and PINTO's tools write it.

Takes BGR from 0 to 255, at the top left of grey 114, like YOLOX. MMDeploy: `dets` [1, n, 5], corners and score, and
`labels` [1, n]. PINTO's tools: one output [n, 7] whose name says the order, such as `batchno_classid_score_x1y1x2y2`.
Models that want their pictures otherwise end in the same: MMDeploy's are claimed by `rtmdet` as well, so that such a
file is refused with both named, and PINTO's (YOLOv9 and many more) are not claimed at all.

RTMDet by MMDeploy: BGR less ImageNet's mean, over its deviation, else the same. Definition: `configs/rtmdet` of
MMDetection, `configs/mmdet/_base_` of MMDeploy.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, pick, several, single
from agent.decoders.reading import IMAGENET_DEVIATION, IMAGENET_MEAN, Three, class_names, colour_input, scaling

ROW = 7
ORDERS = {
    "batchno_classid_score_x1y1x2y2": (1, 2, 3),
    "batchno_classid_x1y1x2y2_score": (1, 6, 2),
}
"""Name of the output: columns of class, score and first corner."""

DETS = 5


class YoloxNms:
    """Rows of boxes that the graph has selected."""

    family: ClassVar[str] = "yolox-nms"
    task: ClassVar[Task] = "detect"
    says: ClassVar[str] = "YOLOX with NMS"
    normal: ClassVar[tuple[Three, Three]] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By the outputs of MMDeploy, which are those of other families, too."""
        return "its outputs are dets and labels, by MMDeploy" if _by_mmdeploy(graph) else None

    def __init__(self, graph: Graph) -> None:
        names = [port.name for port in graph.outputs]
        self._order = ORDERS.get(names[0]) if len(names) == 1 else None
        if self._order is None and sorted(names) != ["dets", "labels"]:
            raise ValueError(f"{self.says} has the outputs dets and labels, or one called {' or '.join(ORDERS)}")
        image = colour_input(graph)
        mean, scale = scaling(image, *self.normal)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="letterbox_corner",
            colour="bgr",
            mean=mean,
            scale=scale,
            dtype=image.dtype,
            layout=image.layout,
        )
        self.suppresses = False
        own = class_names(graph.metadata)
        self.class_count: int | None = len(own) if own else None
        self._dets = names.index("dets") if self._order is None else 0

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Rows above the threshold, best first."""
        boxes, scores, classes = self._rows(outputs)
        ids = np.rint(classes).astype(np.int64)
        known = ids >= 0  # MMDeploy fills up with -1
        return pick(boxes[known], scores[known], ids[known], placement, thresholds)

    def _rows(self, outputs: Sequence[Array]) -> tuple[Floats, Floats, Floats]:
        """Corners in tensor pixels, scores and classes."""
        if self._order is not None:
            rows = single(outputs, (None, ROW))
            kind, score, corner = self._order
            return rows[:, corner : corner + 4], rows[:, score], rows[:, kind]
        if len(outputs) != 2:  # noqa: PLR2004  # dets and labels
            raise ValueError(f"the model gave {len(outputs)} outputs, expected 2")
        dets, labels = outputs[self._dets], outputs[1 - self._dets]
        rows, classes = several([dets, labels], [(1, np.size(labels), DETS), (1, np.size(labels))])
        return rows[0, :, :4], rows[0, :, 4], classes[0]


class RtmDet(YoloxNms):
    """RTMDet by MMDeploy."""

    family: ClassVar[str] = "rtmdet"
    says: ClassVar[str] = "RTMDet"
    normal: ClassVar[tuple[Three, Three]] = (IMAGENET_MEAN[::-1], IMAGENET_DEVIATION[::-1])


def _by_mmdeploy(graph: Graph) -> bool:
    """Whether the outputs are `dets` [1, n, 5] and `labels` [1, n] of whole numbers."""
    ports = {port.name: port for port in graph.outputs}
    if sorted(ports) != ["dets", "labels"] or not ports["labels"].dtype.startswith("int"):
        return False
    rows = ports["labels"].shape
    return len(rows) == 2 and rows[0] == 1 and ports["dets"].shape == (*rows, DETS)  # noqa: PLR2004  # [1, n]
