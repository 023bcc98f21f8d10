"""Yolo-FastestV2, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Placement, Thresholds
from agent.decoders.choose import Unclear, choose

SIZE = (352, 352)


def maps(classes=80, side=352):
    """The second box of the third column, second row of stride 32: in the middle of its cell, and of its own size."""
    values = {}
    for stride in (16, 32):
        array = np.full((1, side // stride, side // stride, 15 + classes), 1 / classes, np.float32)
        array[..., :15] = 0
        values[f"map_{stride}"] = array
    cell = values["map_32"][0, 1, 2]
    cell[4:8] = 0.5
    cell[12:15] = (0.1, 0.9, 0)
    cell[15:] = 0
    cell[15 + min(7, classes - 1)] = 1
    return values


def test_a_box_is_decoded_against_its_cell_and_its_anchor(outputs_of):
    """Centre (2 + 0.5) * 32 = 80 and (1 + 0.5) * 32 = 48; 131.57 by 214.55 pixels."""
    decoder, _ = choose(outputs_of(size=SIZE, **maps()))
    found = decoder.decode(list(maps().values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("yolo-fastestv2", 80, True)
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([7], [pytest.approx(0.9)])
    wide = decoder.decode(list(maps().values()), Placement(352, 352, 1, 1, 0, 0), Thresholds())
    assert wide.boxes[0].tolist() == pytest.approx([80 - 131.57 / 2, 0, 80 + 131.57 / 2, 48 + 214.55 / 2], abs=1e-3)


def test_pictures_are_prepared_as_the_family_was_trained(outputs_of):
    want = choose(outputs_of(size=SIZE, **maps()))[0].preparation
    assert (want.fit, want.colour, want.scale[0]) == ("stretch", "bgr", 1 / 255)


def test_other_classes_or_sizes_may_have_other_anchors_and_are_not_claimed(outputs_of):
    for values, size in ((maps(3), SIZE), (maps(side=320), (320, 320))):
        graph = outputs_of(size=size, **values)
        with pytest.raises(Unclear, match="not known"):
            choose(graph)
        assert choose(graph, "yolo-fastestv2")[0].family == "yolo-fastestv2"


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(Unclear, match="Yolo-FastestV2 has outputs"):
        choose(outputs_of(heat=np.zeros((1, 5), np.float32)), "yolo-fastestv2")


def test_nan_is_refused_when_it_comes(outputs_of):
    decoder, _ = choose(outputs_of(size=SIZE, **maps()))
    with pytest.raises(ValueError, match="NaN"):
        decoder.decode([np.full_like(array, np.nan) for array in maps().values()], PLAIN, Thresholds())
