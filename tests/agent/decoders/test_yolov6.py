"""YOLOv6, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import numpy as np
import pytest
from graphs import PLAIN, graph

from agent.decoders import Thresholds
from agent.decoders.choose import choose
from agent.decoders.yolov6 import Yolov6


def rows(count=84):
    values = np.zeros((1, count, 8), np.float32)
    values[0, :, 4] = 1
    values[0, 69] = (24, 32, 32, 16, 1, 0.1, 0.9, 0)
    values[0, 70] = (25, 32, 32, 16, 1, 0.1, 0.8, 0)  # the same again
    return values


@pytest.mark.parametrize("count", [84, 85])
def test_rows_in_pixels_without_an_objectness_are_its_own(count):
    decoder, why = choose(graph(rows(count)))
    found = decoder.decode([rows(count)], PLAIN, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("yolov6", 3, True)
    assert "always 1" in why
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([1], [[8, 24, 40, 40]])
    assert found.scores == pytest.approx([0.9])


def test_pictures_are_prepared_as_by_ultralytics():
    want = Yolov6(graph(rows())).preparation
    assert (want.fit, want.pad, want.colour, want.scale[0]) == ("letterbox_center", 114, "rgb", 1 / 255)


def test_another_objectness_or_other_names_are_not_claimed():
    values = rows()
    assert Yolov6.claim(graph(values, metadata={"names": "['a']"})) is None
    values[0, 3, 4] = 0.4
    assert Yolov6.claim(graph(values)) is None


def test_another_graph_is_refused_with_what_is_expected():
    with pytest.raises(ValueError, match=r"YOLOv6 has one output \[1, cells, 5 \+ classes\]"):
        Yolov6(graph((1, 83, 8)))


def test_nan_is_refused_when_it_comes():
    with pytest.raises(ValueError, match="NaN"):
        Yolov6(graph(rows())).decode([np.full_like(rows(), np.nan)], PLAIN, Thresholds())
