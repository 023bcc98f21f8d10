"""Ultralytics' detectors, on outputs worked out by hand. For 64x64 the grid has 64 + 16 + 4 = 84 cells."""

import numpy as np
import pytest
from graphs import NAMES, PLAIN, graph
from hypothesis import given
from hypothesis import strategies as st

from agent.decoders import Thresholds
from agent.decoders.choose import choose
from agent.decoders.ultralytics import V5, V8, EndToEnd

ULTRALYTICS = {"author": "Ultralytics", "task": "detect", "names": NAMES, "stride": "32"}


def v5_rows(*rows):
    """[1, 252, 8]: `rows` first, the others empty."""
    values = np.zeros((1, 252, 8), np.float32)
    for index, row in enumerate(rows):
        values[0, index] = row
    return values


def v8_columns(*columns):
    """[1, 7, 84]: `columns` first, the others empty."""
    values = np.zeros((1, 7, 84), np.float32)
    for index, column in enumerate(columns):
        values[0, :, index] = column
    return values


def found(decoder, values, placement=PLAIN, **thresholds):
    seen = decoder.decode([values], placement, Thresholds(**thresholds))
    return list(
        zip(
            seen.class_ids.tolist(),
            np.round(seen.scores.astype(float), 4).tolist(),
            np.round(seen.boxes.astype(float), 3).tolist(),
            strict=True,
        )
    )


def test_v5_score_is_objectness_times_the_best_class():
    rows = v5_rows((32, 28, 32, 24, 0.8, 0.1, 0.5, 0.2))
    assert found(V5(graph((1, 252, 8))), rows, score=0.3) == [(1, 0.4, [16, 16, 48, 40])]


@pytest.mark.parametrize("first", [True, False])
def test_v5_rows_are_read_beside_the_maps_that_they_were_made_of(outputs_of, first):
    """As YOLOv5 before v6.2 and YOLOv7 export them."""
    maps = {f"map_{side}": np.full((1, 3, side, side, 8), 9, np.float32) for side in (8, 4, 2)}
    rows = {"output": v5_rows((32, 28, 32, 24, 0.8, 0.1, 0.5, 0.2))}
    outputs = rows | maps if first else maps | rows
    decoder, _ = choose(outputs_of(**outputs))
    seen = decoder.decode(list(outputs.values()), PLAIN, Thresholds())
    assert (decoder.family, seen.class_ids.tolist(), seen.boxes.tolist()) == ("ultralytics-v5", [1], [[16, 16, 48, 40]])


@pytest.mark.parametrize(
    ("spread", "metadata", "score"), [(0, {}, 0.8), (0, {"stride": "32", "names": "['a']"}, 0.4), (0.2, {}, 0.4)]
)
def test_v5_a_class_score_that_nothing_was_learnt_for_is_left_out(spread, metadata, score):
    """YOLOv7 does not train the score of an only class; YOLOv5, which writes metadata, multiplies it all the same."""
    sample = np.full((1, 252, 6), 0.5, np.float32)
    sample[0, 0, 5] += spread
    values = np.zeros((1, 252, 6), np.float32)
    values[0, 0] = (32, 28, 32, 24, 0.8, 0.5)
    assert found(V5(graph(sample, metadata=metadata)), values) == [(0, score, [16, 16, 48, 40])]


def test_v5_a_row_has_one_label():
    rows = v5_rows((32, 28, 32, 24, 1, 0.9, 0.8, 0.7))
    assert len(found(V5(graph((1, 252, 8))), rows)) == 1


def test_v5_objectness_alone_is_not_enough():
    rows = v5_rows((32, 28, 32, 24, 0.9, 0.1, 0.2, 0.1))
    assert found(V5(graph((1, 252, 8))), rows, score=0.25) == []


def test_v5_a_score_at_the_threshold_counts():
    rows = v5_rows((32, 28, 32, 24, 0.5, 0.5, 0, 0))
    assert len(found(V5(graph((1, 252, 8))), rows, score=0.25)) == 1


def test_v5_overlapping_boxes_of_a_class_are_suppressed():
    rows = v5_rows((32, 28, 32, 24, 0.8, 1, 0, 0), (33, 28, 32, 24, 0.9, 1, 0, 0), (33, 28, 32, 24, 0.7, 0, 1, 0))
    assert [(one[0], one[1]) for one in found(V5(graph((1, 252, 8))), rows)] == [(0, 0.9), (1, 0.7)]


@pytest.mark.parametrize(("size", "rows"), [((640, 640), 25200), ((320, 192), 3780), ((64, 64), 252)])
def test_v5_three_rows_a_cell_are_claimed(size, rows):
    assert "three for each cell" in (V5.claim(graph((1, rows, 85), size=size)) or "")


@pytest.mark.parametrize(
    ("output", "metadata"),
    [
        ((1, 84, 8), {}),  # one row a cell: YOLOX
        ((1, 252, 8), {"names": "['a', 'b']"}),
        ((1, 252, 5), {}),  # no class
        ((252, 8), {}),
        ((2, 252, 8), {}),
    ],
)
def test_v5_others_are_not(output, metadata):
    assert V5.claim(graph(output, metadata=metadata)) is None


def test_v5_values_that_are_no_scores_are_not_claimed():
    assert V5.claim(graph(v5_rows((1, 1, 1, 1, 0, 40, 0, 0)))) is None


def test_v5_another_shape_is_refused():
    with pytest.raises(ValueError, match="YOLOv5 has one output"):
        V5(graph((1, 252)))


