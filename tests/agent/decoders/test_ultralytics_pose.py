"""Poses by Ultralytics, on outputs worked out by hand: 64x64, 84 cells."""

import numpy as np
import pytest
from graphs import NAMES, PLAIN, graph

from agent.decoders import Placement, Thresholds
from agent.decoders.choose import Unclear, choose
from agent.decoders.ultralytics_pose import Pose

POSE = {"task": "pose", "names": NAMES, "kpt_shape": "[2, 3]"}
BOX = (32, 28, 32, 24)
CORNERS = [16, 16, 48, 40]
POINTS = (20, 20, 0.8, 70, 30, 0.4)
HALVED = Placement(width=128, height=96, scale_x=0.5, scale_y=0.5, left=0, top=8)


def columns(*rows, more=6, classes=3):
    values = np.zeros((1, 4 + classes + more, 84), np.float32)
    for index, row in enumerate(rows):
        values[0, :, index] = row
    return values


def selected(*rows, more=6):
    values = np.zeros((1, 300, 6 + more), np.float32)
    values[0, : len(rows)] = rows
    return values


def points(found):
    assert found.keypoints is not None
    return found.keypoints.tolist()


EACH = {"columns": columns((*BOX, 0, 0.9, 0.2, *POINTS)), "selected": selected((*CORNERS, 0.9, 1, *POINTS))}


@pytest.mark.parametrize("layout", EACH)
def test_either_layout_is_known_by_its_metadata(layout):
    decoder, why = choose(graph(EACH[layout], metadata=POSE))
    assert (decoder.family, decoder.task, decoder.class_count) == ("ultralytics-pose", "detect", 3)
    assert why == f"its output is boxes ({layout}) with 2 keypoints of 3 numbers each"
    assert decoder.suppresses == (layout == "columns")
    found = decoder.decode([EACH[layout]], PLAIN, Thresholds())
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([1], [CORNERS])
    assert np.allclose(points(found), [[[20, 20, 0.8], [64, 30, 0.4]]])  # what lies outside moves to the side


def test_points_are_in_pixels_of_the_picture():
    found = Pose(graph(EACH["columns"], metadata=POSE)).decode([EACH["columns"]], HALVED, Thresholds())
    assert np.allclose(points(found)[0], [[40, 24, 0.8], [128, 44, 0.4]])


def test_points_without_a_score_have_all_of_it():
    values = columns((*BOX, 0, 0.9, 0, 20, 20, 30, 30), more=4)
    decoder = Pose(graph(values, metadata=POSE | {"kpt_shape": "(2, 2)"}))
    found = decoder.decode([values], PLAIN, Thresholds())
    assert points(found) == [[[20, 20, 1], [30, 30, 1]]]


def test_what_is_suppressed_takes_its_points_along():
    values = columns((*BOX, 0.8, 0, 0, *POINTS), (*BOX, 0.9, 0, 0, 1, 2, 1, 3, 4, 1))
    found = Pose(graph(values, metadata=POSE)).decode([values], PLAIN, Thresholds())
    assert points(found) == [[[1, 2, 1], [3, 4, 1]]]


def person(point=(40, 30, 0.5)):
    return columns((*BOX, 0.1, *(point * 17)), more=51, classes=1)


def test_a_person_is_known_without_metadata_by_values_that_are_points():
    decoder, why = choose(graph(person()))
    assert decoder.family == "ultralytics-pose"
    assert "17 keypoints" in why


@pytest.mark.parametrize("point", [(0.4, 0.3, 0.5), (40, 30, 7)])
def test_56_rows_of_other_values_are_no_person(point):
    """Fifty-two classes, or two hundred numbers of something else."""
    assert Pose.claim(graph(person(point))) is None


def test_the_configuration_may_name_a_model_of_other_points():
    values = columns((*BOX, 0.9, *POINTS), classes=1)
    with pytest.raises(Unclear, match="not known"):
        choose(graph(values + 3))
    decoder, _ = choose(graph(values), "ultralytics-pose")
    assert np.shape(points(decoder.decode([values], PLAIN, Thresholds()))) == (1, 2, 3)


@pytest.mark.parametrize("said", ["[0, 3]", "[2, 4]", "[2]", "two", "[1e9, 3]", "[99999999, 3]"])
def test_points_that_cannot_be_are_not_believed(said):
    assert Pose.claim(graph(EACH["columns"], metadata=POSE | {"kpt_shape": said})) is None


def test_what_is_none_is_refused_with_what_one_is():
    with pytest.raises(ValueError, match="how many keypoints stands in its metadata as `kpt_shape`"):
        Pose(graph((1, 7, 85)))
