"""Classifiers, on outputs worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from graphs import PLAIN, graph
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.decoders import Thresholds
from agent.decoders.classifier import Classifier, softmax


def found(decoder, values, **thresholds):
    seen = decoder.decode([np.asarray(values, np.float32)], PLAIN, Thresholds(**thresholds))
    assert seen.boxes.shape == (0, 4)
    return list(zip(seen.class_ids.tolist(), np.round(seen.scores.astype(float), 4).tolist(), strict=True))


def test_logits_become_probabilities():
    """e^ln3 / (e^ln3 + 1) = 0.75."""
    assert found(Classifier(graph((1, 2))), [[0, math.log(3)]]) == [(1, 0.75), (0, 0.25)]


def test_probabilities_stay_what_they_are():
    assert found(Classifier(graph((1, 3))), [[0.2, 0.7, 0.1]]) == [(1, 0.7), (0, 0.2), (2, 0.1)]


def test_a_model_that_gave_logits_once_gives_logits():
    """Two logits may happen to look like probabilities; those for a black picture did not."""
    decoder = Classifier(graph(np.array([[-3, 5]], np.float32)))
    assert found(decoder, [[0.4, 0.6]]) == [(1, 0.5498), (0, 0.4502)]


def test_the_best_five_are_told_even_below_the_threshold():
    assert len(found(Classifier(graph((1, 10))), [np.zeros(10)], score=0.9)) == 5


def test_fewer_are_told_when_fewer_are_wanted():
    assert len(found(Classifier(graph((1, 10))), [np.zeros(10)], most=2)) == 2


@pytest.mark.parametrize("shape", [(1, 10), (1, 10, 1, 1), (1, 1, 10)])
def test_one_row_of_numbers_is_claimed(shape):
    assert Classifier.claim(graph(shape)) == "the output is one row of 10 numbers"


@pytest.mark.parametrize("shape", [(10,), (1, 1), (2, 10), (1, 10, 10), (10, 1)])
def test_others_are_not(shape):
    assert Classifier.claim(graph(shape)) is None


def test_a_detector_by_its_metadata_is_not():
    assert Classifier.claim(graph((1, 10), metadata={"task": "detect"})) is None


def test_imagenet_is_the_default():
    want = Classifier(graph((1, 10), size=(224, 224))).preparation
    assert (want.fit, want.resize_to, want.colour) == ("crop_center", 256, "rgb")
    assert (0 - want.mean[0]) * want.scale[0] == pytest.approx(-0.485 / 0.229)


def test_channels_last_are_scaled_as_tensorflow_does():
    """From -1 to 1."""
    want = Classifier(graph((1, 10), shape=(1, 224, 224, 3))).preparation
    assert (want.fit, want.resize_to, want.colour, want.layout) == ("crop_center", 256, "rgb", "nhwc")
    assert [(grey - want.mean[0]) * want.scale[0] for grey in (0, 255)] == pytest.approx([-1, 1])


def test_a_layer_that_rescales_takes_grey_values_as_they_are():
    """With channels first nothing in Keras' way is assumed."""
    scaled = replace(graph((1, 10), shape=(1, 224, 224, 3)), rescales=True)
    assert (Classifier(scaled).preparation.mean, Classifier(scaled).preparation.scale) == ((0, 0, 0), (1, 1, 1))
    first = Classifier(replace(graph((1, 10), size=(224, 224)), rescales=True)).preparation
    assert first.mean[0] == 123.675


def test_ultralytics_classifiers_take_0_to_1():
    want = Classifier(graph((1, 10), size=(224, 224), metadata={"task": "classify"})).preparation
    assert (want.resize_to, want.mean, want.scale[0]) == (224, (0, 0, 0), 1 / 255)


def test_a_grey_input_takes_the_whole_picture():
    want = Classifier(graph((1, 10), shape=(1, 1, 28, 28))).preparation
    assert (want.fit, want.colour, want.scale[0]) == ("stretch", "gray", 1 / 255)


def test_a_byte_input_is_not_scaled():
    want = Classifier(graph((1, 10), dtype="uint8")).preparation
    assert (want.mean, want.scale) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinite"):
        found(Classifier(graph((1, 3))), [[0, bad, 1]])


def test_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"shapes \[\[1, 2\]\], expected one of 3 numbers"):
        found(Classifier(graph((1, 3))), [[0, 1]])


@given(hnp.arrays(np.float32, st.integers(2, 30), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_probabilities_add_up_to_one_whatever_the_logits(logits):
    assert softmax(logits).sum() == pytest.approx(1, abs=1e-5)
