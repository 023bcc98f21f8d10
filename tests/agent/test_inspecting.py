"""`vigie-agent inspect`: what a model is taken for, and why; of a refused one, what can be told of it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tinyonnx

from agent import onnxheader
from agent.cli import main
from agent.onnxheader import versions

NAMES = "{0: 'red', 1: 'green', 2: 'blue'}"
ASSETS = Path(__file__).parents[3] / "shared/assets/models"

OLD = tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24)
NEEDS_SIGNED_INT8 = ("mobilenetv2_int8_goku", "yolo26n_int8")
"""On Python 3.10 the newest runtime is 1.23."""


@pytest.fixture
def detector(tmp_path):
    return tinyonnx.save(tmp_path / "stages.onnx", {"out": tinyonnx.v8()}, metadata={"names": NAMES, "task": "detect"})


def inspect(capsys, *arguments, code=0):
    assert main(["inspect", *map(str, arguments)]) == code
    return capsys.readouterr().out


def report(capsys, *arguments, code=0):
    return json.loads(inspect(capsys, *arguments, "--json", code=code))


def test_everything_is_told_of_a_model_that_is_recognised(detector, capsys):
    told = report(capsys, detector)
    digest = hashlib.sha256(detector.read_bytes()).hexdigest()
    assert told["file"] == {
        "bytes": detector.stat().st_size, "sha256": digest, "ir_version": 8, "opsets": {"ai.onnx": 13},
    }  # fmt: skip
    assert (told["refused"], told["graph_name"]) == (None, "tiny")
    assert told["inputs"] == [{"name": "images", "shape": [1, 3, 64, 64], "dtype": "float32"}]
    assert told["outputs"] == [{"name": "out", "shape": [1, 7, 84], "dtype": "float32"}]
    assert told["metadata"] == {"names": NAMES, "task": "detect"}
    assert (told["task"], told["family"]) == ("detect", "ultralytics-v8")
    assert told["why"] == "its metadata says detect with 3 names, and the output has 4 rows more"
    assert (told["preparation"]["fit"], told["preparation"]["pad"]) == ("letterbox_center", 114)
    assert (told["names"], told["names_source"]) == (["red", "green", "blue"], "metadata")
    assert told["thresholds"] == {"score": 0.25, "scores": {}, "iou": 0.45, "most": 300}
    assert (told["name"], told["version"], told["version_source"]) == ("stages", digest[:12], "sha256")
    assert told["providers"]["effective"] == "CPUExecutionProvider"
    assert "CPUExecutionProvider" in told["providers"]["available"]
    assert told["configuration"]["keys"] == {"model": str(detector)}
    assert told["configuration"]["worth_adding"] == ["model_version: the file says none"]


def test_the_other_families_are_weighed(detector, capsys):
    weighed = {found["family"]: found for found in report(capsys, detector)["candidates"]}
    assert weighed["ultralytics-v8"]["claim"]
    assert weighed["classifier"]["claim"] is None
    assert weighed["classifier"]["refusal"] == "a classifier has one output [1, classes] with at least 2 classes"


def test_people_read_it_line_by_line(detector, capsys):
    lines = inspect(capsys, detector).splitlines()
    assert lines[0] == str(detector)
    text = "\n".join(lines)
    assert "  input         images [1, 3, 64, 64] float32" in lines
    assert "  recognised    detect, ultralytics-v8: its metadata says detect" in text
    assert "  preparation   64x64, letterbox_center on grey 114, rgb, float32 nchw, mean 0, scale 1/255" in lines
    assert "  classes       3 from metadata: red, green, blue" in lines
    assert f"  in the configuration: {{model: {detector}}}" in lines


def test_options_are_told_as_the_configuration_spells_them(detector, capsys):
    options = ["--score-of", "red=0.6", "--prepare", "fit=stretch", "--prepare", "mean=[1, 2, 3]", "--decoder"]
    told = report(capsys, detector, *options, "ultralytics-v8", "--score", "0.3")
    assert told["configuration"]["keys"] == {
        "model": str(detector),
        "decoder": "ultralytics-v8",
        "score": 0.3,
        "scores": {"red": 0.6},
        "preparation": {"fit": "stretch", "mean": [1.0, 2.0, 3.0]},
    }
    assert told["thresholds"]["scores"] == {"red": 0.6}
    assert (told["preparation"]["fit"], told["preparation"]["mean"]) == ("stretch", [1.0, 2.0, 3.0])


def test_a_dynamic_size_is_worth_saying(tmp_path, capsys):
    path = tinyonnx.save(
        tmp_path / "m.onnx",
        {"out": tinyonnx.v8()},
        shape=("batch", 3, "height", "width"),
        metadata={"names": NAMES, "task": "detect"},
        declared={"out": ("batch", 7, "columns")},
    )
    told = report(capsys, path)
    assert told["inputs"][0]["shape"] == ["batch", 3, "height", "width"]
    assert "size: nothing says which" in told["configuration"]["worth_adding"]
    sized = report(capsys, path, "--size", "320x256")
    assert (sized["preparation"]["width"], sized["preparation"]["height"]) == (320, 256)
    assert sized["configuration"]["keys"]["size"] == [320, 256]


def test_a_model_of_no_family_is_refused_with_all_that_can_be_told(tmp_path, capsys):
    path = tinyonnx.save(tmp_path / "odd.onnx", {"out": np.zeros((1, 7, 9, 2), np.float32)})
    told = report(capsys, path, code=1)
    assert "its family is not known" in told["refused"]
    assert told["outputs"] == [{"name": "out", "shape": [1, 7, 9, 2], "dtype": "float32"}]
    assert "family" not in told
    assert all(found["claim"] is None for found in told["candidates"])


def test_two_claims_are_both_told(tmp_path, capsys):
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": np.ones((1, 84, 6), np.float32)})
    told = report(capsys, path, code=1)
    assert sum(found["claim"] is not None for found in told["candidates"]) == 2
    assert "claims it, too" in inspect(capsys, path, code=1)


def test_a_file_that_is_no_model_is_refused_with_what_it_is(tmp_path, capsys):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model, but long enough to be looked at with some care" * 3)
    told = report(capsys, path, code=1)
    assert "is no ONNX model" in told["refused"]
    assert told["file"]["bytes"] == path.stat().st_size
    assert "inputs" not in told
    assert "refused" in inspect(capsys, path, code=1)


def test_a_missing_file_is_refused(tmp_path, capsys):
    told = report(capsys, tmp_path / "no.onnx", code=1)
    assert "no such file" in told["refused"]
    assert told["file"] is None


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--size", "640", "must be width and height in pixels, such as 640x480, got '640'"),
        ("--size", "0x4", "must be width and height in pixels"),
        ("--score-of", "person", "must be a class and its score, such as person=0.6, got 'person'"),
        ("--score-of", "person=2", "must be a number from 0 to 1, got '2'"),
        ("--prepare", "fit=squash", "'fit': must be one of letterbox_center, letterbox_corner, stretch, crop_center"),
        ("--prepare", "fitt=stretch", "'fitt' is not a known key; did you mean 'fit'?"),
        ("--prepare", "fit", "must be a key and its value, such as fit=stretch, got 'fit'"),
    ],
)
def test_a_wrong_option_is_answered_with_its_rule(detector, capsys, option, value, sentence):
    with pytest.raises(SystemExit) as caught:
        main(["inspect", str(detector), option, value])
    assert caught.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_the_header_of_a_file_is_read_without_its_weights(tmp_path):
    path = tmp_path / "m.onnx"
    weights = onnx.numpy_helper.from_array(np.zeros(100_000, np.float32), "weights")
    graph = onnx.helper.make_graph([], "big", [], [], [weights])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    assert versions(path) == (9, {"": 17, "com.microsoft": 1})


@pytest.mark.parametrize("cut", [0, 1, 3, 40, 200])
def test_the_header_of_a_damaged_file_is_read_as_far_as_it_goes(detector, cut):
    detector.write_bytes(detector.read_bytes()[:cut])
    ir_version, opsets = versions(detector)
    assert ir_version in (None, 8)
    assert opsets in ({}, {"": 13})


@pytest.mark.parametrize("filler", [b"\0", b"\x08\x01"])
def test_the_header_of_a_file_of_fields_without_end_is_given_up(detector, monkeypatch, filler):
    steps = []
    real = onnxheader._field

    def counted(*arguments):
        steps.append(1)
        return real(*arguments)

    monkeypatch.setattr(onnxheader, "_field", counted)
    detector.write_bytes(detector.read_bytes() + filler * 200_000)
    assert versions(detector)[1] == {"": 13}
    assert len(steps) <= onnxheader.FIELDS_MAX


def test_what_a_file_says_of_itself_gives_a_terminal_no_orders(tmp_path, capsys):
    metadata = {"names": r"{0: '\x1b[2J', 1: '\ud800', 2: 'b'}", "task": "detect", "note": "\x1b]0;a title\x07"}
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}, metadata=metadata)
    shown = inspect(capsys, path)
    assert "classes       3 from metadata: \ufffd[2J, \ufffd, b" in shown
    assert all(letter.isprintable() or letter == "\n" for letter in shown)


@pytest.mark.parametrize("word", [b"tiny", b"detect"])
def test_a_file_whose_text_is_no_text_is_told_all_the_same(detector, capsys, word):
    detector.write_bytes(detector.read_bytes().replace(word, b"\xff" * len(word)))
    code = main(["inspect", str(detector), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert "cannot be told" in told["description"]
    assert (code == 1) == bool(told["refused"])


@pytest.mark.assets
@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.onnx")), ids=lambda path: path.stem)
def test_every_real_model_is_told(path, capsys):
    if OLD and path.stem in NEEDS_SIGNED_INT8:
        pytest.skip("onnxruntime before 1.24 has no signed ConvInteger for this model")
    told = report(capsys, path)
    assert told["why"]
    assert told["file"]["opsets"]
    assert [found["family"] for found in told["candidates"] if found["claim"]] == [told["family"]]


@pytest.mark.assets
@pytest.mark.parametrize("path", sorted((ASSETS / "negative").glob("*.onnx")), ids=lambda path: path.stem)
def test_every_file_that_is_no_model_of_ours_is_refused(path, capsys):
    told = report(capsys, path, code=1)
    assert str(path) in told["refused"]
    assert told["file"]["bytes"] == path.stat().st_size
