"""YOLOX, on outputs worked out by hand. For 64x64 the grid has 8x8 + 4x4 + 2x2 = 84 cells."""

import math

import numpy as np
import pytest
from graphs import PLAIN, graph

from agent.decoders import Thresholds
from agent.decoders.grids import grid
from agent.decoders.yolox import STRIDES, Yolox

SHAPE = (1, 84, 8)
CELL = 64 + 5
"""Second row, second column of the level of stride 16."""


def rows(**cells):
    values = np.zeros(SHAPE, np.float32)
    for name, row in cells.items():
        values[0, int(name[1:])] = row
    return values


def found(decoder, values, **thresholds):
    seen = decoder.decode([values], PLAIN, Thresholds(**thresholds))
    return list(
        zip(
            seen.class_ids.tolist(),
            np.round(seen.scores.astype(float), 4).tolist(),
            np.round(seen.boxes.astype(float), 3).tolist(),
            strict=True,
        )
    )


def test_a_row_is_decoded_against_its_cell():
    """Centre (0.5 + 1) * 16 = 24 and (1 + 1) * 16 = 32; size e^ln2 * 16 = 32 and e^0 * 16 = 16."""
    values = rows(**{f"n{CELL}": (0.5, 1, math.log(2), 0, 0.8, 0.1, 0.9, 0)})
    assert found(Yolox(graph(SHAPE)), values) == [(1, 0.72, [8, 24, 40, 40])]


def test_the_grid_goes_level_by_level_and_row_by_row():
    places, strides = grid(96, 64, STRIDES)
    assert len(places) == 96 + 24 + 6
    assert (places[13].tolist(), strides[13]) == ([1, 1], 8)
    assert (places[96 + 23].tolist(), strides[96 + 23]) == ([5, 3], 16)
    assert (places[-1].tolist(), strides[-1]) == ([2, 1], 32)


@pytest.mark.parametrize(("size", "cells"), [((416, 416), 3549), ((192, 192), 756), ((640, 480), 6300)])
def test_one_row_a_cell_is_claimed_at_any_size(size, cells):
    assert "one for each cell" in (Yolox.claim(graph((1, cells, 6), size=size)) or "")


@pytest.mark.parametrize(
    ("output", "metadata"),
    [
        ((1, 252, 8), {}),  # three rows a cell: YOLOv5
        ((1, 84, 5), {}),
        ((1, 8, 84), {}),
        (SHAPE, {"names": "['a', 'b']"}),
        (SHAPE, {"author": "Ultralytics"}),
    ],
)
def test_others_are_not_claimed(output, metadata):
    assert Yolox.claim(graph(output, metadata=metadata)) is None


def in_pixels():
    """What an export with the decoding inside gives: centres of its own cells."""
    places, strides = grid(64, 64, STRIDES)
    values = np.zeros(SHAPE, np.float32)
    values[0, :, :2] = (places + 0.5) * strides[:, None]
    values[0, CELL] = (24, 32, 32, 16, 0.8, 0.1, 0.9, 0)
    return values


def test_an_output_in_pixels_is_known_by_its_objectness():
    assert "in pixels" in (Yolox.claim(graph(in_pixels())) or "")
    ones = in_pixels()
    ones[0, :, 4] = 1  # YOLOv6, which has none
    assert Yolox.claim(graph(ones)) is None


def test_an_output_in_pixels_is_decoded_as_it_is():
    assert found(Yolox(graph(in_pixels())), in_pixels()) == [(1, 0.72, [8, 24, 40, 40])]


def test_offsets_in_cells_are_told_from_pixels():
    values = rows(**{f"n{CELL}": (0.5, 1, 0.7, 0, 0.8, 0.1, 0.9, 0)})
    assert Yolox.claim(graph(values))


def test_values_that_are_no_scores_are_not_claimed():
    assert Yolox.claim(graph(rows(n0=(0, 0, 0, 0, 0, 9, 0, 0)))) is None


def test_a_size_that_overflows_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        found(Yolox(graph(SHAPE)), rows(n0=(0, 0, 1000, 0, 1, 1, 0, 0)))


def test_pictures_are_prepared_as_the_family_was_trained():
    want = Yolox(graph(SHAPE)).preparation
    assert (want.fit, want.colour, want.pad, want.scale) == ("letterbox_corner", "bgr", 114, (1, 1, 1))


def test_another_shape_is_refused_with_the_expected_one():
    with pytest.raises(ValueError, match=r"YOLOX has one output \[1, 84, 5 \+ classes\] for 64x64"):
        Yolox(graph((1, 80, 8)))
