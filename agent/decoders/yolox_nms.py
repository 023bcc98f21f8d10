"""YOLOX with its suppression in the graph, as MMDeploy and PINTO's tools write it.

Takes BGR from 0 to 255, at the top left of grey 114, like YOLOX. MMDeploy: `dets` [1, n, 5], corners and score, and
`labels` [1, n]. PINTO's tools: one output [n, 7] whose name says the order, such as `batchno_classid_score_x1y1x2y2`.
Models that want their pictures otherwise (RTMDet, YOLOv9) end in the same, so such a file is never claimed: it must be
called `yolox-nms` by the configuration.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Preparation, Task, Thresholds
from agent.decoders.boxes import Floats, pick, several, single
from agent.decoders.reading import class_names, colour_input

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

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """Never: the same outputs come from models that want their pictures otherwise."""
        del graph
        return None

    def __init__(self, graph: Graph) -> None:
        names = [port.name for port in graph.outputs]
        self._order = ORDERS.get(names[0]) if len(names) == 1 else None
        if self._order is None and sorted(names) != ["dets", "labels"]:
            raise ValueError(f"YOLOX with NMS has the outputs dets and labels, or one called {' or '.join(ORDERS)}")
        image = colour_input(graph)
        self.preparation = Preparation(
            image.width,
            image.height,
            fit="letterbox_corner",
            colour="bgr",
            scale=(1.0,) * 3,
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
