"""`agent.decoders.nms` against an implementation that is too simple to be wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decoders.nms import suppress


def by_brute_force(boxes, scores, class_ids, iou, most):
    left = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    kept: list[int] = []
    while left and len(kept) < most:
        best = left.pop(0)
        kept.append(best)
        left = [
            other for other in left if class_ids[other] != class_ids[best] or overlap(boxes[best], boxes[other]) <= iou
        ]
    return kept


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    union = area(one) + area(other) - shared
    return shared / union if union else 0.0


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


corner = st.integers(0, 20)
boxes = st.tuples(corner, corner, corner, corner, st.integers(0, 10), st.integers(0, 2))


@given(st.lists(boxes, max_size=40), st.sampled_from([0.0, 0.1, 0.33, 0.45, 0.7, 1.0]), st.integers(1, 12))
def test_it_keeps_what_brute_force_keeps(rows, iou, most):
    """Whatever the boxes: empty, turned inside out, equal, of equal score; coordinates are whole, so sums are exact."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    corners, scores, class_ids = table[:, :4], table[:, 4], table[:, 5].astype(np.int64)
    expected = by_brute_force(corners.tolist(), scores.tolist(), class_ids.tolist(), iou, most)
    assert suppress(corners, scores, class_ids, iou, most).tolist() == expected


def test_boxes_of_different_classes_leave_each_other_alone():
    both = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    assert suppress(both, np.array([0.5, 0.9], np.float32), np.array([0, 1]), 0.5, 10).tolist() == [1, 0]


@pytest.mark.parametrize(("iou", "kept"), [(0.5, [0]), (0.6, [0, 1])])
def test_an_overlap_must_be_above_the_threshold(iou, kept):
    """20x6 and the 20x10 it lies in overlap by 0.6."""
    pair = np.array([[0, 0, 20, 10], [0, 0, 20, 6]], np.float32)
    assert suppress(pair, np.array([0.9, 0.8], np.float32), np.array([0, 0]), iou, 10).tolist() == kept


def test_nothing_comes_from_nothing():
    assert suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), 0.5, 10).size == 0
