"""Pictures into tensors, and back."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decoders import Preparation
from agent.preparing import Preparer

LETTERBOX = Preparation(64, 48)


def picture(width, height, colour=(10, 20, 30)):
    return np.full((height, width, 3), colour, np.uint8)


def test_a_letterbox_has_the_picture_in_the_middle_of_grey():
    """128x48 into 64x48: 64x24 with 12 rows of padding above and below."""
    tensor, placement = Preparer(LETTERBOX)(picture(128, 48))
    assert tensor.shape == (1, 3, 48, 64)
    assert tensor.dtype == np.float32
    assert tensor[0, :, 24, 32] == pytest.approx([30 / 255, 20 / 255, 10 / 255])
    assert tensor[0, :, :12] == pytest.approx(114 / 255)
    assert tensor[0, :, 36:] == pytest.approx(114 / 255)
    assert (placement.scale_x, placement.scale_y, placement.left, placement.top) == (0.5, 0.5, 0, 12)


def test_a_corner_letterbox_has_its_padding_right_and_below():
    want = Preparation(64, 48, fit="letterbox_corner", colour="bgr", scale=(1, 1, 1))
    tensor, placement = Preparer(want)(picture(24, 48))
    assert tensor[0, :, 47, 23].tolist() == [10, 20, 30]
    assert tensor[0, :, :, 24:].min() == 114
    assert (placement.left, placement.top) == (0, 0)


def test_stretching_fills_the_tensor():
    tensor, placement = Preparer(Preparation(64, 48, fit="stretch"))(picture(32, 96))
    assert tensor[0, 0] == pytest.approx(30 / 255)
    assert (placement.scale_x, placement.scale_y) == (2, 0.5)


def test_a_centre_crop_resizes_the_shorter_side_first():
    """120x60, shorter side to 30: 60x30, of which the middle 20x20 is taken."""
    source = picture(120, 60, (0, 0, 0))
    source[20:40, 40:80] = 255
    want = Preparation(20, 20, fit="crop_center", resize_to=30)
    tensor, placement = Preparer(want)(source)
    assert tensor[0, 0, 10, 10] == pytest.approx(1)
    assert tensor[0, 0, 2, 10] == 0
    assert (placement.left, placement.top, placement.scale_x) == (-20, -5, 0.5)


def test_mean_is_subtracted_before_scaling():
    want = Preparation(8, 8, mean=(1, 2, 3), scale=(0.5, 0.25, 2))
    tensor, _ = Preparer(want)(picture(8, 8))
    assert tensor[0, :, 0, 0].tolist() == [(30 - 1) * 0.5, (20 - 2) * 0.25, (10 - 3) * 2]


def test_padding_is_scaled_like_a_pixel_of_that_grey():
    want = Preparation(8, 8, mean=(14, 14, 14), scale=(0.1, 0.1, 0.1))
    tensor, _ = Preparer(want)(picture(8, 4))
    assert tensor[0, :, 0, 0] == pytest.approx(10)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("dtype", "scale", "value"), [("float16", 1 / 255, 30 / 255), ("uint8", 1.0, 30)])
def test_other_types_and_layouts(layout, dtype, scale, value):
    want = Preparation(8, 4, dtype=dtype, layout=layout, scale=(scale,) * 3)
    tensor, _ = Preparer(want)(picture(8, 2))
    assert tensor.dtype == np.dtype(dtype)
    assert tensor.shape == ((1, 3, 4, 8) if layout == "nchw" else (1, 4, 8, 3))
    red = tensor[0, 0] if layout == "nchw" else tensor[0, ..., 0]
    assert float(red[1, 3]) == pytest.approx(value, rel=1e-3)


def test_a_grey_tensor_has_one_channel():
    """Grey is 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601): 21.85 for 30, 20, 10."""
    tensor, _ = Preparer(Preparation(8, 8, colour="gray", scale=(1, 1, 1)))(picture(8, 8))
    assert tensor.shape == (1, 1, 8, 8)
    assert tensor[0, 0, 0, 0] == 22


def test_nothing_is_left_of_the_picture_before():
    preparer = Preparer(LETTERBOX)
    preparer(picture(64, 48))
    tensor, _ = preparer(picture(128, 48))
    assert np.array_equal(tensor, Preparer(LETTERBOX)(picture(128, 48))[0])


def test_a_strip_costs_no_more_than_it_shows():
    """A strip of 20000x2, its shorter side resized to 256, would be 2.5 million pixels wide."""
    tracemalloc.start()
    try:
        Preparer(Preparation(224, 224, fit="crop_center", resize_to=256))(picture(20_000, 2))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_no_array_is_allocated_for_another_frame():
    preparer, frame = Preparer(Preparation(320, 320)), picture(640, 360)
    preparer(frame)
    tracemalloc.start()
    try:
        preparer(frame)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")],
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match="a picture is"):
        Preparer(LETTERBOX)(pixels)


def test_a_view_of_a_picture_is_a_picture():
    whole = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    view = whole[5:30:1, 50:10:-1]
    assert np.array_equal(Preparer(LETTERBOX)(view)[0], Preparer(LETTERBOX)(view.copy())[0])


sizes = st.integers(1, 3000)
fits = st.sampled_from(["letterbox_center", "letterbox_corner", "stretch"])


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.sampled_from([(64, 64), (96, 32), (33, 70)]), fits)
def test_a_point_goes_there_and_back(width, height, size, fit):
    """The corners of any picture land within a tensor pixel of where the picture was written."""
    want = Preparation(size[0], size[1], fit=fit, pad=0, scale=(1, 1, 1))
    tensor, at = Preparer(want)(picture(width, height, (255, 255, 255)))
    rows, columns = np.nonzero(tensor[0, 0])
    assert (columns.min(), rows.min()) == (at.left, at.top)
    right, bottom = width * at.scale_x + at.left, height * at.scale_y + at.top
    assert columns.max() + 1 == pytest.approx(right, abs=1)
    assert rows.max() + 1 == pytest.approx(bottom, abs=1)
    assert (at.width, at.height) == (width, height)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes)
def test_a_letterbox_keeps_the_aspect_and_touches_two_sides(width, height):
    _, at = Preparer(Preparation(64, 48))(picture(width, height))
    assert at.scale_x == at.scale_y
    assert max(width * at.scale_x / 64, height * at.scale_y / 48) == pytest.approx(1)
