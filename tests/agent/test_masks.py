"""What is masked never reaches the memory that the agent sees."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture import Capture, Progress
from agent.clock import Clock
from agent.masks import GREY, Masks
from agent.sources import resolve

TRIANGLE = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75)]
LEFT_HALF = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]


def copied(masks, source, before=0):
    target = np.full_like(source, before)
    masks.copy(source, target)
    return target


def test_inside_is_grey_and_outside_is_as_it_was():
    source = np.random.default_rng(1).integers(0, 256, (80, 120, 3), np.uint8)
    got = copied(Masks([TRIANGLE]), source)
    assert (got[25, 40] == GREY).all()
    assert (got[57, 32] == GREY).all()
    assert np.array_equal(got[:19], source[:19])
    assert np.array_equal(got[56:, 72:], source[56:, 72:]), "beyond the long side, within its rectangle"


def test_without_masks_the_picture_is_as_it_was():
    source = np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8)
    assert np.array_equal(copied(Masks([]), source), source)


def test_several_masks_and_another_size():
    masks = Masks([LEFT_HALF, [(0.9, 0.9), (1, 0.9), (1, 1)]])
    for height, width in ((40, 60), (33, 17), (40, 60)):
        got = copied(masks, np.full((height, width, 3), 255, np.uint8))
        assert (got[:, : width // 2] == GREY).all()
        assert (got[height - 1, width - 1] == GREY).all()
        assert (got[0, width - 1] == 255).all()


def test_a_view_that_runs_backwards_is_a_picture():
    source = np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8)
    got = copied(Masks([LEFT_HALF]), source[::-1])
    assert np.array_equal(got[:, 8:], source[::-1][:, 8:])


def test_the_sources_own_picture_is_left_alone():
    source = np.full((8, 12, 3), 255, np.uint8)
    source.setflags(write=False)
    copied(Masks([LEFT_HALF]), source)
    assert source.min() == 255


point = st.tuples(st.floats(0, 1), st.floats(0, 1))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(point, min_size=3, max_size=6), min_size=1, max_size=4), st.integers(1, 70), st.integers(1, 70)
)
def test_a_pixel_is_either_grey_or_its_own_and_what_is_inside_is_grey(polygons, width, height):
    """Whatever the memory held before: what was in a slot must not show through either."""
    source = np.full((height, width, 3), 255, np.uint8)
    got = copied(Masks(polygons), source, before=7)
    assert set(np.unique(got)) <= {GREY, 255}
    for polygon in polygons:
        corners = np.array(polygon, np.float32) * (width, height)
        for y, x in np.ndindex(height, width):
            if cv2.pointPolygonTest(corners.astype(np.float32), (x + 0.5, y + 0.5), measureDist=True) >= 0:
                assert (got[y, x] == GREY).all()


@pytest.mark.timeout(60)
def test_the_agent_never_gets_what_is_masked(tmp_path):
    """From a real capture process, over frames enough that each slot comes again."""
    capture = Capture(
        "cam0",
        resolve({"synthetic": "x", "width": 160, "height": 120, "count": 20}, tmp_path),
        None,
        Progress.in_memory(["cam0"]),
        Clock(),
        masks=[LEFT_HALF],
    )
    seen = 0
    with capture:
        for frame in capture.frames():
            assert (frame.pixels[:, :80] == GREY).all()
            assert frame.pixels[:, 82:].std() > 1
            seen += 1
    assert seen == 20
