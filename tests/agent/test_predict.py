"""`vigie-agent predict`: one line for each picture, whatever the others are."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tinyonnx

from agent import predict
from agent.cli import main

NAMES = "{0: 'red', 1: 'green', 2: 'blue'}"
ROOT = Path(__file__).parents[2]

START = "import argparse, sys; from agent import predict; p = argparse.ArgumentParser(); "
START += "predict.add_parser(p.add_subparsers()); a = p.parse_args(); sys.exit(a.run(a))"
"""What `vigie-agent` does, without its other commands."""


@pytest.fixture
def detector(tmp_path):
    return tinyonnx.save(tmp_path / "stages.onnx", {"out": tinyonnx.v8()}, metadata={"names": NAMES, "task": "detect"})


@pytest.fixture
def classifier(tmp_path):
    logits = np.log(np.array([[0.1, 0.7, 0.2]], np.float32))
    return tinyonnx.save(tmp_path / "kinds.onnx", {"out": logits}, metadata={"names": NAMES})


@pytest.fixture
def photo(tmp_path):
    """128 pixels wide and high: the detector sees a box from (32, 32) to (96, 80) in it."""
    return picture(tmp_path / "photo.png")


def picture(path):
    assert cv2.imwrite(str(path), np.zeros((128, 128, 3), np.uint8))
    return path


def run(capsys, *arguments):
    """Exit code, lines of standard output, lines of standard error."""
    parser = argparse.ArgumentParser()
    predict.add_parser(parser.add_subparsers())
    args = parser.parse_args(["predict", *map(str, arguments)])
    code = args.run(args)
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def answers(capsys, *arguments):
    code, out, err = run(capsys, *arguments, "--json")
    return code, [json.loads(line) for line in out], err


def test_a_detector_answers_in_pixels_of_the_picture(capsys, detector, photo):
    code, [answer], err = answers(capsys, detector, photo)
    timings = answer.pop("timings_ms")
    assert answer == {
        "path": str(photo),
        "width": 128,
        "height": 128,
        "model": "stages",
        "task": "detect",
        "detections": [{"class": "green", "class_id": 1, "score": 0.9, "box": [32, 32, 96, 80]}],
    }
    assert list(timings) == ["prepare", "infer", "decode"]
    assert min(timings.values()) >= 0
    assert (code, err) == (0, [])


def test_masks_and_keypoints_are_told_beside_the_box(capsys, tmp_path, photo):
    boxes, protos = tinyonnx.v8(), np.ones((1, 1, 16, 16), np.float32)
    weights = np.ones((1, 1, 84), np.float32)
    outputs = {"output0": np.concatenate((boxes, weights), axis=1), "output1": protos}
    model = tinyonnx.save(tmp_path / "mask.onnx", outputs, metadata={"names": NAMES, "task": "segment"})
    _, [answer], _ = answers(capsys, model, photo)
    assert answer["detections"] == [
        {"class": "green", "class_id": 1, "score": 0.9, "box": [32, 32, 96, 80], "mask_area": 64 * 48}
    ]
    points = np.tile(np.array([20, 30, 0.5], np.float32)[:, None], 84)[None]
    said = {"names": NAMES, "task": "pose", "kpt_shape": "[1, 3]"}
    model = tinyonnx.save(tmp_path / "pose.onnx", {"out": np.concatenate((boxes, points), axis=1)}, metadata=said)
    _, [answer], _ = answers(capsys, model, photo)
    assert answer["detections"][0]["keypoints"] == [[40, 60, 0.5]]


def test_a_classifier_answers_with_classes_best_first(capsys, classifier, photo):
    _, [answer], err = answers(capsys, classifier, photo)
    assert answer["task"] == "classify"
    assert "detections" not in answer
    assert [(guess["class"], guess["class_id"]) for guess in answer["classes"]] == [
        ("green", 1),
        ("blue", 2),
        ("red", 0),
    ]
    assert [guess["score"] for guess in answer["classes"]] == pytest.approx([0.7, 0.2, 0.1], abs=1e-6)
    assert err == []


def test_only_a_videos_answers_have_a_frame(capsys, tmp_path, detector, photo):
    video = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        video.write(np.zeros((48, 64, 3), np.uint8))
    video.release()
    code, seen, _ = answers(capsys, detector, tmp_path / "clip.avi", photo)
    assert (code, [answer.get("frame") for answer in seen]) == (0, [1, 2, 3, None])


def test_a_folder_is_its_pictures_in_natural_order(capsys, tmp_path, detector):
    (tmp_path / "pictures").mkdir()
    paths = [picture(tmp_path / "pictures" / f"{number}.png") for number in (10, 9)]
    _, seen, _ = answers(capsys, detector, tmp_path / "pictures")
    assert [answer["path"] for answer in seen] == [str(paths[1]), str(paths[0])]


def test_what_cannot_be_read_is_told_and_the_others_go_on(capsys, tmp_path, detector, photo):
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:40])
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "nix.png", tmp_path / "broken.png", tmp_path / "empty", photo]
    code, seen, err = answers(capsys, detector, *paths)
    assert code == 1
    assert [answer["path"] for answer in seen] == [str(photo)]
    assert err == [
        f"vigie-agent predict: error: {paths[0]}: No such file or directory",
        (
            f"vigie-agent predict: error: {paths[1]}: cannot be decoded: it is damaged, cut short, "
            f"or of a kind that OpenCV {cv2.__version__} does not read"
        ),
        f"vigie-agent predict: error: {paths[2]} holds no picture (.bmp, .jpeg, .jpg, .png, .ppm, .tif, .tiff, .webp)",
    ]


def test_a_model_that_cannot_be_loaded_is_told(capsys, tmp_path, photo):
    code, out, err = run(capsys, tmp_path / "nix.onnx", photo)
    assert (code, out) == (1, [])
    assert err == [f"vigie-agent predict: error: {tmp_path / 'nix.onnx'}: no such file; give the path of an .onnx file"]


def test_outputs_that_make_no_sense_are_told_with_the_picture(capsys, tmp_path, photo):
    model = tinyonnx.save(tmp_path / "m.onnx", {"out": np.full((1, 7, 84), np.nan, np.float32)})
    code, out, err = run(capsys, model, photo, "--decoder", "ultralytics-v8")
    assert (code, out) == (1, [])
    assert err[-1] == f"vigie-agent predict: error: {photo}: the output has values that are NaN or infinite"


def test_people_get_a_line_as_well(capsys, detector, photo):
    _, [line], _ = run(capsys, detector, photo)
    assert line.startswith(f"{photo}: green 0.90 (")
    assert line.endswith(" ms)")


def test_people_are_told_that_nothing_was_seen(capsys, detector, photo):
    _, [line], _ = run(capsys, detector, photo, "--score", "0.95")
    assert line.startswith(f"{photo}: nothing (")


def test_the_overlap_decides_what_stays(capsys, tmp_path, photo):
    """Two boxes of 32x24 that are 8 apart overlap by 24/40 = 0.6."""
    values = tinyonnx.v8()
    values[0, :, 6] = values[0, :, 5]
    values[0, 0, 6] += 8
    model = tinyonnx.save(tmp_path / "m.onnx", {"out": values}, metadata={"names": NAMES})
    assert len(answers(capsys, model, photo)[1][0]["detections"]) == 1
    assert len(answers(capsys, model, photo, "--iou", "0.65")[1][0]["detections"]) == 2


def test_names_come_from_a_file_when_the_model_has_none(capsys, tmp_path, photo):
    model = tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()})
    _, [answer], err = answers(capsys, model, photo)
    assert answer["detections"][0]["class"] == "class_1"
    assert err == [f"vigie-agent predict: {model}: nothing says what its 3 classes are called: they get numbers"]
    (tmp_path / "names.txt").write_text("rouge\nvert\nbleu\n")
    _, [answer], err = answers(capsys, model, photo, "--names", tmp_path / "names.txt")
    assert (answer["detections"][0]["class"], err) == ("vert", [])


def test_a_names_file_that_cannot_be_read_is_told(capsys, tmp_path, detector, photo):
    code, _, err = run(capsys, detector, photo, "--names", tmp_path / "nix.txt")
    assert code == 1
    assert err == [f"vigie-agent predict: error: {tmp_path / 'nix.txt'}: cannot be read (No such file or directory)"]


@pytest.mark.parametrize("value", ["2", "-0.1", "nan", "much"])
def test_a_share_is_from_0_to_1(capsys, detector, photo, value):
    with pytest.raises(SystemExit) as stopped:
        run(capsys, detector, photo, f"--score={value}")
    assert stopped.value.code == 2
    assert f"argument --score: must be a number from 0 to 1, got '{value}'" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path, detector):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(300):
        picture(folder / f"{number}.png")
    with subprocess.Popen(
        [sys.executable, "-c", START, "predict", detector, folder, "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(("options", "spelled"), [(["--json"], b'"class": "\\u0153uf"'), ([], b": \\u0153uf 0.90 (")])
def test_names_come_out_on_a_terminal_that_cannot_show_them(tmp_path, photo, options, spelled):
    model = tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}, metadata={"names": "['a', 'œuf', 'c']"})
    done = subprocess.run(
        [sys.executable, "-c", START, "predict", model, photo, *options],
        cwd=ROOT,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert spelled in done.stdout


def test_draw_writes_each_picture_with_what_was_seen(detector, photo, tmp_path):
    assert main(["predict", str(detector), str(photo), "--draw", str(tmp_path / "out/deep")]) == 0
    drawn, plain = cv2.imread(str(tmp_path / "out/deep/photo.jpg")), cv2.imread(str(photo))
    assert drawn is not None
    assert plain is not None
    changed = np.abs(drawn.astype(int) - plain.astype(int)).max(axis=2) > 60
    assert changed[60, 28:37].any(), "the box's left side is at x = 32"
    assert not changed[110:, :].any(), "there is nothing below the box"


def test_a_folder_that_cannot_be_drawn_into_is_named(detector, photo, capsys):
    assert main(["predict", str(detector), str(photo), "--draw", str(detector)]) == 1
    assert str(detector) in capsys.readouterr().err.splitlines()[-1]
