"""FastestDet, on outputs worked out by hand. For 64x96 there are 6 rows of 4 cells of stride 16."""

import numpy as np
import pytest
from graphs import PLAIN, graph

from agent.decoders import Placement, Thresholds
from agent.decoders.choose import choose
from agent.decoders.fastestdet import FastestDet

SIZE = (64, 96)
TALL = Placement(width=64, height=96, scale_x=1, scale_y=1, left=0, top=0)


def outputs(classes=3):
    """Nothing but, in the third row and second column, class 1: half the picture wide, a quarter high."""
    values = np.zeros((1, 5 + classes, 6, 4), np.float32)
    values[0, 1:5] = -2
    values[0, 5] = 1
    values[0, :, 2, 1] = 0
    values[0, 0, 2, 1] = 0.9
    values[0, 1:5, 2, 1] = (np.arctanh(0.5), 0, 0, -np.log(3))
    values[0, 5 + 1, 2, 1], values[0, 5, 2, 1] = 0.8, 0.2
    return values


def test_a_cell_is_decoded():
    """Centre (1 + 0.5) * 16 = 24 and 2 * 16 = 32; size 64 / 2 and 96 / 4; score 0.9^0.6 * 0.8^0.4."""
    decoder, why = choose(graph(outputs(), size=SIZE))
    found = decoder.decode([outputs()], TALL, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("fastestdet", 3, True)
    assert "stride 16" in why
    assert found.class_ids.tolist() == [1]
    assert found.scores == pytest.approx([0.9**0.6 * 0.8**0.4])
    assert found.boxes == pytest.approx(np.array([[8, 20, 40, 44]]), abs=1e-4)


def test_pictures_are_prepared_as_the_family_was_trained():
    want = FastestDet(graph(outputs(), size=SIZE)).preparation
    assert (want.fit, want.smooth, want.colour, want.scale) == ("stretch", True, "bgr", (1 / 255,) * 3)


@pytest.mark.parametrize(
    "given",
    [
        graph((1, 8, 6, 4), size=SIZE),  # shapes alone say too little
        graph(np.zeros((1, 8, 6, 4), np.float32), size=SIZE),  # classes that do not add up to 1
        graph(outputs(), size=(128, 128)),
        graph(outputs(), size=SIZE, metadata={"names": "['a', 'b']"}),
    ],
)
def test_others_are_not_claimed(given):
    assert FastestDet.claim(given) is None


def test_another_graph_is_refused_with_what_is_expected():
    with pytest.raises(ValueError, match=r"FastestDet has one output \[1, 5 \+ classes, rows, columns\] of stride 16"):
        FastestDet(graph((1, 8, 3, 3)))


def test_another_shape_or_nan_is_refused_when_it_comes():
    decoder = FastestDet(graph(outputs(), size=SIZE))
    for wrong, reason in ((outputs(4), "expected"), (np.full_like(outputs(), np.nan), "NaN")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode([wrong], PLAIN, Thresholds())
