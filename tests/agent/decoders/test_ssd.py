"""TensorFlow's detectors, on outputs worked out by hand: no real file was at hand, and these graphs are all it saw."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import choose
from agent.decoders.ssd import Ssd

BYTES = {"dtype": "uint8", "shape": (1, 64, 64, 3)}


def outputs(**changes):
    """A dog, category 18, in the middle half across and the upper one down; a gap in COCO; one beyond the number."""
    boxes = np.zeros((1, 5, 4), np.float32)
    boxes[0, :3] = (0, 0.25, 0.5, 0.75)
    return {
        "detection_boxes": boxes,
        "detection_classes": np.array([[18, 12, 1, 1, 1]], np.float32),
        "detection_scores": np.array([[0.9, 0.8, 0.7, 0, 0]], np.float32),
        "num_detections": np.array([2], np.float32),
    } | changes


def found(decoder, values):
    seen = decoder.decode(list(values.values()), PLAIN, Thresholds())
    return list(zip(seen.class_ids.tolist(), seen.boxes.tolist(), strict=True))


@pytest.mark.parametrize("suffix", ["", ":0"])
def test_categories_become_classes_and_nothing_is_suppressed(outputs_of, suffix):
    values = {name + suffix: array for name, array in reversed(outputs().items())}
    decoder, _ = choose(outputs_of(**BYTES, **values))
    assert (decoder.family, decoder.suppresses, decoder.class_count) == ("ssd", False, 80)
    assert (decoder.preparation.layout, decoder.preparation.dtype, decoder.preparation.fit) == (
        "nhwc",
        "uint8",
        "stretch",
    )
    assert found(decoder, values) == [(16, [16, 0, 48, 32])]


def test_a_picture_may_have_more_or_fewer_than_the_empty_one_had(outputs_of):
    decoder = Ssd(outputs_of(**BYTES, **outputs()))
    fewer = {name: array[:, :1] if array.ndim > 1 else np.array([1], np.float32) for name, array in outputs().items()}
    assert len(found(decoder, fewer)) == 1
    none = {name: array[:, :0] if array.ndim > 1 else np.array([0], np.float32) for name, array in outputs().items()}
    assert found(decoder, none) == []


def test_classes_of_its_own_count_from_one(outputs_of):
    values = outputs(
        detection_classes=np.array([[2, 3, 1, 1, 1]], np.float32), raw_detection_scores=np.zeros((1, 9, 4), np.float32)
    )
    decoder = Ssd(outputs_of(**BYTES, **values))
    assert decoder.class_count == 3
    assert [kind for kind, _ in found(decoder, values)] == [1, 2]
    named = Ssd(outputs_of(metadata={"names": "['a', 'b', 'c', 'd']"}, **BYTES, **outputs()))
    assert named.class_count == 4


def test_a_float_input_is_not_claimed_since_nothing_says_its_scale(outputs_of):
    assert Ssd.claim(outputs_of(**outputs())) is None
    with pytest.raises(ValueError, match="takes uint8"):
        Ssd(outputs_of(**outputs()))


@pytest.mark.parametrize(
    "changes",
    [
        {"detection_scores": np.full((1, 5), 7, np.float32)},
        {"detection_classes": np.zeros((1, 4), np.float32)},
        {"num_detections": np.zeros((1, 4), np.float32)},
    ],
)
def test_other_outputs_of_these_names_are_not_claimed(outputs_of, changes):
    assert Ssd.claim(outputs_of(**BYTES, **outputs(**changes))) is None


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(ValueError, match="has the outputs detection_boxes, detection_classes"):
        Ssd(outputs_of(heat=np.zeros((1, 5), np.float32)))


def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of):
    decoder, values = Ssd(outputs_of(**BYTES, **outputs())), outputs()
    for wrong, reason in (
        ([np.full_like(array, np.nan) for array in values.values()], "NaN"),
        (list(values.values())[:1], "expected"),
        ([values["detection_boxes"][:, :2], *list(values.values())[1:]], "expected"),
    ):
        with pytest.raises(ValueError, match=reason):
            decoder.decode(wrong, PLAIN, Thresholds())
