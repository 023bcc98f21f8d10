"""Cameras on the network: what can be shown without one. The contract suite reads a real MJPEG server."""

import contextlib
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.capture import Capture, Progress
from agent.clock import Clock
from agent.sources import Lost, Unreadable, resolve
from agent.sources.stream import Stream, with_credentials

VARIABLE = "VIGIE_TEST_CAMERA"
NOWHERE = "/no/such/file"


PICTURE = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))[1].tobytes()
GARBAGE = b"hello, this is no JPEG"


class Camera(ThreadingHTTPServer):
    """A camera that speaks HTTP and sends what it is told: `.` a picture, `x` garbage, `w` waits for ever."""

    daemon_threads = True

    def __init__(self, script, period_s=0.005):
        self.script = script
        self.period_s = period_s
        self.finished = threading.Event()
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self):
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_):
        """Whoever hangs up may do so."""


class _Answer(BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self):
        """Follow the script, and hang up."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for step in self.server.script:
            if step == "w":
                self.server.finished.wait(30)
            part = PICTURE if step == "." else GARBAGE
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
            self.wfile.write(head.encode() + part + b"\r\n")
            time.sleep(self.server.period_s)

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def camera(script, **more):
    """A camera for as long as it is needed."""
    with Camera(script, **more) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.finished.set()
        server.shutdown()
        thread.join()


def seen(url, **given):
    """What came, as in the script; and why no more did."""
    found = ""
    with Stream(url, Stream.Options(**given)) as source:
        try:
            while source.grab():
                found += "x"
                with contextlib.suppress(Unreadable):
                    source.retrieve()
                    found = found[:-1] + "."
        except Lost as lost:
            return found, str(lost).removeprefix(url).strip()
    raise AssertionError("a stream has no end")


def options(**given):
    return Stream.Options(**given)


def test_credentials_from_options_are_written_so_that_any_character_works(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("p@ss/w:rd?\n")
    monkeypatch.setenv(VARIABLE, "o ther")
    file = options(username="ad min", password_file=str(tmp_path / "secret"))
    variable = options(password_env=VARIABLE)
    assert with_credentials("rtsp://cam:554/1?a=b", file) == "rtsp://ad%20min:p%40ss%2Fw%3Ard%3F@cam:554/1?a=b"
    assert with_credentials("rtsp://me:old@cam/1", variable) == "rtsp://me:o%20ther@cam/1"
    assert with_credentials("rtsp://me:old@cam/1", Stream.Options()) == "rtsp://me:old@cam/1"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (options(password_file=NOWHERE), r"the password cannot be read \('password_file'\): .*No such"),
        (options(password_env=VARIABLE), "the environment variable VIGIE_TEST_CAMERA .* is not set"),
    ],
)
def test_a_password_that_cannot_be_read_says_which(where, message):
    with pytest.raises(Lost, match=message):
        with_credentials("rtsp://cam/1", where)


def test_a_camera_that_refuses_is_lost_without_its_password():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    source = Stream(f"rtsp://admin:s3cret@127.0.0.1:{port}/1", Stream.Options())
    with pytest.raises(Lost) as lost, source:
        pass
    assert "rtsp://***@127.0.0.1" in str(lost.value)
    assert "s3cret" not in str(lost.value)


def test_a_camera_that_says_nothing_is_lost_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/video"
        source = Stream(url, Stream.Options(open_timeout_s=0.3, read_timeout_s=0.3))
        with pytest.raises(Lost, match="cannot be opened"), source:
            pass


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_transport_is_told_to_ffmpeg(transport, monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Lost), Stream(f"rtsp://127.0.0.1:{port}/1", Stream.Options(transport=transport)):
        pass
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == f"rtsp_transport;{transport}"


def test_the_agent_is_told_why_a_camera_refused_in_ffmpegs_words():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    source = resolve({"stream": f"rtsp://admin:s3cret@127.0.0.1:{port}/1"}, Path("/nowhere"))
    told: list[tuple[str, str]] = []

    def tell(name, detail):
        told.append((name, detail))
        capture.stop()

    capture = Capture("cam0", source, None, Progress.in_memory(["cam0"]), Clock(), on_event=tell)
    with capture:
        assert list(capture.frames()) == []
    [(name, detail)] = told
    assert name == "camera_lost"
    assert detail.startswith(f"rtsp://***@127.0.0.1:{port}/1 cannot be opened")
    assert detail.endswith("Connection refused)")
    assert "s3cret" not in detail


@pytest.mark.parametrize("period_s", [0.005, 0.0])
def test_a_bad_picture_costs_itself_only(period_s):
    """Whether it comes alone or among others at once."""
    with camera("....x" * 30 + "..xx.xxx...", period_s=period_s) as server:
        found, why = seen(server.url)
    # FFmpeg keeps a picture or two of a stream that breaks off to itself.
    assert ("....x" * 30 + "..xx.xxx...").startswith(found)
    assert len(found) >= 158
    assert why == "ended"


def test_the_end_is_no_bad_picture():
    with camera("." * 20) as server:
        found, why = seen(server.url)
    assert set(found) == {"."}
    assert why == "ended"


def test_silence_is_told_from_the_end():
    with camera("." * 20 + "w") as server:
        began = time.monotonic()
        found, why = seen(server.url, read_timeout_s=0.5)
        assert time.monotonic() - began >= 0.5
    assert set(found) == {"."}
    assert why == "sent nothing for 0.5 s"


def test_nothing_but_bad_pictures_is_lost():
    with camera("." * 20 + "x" * 100) as server:
        found, why = seen(server.url)
    assert found == "." * 20 + "x" * 20
    assert why == "sent more than 20 frames in a row that cannot be decoded"


def test_bad_pictures_of_a_camera_are_booked_and_it_is_not_opened_again():
    said: list[tuple[str, object]] = []
    with camera("....x" * 400) as server:
        source = resolve({"stream": server.url}, Path("/nowhere"))
        capture = Capture(
            *("cam0", source, None, Progress.in_memory(["cam0"]), Clock()),
            on_event=lambda name, detail: said.append((name, detail)),
            on_settled=lambda first, last, outcome: said.append((outcome, last - first + 1)),
        )
        with capture:
            for frame in capture.frames():
                if frame.number >= 100:
                    break
            until = list(said)
    assert not [name for name, _ in until if name.startswith("camera")]
    assert sum(int(str(count)) for name, count in until if name == "unreadable") in range(18, 23)
