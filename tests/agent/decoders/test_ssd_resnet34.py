"""SSD with ResNet-34, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose


def outputs(n=2):
    return {
        "bboxes": np.array([[[0.25, 0, 0.75, 0.5], [0, 0, 1, 1]]], np.float32)[:, :n],
        "labels": np.array([[3, 1]], np.int64)[:, :n],
        "scores": np.array([[0.9, 0.1]], np.float32)[:, :n],
    }


@pytest.mark.parametrize("seen_of_nothing", [0, 2])
def test_rows_are_read_and_classes_counted_from_one(outputs_of, seen_of_nothing):
    decoder, _ = choose(outputs_of(**outputs(seen_of_nothing)))
    found = decoder.decode(list(outputs().values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == ("ssd-resnet34", 80, False)
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([2], [[16, 0, 48, 32]])
    assert (decoder.preparation.fit, decoder.preparation.mean[0]) == ("stretch", 123.675)


def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of):
    decoder, _ = choose(outputs_of(**outputs()))
    values = list(outputs().values())
    for wrong, reason in (([values[0] * np.nan, *values[1:]], "NaN"), (values[:2], "expected 3")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode(wrong, PLAIN, Thresholds())


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(Unclear, match="this SSD has the outputs bboxes"):
        choose(outputs_of(heat=np.zeros((1, 5), np.float32)), "ssd-resnet34")
