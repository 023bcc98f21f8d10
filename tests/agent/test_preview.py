"""`vigie-agent preview` as a process: its page in a browser is in tests/web/test_preview.py."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import greymodel
import numpy as np
import pytest
from smallsite import free_port, wait_for

from agent import preview
from agent.cli import main
from agent.preview.watching import measure

ROOT = Path(__file__).parents[2]
CONFIG = """
site: greenhouse
device: pi-roof
streams:
  - {name: cam0, source: {synthetic: a, live: true, fps: 20}, model: grey.onnx}
  - {name: cam1, source: {push: 8080}, model: grey.onnx}
"""


@pytest.fixture
def configured(tmp_path):
    greymodel.save(tmp_path / "grey.onnx")
    (tmp_path / "agent.yaml").write_text(CONFIG)
    return tmp_path / "agent.yaml"


class Previewed:
    def __init__(self, configuration: Path, *arguments: str) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agent", "preview", *self._options(configuration), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=configuration.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def _options(self, configuration: Path) -> list[str]:
        return ["--config", str(configuration), "--listen", f"127.0.0.1:{self.port}"]

    def get(self, path: str, token: str | None = None) -> bytes:
        given = self.url.partition("?t=")[2] if token is None else token
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}t={given}", timeout=20) as answer:
            body: bytes = answer.read()
            return body

    def state(self):
        return json.loads(self.get("/state?after=0&"))

    def end(self) -> int:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=20)
        return self._process.returncode

    @property
    def code(self) -> int | None:
        return self._process.poll()


def test_it_shows_the_picture_and_what_the_model_sees(configured):
    shown = Previewed(configured)
    try:
        state = wait_for(lambda: (got := shown.state())["number"] and got, "a picture")
        assert (state["stream"], state["width"], state["height"]) == ("cam0", 640, 480)
        assert state["seen"] == [{"class": "grey", "score": pytest.approx(0.9)}]
        assert state["focus"] > 0
        assert 590 < state["left_s"] <= 600
        picture = cv2.imdecode(np.frombuffer(shown.get("/picture?"), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (480, 640, 3)
        later = wait_for(lambda: (got := shown.state())["number"] > state["number"] and got, "a later one")
        assert 0 < wait_for(lambda: shown.state()["fps"], "a rate") <= 20
        assert later["trouble"] == ""
    finally:
        assert shown.end() == 0
    assert not (configured.parent / "vigie-state").exists(), "nothing is recorded"


def test_without_the_token_there_is_nothing_to_see(configured):
    shown = Previewed(configured)
    try:
        for path in ("/?", "/state?", "/picture?"):
            for token in ("", "wrong", "%C3%BC"):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    shown.get(path, token)
                assert refused.value.code == 403
                refused.value.close()
        assert b"Vigie preview" in shown.get("/?")
    finally:
        shown.end()


def test_it_ends_by_itself_and_says_so(configured):
    began = time.monotonic()
    shown = Previewed(configured, "--minutes", "0.05")
    wait_for(lambda: shown.state()["ended"], "the end")
    assert time.monotonic() - began >= 3.0
    wait_for(lambda: shown.code is not None, "the process")
    assert shown.end() == 0


def test_a_camera_that_is_not_there_is_said_on_the_page(configured):
    configured.write_text(CONFIG.replace("synthetic: a, live: true, fps: 20", "files: nothing.mp4"))
    shown = Previewed(configured)
    try:
        assert "camera_lost" in wait_for(lambda: shown.state()["trouble"], "the trouble")
    finally:
        shown.end()


def test_a_running_agent_holds_the_camera(configured, capsys):
    state = configured.parent / "vigie-state"
    state.mkdir()
    with (state / "outbox.db.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main(["preview", "--config", str(configured)]) == 1
    assert "systemctl stop vigie-agent" in capsys.readouterr().err


def test_what_cannot_be_previewed_is_said(configured, capsys, monkeypatch):
    assert main(["preview", "cam1", "--config", str(configured)]) == 1
    assert "cam1 has no camera" in capsys.readouterr().err
    assert main(["preview", "cam9", "--config", str(configured)]) == 2
    assert "no stream 'cam9'; known: cam0, cam1" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["preview", "--config", str(configured), "--listen", "here"])
    configured.write_text(CONFIG.split("  - {name: cam1", maxsplit=1)[0])
    monkeypatch.setattr("agent.sources.push.find_spec", lambda _name: None)
    assert main(["preview", "--config", str(configured)]) == 1
    assert "pip install 'vigie[agent,push]'" in capsys.readouterr().err


def test_each_network_has_its_address():
    anywhere = preview._urls("0.0.0.0", 8090, "word")  # noqa: S104  # an address, which nothing here listens on
    assert anywhere
    assert all(url.startswith("http://") and url.endswith(":8090/?t=word") for url in anywhere)
    assert not any("0.0.0.0" in url for url in anywhere), "nobody can type that"  # noqa: S104  # the same
    assert preview._urls("::1", 1, "w") == ["http://[::1]:1/?t=w"]


def test_the_focus_figure_falls_with_blur_and_stays_with_exposure():
    random = np.random.default_rng(1)
    scene = cv2.resize(random.integers(40, 200, (60, 80, 3), np.uint8), (640, 480), interpolation=cv2.INTER_NEAREST)
    sharp = measure(np.asarray(scene, np.uint8))["focus"]
    figures = [measure(np.asarray(cv2.GaussianBlur(scene, (0, 0), blur), np.uint8))["focus"] for blur in (1, 2, 4)]
    assert sharp > figures[0] > figures[1] > figures[2]
    darker = measure((scene * 0.6).astype(np.uint8))["focus"]
    assert darker == pytest.approx(sharp, rel=0.05)


def test_what_is_too_dark_and_too_bright_is_a_share_of_the_picture():
    picture = np.full((40, 40, 3), 128, np.uint8)
    picture[:10], picture[30:, :20] = 0, 255
    assert measure(picture) | {"focus": 0, "mean": 0} == {"focus": 0, "mean": 0, "dark": 0.25, "bright": 0.125}
