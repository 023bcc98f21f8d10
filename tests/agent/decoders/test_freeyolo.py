"""FreeYOLO, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import math

import numpy as np
import pytest
from graphs import PLAIN, graph

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose

CELL = 64 + 5
"""Second row, second column of the level of stride 16."""


def rows(offset=0.01):
    """A box of 32 by 16 pixels; `offset` is where the others lie in their cells."""
    values = np.zeros((1, 84, 8), np.float32)
    values[0, :, :2] = offset
    values[0, CELL] = (0, 0.5, math.log(2), 0, 0.9, 0.1, 0.4, 0)
    return values


def test_a_row_is_decoded_against_the_middle_of_its_cell():
    """Centre (1.5 + 0) * 16 = 24 and (1.5 + 0.5) * 16 = 32; score the root of 0.36."""
    decoder, why = choose(graph(rows()))
    found = decoder.decode([rows()], PLAIN, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("freeyolo", 3, True)
    assert "around the middle of a cell" in why
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.6)])
    assert found.boxes.round(3).tolist() == [[8, 24, 40, 40]]


@pytest.mark.parametrize("offset", [0.35, 0.5, 0.7])
def test_offsets_around_a_half_are_those_of_yolox(offset):
    assert choose(graph(rows(offset)))[0].family == "yolox"


def test_offsets_in_between_are_refused_with_both_named():
    with pytest.raises(Unclear, match=r"not clear.*yolox: .*freeyolo: "):
        choose(graph(rows(0.2)))


def test_pictures_are_prepared_as_for_yolox():
    want = choose(graph(rows()))[0].preparation
    assert (want.fit, want.pad, want.colour, want.scale[0]) == ("letterbox_corner", 114, "bgr", 1)
