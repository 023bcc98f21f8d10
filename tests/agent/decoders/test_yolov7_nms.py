"""YOLOv7 with NMS, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose

BOX = [16, 0, 48, 32]
ROWS = np.array([[0, *BOX, 2, 0.9], [0, 0, 0, 9, 9, 1, 0.1]], np.float32)


@pytest.mark.parametrize("name", ["output", "outputs", "num_dets"])
def test_rows_are_known_by_their_name_even_where_an_empty_picture_has_none(outputs_of, name):
    decoder, _ = choose(outputs_of(**{name: np.zeros((0, 7), np.float32)}))
    found = decoder.decode([ROWS], PLAIN, Thresholds())
    assert (decoder.family, decoder.suppresses, decoder.preparation.fit) == ("yolov7-nms", False, "letterbox_center")
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([2], [BOX])
    assert found.scores == pytest.approx([0.9])


@pytest.mark.parametrize("wrong", [{"other": ROWS}, {"output": ROWS[:, ::-1]}])
def test_rows_of_another_order_or_name_are_not_guessed(outputs_of, wrong):
    with pytest.raises(Unclear, match="not known"):
        choose(outputs_of(**wrong))


def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of):
    decoder, _ = choose(outputs_of(output=ROWS))
    for wrong, reason in ((ROWS * np.nan, "NaN"), (ROWS[:, :6], "expected")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode([wrong], PLAIN, Thresholds())


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(Unclear, match=r"YOLOv7 with NMS has one output \[n, 7\]"):
        choose(outputs_of(heat=np.zeros((1, 5), np.float32)), "yolov7-nms")
