"""Thresholds of single classes: by name, else by id; nothing that counts is displaced by what does not."""

import numpy as np
import pytest
import tinyonnx
from graphs import PLAIN
from hypothesis import given
from hypothesis import strategies as st

from agent.counting import by_class_id, counted, with_classes
from agent.decoders import Found, Thresholds
from agent.decoders.boxes import select
from agent.model import Model, ModelError

NAMES = ("red", "green", "blue")


def test_classes_are_named_by_name_or_id():
    assert by_class_id({"green": 0.6, "2": 0.1}, NAMES, 3) == {1: 0.6, 2: 0.1}


def test_a_name_goes_before_an_id():
    assert by_class_id({"2": 0.1}, ("2", "1", "0"), 3) == {0: 0.1}


def test_a_name_that_several_classes_have_means_all():
    assert by_class_id({"a": 0.1}, ("a", "b", "a"), 3) == {0: 0.1, 2: 0.1}


def test_where_nothing_says_how_many_classes_there_are_any_id_will_do():
    assert by_class_id({"7": 0.1}, (), None) == {7: 0.1}


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ({"gren": 0.1}, "'scores' names the class 'gren', which it does not have; it has 3 classes, such as 'green'"),
        ({"3": 0.1}, "'scores' names the class '3', which it does not have; it has 3 classes, such as 'red', 'green'"),
        ({"red": 0.1, "0": 0.2}, "'scores' names the class 0 twice, as '0' and otherwise"),
    ],
)
def test_a_class_that_is_not_there_is_refused_with_near_ones(scores, sentence):
    with pytest.raises(ValueError, match=sentence):
        by_class_id(scores, NAMES, 3)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1, width=32)), max_size=30),
    st.dictionaries(st.integers(0, 4), st.floats(0, 1, width=32), min_size=1),
    st.floats(0, 1, width=32),
    st.integers(1, 10),
)
def test_what_counts_is_what_a_look_at_each_says(seen, of_class, score, most):
    seen = sorted(seen, key=lambda one: -one[1])
    found = Found(
        np.array([id_ for id_, _ in seen], np.int64),
        np.array([score for _, score in seen], np.float32),
        np.tile(np.array([0, 0, 1, 1], np.float32), (len(seen), 1)),
    )
    wanted = [(id_, got) for id_, got in seen if got >= of_class.get(id_, score)][:most]
    kept = counted(found, with_classes(Thresholds(score), of_class), most)
    assert list(zip(kept.class_ids.tolist(), kept.scores.tolist(), strict=True)) == wanted


def test_the_suppression_never_sees_what_does_not_count():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    thresholds = with_classes(Thresholds(0.1), {1: 0.9})
    found = select(boxes, np.array([0.8, 0.5], np.float32), np.array([1, 0]), PLAIN, thresholds)
    assert found.class_ids.tolist() == [0]


def test_a_model_counts_by_class(tmp_path):
    output = np.zeros((1, 7, 84), np.float32)
    output[0, :4, 5], output[0, :4, 50] = (32, 28, 32, 24), (10, 10, 8, 8)
    output[0, 5, 5], output[0, 6, 50] = 0.5, 0.15
    names = {"names": "{0: 'red', 1: 'green', 2: 'blue'}", "task": "detect"}
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": output}, metadata=names)

    def seen(**options):
        looker = Model.load(path, **options).looker()
        tensor, placement = looker.prepare(np.zeros((64, 64, 3), np.uint8))
        return looker.decode(looker.infer(tensor), placement).class_ids.tolist()

    assert seen() == [1]
    assert seen(scores={"green": 0.6}) == []
    assert seen(scores={"2": 0.1}) == [1, 2]
    assert seen(scores={"blue": 0.1}, thresholds=Thresholds(most=1)) == [1]
    with pytest.raises(ModelError, match=r"'scores' names the class 'bleu'.* such as 'blue'"):
        seen(scores={"bleu": 0.1})
