"""Which family a graph is of, and the sentence when that is not clear."""

import re

import numpy as np
import pytest
from graphs import NAMES, PLAIN, graph

from agent.decoders import DECODERS, Thresholds
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


@pytest.mark.parametrize("task", ["obb", "semantic"])
@pytest.mark.parametrize("name", [None, "ultralytics-v8"])
def test_a_task_that_is_not_decoded_is_refused(task, name):
    tasks = "detect, segment, pose, classify"
    with pytest.raises(Unclear, match=f"task '{task}', which Vigie does not decode yet; it does {tasks}"):
        choose(graph((1, 7, 84), metadata={"task": task, "names": NAMES}), name)


@pytest.mark.parametrize("task", ["segment", "pose"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("ultralytics-v8", (1, 7, 84)), ("ultralytics-v5", (1, 252, 8)), ("ultralytics-end2end", (1, 9, 6))],
)
def test_a_detector_is_not_taken_for_a_model_of_another_task(task, name, shape):
    with pytest.raises(Unclear, match=f"not of the family '{name}': its metadata says '{task}', which is another"):
        choose(graph(shape, metadata={"task": task}), name)


def zeros_with(shape, **columns):
    """What a model gives for an empty picture: `c4=…` is column 4."""
    values = np.zeros(shape, np.float32)
    for column, numbers in columns.items():
        values[0, :, int(column[1:])] = numbers
    return values


FALLING = np.linspace(0.9, 0.1, 84)
NOISE = np.random.default_rng(0).uniform(0.01, 0.2, 84)


@pytest.mark.parametrize(
    ("values", "family"),
    [
        (zeros_with((1, 84, 6)), "ultralytics-end2end"),  # nothing found: a sigmoid is never exactly 0 everywhere
        (zeros_with((1, 84, 6), c2=30, c3=30, c4=FALLING, c5=3), "ultralytics-end2end"),
        (zeros_with((1, 84, 6), c4=NOISE, c5=NOISE), "yolox"),
        (zeros_with((1, 252, 6), c2=30, c4=np.tile(NOISE, 3), c5=0.4), "ultralytics-v5"),
        (zeros_with((1, 500, 6), c2=30, c4=np.linspace(1, 0, 500), c5=1), "ultralytics-end2end"),
    ],
)
def test_rows_of_six_are_told_apart_by_what_an_empty_picture_gives(values, family):
    """One class of YOLOX or YOLOv5, or a selection: 84 rows fit the first two grids' sizes, whatever their meaning."""
    decoder, _ = choose(graph(values))
    assert decoder.family == family


def test_two_kinds_of_rows_by_ultralytics_are_told_apart_by_their_unit():
    """YOLOv10 by 8.3 has corners in pixels, RT-DETR by 8.4 centres in parts; their metadata does not say."""
    said = {"author": "Ultralytics", "task": "detect", "names": NAMES}
    pixels = zeros_with((1, 84, 6), c2=30, c3=30, c4=FALLING, c5=1)
    parts = zeros_with((1, 84, 6), c0=0.5, c1=0.5, c2=0.2, c3=0.2, c4=FALLING, c5=1)
    assert choose(graph(pixels, metadata=said))[0].family == "ultralytics-end2end"
    decoder, why = choose(graph(parts, metadata=said))
    assert (decoder.family, decoder.class_count) == ("detr-ultralytics", 3)
    assert "parts of the picture, score and class" in why
    found = decoder.decode([parts], PLAIN, Thresholds(score=0.85))
    assert found.class_ids.tolist() == [1] * len(found.boxes)
    assert np.allclose(found.boxes[0], [25.6, 25.6, 38.4, 38.4])
