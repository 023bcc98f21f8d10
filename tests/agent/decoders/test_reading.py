"""What is read from a file that someone else made."""

import pytest
from graphs import graph
from hypothesis import given
from hypothesis import strategies as st

from agent.decoders import Graph, Port
from agent.decoders.reading import beside, cells, class_names, image_input, image_size, literal


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'red', 1: \"green's\"}", ("red", "green's")),
        ("{1: 'green', 0: 'red'}", ("red", "green")),
        ("['red', 'green']", ("red", "green")),
        ('["red", "green"]', ("red", "green")),
        ('{"0": "red", "1": "green"}', ("red", "green")),
        ("{0: 'a\\d'}", ("a\\d",)),
        ("{0: ' two\\n lines ', 1: ''}", ("two lines", "class_1")),
        ("{0: 7}", ("7",)),
        ("{0: 'red', 2: 'blue'}", None),
        ("{'red': 0}", None),
        ("{}", None),
        ("red, green", None),
        ("__import__('os')", None),
        ("[" * 100_000, None),
        ("3", None),
    ],
)
def test_names_are_read_from_a_dict_or_a_list(text, names):
    assert class_names({"names": text}) == names


def test_no_names_are_none():
    assert class_names({}) is None


def test_a_name_that_is_too_long_is_cut():
    assert class_names({"names": repr(["x" * 1000])}) == ("x" * 128,)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('["\\ud800red"]', "\ufffdred"),
        (r"['\ud800red']", "\ufffdred"),
        (r"['\x1b[2J\x07red']", "\ufffd[2J\ufffdred"),
        (r"['\u202eder']", "\ufffdder"),
        ("['mûr \U0001f345 رسیده\u200cتر']", "mûr \U0001f345 رسیده\u200cتر"),
    ],
)
def test_a_name_is_letters_that_a_record_carries_and_no_terminal_obeys(text, name):
    assert class_names({"names": text}) == (name,)
    name.encode()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("[480, 640]", (640, 480)),
        ("(480, 640)", (640, 480)),
        ("320", (320, 320)),
        ("[0, 640]", None),
        ("['a', 640]", None),
        ("[1, 2, 3]", None),
        ("big", None),
    ],
)
def test_a_size_is_a_side_or_height_and_width(text, size):
    assert image_size({"imgsz": text}) == size


@given(st.text(max_size=50))
def test_any_text_is_read_without_an_error(text):
    literal(text)
    class_names({"names": text})
    image_size({"imgsz": text})


def test_a_grid_rounds_up():
    assert cells(100, 64, (32,)) == 4 * 2


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((1, 3, 48, 64), (64, 48, 3, "nchw")),
        ((1, 48, 64, 3), (64, 48, 3, "nhwc")),
        ((1, 1, 28, 28), (28, 28, 1, "nchw")),
        ((1, 28, 28, 1), (28, 28, 1, "nhwc")),
    ],
)
def test_an_image_is_planar_or_interleaved(shape, read):
    image = image_input(graph((1, 10), shape=shape))
    assert (image.width, image.height, image.channels, image.layout) == read


@pytest.mark.parametrize("shape", [(1, 4), (1, 1, 4), (1, 4, 64, 64), (3, 64, 64)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match="an image is"):
        image_input(graph((1, 10), shape=shape))


def test_whole_numbers_are_no_image():
    with pytest.raises(ValueError, match="is int64; an image is"):
        image_input(graph((1, 10), dtype="int64"))


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 4), (2,)])
def test_two_pictures_or_more_than_a_pair_are_refused_by_name(shape):
    ports = Port("images", "float32", (1, 3, 64, 64)), Port("sizes", "float32", shape)
    with pytest.raises(ValueError, match=r"2 inputs \(images, sizes\)"):
        image_input(Graph(ports, (), {}))


def test_a_mask_beside_the_picture_says_that_all_of_it_is_picture():
    ports = Port("pixel_values", "float32", (1, 3, 48, 64)), Port("pixel_mask", "int64", (1, 8, 8))
    given = beside(ports)["pixel_mask"]
    assert (given.shape, str(given.dtype), given.min()) == ((1, 8, 8), "int64", 1)


def test_a_pair_beside_the_picture_is_given_ones_or_the_tensors_own_size():
    names = ("scale_factor", "im_shape")
    ports = Port("image", "float32", (1, 3, 48, 64)), *(Port(name, "float32", (1, 2)) for name in names)
    assert {name: values.tolist() for name, values in beside(ports).items()} == {
        "scale_factor": [[1, 1]],
        "im_shape": [[48, 64]],
    }
