"""YOLOv4, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import math

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Placement, Thresholds
from agent.decoders.choose import Unclear, choose

WHOLE = Placement(416, 416, 1, 1, 0, 0)
NHWC = (1, 416, 416, 3)


def converted():
    """Two boxes that overlap."""
    boxes, confs = np.zeros((1, 9, 1, 4), np.float32), np.zeros((1, 9, 3), np.float32)
    boxes[0, 4:6, 0], confs[0, 4, 2], confs[0, 5, 2] = (0.25, 0, 0.75, 0.5), 0.9, 0.8
    return {"boxes": boxes, "confs": confs}


def maps(classes=80, side=416):
    """The second box of the third column, second row of stride 16: in the middle of its cell, twice its own width."""
    values = {f"map_{s}": np.zeros((1, side // s, side // s, 3, 5 + classes), np.float32) for s in (8, 16, 32)}
    values["map_16"][0, 1, 2, 1, :5] = (0, 0, math.log(2), 0, 0.9)
    values["map_16"][0, 1, 2, 1, 5 + 1] = 0.8
    return values


def test_boxes_and_confs_are_read(outputs_of):
    decoder, _ = choose(outputs_of(**converted()))
    found = decoder.decode(list(converted().values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("yolov4", 3, True)
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([2], [[16, 0, 48, 32]])
    want = decoder.preparation
    assert (want.fit, want.colour, want.scale[0]) == ("stretch", "rgb", 1 / 255)


def test_a_box_of_a_map_is_decoded_against_its_cell_and_its_anchor(outputs_of):
    """Centre (2 + 0.5) * 16 = 40 and (1 + 0.5) * 16 = 24; 2 * 76 by 55 pixels."""
    decoder, _ = choose(outputs_of(shape=NHWC, **maps()))
    found = decoder.decode(list(maps().values()), WHOLE, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("yolov4-maps", 80, True)
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.72)])
    assert found.boxes[0].tolist() == pytest.approx([0, 0, 40 + 76, 24 + 27.5], abs=1e-3)
    want = decoder.preparation
    assert (want.fit, want.pad, want.layout) == ("letterbox_center", 128, "nhwc")


def test_centres_reach_over_the_edges_of_their_cell(outputs_of):
    """A sigmoid of 1, stretched by 1.1, ends a twentieth of a cell beyond."""
    values = maps()
    values["map_16"][0, 1, 2, 1, 0] = 50
    decoder, _ = choose(outputs_of(shape=NHWC, **maps()))
    box = decoder.decode(list(values.values()), Placement(416, 416, 1, 1, -200, 0), Thresholds()).boxes[0]
    assert (box[0] + box[2]) / 2 == pytest.approx(200 + 3.05 * 16, abs=1e-3)


def test_other_classes_or_sizes_may_have_other_anchors_and_are_not_claimed(outputs_of):
    for values, side in ((maps(3), 416), (maps(side=320), 320)):
        graph = outputs_of(size=(side, side), **values)
        with pytest.raises(Unclear, match="not known"):
            choose(graph)
        assert choose(graph, "yolov4-maps")[0].family == "yolov4-maps"


@pytest.mark.parametrize(
    ("family", "says"), [("yolov4", "YOLOv4 has the outputs boxes"), ("yolov4-maps", "this YOLOv4")]
)
def test_another_graph_is_refused_with_what_is_expected(outputs_of, family, says):
    with pytest.raises(Unclear, match=says):
        choose(outputs_of(heat=np.zeros((1, 5), np.float32)), family)
