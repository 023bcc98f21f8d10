"""Which family a graph is of, and the sentence when that is not clear."""

import re

import pytest
from graphs import NAMES, graph

from agent.decoders import DECODERS
from agent.decoders.choose import Unclear, choose


@pytest.mark.parametrize(
    ("given", "family"),
    [
        (graph((1, 252, 8)), "ultralytics-v5"),
        (graph((1, 7, 84)), "ultralytics-v8"),
        (graph((1, 7, 8400), size=(640, 640)), "ultralytics-v8"),
        (graph((1, 300, 6)), "ultralytics-end2end"),
        (graph((1, 84, 8)), "yolox"),
        (graph((1, 756, 6), size=(192, 192)), "yolox"),
        (graph((1, 1000), size=(224, 224)), "classifier"),
        (graph((1, 10), shape=(1, 28, 28, 1)), "classifier"),
    ],
)
def test_each_family_is_known_by_its_shape(given, family):
    decoder, why = choose(given)
    assert decoder.family == family
    assert why


def test_two_claims_are_refused_with_both():
    """84 rows of six for 64x64: YOLOX with one class, or an end-to-end model that gives 84 rows."""
    with pytest.raises(Unclear, match=r"not clear.*`decoder` \(ultralytics-end2end: .*; yolox: "):
        choose(graph((1, 84, 6)))


def test_the_configuration_decides_between_two_claims():
    decoder, why = choose(graph((1, 84, 6)), "yolox")
    assert (decoder.family, decoder.class_count, why) == ("yolox", 1, "the configuration says so")


def test_no_claim_is_refused_with_what_was_seen():
    with pytest.raises(Unclear, match=r"not known.*input images \[1, 3, 64, 64\], output output \[1, 85, 22, 22\]"):
        choose(graph((1, 85, 22, 22)))


def test_a_family_that_does_not_fit_is_refused_with_the_reason():
    with pytest.raises(Unclear, match=r"not of the family 'ultralytics-v8': YOLOv8 has one output"):
        choose(graph((1, 85, 22, 22)), "ultralytics-v8")


def test_a_family_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(Unclear, match=re.escape(f"no decoder 'v9'; there are {', '.join(DECODERS)}")):
        choose(graph((1, 7, 84)), "v9")


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
@pytest.mark.parametrize("name", [None, "ultralytics-v8"])
def test_a_task_that_is_not_decoded_is_refused(task, name):
    with pytest.raises(Unclear, match=f"task '{task}', which Vigie does not decode yet; it does detect, classify"):
        choose(graph((1, 7, 84), metadata={"task": task, "names": NAMES}), name)
