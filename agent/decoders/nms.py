"""Greedy non-maximum suppression, per class: the best box stays, others of its class that overlap it go."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


def suppress(boxes: Floats, scores: Floats, class_ids: Ids, iou: float, most: int) -> Ids:
    """Which boxes stay, best score first; of equal scores the earlier one.

    Args:
        boxes: [n, 4], corners x1, y1, x2, y2.
        scores: [n].
        class_ids: [n]; boxes of different classes do not suppress each other.
        iou: A box goes when its intersection over union with a better one of its class is above this.
        most: How many may stay.

    Returns:
        [kept] indices into `boxes`.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        clash = (class_ids[rest] == class_ids[best]) & (_iou(boxes, areas, best, rest) > iou)
        order = rest[~clash]
    return np.array(kept, dtype=np.int64)


def _iou(boxes: Floats, areas: Floats, one: np.int64, others: Ids) -> Floats:
    """[len(others)] intersection over union of box `one` with each of `others`; 0 where both are empty."""
    box, against = boxes[one], boxes[others]
    width = np.minimum(against[:, 2], box[2]) - np.maximum(against[:, 0], box[0])
    height = np.minimum(against[:, 3], box[3]) - np.maximum(against[:, 1], box[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = areas[others] + areas[one] - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), dtype=np.float32)
