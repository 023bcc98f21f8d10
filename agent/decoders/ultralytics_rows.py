"""How Ultralytics' heads lay out what they found: columns (v8 and later), anchored rows (v5), or selected rows.

Whatever a row holds after box and scores, mask coefficients or keypoints, comes along untouched. Definitions:
`yolov5/models/yolo.py` (`Detect` and `Segment`, `forward` when exporting), `ultralytics/nn/modules/head.py` (`Detect`
and its heirs, `postprocess` for the end-to-end ones) and `NMSModel` in `ultralytics/engine/exporter.py`.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from agent.decoders import Array, Graph, Thresholds
from agent.decoders.boxes import Floats, Ids, best, corners, survivors
from agent.decoders.reading import are_scores, cells, image_input, literal, says_true

BOX = 4
"""Numbers that a box takes in an output."""

V5_ANCHORS = 3
"""Boxes per cell: YOLOv5 has three anchors on each level."""

V5_LEVELS = ((8, 16, 32), (8, 16, 32, 64), (16, 32))
"""Strides of YOLOv5, of its P6 models, and of YOLOv3-tiny in the same code."""

V8_LEVELS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Strides of YOLOv8, of its P6 and of its P2 models, and of YOLOv3-tiny with its head."""

MOST_ROWS = 300
"""Rows of an end-to-end output unless its maker changed `max_det`."""

ROW = 6
"""What a selected row begins with: x1, y1, x2, y2, score, class."""

Layout = Literal["columns", "anchored", "selected"]


class Rows(NamedTuple):
    """What may be there: [n, 4] corners in tensor pixels, [n] scores, [n] class ids, [n, more] whatever else."""

    boxes: Floats
    scores: Floats
    class_ids: Ids
    more: Floats

    def take(self, which: Ids) -> "Rows":
        """The rows `which`, in that order."""
        return Rows(self.boxes[which], self.scores[which], self.class_ids[which], self.more[which])


def from_columns(columns: Floats, classes: int, score: float) -> Rows:
    """Those of [4 + classes + more, n] from `score` up, which is the best class's; one label a column."""
    # The greatest first, and which class it is only where it counts: argmax over all costs ten times as much.
    good = np.flatnonzero(columns[BOX : BOX + classes].max(axis=0) >= score)
    kept = columns[:, good].T
    class_ids = kept[:, BOX : BOX + classes].argmax(axis=1)
    scores = kept[np.arange(len(kept)), BOX + class_ids]
    return Rows(corners(kept), scores, class_ids, kept[:, BOX + classes :])


def from_anchored(rows: Floats, classes: int, score: float) -> Rows:
    """Those of [n, 5 + classes + more] from `score` up, which is objectness times the best class's; one label a row."""
    # A product of numbers up to 1 is at most its first factor: most rows are done with here.
    rows = rows[rows[:, BOX] >= score]
    first, stop = BOX + 1, BOX + 1 + classes
    class_ids = rows[:, first:stop].argmax(axis=1)
    scores = rows[:, BOX] * rows[np.arange(len(rows)), first + class_ids]
    good = scores >= score
    return Rows(corners(rows[good]), scores[good], class_ids[good], rows[good, stop:])


def from_selected(rows: Floats, classes: int | None, score: float) -> Rows:
    """Those of [n, 6 + more] from `score` up.

    Raises:
        ValueError: A class id is none of the model's.
    """
    rows = rows[rows[:, BOX] >= score]
    class_ids = np.rint(rows[:, BOX + 1]).astype(np.int64)
    if class_ids.size and (class_ids.min() < 0 or (classes is not None and class_ids.max() >= classes)):
        raise ValueError(f"the output has class ids from {class_ids.min()} to {class_ids.max()}, of {classes} classes")
    return Rows(rows[:, :BOX], rows[:, BOX], class_ids, rows[:, ROW:])


def read(values: Floats, layout: Layout, classes: int | None, score: float) -> Rows:
    """What the first output, without its batch, holds from `score` up; only "selected" leaves `classes` open.

    Raises:
        ValueError: A class id is none of the model's.
    """
    if layout == "selected":
        return from_selected(values, classes, score)
    read_rows = from_columns if layout == "columns" else from_anchored
    return read_rows(values, classes or 0, score)


def keep(rows: Rows, layout: Layout, thresholds: Thresholds) -> Rows:
    """What counts, best first: suppressed here, unless the model has made its selection."""
    if layout == "selected":
        return rows.take(best(rows.scores, thresholds))
    return rows.take(survivors(rows.boxes, rows.scores, rows.class_ids, thresholds))


def levels(graph: Graph, count: int, each: int, known: Sequence[Sequence[int]]) -> Sequence[int] | None:
    """The strides whose grids have `count` places at `each` a cell; None when none of `known` does."""
    image = image_input(graph)
    return next((strides for strides in known if count == each * cells(image.width, image.height, strides)), None)


def layout_of(graph: Graph, shape: Sequence[int], more: int) -> Layout | None:
    """How an output [1, …, …] is laid out whose rows hold `more` numbers beside box and scores; None when no way fits.

    The metadata, then the grid, decide; rows that fit no grid are the selection of an end-to-end model.
    """
    if shape[2] == ROW + more and (selects(graph) or shape[1] <= MOST_ROWS) and whole_classes(graph, shape):
        return "selected"
    if shape[1] > BOX + more and levels(graph, shape[2], 1, V8_LEVELS):
        return "columns"
    if shape[2] > BOX + 1 + more and levels(graph, shape[1], V5_ANCHORS, V5_LEVELS):
        return "anchored"
    return None


def selects(graph: Graph) -> bool:
    """Whether the metadata says that the model ends in its own selection."""
    arguments = literal(graph.metadata.get("args"))
    inside = isinstance(arguments, dict) and arguments.get("nms") is True
    return inside or says_true(graph.metadata, "end2end")


def whole_classes(graph: Graph, shape: Sequence[int]) -> bool:
    """Whether the sample's output of `shape` has whole numbers from 0 as classes, and scores before them."""
    rows = sample_of(graph, shape)
    if rows is None:
        return True
    classes = rows[:, BOX + 1].astype(np.float32)
    return are_scores(rows[:, BOX]) and bool(np.all((classes >= 0) & (classes == np.rint(classes))))


def scores_from(graph: Graph, shape: Sequence[int], span: slice, axis: int = 1) -> bool:
    """Whether everything at `span` along `axis` (0 or 1, without the batch) of the sample can be a score."""
    values = sample_of(graph, shape)
    return values is None or are_scores(values[span] if axis == 0 else values[:, span])


def sample_of(graph: Graph, shape: Sequence[int]) -> Array | None:
    """The sample's output of `shape`, without its batch; None without a sample."""
    return next((values[0] for values in graph.sample if values.shape == tuple(shape)), None)
