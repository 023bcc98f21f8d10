"""Cameras on the network: what can be shown without one. The contract suite reads a real MJPEG server."""

import os
import socket
from pathlib import Path

import pytest

from agent.capture import Capture, Progress
from agent.clock import Clock
from agent.sources import Lost, resolve
from agent.sources.stream import Stream, with_credentials

VARIABLE = "VIGIE_TEST_CAMERA"
NOWHERE = "/no/such/file"


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
