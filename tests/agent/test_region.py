"""The model sees a region, and what it saw lies where it is in the whole picture."""

import greymodel
import numpy as np
import pytest
import tinyonnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.decoders import Found, Placement, Preparation
from agent.decoders.boxes import in_picture
from agent.model import Model
from agent.preparing import Preparer
from agent.region import moved, part

NAMES = {"names": "{0: 'red', 1: 'green', 2: 'blue'}", "task": "detect"}


def look(model, pixels, region=None):
    looker = model.looker(region)
    tensor, placement = looker.prepare(pixels)
    return looker.decode(looker.infer(tensor), placement)


def test_a_region_is_a_view():
    pixels = np.zeros((100, 200, 3), np.uint8)
    seen, x, y = part(pixels, (0.25, 0.5, 0.75, 1))
    assert (seen.shape, x, y) == ((50, 100, 3), 50, 50)
    assert np.shares_memory(seen, pixels)


@given(st.integers(1, 50), st.integers(1, 50), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_region_has_a_pixel_at_least(width, height, sides):
    left, right = sorted(sides[:2])
    top, bottom = sorted(sides[2:])
    seen, x, y = part(np.zeros((height, width, 3), np.uint8), (left, top, right, bottom))
    assert seen.size > 0
    assert (x + seen.shape[1] <= width, y + seen.shape[0] <= height) == (True, True)


def test_boxes_lie_in_the_whole_picture(tmp_path):
    model = Model.load(tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}, metadata=NAMES))
    pixels = np.zeros((256, 256, 3), np.uint8)
    assert look(model, pixels, (0.5, 0.25, 1, 0.75)).boxes.tolist() == [[128 + 32, 64 + 32, 128 + 96, 64 + 80]]
    assert look(model, pixels).boxes.tolist() == [[64, 64, 192, 160]]


def test_keypoints_lie_in_the_whole_picture_and_areas_stay():
    boxes, ids, scores = np.array([[1, 2, 3, 4]], np.float32), np.array([0]), np.array([0.5], np.float32)
    found = Found(ids, scores, boxes, np.array([7], np.float32), np.array([[[1, 2, 0.5]]], np.float32))
    whole = moved(found, Placement(10, 10, 1, 1, 0, 0, x=100, y=50))
    assert whole.areas is not None
    assert whole.areas.tolist() == [7]
    assert whole.keypoints is not None
    assert whole.keypoints.tolist() == [[[101, 52, 0.5]]]


def test_the_model_sees_nothing_else(tmp_path):
    model = Model.load(greymodel.save(tmp_path / "grey.onnx"))
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    ((x1, _, x2, _),) = look(model, pixels, (0.5, 0, 1, 1)).boxes.tolist()
    assert (x1, x2) == pytest.approx((32 + 0, 32 + 32), abs=9), "as wide as the region, which is all white"


def test_a_classifier_may_have_a_region(tmp_path):
    path = tinyonnx.save(tmp_path / "k.onnx", {"out": np.array([[0.1, 0.7, 0.2]], np.float32)})
    found = look(Model.load(path), np.zeros((64, 64, 3), np.uint8), (0.5, 0.5, 1, 1))
    assert (found.class_ids.tolist()[0], found.boxes.shape) == (1, (0, 4))


FITS = ("letterbox_center", "letterbox_corner", "stretch", "crop_center")
sides = st.integers(1, 3000)
tensor_sides = st.integers(8, 300)
shares = st.floats(0, 1)


