"""PP-PicoDet, on outputs worked out by hand. No real file was at hand: these graphs are all it was tried on."""

import numpy as np
import pytest
from graphs import PLAIN

from agent.decoders import Thresholds
from agent.decoders.choose import Unclear, choose
from agent.decoders.picodet import PicoDet

CELLS = {8: 64, 16: 16, 32: 4, 64: 1}
SCALE = ("scale_factor",)


def raw():
    """Class 1 at the second row, second column of stride 16: one cell to the left, none up, two right, one down."""
    values = {f"cls_{stride}": np.zeros((1, count, 3), np.float32) for stride, count in CELLS.items()}
    values |= {f"dis_{stride}": np.full((1, count, 32), -3, np.float32) for stride, count in CELLS.items()}
    values["cls_16"][0, 5, 1] = 0.9
    values["dis_16"][0, 5].reshape(4, 8)[range(4), (1, 0, 2, 1)] = 100
    return values


def boxed():
    boxes, scores = np.zeros((1, 85, 4), np.float32), np.zeros((1, 3, 85), np.float32)
    boxes[0, 69], scores[0, 1, 69] = (8, 24, 56, 40), 0.9
    boxes[0, 70], scores[0, 1, 70] = (9, 24, 56, 40), 0.8
    return {"boxes": boxes, "scores": scores}


def rows():
    """The second row is empty, the third beyond their number."""
    values = np.array([[1, 0.9, 8, 24, 56, 40], [-1, 0.9, 0, 0, 9, 9], [2, 0.9, 0, 0, 9, 9]], np.float32)
    return {"rows": values, "count": np.array([2], np.int32)}


@pytest.mark.parametrize(
    ("values", "beside", "suppresses", "count"),
    [(raw(), (), True, 3), (boxed(), SCALE, True, 3), (dict(reversed(boxed().items())), (), True, 3)],
)
def test_every_export_says_the_same(outputs_of, values, beside, suppresses, count):
    decoder, _ = choose(outputs_of(beside=beside, **values))
    found = decoder.decode(list(values.values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.suppresses, decoder.class_count) == ("picodet", suppresses, count)
    assert (found.class_ids.tolist(), found.boxes.round(3).tolist()) == ([1], [[8, 24, 56, 40]])


def test_rows_are_selected_already(outputs_of):
    decoder, _ = choose(outputs_of(beside=SCALE, size=(320, 320), **rows()))
    found = decoder.decode(list(rows().values()), PLAIN, Thresholds())
    assert (decoder.family, decoder.suppresses, decoder.class_count) == ("picodet", False, None)
    assert (found.class_ids.tolist(), found.boxes.tolist()) == ([1], [[8, 24, 56, 40]])


def test_rows_of_a_size_that_others_have_too_are_refused_with_all_named(outputs_of):
    graph = outputs_of(beside=SCALE, size=(640, 640), **rows())
    with pytest.raises(Unclear, match=r"not clear.*picodet: .*ppyoloe: .*ppyoloe-plus: "):
        choose(graph)
    assert choose(graph, "picodet")[0].family == "picodet"


def test_pictures_are_prepared_as_the_family_was_trained(outputs_of):
    want = PicoDet(outputs_of(**raw())).preparation
    assert (want.fit, want.colour, want.mean[0]) == ("stretch", "rgb", 123.675)


def test_names_that_do_not_fit_are_not_claimed(outputs_of):
    assert PicoDet.claim(outputs_of(metadata={"names": "['a']"}, **raw())) is None


def test_another_graph_is_refused_with_what_is_expected(outputs_of):
    with pytest.raises(ValueError, match="PicoDet has scores and distances of the strides 8, 16, 32, 64, or"):
        PicoDet(outputs_of(heat=np.zeros((1, 5), np.float32)))


@pytest.mark.parametrize("values", [raw(), boxed(), rows()])
def test_another_shape_or_nan_is_refused_when_it_comes(outputs_of, values):
    decoder = PicoDet(outputs_of(**values))
    nan = [np.full_like(array, np.nan) if array.dtype.kind == "f" else array for array in values.values()]
    for wrong, reason in ((nan, "NaN"), (list(values.values())[:1], "expected")):
        with pytest.raises(ValueError, match=reason):
            decoder.decode(wrong, PLAIN, Thresholds())
