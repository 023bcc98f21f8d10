"""SCRFD, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import itertools

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import choose
from agent.decoders.scrfd import Scrfd


def outputs(kinds=(1, 4, 10), strides=(8, 16, 32), per_cell=2, *, batch=False):
    """A face at the second row, third column of stride 16: one cell left, up and right, two down, of 256x256."""
    values: dict[str, np.ndarray] = {}
    for width, stride in itertools.product(kinds, strides):
        side = 256 // stride
        array = np.zeros((side * side * per_cell, width), np.float32)
        if stride == 16:
            array[(1 * side + 2) * per_cell + per_cell - 1] = {1: 0.9, 4: (1, 1, 1, 2), 10: 0}[width]
        values[str(448 + len(values))] = array[None] if batch else array
    return values


SIZE = (256, 256)
FIVE = (8, 16, 32, 64, 128)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    ("kinds", "strides", "per_cell", "count"),
    [((1, 4, 10), (8, 16, 32), 2, 9), ((1, 4), (8, 16, 32), 2, 6), ((1, 4, 10), FIVE, 1, 15), ((1, 4), FIVE, 1, 10)],
)
def test_a_face_is_decoded_in_every_export(outputs_of, kinds, strides, per_cell, count, batch):
    """From the corner (32, 16)."""
    values = outputs(kinds, strides, per_cell, batch=batch)
    assert len(values) == count
    decoder, _ = choose(outputs_of(size=SIZE, **values))
    found = decoder.decode(list(values.values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("scrfd", 1, True)
    assert found.scores == pytest.approx([0.9])
    assert found.boxes.tolist() == [[16, 0, 48, 48]]


def test_a_size_that_does_not_fit_or_scores_that_are_none_are_not_claimed(outputs_of):
    values = outputs()
    assert Scrfd.claim(outputs_of(**values)) is None
    values["448"][:] = 7
    assert Scrfd.claim(outputs_of(size=SIZE, **values)) is None


def test_pictures_are_prepared_as_the_family_was_trained(outputs_of):
    want = Scrfd(outputs_of(size=SIZE, **outputs())).preparation
    assert (want.fit, want.pad, want.colour, want.mean[0], want.scale[0]) == (
        "letterbox_corner", 0, "rgb", 127.5, 1 / 128,
    )  # fmt: skip


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(ValueError, match=r"SCRFD has outputs of scores \[n, 1\]"):
        Scrfd(outputs_of(heat=np.zeros((1, 5), np.float32)))


def test_nan_is_refused_when_it_comes(outputs_of):
    values = outputs()
    decoder = Scrfd(outputs_of(size=SIZE, **values))
    with pytest.raises(ValueError, match="NaN"):
        decoder.decode([np.full_like(array, np.nan) for array in values.values()], PLAIN, Thresholds())
