"""A still scene is looked at now and then; whatever moves, however slowly, is looked at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.gate import TOLERANCE, Gate

SECOND = 1_000_000_000
SCENE = np.random.default_rng(7).integers(60, 190, (12, 16, 3), np.uint8).repeat(20, axis=0).repeat(20, axis=1)
"""320x240, of blocks."""


def looked(gate, frames, fps=10):
    """Which of the frames are looked at, by index."""
    return [index for index, pixels in enumerate(frames) if not gate.still(pixels, SECOND + index * SECOND // fps)]


def noisy(pixels, random, deviation):
    return np.clip(pixels + random.normal(0, deviation, pixels.shape), 0, 255).astype(np.uint8)


def with_block(pixels, x, y=100, side=40):
    out = pixels.copy()
    out[y : y + side, x : x + side] = 255
    return out


def test_a_still_clip_is_looked_at_once_and_then_every_so_often():
    assert looked(Gate(0.01, 10), [SCENE] * 250) == [0, 100, 200]


@pytest.mark.parametrize("deviation", [2, 5, 10])
def test_noise_is_no_change(deviation):
    random = np.random.default_rng(1)
    assert looked(Gate(0.002, 10), [noisy(SCENE, random, deviation) for _ in range(50)]) == [0]


def test_what_moves_is_looked_at():
    frames = [with_block(SCENE, 3 * n) for n in range(60)]
    assert looked(Gate(0.002, 10), frames) == list(range(60))


def test_what_comes_is_looked_at_and_then_gated_again():
    frames = [SCENE] * 10 + [with_block(SCENE, 100)] * 10 + [SCENE] * 10
    assert looked(Gate(0.01, 10), frames) == [0, 10, 20]


def test_slow_change_adds_up():
    """A grey value a frame is far below what counts; it is compared with what was looked at last."""
    grey = [np.full((240, 320, 3), 60 + n, np.uint8) for n in range(3 * (TOLERANCE + 1) + 1)]
    assert looked(Gate(0.01, 60), grey) == [0, 11, 22, 33]


def test_less_than_the_share_is_no_change():
    frames = [SCENE, with_block(SCENE, 100)]  # 2 % of the picture
    assert looked(Gate(0.05, 10), frames) == [0]
    assert looked(Gate(0.01, 10), frames) == [0, 1]
    assert looked(Gate(0, 10), [SCENE, with_block(SCENE, 100, side=6)]) == [0, 1], "a cell is the least"


def test_another_size_is_looked_at():
    assert looked(Gate(1, 100), [SCENE, SCENE[:200], SCENE[:200], SCENE]) == [0, 1, 3]


def test_what_was_forgotten_is_looked_at():
    gate = Gate(0.01, 100)
    assert looked(gate, [SCENE] * 3) == [0]
    gate.forget()
    assert looked(gate, [SCENE] * 3) == [0]


def test_only_the_region_counts():
    gate = Gate(0.01, 100, (0, 0, 0.25, 1))
    assert looked(gate, [SCENE, with_block(SCENE, 200), with_block(SCENE, 20)]) == [0, 2]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 255), st.floats(0, 1))
def test_any_picture_can_be_still(width, height, grey, change):
    pixels = np.full((height, width, 3), grey, np.uint8)
    assert looked(Gate(change, 10, (0.3, 0.3, 0.31, 0.31)), [pixels] * 3) == [0]
