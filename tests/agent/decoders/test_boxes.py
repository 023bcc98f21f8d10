"""`agent.decoders.boxes`."""

import numpy as np
import pytest

from agent.decoders import Placement
from agent.decoders.boxes import corners, finite, in_picture, sigmoid, single

# A 200x100 picture, halved, 14 tensor pixels from the top.
PLACEMENT = Placement(width=200, height=100, scale_x=0.5, scale_y=0.5, left=0, top=14)


def placed(*boxes):
    found = in_picture(
        np.array(boxes, np.float32), np.full(len(boxes), 0.5, np.float32), np.arange(len(boxes)), PLACEMENT
    )
    return found.class_ids.tolist(), found.boxes.tolist()


def test_boxes_are_mapped_back():
    assert placed((10, 24, 30, 44)) == ([0], [[20, 20, 60, 60]])


def test_boxes_are_cut_at_the_edge_of_the_picture():
    assert placed((-10, 0, 30, 200)) == ([0], [[0, 0, 60, 100]])


def test_boxes_in_the_padding_and_empty_ones_are_dropped():
    assert placed((10, 0, 30, 13), (10, 24, 10, 44), (30, 24, 10, 44), (10, 24, 30, 44)) == ([3], [[20, 20, 60, 60]])


def test_scores_that_quantising_pushed_out_are_put_back():
    boxes = np.array([[10, 24, 30, 44]] * 2, np.float32)
    found = in_picture(boxes, np.array([1.004, -0.004], np.float32), np.array([0, 1]), PLACEMENT)
    assert found.scores.tolist() == [1, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_box_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="boxes that are NaN or infinite"):
        placed((10, 24, bad, 44))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        finite(values)


def test_large_values_whose_sum_overflows_are_finite():
    values = np.full(4, 3e38, np.float32)
    assert finite(values) is values


def test_another_shape_is_refused_with_both():
    with pytest.raises(ValueError, match=r"the output has the shape \[1, 2\], expected \[1, 'any', 6\]"):
        single([np.zeros((1, 2))], (1, None, 6))


def test_no_output_is_refused():
    with pytest.raises(ValueError, match="no output"):
        single([], (1, 6))


def test_half_precision_becomes_single():
    assert single([np.ones((1, 2), np.float16)], (1, 2)).dtype == np.float32


def test_corners_of_centred_boxes():
    assert corners(np.array([[10, 20, 4, 6, 99]], np.float32)).tolist() == [[8, 17, 12, 23]]


def test_a_sigmoid_does_not_overflow():
    assert sigmoid(np.array([-1e4, 0, 1e4], np.float32)).tolist() == [0, 0.5, 1]
