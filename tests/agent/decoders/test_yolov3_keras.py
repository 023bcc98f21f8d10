"""YOLOv3 by keras-yolo3, on outputs worked out by hand. No real file was at hand: these are all it was tried on."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose
from agent.decoders.reading import beside


def outputs(rank=2):
    boxes, scores = np.zeros((1, 9, 4), np.float32), np.full((1, 3, 9), 0.6, np.float32)
    boxes[0, 5], scores[0, 2, 5] = (0, 16, 32, 48), 0.9
    which = np.array([[0, 2, 5]], np.int32)
    return {"boxes": boxes, "scores": scores, "which": which if rank == 2 else which[None]}


@pytest.mark.parametrize("rank", [2, 3])
def test_what_the_graph_selected_is_read(outputs_of, rank):
    graph = outputs_of(beside=("image_shape",), **outputs(rank))
    decoder, _ = choose(graph)
    found = decoder.decode(list(outputs(rank).values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("yolov3-keras", 3, False)
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([2], [[16, 0, 48, 32]])
    assert (decoder.preparation.fit, decoder.preparation.pad) == ("letterbox_center", 128)


def test_it_is_told_the_size_of_the_tensor(outputs_of):
    graph = outputs_of(beside=("image_shape",), size=(416, 320), **outputs())
    assert beside(graph.inputs)["image_shape"].tolist() == [[320, 416]]


@pytest.mark.parametrize("row", [[0, 3, 5], [0, -1, 5], [0, 0, 9], [0, 0, -1]])
def test_a_selection_of_what_there_is_not_is_refused(outputs_of, row):
    decoder, _ = choose(outputs_of(beside=("image_shape",), **outputs()))
    with pytest.raises(ValueError, match="the output "):
        decoder.decode([*list(outputs().values())[:2], np.array([row], np.int32)], PLAIN, Thresholds())


def test_nothing_selected_is_nothing_found(outputs_of):
    decoder, _ = choose(outputs_of(beside=("image_shape",), **outputs()))
    nothing = [*list(outputs().values())[:2], np.zeros((0, 3), np.int32)]
    assert not decoder.decode(nothing, PLAIN, Thresholds()).boxes.size


def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of):
    decoder, _ = choose(outputs_of(beside=("image_shape",), **outputs()))
    values = list(outputs().values())
    for wrong, reason in (([values[0] * np.nan, *values[1:]], "NaN"), (values[:2], "expected 3")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode(wrong, PLAIN, Thresholds())


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(Unclear, match="this YOLOv3 has the outputs"):
        choose(outputs_of(heat=np.zeros((1, 5), np.float32)), "yolov3-keras")
