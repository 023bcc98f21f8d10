"""What a model calls its classes."""

from types import SimpleNamespace

import pytest

from agent.classnames import names_for, read_names

OWN = {"names": "['red', 'green']"}


def decoder(count, task="detect"):
    return SimpleNamespace(task=task, class_count=count)


def test_metadata_comes_first():
    names, source, notes = names_for(OWN, ["a", "b"], decoder(2))
    assert (names, source) == (("red", "green"), "metadata")
    assert notes == ("the configured class names are not used: the file has its own",)


def test_metadata_of_another_length_is_fitted_with_a_sentence():
    assert names_for(OWN, None, decoder(3)) == (
        ("red", "green", "class_2"),
        "metadata",
        ("its metadata names 2 classes, but its output has 3",),
    )
    assert names_for(OWN, None, decoder(1))[0] == ("red",)


def test_the_configuration_comes_second():
    assert names_for({}, ["a", "b"], decoder(2)) == (("a", "b"), "configuration", ())
    assert names_for({}, ["a", "b"], decoder(None)) == (("a", "b"), "configuration", ())


def test_a_configuration_of_another_length_is_refused():
    with pytest.raises(ValueError, match="the configuration has 2 class names, the model 3 classes"):
        names_for({}, ["a", "b"], decoder(3))


@pytest.mark.parametrize(
    ("task", "count", "source", "samples"),
    [
        ("detect", 80, "COCO", {0: "person", 39: "bottle", 79: "toothbrush"}),
        ("classify", 1000, "ImageNet", {0: "tench", 340: "zebra", 999: "toilet tissue"}),
    ],
)
def test_a_well_known_length_is_assumed_with_a_sentence(task, count, source, samples):
    names, said, notes = names_for({}, None, decoder(count, task))
    assert (len(names), said) == (count, source)
    assert {index: names[index] for index in samples} == samples
    assert notes == (f"nothing says what its {count} classes are called: {source}'s names are assumed",)


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_any_other_length_gets_numbers(task):
    assert names_for({}, None, decoder(2, task)) == (
        ("class_0", "class_1"),
        "numbers",
        ("nothing says what its 2 classes are called: they get numbers",),
    )


def test_an_unknown_length_gets_none():
    names, source, notes = names_for({}, None, decoder(None))
    assert (names, source, len(notes)) == ((), "numbers", 1)


def test_names_are_read_one_a_line(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffpaprika, red\r\n\r\nœuf\n\n".encode())
    assert read_names(tmp_path / "names.txt") == ("paprika, red", "class_1", "œuf")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read"), (b"\n", "is empty"), (b"\xff\xfe\x00", "is not text in UTF-8")],
)
def test_a_file_without_names_is_refused(tmp_path, content, reason):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}: {reason}"):
        read_names(path)
