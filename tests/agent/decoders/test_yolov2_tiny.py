"""Tiny YOLOv2, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import math

import numpy as np
import pytest
from graphs import graph

from agent.decoders import Placement, Thresholds
from agent.decoders.choose import Unclear, choose

WHOLE = Placement(416, 416, 1, 1, 0, 0)
SIZE = (416, 416)


def output(classes=20):
    """The third box of the sixth column, fifth row: in the middle of its cell, half its own width."""
    values = np.full((1, 5, 5 + classes, 13, 13), -9, np.float32)
    values[0, 2, :5, 4, 5] = (0, 0, -math.log(2), 0, 50)
    values[0, 2, 5:, 4, 5] = 0
    values[0, 2, 5 + 1, 4, 5] = math.log(9 * (classes - 1))
    return values.reshape(1, -1, 13, 13)


def test_a_box_is_decoded_against_its_cell_and_its_anchor():
    """Centre 5.5 * 32 = 176 and 4.5 * 32 = 144; 6.63 / 2 by 11.38 cells; nine tenths of the softmax."""
    decoder, _ = choose(graph(output(), size=SIZE))
    found = decoder.decode([output()], WHOLE, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("yolov2-tiny", 20, True)
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.9)])
    assert found.boxes[0].tolist() == pytest.approx([176 - 53.04, 0, 176 + 53.04, 144 + 182.08], abs=1e-2)


def test_pictures_are_prepared_as_the_graph_expects():
    want = choose(graph(output(), size=SIZE))[0].preparation
    assert (want.fit, want.colour, want.scale[0]) == ("stretch", "rgb", 1)


def test_other_classes_may_have_other_anchors_and_are_not_claimed():
    given = graph(output(3), size=SIZE)
    with pytest.raises(Unclear, match="not known"):
        choose(given)
    assert choose(given, "yolov2-tiny")[0].class_count == 3


def test_another_graph_is_refused_with_what_is_expected():
    with pytest.raises(Unclear, match="tiny YOLOv2 has one output"):
        choose(graph((1, 7, 84)), "yolov2-tiny")


def test_nan_is_refused_when_it_comes():
    decoder, _ = choose(graph(output(), size=SIZE))
    with pytest.raises(ValueError, match="NaN"):
        decoder.decode([output() * np.nan], WHOLE, Thresholds())
