"""A Raspberry Pi's camera: without one, a module that has picamera2's documented face stands in for the library."""

import sys
import textwrap
from pathlib import Path

import pytest

from agent.capture import Backoff, Capture, Progress
from agent.clock import Clock
from agent.sources import Lost, picamera, resolve
from agent.sources.picamera import Picamera

LIBRARY = textwrap.dedent("""
    import itertools, time
    import numpy as np

    log = []

    class Request:
        held = 0

        def __init__(self, number, size):
            self.number, self.size = number, size
            Request.held += 1
            assert Request.held <= 1, "the camera runs out of memory when requests are kept"

        def make_array(self, name):
            assert name == "main"
            array = np.zeros((self.size[1], self.size[0], 3), np.uint8)
            array[:, :, 0] = 200
            array[:, :, 2] = self.number
            return array

        def release(self):
            Request.held -= 1

    class Picamera2:
        @staticmethod
        def global_camera_info():
            return [{"Model": "imx708", "Num": 0, "Id": "/base/soc/i2c0mux/imx708@1a"}]

        def __init__(self, camera_num=0):
            if BUSY:
                raise RuntimeError("Camera __init__ sequence did not complete.")
            self.numbers = itertools.count(1)

        def create_video_configuration(self, main={}, lores=None, raw=None, controls={}, buffer_count=6, queue=True):
            return {"main": main, "controls": controls, "queue": queue}

        def configure(self, config):
            log.append(config)
            self.size = config["main"]["size"]

        def start(self):
            log.append("start")

        def capture_request(self):
            time.sleep(0.005)
            return Request(next(self.numbers), self.size)

        def stop(self):
            log.append("stop")

        def close(self):
            log.append("close")
""")


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The system's packages, which this environment does not see by itself."""

    def write(text, *, busy=False):
        (tmp_path / "picamera2.py").write_text(f"BUSY = {busy}\n{text}")

    monkeypatch.setattr(picamera, "SYSTEM_PACKAGES", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    write(LIBRARY)
    yield write
    sys.modules.pop("picamera2", None)


def opened(number="0", **options):
    return Picamera(number, Picamera.Options(**options))


@pytest.mark.usefixtures("library")
def test_frames_come_as_bgr_in_the_size_that_was_asked_for():
    with opened(width=640, height=480, fps=15) as source:
        first, second = source.read().copy(), source.read().copy()
        log = sys.modules["picamera2"].log
    assert first.shape == (480, 640, 3)
    assert first[0, 0].tolist() == [200, 0, 1]
    assert second[0, 0].tolist() == [200, 0, 2]
    main = {"size": (640, 480), "format": "RGB888"}
    assert log == [{"main": main, "controls": {"FrameRate": 15.0}, "queue": False}, "start", "stop", "close"]
    assert sys.modules["picamera2"].Request.held == 0


def test_the_systems_library_comes_last_so_that_it_hides_nothing(library, tmp_path):
    library(LIBRARY)
    (tmp_path / "msgspec.py").write_text("raise RuntimeError('the system has its own')")
    with opened() as source:
        source.read()
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.usefixtures("library")
def test_a_camera_that_is_not_there_lists_those_that_are():
    with pytest.raises(Lost, match=r"there is no camera 3; cameras here: 0: imx708"):
        opened("3").__enter__()


def test_a_camera_in_use_is_lost(library):
    library(LIBRARY, busy=True)
    with pytest.raises(Lost, match="cannot be started, another program may be using it: Camera __init__ sequence"):
        opened().__enter__()


def test_a_machine_without_the_library_is_told_what_to_install(library, tmp_path):
    del library
    (tmp_path / "picamera2.py").unlink()
    with pytest.raises(Lost, match=r"^picamera2 is not installed: sudo apt install python3-picamera2"):
        opened().__enter__()


def test_a_library_that_does_not_fit_names_both_sides(library):
    library("raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')")
    with pytest.raises(Lost, match=r"does not fit this environment \(Python 3.*numpy .*binary incompat.*libcamera"):
        opened().__enter__()


def test_the_number_must_be_one():
    with pytest.raises(ValueError, match="'picamera' must be the number of a camera, 0 for the first, got 'front'"):
        resolve({"picamera": "front"}, Path("/nowhere"))


def test_the_real_capture_reads_it(library, tmp_path, monkeypatch):
    del library
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # which the capture process inherits
    source = resolve({"picamera": 0, "width": 64, "height": 48}, Path("/nowhere"))
    capture = Capture("cam0", source, None, Progress.in_memory(["cam0"]), Clock(), backoff=Backoff(0.01, 0.01))
    with capture:
        for frame in capture.frames():
            assert frame.pixels.shape == (48, 64, 3)
            if frame.number >= 5:
                break
