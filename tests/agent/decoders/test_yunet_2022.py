"""The older YuNet, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import math

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Placement, Thresholds
from agent.decoders.choose import Unclear, choose
from agent.decoders.yunet_2022 import YuNet2022, prepared

SIZE = (160, 120)
WHOLE = Placement(160, 120, 1, 1, 0, 0)
COUNT = 20 * 15 * 3 + 10 * 7 * 2 + 5 * 3 * 2 + 2 * 1 * 3


def outputs(batch=()):
    """A face of the first box of the second cell of stride 16: a prepared box of 32 pixels at (24, 8)."""
    values = {"loc": np.zeros((COUNT, 14)), "conf": np.zeros((COUNT, 2)), "iou": np.zeros((COUNT, 1))}
    place = 20 * 15 * 3 + 2
    values["loc"][place, :4] = (5, 2.5, 10 * math.log(2), 5 * math.log(2))
    values["conf"][place], values["iou"][place] = (0.1, 0.9), 1.2
    return {name: array.astype(np.float32).reshape(*batch, COUNT, -1) for name, array in values.items()}


@pytest.mark.parametrize("batch", [(), (1,)])
def test_a_face_is_decoded_against_its_prepared_box(outputs_of, batch):
    """Centre (24 + 5 * 0.1 * 32, 8 + 2.5 * 0.1 * 32); width by 0.1, height by 0.2: both twice as large."""
    values = outputs(batch)
    decoder, _ = choose(outputs_of(size=SIZE, **values))
    found = decoder.decode(list(values.values()), WHOLE, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("yunet-2022", 1, True)
    assert found.scores == pytest.approx([math.sqrt(0.9)])
    assert found.boxes[0].tolist() == pytest.approx([40 - 32, 0, 40 + 32, 16 + 32], abs=1e-3)


def test_boxes_are_prepared_stride_by_stride_and_cell_by_cell():
    boxes = prepared(*SIZE)
    assert len(boxes) == COUNT
    assert boxes[:4].tolist() == [[4, 4, 10, 10], [4, 4, 16, 16], [4, 4, 24, 24], [12, 4, 10, 10]]
    assert boxes[-1].tolist() == [96, 32, 256, 256]


def test_pictures_are_prepared_as_the_family_was_trained(outputs_of):
    want = choose(outputs_of(size=SIZE, **outputs()))[0].preparation
    assert (want.fit, want.colour, want.scale[0]) == ("stretch", "bgr", 1)


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(Unclear, match=r"the older YuNet has the outputs loc \[n, 14\]"):
        choose(outputs_of(size=(64, 64), **outputs()), "yunet-2022")


def test_nan_is_refused_when_it_comes(outputs_of):
    decoder, _ = choose(outputs_of(size=SIZE, **outputs()))
    with pytest.raises(ValueError, match="NaN"):
        decoder.decode([np.full_like(array, np.nan) for array in outputs().values()], PLAIN, Thresholds())


def test_the_size_of_the_detector_of_licence_plates_is_not_claimed(outputs_of):
    """It has the same outputs."""
    values = {name: np.zeros((4385, width), np.float32) for name, width in (("loc", 14), ("conf", 2), ("iou", 1))}
    assert len(prepared(320, 240)) == 4385
    assert YuNet2022.claim(outputs_of(size=(320, 240), **values)) is None
    assert YuNet2022(outputs_of(size=(320, 240), **values)).class_count == 1
