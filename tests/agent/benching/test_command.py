"""`vigie-agent bench`, as a process: its figures agree with each other, and what is wrong is said."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import greymodel
import numpy as np
import psutil
import pytest
from brokers import Broker

ROOT = Path(__file__).resolve().parents[3]


def bench(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "agent", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return greymodel.save(tmp_path / "grey.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(5):
        cv2.imwrite(str(pictures / f"{number}.png"), np.full((48, 64, 3), 40 * number, np.uint8))
    return pictures


def answer(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_whole_agent_is_measured_against_the_bare_runtime(model: Path, folder: Path, mosquitto: Broker) -> None:
    mosquitto.start()
    told = answer(
        bench(model, folder, "--json", "--pairs", 2, "--seconds", 0.5, "--looks", 1, "--broker", mosquitto.url)
    )
    assert told["family"] == "ultralytics-v8"
    assert told["bare_fps"] > told["pipeline_fps"] > 10
    assert 0 < told["ratio_interval"][0] <= told["ratio"] <= told["ratio_interval"][1] < 1
    assert (told["threads"], told["looks"], told["pairs"]) == (1, 1, 2)
    assert told["overhead_ms"] == pytest.approx(1000 / told["pipeline_fps"] - told["bare_ms"], abs=0.1)
    assert told["arrived"] > 10, "what was measured went over the broker"
    for stage, percentiles in told["stages_ms"].items():
        assert percentiles["p50"] <= percentiles["p95"] <= percentiles["p99"], stage
    assert set(told["stages_ms"]) == {"capture", "wait", "prepare", "infer", "decode", "response"}
    assert told["stages_ms"]["infer"]["p50"] > 0
    assert told["rss_mb"] == told["memory_mb"]["agent"]["rss"] > 20
    assert told["memory_mb"]["capture"]["pss"] > 5
    assert told["cpu_ms"]["agent"] > 0
    best = max(tried["fps"] for tried in told["bare_tried"])
    assert next(tried["fps"] for tried in told["bare_tried"] if tried["fps"] == best)
    assert told["bare_setting"]["threads"] >= 1


def test_a_stream_of_a_configuration_is_measured_as_it_is_configured(model: Path, folder: Path, tmp_path: Path) -> None:
    source = {"synthetic": "test", "width": 64, "height": 64}
    hour = (time.localtime().tm_hour + 12) % 24  # asleep now, which must not matter
    plan = {"every": "10 min", "between": [f"{hour:02}:00-{hour:02}:01"]}
    streams = [
        {"name": "cam0", "model": "no-such.onnx", "source": {"files": "pictures", "loop": True}},
        {"name": "cam1", "model": "no-such.onnx", "source": source, "score": 0.95, **plan},
    ]
    path = tmp_path / "agent.yaml"
    path.write_text(json.dumps({"streams": streams, "threads": 2, "looks": 3}))
    told = answer(bench(model, f"{path}:cam1", "--json", "--pairs", 1, "--seconds", 0.3))
    assert (told["source"], told["threads"], told["looks"]) == ("synthetic: test", 2, 3)
    assert (
        answer(bench(model, f"{path}:cam0", "--json", "--pairs", 1, "--seconds", 0.3))["source"] == f"files: {folder}"
    )
    several = bench(model, path)
    assert several.returncode == 2
    assert f"{path}: has several streams; say one of {path}:cam0, {path}:cam1" in several.stderr
    unknown = bench(model, f"{path}:cam7")
    assert unknown.returncode == 2
    assert f"{path}: has no stream 'cam7'" in unknown.stderr


def test_people_get_a_table(model: Path, folder: Path) -> None:
    done = bench(model, folder, "--pairs", 1, "--seconds", 0.3)
    assert done.returncode == 0, done.stderr
    for word in ("model", "source", "measured", "bare", "agent", "ratio", "overhead", "processor", "memory"):
        assert f"\n{word} " in f"\n{done.stdout}"


def test_what_cannot_be_measured_is_said(model: Path, folder: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"x" * 5000)
    for arguments, code, words in (
        ((tmp_path / "none.onnx", folder), 1, "none.onnx: no such file"),
        ((broken, folder), 1, "broken.onnx: the runtime refuses it"),
        ((model, tmp_path / "none.mp4"), 1, "none.mp4: no such file; give a video"),
        ((model, nothing), 1, "the source gives no frame"),
        ((model, folder, "--pairs", 1, "--broker", "mqtt://127.0.0.1:9"), 1, "does not let the stand-in collector in"),
        ((model, folder, "--broker", "http://here"), 1, "must start with mqtt://"),
        ((model, folder, "--pairs", 0), 2, "must be 1 or more"),
        ((model, folder, "--seconds", 0), 2, "must be from 0.1 to 60"),
        ((model, folder, "--threads", -1), 2, "must be 0 or more"),
        ((model, folder, "--decoder", "nope"), 2, "nope"),
    ):
        done = bench(*arguments)
        assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


def test_pictures_that_wait_for_the_agent_are_left_to_it(model: Path, folder: Path, tmp_path: Path) -> None:
    waiting = sorted(folder.iterdir())
    source = f"{{folder: {folder}, then: delete, poll_s: 0.1}}"
    config = tmp_path / "agent.yaml"
    config.write_text(f"streams: [{{name: gate, source: {source}, model: {model}}}]\n")
    done = bench(model, f"{config}:gate", "--pairs", 1)
    assert (done.returncode, "stream gate waits for pictures" in done.stderr) == (1, True)
    preview = [sys.executable, "-m", "agent", "preview", "gate", "--config", str(config), "--listen", "127.0.0.1:0"]
    shown = subprocess.run(preview, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (shown.returncode, "are for the agent" in shown.stderr) == (1, True)
    assert sorted(folder.iterdir()) == waiting


def test_asked_to_end_it_leaves_nothing_running(model: Path, folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "tmp"
    kept.mkdir()
    command = [sys.executable, "-m", "agent", "bench", str(model), str(folder), "--pairs", "50", "--seconds", "20"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TMPDIR": str(kept)}) as bench:
        try:
            until = time.monotonic() + 60
            while not any("agent.benching.child" in words for words in begun(bench.pid).values()):
                assert time.monotonic() < until, "no agent was begun"
                time.sleep(0.05)
            children = list(begun(bench.pid))
            bench.terminate()
            assert bench.wait(60) == 128 + signal.SIGTERM
        finally:
            bench.kill()
    assert psutil.wait_procs(children, 10)[1] == []
    assert list(kept.glob("vigie-bench-*")) == []


def begun(pid: int) -> dict[psutil.Process, list[str]]:
    """What a process began, with the words of each command line."""
    found = {}
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found[child] = child.cmdline()
    return found
