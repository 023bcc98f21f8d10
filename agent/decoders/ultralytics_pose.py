"""Poses by Ultralytics: YOLOv8-pose to YOLO26-pose, as boxes, classes and keypoints.

The rows of a detector, each with its keypoints after the scores: x and y in pixels of the tensor, and a score in most
models. How many there are stands in the metadata (`kpt_shape`); a file without it is taken for the usual one, a class
with three numbers a point. Definition: `Pose` in `ultralytics/nn/modules/head.py`. Pictures are prepared as for a
detector.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from agent.decoders import Array, Found, Graph, Placement, Task, Thresholds
from agent.decoders.boxes import Floats, mapped, single
from agent.decoders.reading import are_scores, class_names, literal, only_output
from agent.decoders.ultralytics import preparation_of
from agent.decoders.ultralytics_rows import BOX, ROW, Layout, keep, layout_of, read, sample_of, scores_from

COCO_POINTS = (17, 3)
"""Keypoints of a person in COCO, with a score each: what a file without metadata is known by."""

POINTS_MAX = 10_000

Points = tuple[int, int]
"""How many keypoints, and numbers of each: 2 or 3."""


class Pose:
    """One output: rows that end in keypoints."""

    family: ClassVar[str] = "ultralytics-pose"
    task: ClassVar[Task] = "detect"

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """By metadata with a shape that fits, or by values that are a person's keypoints."""
        said = points_of(graph.metadata)
        found = _read(graph, said or COCO_POINTS)
        if found is None or graph.metadata.get("task", "pose") != "pose":
            return None
        layout, shape, classes = found
        names = class_names(graph.metadata)
        if names and classes is not None and len(names) != classes:
            return None
        if said is None and not (classes in (1, None) and _like_keypoints(graph, layout, shape)):
            return None
        count, each = said or COCO_POINTS
        return f"its output is boxes ({layout}) with {count} keypoints of {each} numbers each"

    def __init__(self, graph: Graph) -> None:
        said = points_of(graph.metadata) or _usual(graph)
        found = _read(graph, said) if said else None
        if said is None or found is None:
            raise ValueError(
                "a pose model has one output of boxes, scores and keypoints; how many keypoints stands in its "
                "metadata as `kpt_shape`, such as [17, 3]"
            )
        self._layout, self._shape, classes = found
        self._points = said
        self.preparation = preparation_of(graph)
        self.suppresses = self._layout != "selected"
        names = class_names(graph.metadata)
        self.class_count: int | None = classes or (len(names) if names else None)

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Boxes as of a detector, and where their keypoints lie in the picture."""
        rows = read(single(outputs, self._shape)[0], self._layout, self.class_count, thresholds.score)
        rows = keep(rows, self._layout, thresholds)
        boxes, inside = mapped(rows.boxes, placement)
        rows = rows.take(np.flatnonzero(inside))
        return Found(
            class_ids=rows.class_ids.astype(np.int64, copy=False),
            scores=np.clip(rows.scores, 0, 1).astype(np.float32, copy=False),
            boxes=boxes[inside],
            keypoints=_in_picture(rows.more.reshape(-1, *self._points), placement),
        )


def _in_picture(points: Floats, placement: Placement) -> Floats:
    """[n, k, 2 or 3] keypoints in tensor pixels to [n, k, 3] in pixels of the picture, moved to its side if outside."""
    placed = np.ones((*points.shape[:2], 3), dtype=np.float32)
    placed[..., 0] = np.clip((points[..., 0] - placement.left) / placement.scale_x, 0, placement.width)
    placed[..., 1] = np.clip((points[..., 1] - placement.top) / placement.scale_y, 0, placement.height)
    if points.shape[2] == 3:  # noqa: PLR2004  # x, y and score
        placed[..., 2] = np.clip(points[..., 2], 0, 1)
    return placed


def points_of(metadata: Mapping[str, str]) -> Points | None:
    """How many keypoints the metadata says, and of how many numbers; None when it does not."""
    value = literal(metadata.get("kpt_shape"))
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(one, int) for one in value):  # noqa: PLR2004  # points, numbers
        return None
    count, each = value
    return (count, each) if 0 < count <= POINTS_MAX and each in (2, 3) else None


def _usual(graph: Graph) -> Points | None:
    """How many keypoints of three numbers a model of one class has; None when its output is none of that."""
    shape = only_output(graph, 3)
    for beside in () if shape is None else ((shape[1], BOX + 1), (shape[2], ROW)):
        count, rest = divmod(beside[0] - beside[1], 3)
        if count > 0 and rest == 0 and _read(graph, (count, 3)):
            return count, 3
    return None


def _read(graph: Graph, points: Points) -> tuple[Layout, tuple[int, ...], int | None] | None:
    """Layout and shape of the output, and the number of classes, None where rows do not tell; None when none fits."""
    shape = only_output(graph, 3)
    more = points[0] * points[1]
    layout = None if shape is None else layout_of(graph, shape, more)
    if shape is None or layout in (None, "anchored"):
        return None
    return ("selected", shape, None) if layout == "selected" else ("columns", shape, shape[1] - BOX - more)


def _like_keypoints(graph: Graph, layout: Layout, shape: Sequence[int]) -> bool:
    """Whether the sample's rows end in triples of which the last is a score and the others are not all."""
    sample = sample_of(graph, shape)
    if sample is None:
        return False
    columns = layout == "columns"
    triples = (sample.T[:, BOX + 1 :] if columns else sample[:, ROW:]).astype(np.float32)
    in_pixels = any(not are_scores(triples[:, axis::3]) for axis in (0, 1))
    scores = scores_from(graph, shape, slice(BOX, BOX + 1), axis=0 if columns else 1)
    return in_pixels and are_scores(triples[:, 2::3]) and scores
