"""Detectors by torchvision, on outputs worked out by hand, for a picture of 64x64."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose
from agent.decoders.torchvision import Torchvision


def outputs(**changes):
    """Two boxes: class 2 with 0.5, class 1 with 0.9."""
    return {
        "2037": np.array([[1, 2, 11, 12], [20, 20, 60, 70]], np.float32),
        "2007": np.array([2, 1]),
        "2006": np.array([0.5, 0.9], np.float32),
    } | changes


def found(decoder, given, **thresholds):
    seen = decoder.decode(list(given.values()), PLAIN, Thresholds(**thresholds))
    return list(zip(seen.class_ids.tolist(), np.round(seen.scores, 4).tolist(), seen.boxes.tolist(), strict=True))


def test_outputs_are_known_by_shape_and_type_in_any_order(outputs_of):
    for order in (["2037", "2007", "2006"], ["2037", "2006", "2007"], ["2006", "2007", "2037"]):
        given = {name: outputs()[name] for name in order}
        decoder, why = choose(outputs_of(**given))
        assert (decoder.family, decoder.suppresses, decoder.class_count) == ("torchvision", False, None)
        assert "labels" in why
        assert found(decoder, given) == [
            (0, pytest.approx(0.9, abs=1e-4), [20, 20, 60, 64]),
            (1, pytest.approx(0.5, abs=1e-4), [1, 2, 11, 12]),
        ]


def test_a_picture_without_anything_gives_no_rows(outputs_of):
    nothing = {"b": np.zeros((0, 4), np.float32), "l": np.zeros(0, np.int64), "s": np.zeros(0, np.float32)}
    decoder, _ = choose(outputs_of(**nothing))
    assert found(decoder, nothing) == []
    assert len(found(decoder, outputs())) == 2


def test_the_background_is_nothing_and_no_class_is_lost_where_the_names_begin_with_it(outputs_of):
    labels = np.array([0, 1])
    assert [one[0] for one in found(Torchvision(outputs_of(**outputs())), outputs(**{"2007": labels}))] == [0]
    named = Torchvision(outputs_of(metadata={"names": "['__background__', 'cat', 'dog']"}, **outputs()))
    assert [one[0] for one in found(named, outputs())] == [1, 2]
    assert named.class_count == 3


def test_the_picture_keeps_its_aspect_and_is_scaled_to_one(outputs_of):
    want = Torchvision(outputs_of(**outputs())).preparation
    assert (want.fit, want.colour, want.mean) == ("letterbox_corner", "rgb", (0, 0, 0))
    assert want.scale == pytest.approx((1 / 255,) * 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"2007": np.array([2.0, 1.0], np.float32)},
        {"2006": np.array([0.5, 0.9, 0.1], np.float32)},
        {"2037": np.zeros((2, 5), np.float32)},
        {"2006": np.array([5.0, 90.0], np.float32)},
    ],
)
def test_other_outputs_are_not_claimed(outputs_of, changes):
    with pytest.raises(Unclear):
        choose(outputs_of(**outputs(**changes)))


@pytest.mark.parametrize(
    "given",
    [
        {"2006": np.array([0.5, np.nan], np.float32)},
        {"2037": np.full((2, 4), np.inf, np.float32)},
        {"2037": np.zeros((3, 4), np.float32)},
        {"2007": np.array(3)},
    ],
)
def test_outputs_that_make_no_sense_are_refused(outputs_of, given):
    decoder = Torchvision(outputs_of(**outputs()))
    with pytest.raises(ValueError, match=r"NaN|shape"):
        found(decoder, outputs(**given))
    with pytest.raises(ValueError, match="2 outputs"):
        decoder.decode(list(outputs().values())[:2], PLAIN, Thresholds())
