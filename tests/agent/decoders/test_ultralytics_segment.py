"""Segmentation by Ultralytics, on outputs worked out by hand: 64x64, 84 cells, two prototypes of 16x16."""

import numpy as np
import pytest
from graphs import NAMES

from agent.decoders import Placement, Thresholds
from agent.decoders.choose import Unclear, choose
from agent.decoders.ultralytics_segment import Segment

PLAIN = Placement(width=64, height=64, scale_x=1, scale_y=1, left=0, top=0)
HALVED = Placement(width=128, height=96, scale_x=0.5, scale_y=0.5, left=0, top=8)
"""A picture of 128x96 at half its size in the middle of the tensor."""

SEGMENT = {"task": "segment", "names": NAMES}
BOX = (32, 28, 32, 24)
CORNERS = [16, 16, 48, 40]


def protos():
    """The first is positive in the left half of the tensor, the second everywhere."""
    values = np.ones((1, 2, 16, 16), np.float32)
    values[0, 0, :, 8:] = -1
    return values


def columns(*rows):
    values = np.zeros((1, 4 + 3 + 2, 84), np.float32)
    for index, row in enumerate(rows):
        values[0, :, index] = row
    return {"output0": values, "output1": protos()}


def anchored(*rows):
    values = np.zeros((1, 252, 5 + 3 + 2), np.float32)
    values[0, : len(rows)] = rows
    return {"output0": values, "output1": protos()}


def selected(*rows):
    values = np.zeros((1, 300, 6 + 2), np.float32)
    values[0, : len(rows)] = rows
    return {"output0": values, "output1": protos()}


def areas(found):
    assert found.areas is not None
    return found.areas.tolist()


HALF, WHOLE = (1, 0), (0, 1)
EACH = {
    "columns": columns((*BOX, 0.1, 0.9, 0.2, *HALF)),
    "anchored": anchored((*BOX, 0.9, 0.1, 1, 0.2, *HALF)),
    "selected": selected((*CORNERS, 0.9, 1, *HALF)),
}


@pytest.mark.parametrize("layout", EACH)
@pytest.mark.parametrize("metadata", [{}, SEGMENT])
def test_every_layout_is_known_and_gives_box_class_and_area(outputs_of, layout, metadata):
    decoder, why = choose(outputs_of(metadata=metadata, **EACH[layout]))
    assert (decoder.family, decoder.task) == ("ultralytics-segment", "detect")
    assert why == f"its outputs are boxes ({layout}) with 2 mask coefficients each, and as many prototypes"
    assert decoder.suppresses == (layout != "selected")
    found = decoder.decode(list(EACH[layout].values()), PLAIN, Thresholds())
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([1], [CORNERS])
    assert found.scores.tolist() == [pytest.approx(0.9)]
    assert areas(found) == [16 * 24]  # the left half of 32x24


def test_outputs_may_come_in_the_other_order(outputs_of):
    turned = dict(reversed(EACH["columns"].items()))
    decoder, _ = choose(outputs_of(metadata=SEGMENT, **turned))
    assert areas(decoder.decode(list(turned.values()), PLAIN, Thresholds())) == [16 * 24]


def test_areas_are_in_pixels_of_the_picture_and_end_where_it_ends(outputs_of):
    outputs = columns((32, 16, 32, 32, 0.9, 0, 0, *WHOLE))
    found = Segment(outputs_of(**outputs)).decode(list(outputs.values()), HALVED, Thresholds())
    assert found.boxes.tolist() == [[32, 0, 96, 48]]
    assert areas(found) == [64 * 48]


def test_a_box_between_cells_counts_parts_of_them(outputs_of):
    outputs = columns((32, 28, 31, 23, 0.9, 0, 0, *WHOLE))
    found = Segment(outputs_of(**outputs)).decode(list(outputs.values()), PLAIN, Thresholds())
    assert areas(found) == [pytest.approx(31 * 23)]


def test_what_is_suppressed_takes_its_mask_along(outputs_of):
    outputs = columns((*BOX, 0.8, 0, 0, *WHOLE), (*BOX, 0.9, 0, 0, *HALF), (*BOX, 0, 0.7, 0, *WHOLE))
    found = Segment(outputs_of(**outputs)).decode(list(outputs.values()), PLAIN, Thresholds())
    assert found.class_ids.tolist() == [0, 1]
    assert areas(found) == [16 * 24, 32 * 24]


def test_a_box_outside_of_the_picture_takes_its_mask_along(outputs_of):
    outputs = selected((0, 0, 10, 4, 0.9, 0, *WHOLE), (*CORNERS, 0.8, 2, *HALF))
    found = Segment(outputs_of(metadata=SEGMENT, **outputs)).decode(list(outputs.values()), HALVED, Thresholds())
    assert (found.class_ids.tolist(), len(found.boxes), len(areas(found))) == ([2], 1, 1)


def test_an_area_lies_within_its_box_whatever_the_weights(outputs_of):
    outputs = columns((*BOX, 0.9, 0, 0, 3e38, -3e38))
    found = Segment(outputs_of(**outputs)).decode(list(outputs.values()), PLAIN, Thresholds())
    assert 0 <= areas(found)[0] <= 32 * 24


def test_another_number_of_names_is_not_claimed(outputs_of):
    with pytest.raises(Unclear, match="not as Vigie knows them"):
        choose(outputs_of(metadata={"names": "['a']", "task": "segment"}, **EACH["columns"]))


def test_a_detector_with_a_second_output_is_not_claimed(outputs_of):
    outputs = {"output0": np.zeros((1, 7, 84), np.float32), "features": np.zeros((1, 256, 16, 16), np.float32)}
    assert Segment.claim(outputs_of(**outputs)) is None


def test_what_is_none_is_refused_with_what_one_is(outputs_of):
    with pytest.raises(ValueError, match="a segmentation has two outputs"):
        Segment(outputs_of(output0=np.zeros((1, 7, 84), np.float32)))


def test_prototypes_that_are_not_finite_fail(outputs_of):
    outputs = EACH["columns"] | {"output1": np.full((1, 2, 16, 16), np.nan, np.float32)}
    with pytest.raises(ValueError, match="NaN or infinite"):
        Segment(outputs_of(**EACH["columns"])).decode(list(outputs.values()), PLAIN, Thresholds())
