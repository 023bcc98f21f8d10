"""How pictures are prepared: the family, then the file, then the configuration."""

import pytest

from agent.adjusting import adjusted
from agent.decoders import Preparation

FAMILY = Preparation(64, 64)
GREY = Preparation(28, 28, fit="stretch", colour="gray", mean=(0.0,), scale=(1 / 255,))
CROP = Preparation(224, 224, fit="crop_center", resize_to=256)


def test_nothing_said_changes_nothing():
    assert adjusted(FAMILY, {"names": "[]"}, {}) == FAMILY


def test_a_file_says_it_the_way_onnx_defines():
    file = {"Image.BitmapPixelFormat": "Bgr8", "image.nominalpixelrange": "Normalized_1_1"}
    got = adjusted(FAMILY, file, {})
    assert (got.colour, got.mean, got.scale) == ("bgr", (127.5,) * 3, (1 / 127.5,) * 3)


@pytest.mark.parametrize(
    ("said", "mean", "scale"), [("NominalRange_0_255", 0.0, 1.0), ("Normalized_0_1", 0.0, 1 / 255)]
)
def test_ranges_of_a_file_are_mean_and_scale(said, mean, scale):
    got = adjusted(FAMILY, {"Image.NominalPixelRange": said}, {})
    assert (got.mean, got.scale) == ((mean,) * 3, (scale,) * 3)


@pytest.mark.parametrize("said", ["Gray8", "Rgba8", "nonsense"])
def test_what_a_file_says_that_cannot_be_is_left_alone(said):
    assert adjusted(FAMILY, {"Image.BitmapPixelFormat": said}, {}) == FAMILY


def test_the_configuration_has_the_last_word():
    file = {"Image.BitmapPixelFormat": "Bgr8"}
    got = adjusted(FAMILY, file, {"colour": "rgb", "fit": "stretch", "pad": 0, "mean": 127.5, "scale": [1, 2, 3]})
    assert (got.colour, got.fit, got.pad) == ("rgb", "stretch", 0)
    assert (got.mean, got.scale) == ((127.5,) * 3, (1.0, 2.0, 3.0))


def test_another_fit_than_the_crop_has_no_side_before_it():
    assert adjusted(CROP, {}, {"fit": "stretch"}).resize_to is None
    assert adjusted(CROP, {}, {"resize_to": 230}).resize_to == 230


@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        (FAMILY, {"colour": "gray"}, "cannot have 'colour' 'gray': its input has three channels"),
        (GREY, {"colour": "bgr"}, "cannot have 'colour' 'bgr': its input has one channel"),
        (FAMILY, {"mean": [1, 2]}, r"'mean' must be one number or 3, got \[1.0, 2.0\]"),
        (GREY, {"scale": [1, 2, 3]}, r"'scale' must be one number or 1, got"),
        (FAMILY, {"scale": 0}, "'scale' must be finite and not 0, got"),
        (FAMILY, {"mean": float("nan")}, "'mean' must be finite, got"),
        (FAMILY, {"resize_to": 256}, "no 'resize_to' unless 'fit' is 'crop_center'"),
    ],
)
def test_what_does_not_fit_is_refused_with_key_rule_and_value(family, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        adjusted(family, {}, changes)
