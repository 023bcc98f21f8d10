"""From rows of an output to what was found: the steps that box decoders share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.decoders import Array, Found, Placement, Thresholds
from agent.decoders.nms import suppress

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


def single(outputs: Sequence[Array], shape: tuple[int | None, ...]) -> Floats:
    """The first output as float32, checked; None in `shape` stands for any size.

    Raises:
        ValueError: It has another shape, or values that are not finite.
    """
    if not outputs:
        raise ValueError("the model gave no output")
    values = np.asarray(outputs[0])
    if values.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, values.shape, strict=True)):
        expected = ["any" if size is None else size for size in shape]
        raise ValueError(f"the output has the shape {list(values.shape)}, expected {expected}")
    return finite(values.astype(np.float32, copy=False))


def several(outputs: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> list[Floats]:
    """All outputs as float32, checked against `shapes`.

    Raises:
        ValueError: Their number or one of their shapes is another, or values are not finite.
    """
    got = [np.shape(output) for output in outputs]
    if got != list(shapes):
        raise ValueError(f"the outputs have the shapes {list(map(list, got))}, expected {list(map(list, shapes))}")
    return [finite(np.asarray(output).astype(np.float32, copy=False)) for output in outputs]


def finite(values: Floats) -> Floats:
    """`values`, of which none is NaN or infinite.

    One sum is enough to know, and several times faster than looking at each: NaN and infinity survive addition.

    Raises:
        ValueError: One of them is.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum(dtype=np.float32)
    if not np.isfinite(total) and not np.isfinite(values).all():
        raise ValueError("the output has values that are NaN or infinite")
    return values


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + e^-x), which a large negative x does not overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), dtype=np.float32)


def corners(centred: Floats) -> Floats:
    """[n, 4] centre x, centre y, width, height to [n, 4] x1, y1, x2, y2."""
    half = centred[:, 2:4] / 2
    return np.concatenate((centred[:, :2] - half, centred[:, :2] + half), axis=1)


def select(boxes: Floats, scores: Floats, class_ids: Ids, placement: Placement, thresholds: Thresholds) -> Found:
    """What stays after suppression, in the original picture.

    Args:
        boxes: [n, 4] corners in tensor pixels.
        scores: [n], above the threshold.
        class_ids: [n].
        placement: Where the picture lies in the tensor.
        thresholds: The overlap, and how many may stay.
    """
    stay = survivors(boxes, scores, class_ids, thresholds)
    return in_picture(boxes[stay], scores[stay], class_ids[stay], placement)


def survivors(boxes: Floats, scores: Floats, class_ids: Ids, thresholds: Thresholds) -> Ids:
    """[kept] indices of what stays after suppression, best first; arguments as of `select`."""
    if thresholds.of_class is None:
        return suppress(boxes, scores, class_ids, thresholds.iou, thresholds.most)
    good = reached(scores, class_ids, thresholds.of_class)
    return good[suppress(boxes[good], scores[good], class_ids[good], thresholds.iou, thresholds.most)]


def pick(boxes: Floats, scores: Floats, class_ids: Ids, placement: Placement, thresholds: Thresholds) -> Found:
    """What is above the threshold, best first, without suppression; arguments as of `select`."""
    good = best(scores, thresholds)
    return in_picture(boxes[good], scores[good], class_ids[good], placement)


def best(scores: Floats, thresholds: Thresholds) -> Ids:
    """[kept] indices of the scores that are high enough, best first."""
    good = np.flatnonzero(scores >= thresholds.score)
    return good[np.argsort(-scores[good], kind="stable")][: thresholds.most]


def reached(scores: Floats, class_ids: Ids, of_class: Floats) -> Ids:
    """[kept] indices of what reaches the score of its class, as `Thresholds.of_class` has them."""
    return np.flatnonzero(scores >= of_class[np.minimum(class_ids, len(of_class) - 1)])


def in_picture(boxes: Floats, scores: Floats, class_ids: Ids, placement: Placement) -> Found:
    """Boxes from tensor pixels to pixels of the original picture; what lies outside of it is cut off or dropped.

    Args:
        boxes: [n, 4] corners in tensor pixels.
        scores: [n], best first; what quantising pushed out of [0, 1] is put back.
        class_ids: [n].
        placement: Where the picture lies in the tensor.

    Raises:
        ValueError: A box is not finite.
    """
    placed, inside = mapped(boxes, placement)
    return Found(
        class_ids=class_ids[inside].astype(np.int64, copy=False),
        scores=np.clip(scores[inside], 0, 1).astype(np.float32, copy=False),
        boxes=placed[inside],
    )


def mapped(boxes: Floats, placement: Placement) -> tuple[Floats, NDArray[np.bool_]]:
    """[n, 4] corners in tensor pixels to pixels of the original picture, cut off at its sides; [n] which lie in it.

    Raises:
        ValueError: A box is not finite.
    """
    if not np.isfinite(boxes).all():
        raise ValueError("the output has boxes that are NaN or infinite")
    offset = np.array([placement.left, placement.top] * 2, dtype=np.float32)
    scale = np.array([placement.scale_x, placement.scale_y] * 2, dtype=np.float32)
    limit = np.array([placement.width, placement.height] * 2, dtype=np.float32)
    placed = np.clip((boxes - offset) / scale, 0, limit).astype(np.float32, copy=False)
    return placed, (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