def prepared(picture_size, tensor_size, fit, region, paint=None):
    """The tensor and the placement of a black picture, of which `paint` is white."""
    pixels = np.zeros((picture_size[1], picture_size[0], 3), np.uint8)
    seen, x, y = part(pixels, region)
    if paint is not None:
        x1, y1, x2, y2 = paint
        seen[y1:y2, x1:x2] = 255
    tensor, at = Preparer(Preparation(tensor_size[0], tensor_size[1], fit=fit, pad=0, scale=(1, 1, 1)))(seen)
    return tensor[0, 0], at, (x, y), seen.shape[1::-1]


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(sides, sides), st.tuples(tensor_sides, tensor_sides), st.sampled_from(FITS), st.tuples(*[shares] * 4),
    st.tuples(*[shares] * 4),
)  # fmt: skip
def test_a_box_goes_there_and_back(picture_size, tensor_size, fit, region, box):
    """The identity within a pixel, for any picture, tensor, fit and region."""
    left, right = sorted((region[0], region[2]))
    top, bottom = sorted((region[1], region[3]))
    _, at, (x, y), (width, height) = prepared(picture_size, tensor_size, fit, (left, top, right, bottom))
    (x1, x2), (y1, y2) = sorted((box[0] * width, box[2] * width)), sorted((box[1] * height, box[3] * height))
    assume(x2 - x1 > 0.01 * width)
    assume(y2 - y1 > 0.01 * height)
    there = [[x1 * at.scale_x + at.left, y1 * at.scale_y + at.top, x2 * at.scale_x + at.left, y2 * at.scale_y + at.top]]
    found = in_picture(np.array(there, np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), at)
    placed = type(at)(at.width, at.height, at.scale_x, at.scale_y, at.left, at.top, x, y)
    ((got_x1, got_y1, got_x2, got_y2),) = moved(found, placed).boxes.tolist()
    assert (got_x1, got_x2) == pytest.approx((x + x1, x + x2), abs=1)
    assert (got_y1, got_y2) == pytest.approx((y + y1, y + y2), abs=1)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(20, 2000), st.integers(20, 2000)), st.tuples(tensor_sides, tensor_sides),
    st.sampled_from(FITS), st.tuples(*[shares] * 4), st.tuples(*[shares] * 4),
)  # fmt: skip
def test_what_is_seen_in_the_tensor_lies_there_in_the_picture(picture_size, tensor_size, fit, region, box):
    """A white block is where its placement says, within a pixel of the tensor or of the picture, the larger one."""
    left, right = sorted((region[0], region[2]))
    top, bottom = sorted((region[1], region[3]))
    _, at, _, (width, height) = prepared(picture_size, tensor_size, fit, (left, top, right, bottom))
    x1, x2 = sorted((round(box[0] * width), round(box[2] * width)))
    y1, y2 = sorted((round(box[1] * height), round(box[3] * height)))
    assume((x2 - x1) * at.scale_x >= 4)
    assume((y2 - y1) * at.scale_y >= 4)
    tensor, at, _, _ = prepared(picture_size, tensor_size, fit, (left, top, right, bottom), (x1, y1, x2, y2))
    rows, columns = np.nonzero(tensor > 127)
    assume(len(rows))
    inside = [max(0.0, x1 * at.scale_x + at.left), max(0.0, y1 * at.scale_y + at.top)]
    inside += [min(tensor.shape[1], x2 * at.scale_x + at.left), min(tensor.shape[0], y2 * at.scale_y + at.top)]
    assume(inside[2] - inside[0] >= 2)
    assume(inside[3] - inside[1] >= 2)
    across = [(there - at.left) / at.scale_x for there in (inside[0], inside[2], columns.min(), columns.max() + 1)]
    down = [(there - at.top) / at.scale_y for there in (inside[1], inside[3], rows.min(), rows.max() + 1)]
    assert across[2:] == pytest.approx(across[:2], abs=max(1, 1 / at.scale_x) * 1.01)
    assert down[2:] == pytest.approx(down[:2], abs=max(1, 1 / at.scale_y) * 1.01)


def test_nothing_found_stays_nothing():
    none = Found(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
    _, at, _, _ = prepared((64, 64), (32, 32), "stretch", (0, 0, 1, 1))
    assert moved(none, at) is none
