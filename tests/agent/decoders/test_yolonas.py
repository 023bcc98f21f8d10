"""YOLO-NAS and DAMO-YOLO, on outputs worked out by hand. No real file was at hand: these are all they were tried on."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose

BOX = [16, 0, 48, 32]


def dense():
    """Two boxes that overlap; the better one is of class 2."""
    boxes, scores = np.full((1, 84, 4), 5, np.float32), np.zeros((1, 84, 3), np.float32)
    boxes[0, 3:5], scores[0, 3, 2], scores[0, 4, 2] = BOX, 0.9, 0.8
    return boxes, scores


def batch():
    """Two of three rows count; the exporter fills up with -1."""
    return {
        "graph2_num_predictions": np.array([[2]], np.int64),
        "graph2_pred_boxes": np.array([[BOX, [0, 0, 9, 9], [-1] * 4]], np.float32),
        "graph2_pred_scores": np.array([[0.9, 0.1, -1]], np.float32),
        "graph2_pred_classes": np.array([[2, 1, -1]], np.int64),
    }


FLAT = {"graph2_flat_predictions": np.array([[0, *BOX, 0.9, 2], [0, 0, 0, 9, 9, 0.1, 1]], np.float32)}
RAW = {"a": dense()[0], "b": dense()[1]}
DAMO = {"a": dense()[1], "b": dense()[0]}


@pytest.mark.parametrize(
    ("values", "family", "suppresses", "count"),
    [
        (RAW, "yolo-nas", True, 3),
        (batch(), "yolo-nas", False, None),
        (FLAT, "yolo-nas", False, None),
        (DAMO, "damo-yolo", True, 3),
    ],
)
def test_every_export_says_the_same(outputs_of, values, family, suppresses, count):
    decoder, _ = choose(outputs_of(**values))
    found = decoder.decode(list(values.values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.suppresses, decoder.class_count) == (family, suppresses, count)
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([2], [BOX])
    assert found.scores == pytest.approx([0.9])


def test_flat_rows_are_known_where_an_empty_picture_has_none(outputs_of):
    decoder, _ = choose(outputs_of(graph2_flat_predictions=np.zeros((0, 7), np.float32)))
    assert decoder.family == "yolo-nas"


def test_pictures_are_prepared_as_the_families_were_trained(outputs_of):
    nas = choose(outputs_of(**RAW))[0].preparation
    assert (nas.fit, nas.pad, nas.colour, nas.scale[0]) == ("letterbox_center", 114, "rgb", 1 / 255)
    damo = choose(outputs_of(**DAMO))[0].preparation
    assert (damo.fit, damo.pad, damo.colour, damo.scale[0]) == ("letterbox_corner", 0, "rgb", 1)
    inside = choose(outputs_of(dtype="uint8", **batch()))[0].preparation
    assert (inside.dtype, inside.scale[0]) == ("uint8", 1)


@pytest.mark.parametrize("metadata", [{"names": "['a', 'b']"}])
def test_names_that_do_not_fit_are_not_claimed(outputs_of, metadata):
    with pytest.raises(Unclear, match="not known"):
        choose(outputs_of(metadata=metadata, **RAW))


@pytest.mark.parametrize(("values", "family"), [(RAW, "yolo-nas"), (batch(), "yolo-nas"), (FLAT, "yolo-nas")])
def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of, values, family):
    decoder, _ = choose(outputs_of(**values), family)
    nan = [np.full_like(array, np.nan) if array.dtype.kind == "f" else array for array in values.values()]
    for wrong, reason in ((nan, "NaN"), ([array[..., :3] for array in values.values()], "expected")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode(wrong, PLAIN, Thresholds())


@pytest.mark.parametrize(("family", "says"), [("yolo-nas", "YOLO-NAS has boxes"), ("damo-yolo", "DAMO-YOLO has the")])
def test_another_graph_is_refused_with_what_is_expected(outputs_of, family, says):
    with pytest.raises(Unclear, match=says):
        choose(outputs_of(heat=np.zeros((1, 5), np.float32)), family)