def test_v8_score_is_the_best_class():
    columns = v8_columns((32, 28, 32, 24, 0.1, 0.2, 0.6))
    assert found(V8(graph((1, 7, 84))), columns) == [(2, 0.6, [16, 16, 48, 40])]


def test_v8_boxes_come_best_first_and_at_most_as_many_as_wanted():
    columns = v8_columns(*((8 + 8 * n, 8, 4, 4, 0.3 + n / 10, 0, 0) for n in range(5)))
    assert [one[1] for one in found(V8(graph((1, 7, 84))), columns, most=3)] == [0.7, 0.6, 0.5]


def test_v8_three_classes_are_not_taken_for_boxes():
    decoder = V8(graph((1, 7, 8400), size=(640, 640)))
    assert decoder.class_count == 3


def test_v8_it_is_claimed_by_metadata_whatever_the_grid():
    assert "3 names" in (V8.claim(graph((1, 7, 16), metadata=ULTRALYTICS)) or "")


@pytest.mark.parametrize(("size", "columns"), [((640, 640), 8400), ((320, 192), 1260), ((1280, 1280), 34000)])
def test_v8_it_is_claimed_by_one_column_a_cell(size, columns):
    assert "one for each cell" in (V8.claim(graph((1, 84, columns), size=size)) or "")


@pytest.mark.parametrize(
    ("output", "metadata"),
    [
        ((1, 7, 16), {}),
        ((1, 7, 84), {"names": "['a', 'b']"}),
        ((1, 7, 16), ULTRALYTICS | {"end2end": "True"}),
        ((1, 4, 84), {}),
        ((1, 84, 22, 22), {}),
    ],
)
def test_v8_others_are_not(output, metadata):
    assert V8.claim(graph(output, metadata=metadata)) is None


def test_v8_a_pose_model_is_not_taken_for_a_detector_of_many_classes():
    """Both are [1, 56, columns] in the same grid; keypoints are in pixels."""
    values = np.zeros((1, 56, 84), np.float32)
    values[0, 5:] = 40
    assert V8.claim(graph(values)) is None


def test_v8_another_number_of_columns_is_refused():
    with pytest.raises(ValueError, match=r"shape \[1, 7, 80\], expected \[1, 7, 84\]"):
        found(V8(graph((1, 7, 84))), np.zeros((1, 7, 80), np.float32))


@given(st.integers(0, 6), st.integers(0, 83), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_v8_a_value_that_is_not_finite_is_refused_wherever_it_is(row, column, bad):
    values = v8_columns((32, 28, 32, 24, 0.1, 0.2, 0.6))
    values[0, row, column] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        found(V8(graph((1, 7, 84))), values)


def test_v8_a_grey_input_is_refused():
    with pytest.raises(ValueError, match="takes colour"):
        V8(graph((1, 7, 84), shape=(1, 1, 64, 64)))


def test_v8_a_byte_input_is_not_scaled():
    assert V8(graph((1, 7, 84), dtype="uint8")).preparation.scale == (1, 1, 1)


def end2end_rows(*rows):
    values = np.zeros((1, 300, 6), np.float32)
    for index, row in enumerate(rows):
        values[0, index] = row
    return values


def test_end2end_rows_are_taken_as_they_are():
    """Two boxes of a class that overlap both stay: the model has made its selection."""
    rows = end2end_rows((16, 16, 48, 40, 0.9, 2), (17, 16, 48, 40, 0.8, 2), (0, 0, 9, 9, 0.1, 0))
    decoder = EndToEnd(graph((1, 300, 6), metadata={"names": NAMES}))
    assert not decoder.suppresses
    assert found(decoder, rows) == [(2, 0.9, [16, 16, 48, 40]), (2, 0.8, [17, 16, 48, 40])]


def test_end2end_the_best_come_first():
    rows = end2end_rows((0, 0, 9, 9, 0.5, 0), (0, 0, 9, 9, 0.7, 1))
    assert [one[0] for one in found(EndToEnd(graph((1, 300, 6))), rows)] == [1, 0]


@pytest.mark.parametrize(
    ("rows", "metadata"),
    [
        (300, {}),
        (100, {}),
        (500, ULTRALYTICS | {"end2end": "True"}),
        (500, ULTRALYTICS | {"args": "{'batch': 1, 'nms': True}"}),
    ],
)
def test_end2end_rows_of_six_are_claimed(rows, metadata):
    assert EndToEnd.claim(graph((1, rows, 6), metadata=metadata))


@pytest.mark.parametrize(("output", "metadata"), [((1, 756, 6), {}), ((1, 300, 7), {}), ((300, 6), {})])
def test_end2end_others_are_not(output, metadata):
    assert EndToEnd.claim(graph(output, metadata=metadata)) is None


def test_end2end_classes_that_are_not_whole_are_not_claimed():
    assert EndToEnd.claim(graph(end2end_rows((1, 1, 2, 2, 0.5, 0.5)))) is None


def test_end2end_nothing_says_how_many_classes_there_are_without_metadata():
    assert EndToEnd(graph((1, 300, 6))).class_count is None


def test_end2end_a_class_that_there_is_not_is_refused():
    decoder = EndToEnd(graph((1, 300, 6), metadata={"names": NAMES}))
    with pytest.raises(ValueError, match="class ids from 3 to 3, of 3 classes"):
        found(decoder, end2end_rows((0, 0, 9, 9, 0.5, 3)))


def test_end2end_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\[1, rows, 6\]"):
        EndToEnd(graph((1, 300, 7)))
