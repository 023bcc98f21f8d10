"""PaddleDetection, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose

BOX = [8, 24, 56, 40]
SCALE = ("scale_factor",)
BOTH = ("im_shape", "scale_factor")


def rows(count=3):
    """The second row is empty, the third beyond what counts."""
    values = np.zeros((count, 6), np.float32)
    values[:3] = [[1, 0.9, *BOX], [-1, 0.9, 0, 0, 9, 9], [2, 0.1, 0, 0, 9, 9]]
    return {"rows": values, "count": np.array([count], np.int32)}


def dense():
    """Two boxes that overlap."""
    boxes, scores = np.zeros((1, 84, 4), np.float32), np.zeros((1, 3, 84), np.float32)
    boxes[0, 3:5], scores[0, 1, 3], scores[0, 1, 4] = BOX, 0.9, 0.8
    return {"boxes": boxes, "scores": scores}


@pytest.mark.parametrize(("values", "size"), [(rows(), (512, 512)), (dense(), (64, 64))])
def test_with_and_without_the_plus_are_refused_with_both_named(outputs_of, values, size):
    with pytest.raises(Unclear, match=r"not clear.*ppyoloe: .*; ppyoloe-plus: "):
        choose(outputs_of(beside=SCALE, size=size, **values))


@pytest.mark.parametrize(
    ("values", "family", "suppresses", "count", "mean"),
    [
        (rows(), "ppyoloe", False, None, 123.675),
        (rows(), "ppyoloe-plus", False, None, 0),
        (dense(), "ppyoloe", True, 3, 123.675),
        (dense(), "ppyoloe-plus", True, 3, 0),
    ],
)
def test_every_export_says_the_same(outputs_of, values, family, suppresses, count, mean):
    decoder, _ = choose(outputs_of(beside=SCALE, **values), family)
    found = decoder.decode(list(values.values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.suppresses, decoder.class_count) == (family, suppresses, count)
    want = decoder.preparation
    assert (want.fit, want.colour, want.mean[0]) == ("stretch", "rgb", mean)
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([1], [BOX])


def test_a_detr_keeps_all_its_queries_and_is_known_by_that(outputs_of):
    values = rows(300)
    decoder, why = choose(outputs_of(beside=BOTH, size=(640, 640), **values))
    assert (decoder.family, decoder.preparation.scale[0]) == ("detr-paddle", 1 / 255)
    assert "all 300 queries" in why
    assert decoder.decode(list(values.values()), PLAIN, Thresholds()).boxes.tolist() == [BOX]


def test_rows_that_were_suppressed_are_no_detr(outputs_of):
    with pytest.raises(Unclear, match="not known"):
        choose(outputs_of(beside=BOTH, size=(640, 640), **rows()))


@pytest.mark.parametrize("values", [rows(), dense()])
def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of, values):
    decoder, _ = choose(outputs_of(beside=SCALE, **values), "ppyoloe")
    nan = [np.full_like(array, np.nan) if array.dtype.kind == "f" else array for array in values.values()]
    for wrong, reason in ((nan, "NaN"), (list(values.values())[:1], "expected")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode(wrong, PLAIN, Thresholds())


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(Unclear, match=r"PP-YOLOE has rows \[n, 6\]"):
        choose(outputs_of(heat=np.zeros((1, 5), np.float32)), "ppyoloe")
