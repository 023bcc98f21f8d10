"""Average precision as COCO defines it: greedy matching by score, 101 recall points, IoU 0.50 to 0.95."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from examples.ripeness.inference import overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.ripeness.arrays import Floats, Ints
    from examples.ripeness.inference import Detections

IOU_LEVELS: Final = np.linspace(0.5, 0.95, 10)
RECALL_POINTS: Final = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Truth:
    """What is in one picture: boxes [N, 4] as x1 y1 x2 y2 in pixels, and classes [N]."""

    boxes: Floats
    classes: Ints


@dataclass(frozen=True)
class Curve:
    """The detections of one class over all pictures, by falling score."""

    scores: Floats
    """[D]."""
    hits: npt.NDArray[np.bool_]
    """[levels, D], whether a detection matched a box at each IoU level."""
    boxes: int
    """How many boxes there were to find."""


def curve(truths: Sequence[Truth], found: Sequence[Detections], class_id: int) -> Curve:
    """Match the detections of one class with the boxes of that class, picture by picture."""
    scores, hits, boxes = [], [], 0
    for truth, seen in zip(truths, found, strict=True):
        wanted = truth.boxes[truth.classes == class_id]
        mine = seen.classes == class_id
        boxes += len(wanted)
        scores.append(seen.scores[mine])
        hits.append(match(seen.boxes[mine], wanted))
    joined = np.concatenate(scores)
    order = np.argsort(-joined, kind="stable")
    return Curve(joined[order], np.concatenate(hits, axis=1)[:, order], boxes)


def match(boxes: Floats, wanted: Floats) -> npt.NDArray[np.bool_]:
    """Give each box [D, 4], best score first, the free wanted box [N, 4] it overlaps most; [levels, D]."""
    hits = np.zeros((len(IOU_LEVELS), len(boxes)), bool)
    if not len(wanted):
        return hits
    overlaps = overlap(boxes, wanted)
    for level, iou_min in enumerate(IOU_LEVELS):
        free = np.ones(len(wanted), bool)
        for index, row in enumerate(overlaps):
            best = int(np.argmax(np.where(free, row, -1)))
            if free[best] and row[best] >= iou_min:
                hits[level, index] = True
                free[best] = False
    return hits


def average_precision(points: Curve) -> Floats:
    """Return the average precision at each IoU level, [levels]."""
    return np.array([_area(hits, points.boxes) for hits in points.hits], np.float32)


def _area(hits: npt.NDArray[np.bool_], boxes: int) -> float:
    """Average the best precision still to come over 101 recall points."""
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(true / boxes, RECALL_POINTS, side="left")
    return float(np.mean(np.append(envelope, 0.0)[np.minimum(places, len(envelope))]))


def operating_point(curves: Sequence[Curve], score: float) -> tuple[float, float]:
    """Return precision and recall over all classes at IoU 0.5 when detections below `score` are dropped."""
    kept = sum(int(np.count_nonzero(one.scores >= score)) for one in curves)
    true = sum(int(np.count_nonzero(one.hits[0] & (one.scores >= score))) for one in curves)
    return true / max(kept, 1), true / max(sum(one.boxes for one in curves), 1)
