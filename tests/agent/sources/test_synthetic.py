"""The made-up picture, and the number in it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sources.synthetic import Synthetic, paint, read_number


def opened(**options):
    return Synthetic("any", Synthetic.Options(**options))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2**32 - 1), st.integers(64, 700), st.integers(64, 700), st.integers(30, 100), st.integers(0, 255))
def test_the_number_survives_jpeg(number, width, height, quality, grey):
    pixels = paint(np.full((height, width, 3), grey, np.uint8), number)
    good, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert good
    assert read_number(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)) == number


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_plain_picture_carries_no_number(grey):
    assert read_number(np.full((480, 640, 3), grey, np.uint8)) is None


def test_a_picture_too_small_carries_no_number():
    assert read_number(np.zeros((8, 8, 3), np.uint8)) is None


def test_frames_are_numbered_from_one_and_differ():
    with opened(count=3) as source:
        first, second, third = source.read(), source.read(), source.read()
        assert source.read() is None
    assert first is not None
    assert second is not None
    assert third is not None
    assert [read_number(pixels) for pixels in (first, second, third)] == [1, 2, 3]
    assert (first[100:] != second[100:]).any()


def test_the_seed_makes_the_picture():
    pictures = []
    for seed in (1, 1, 2):
        with opened(seed=seed) as source:
            pictures.append(source.read())
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
