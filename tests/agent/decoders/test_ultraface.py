"""UltraFace and its kin, on outputs worked out by hand, for a picture of 64x64."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import choose
from agent.decoders.ultraface import SsdSoftmax, UltraFace

BOXES = 9


def outputs(classes=2):
    """Box 5 is of the last class: a quarter to three quarters across, the upper half; box 6 nearly the same."""
    scores, boxes = np.zeros((1, BOXES, classes), np.float32), np.zeros((1, BOXES, 4), np.float32)
    scores[..., 0] = 1
    scores[0, 5, 0], scores[0, 5, -1], boxes[0, 5] = 0.1, 0.9, (0.25, 0, 0.75, 0.5)
    scores[0, 6, 0], scores[0, 6, -1], boxes[0, 6] = 0.2, 0.8, (0.26, 0, 0.75, 0.5)
    return {"scores": scores, "boxes": boxes}


@pytest.mark.parametrize("order", [("scores", "boxes"), ("boxes", "scores")])
@pytest.mark.parametrize(("classes", "family"), [(2, "ultraface"), (4, "ssd-softmax"), (21, "ssd-softmax")])
def test_the_background_is_no_class_and_overlaps_are_suppressed(outputs_of, order, classes, family):
    values = {name: outputs(classes)[name] for name in order}
    decoder, _ = choose(outputs_of(**values))
    found = decoder.decode(list(values.values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.class_count, decoder.suppresses) == (family, classes - 1, True)
    assert found.class_ids.tolist() == [classes - 2]
    assert found.scores == pytest.approx([0.9])
    assert found.boxes.tolist() == [[16, 0, 48, 32]]


def test_scores_that_do_not_add_up_to_one_are_not_claimed(outputs_of):
    values = outputs(21)
    values["scores"][..., 0] = 0.5
    assert SsdSoftmax.claim(outputs_of(**values)) is None


@pytest.mark.parametrize(("metadata", "claimed"), [({"names": "['a']"}, True), ({"names": "['a', 'b', 'c']"}, False)])
def test_metadata_must_name_every_class_but_the_background(outputs_of, metadata, claimed):
    assert bool(UltraFace.claim(outputs_of(metadata=metadata, **outputs()))) is claimed


def test_pictures_are_prepared_as_the_family_was_trained(outputs_of):
    want = UltraFace(outputs_of(size=(320, 240), **outputs())).preparation
    assert (want.width, want.height, want.fit, want.colour) == (320, 240, "stretch", "rgb")
    assert (want.mean[0], want.scale[0]) == (127, 1 / 128)


@pytest.mark.parametrize(("kind", "classes"), [(UltraFace, "2"), (SsdSoftmax, "classes")])
def test_another_graph_is_refused_with_what_is_expected(outputs_of, kind, classes):
    with pytest.raises(ValueError, match=rf"has the outputs scores \[1, n, {classes}\] and boxes \[1, n, 4\]"):
        kind(outputs_of(heat=np.zeros((1, 5), np.float32)))


def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of):
    decoder, values = UltraFace(outputs_of(**outputs())), outputs()
    with pytest.raises(ValueError, match="expected"):
        decoder.decode([values["scores"]], PLAIN, Thresholds())
    with pytest.raises(ValueError, match="NaN"):
        decoder.decode([np.full_like(array, np.nan) for array in values.values()], PLAIN, Thresholds())


def test_an_export_without_its_last_steps_is_not_claimed(outputs_of):
    """Its boxes are offsets from prepared ones."""
    values = outputs()
    values["boxes"][0, 7] = (0.5, 0.5, -0.5, 0.1)
    assert UltraFace.claim(outputs_of(**values)) is None
