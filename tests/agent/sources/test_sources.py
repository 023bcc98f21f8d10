"""A source as the configuration names it."""

import re
from pathlib import Path

import pytest

from agent.sources import SOURCES, describe, resolve
from agent.sources.files import Files
from agent.sources.stream import Stream

BASE = Path("/etc/vigie")
KNOWN = ", ".join(SOURCES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {},
            f"got nothing; known: {KNOWN}, or your own module:Class",
        ),
        ({"flies": "a.mp4"}, f"must name one kind of source, got 'flies'; known: {KNOWN},"),
        ({"files": "a", "v4l2": "b"}, "must name one kind of source, got 'files' and 'v4l2'"),
        ({"files": "a", "lop": True}, "'files' has no option 'lop'; known: loop, realtime, fps"),
        ({"files": "a", "loop": "yes"}, "'files': Expected `bool`, got `str` - at `$.loop`"),
        ({"files": "a", "fps": 0}, "'files': Expected `float` > 0.0 - at `$.fps`"),
        ({"files": ""}, "'files' must name what to open, as text, got ''"),
        ({"files": ["a", "b"]}, "'files' must name what to open, as text, got ['a', 'b']"),
        ({"files": None}, "'files' must name what to open, as text, got None"),
        ({"v4l2": "camera"}, "'v4l2' must be a device such as /dev/v4l/by-id/usb-… or /dev/video0, got 'camera'"),
        ({"v4l2": 0, "width": 640}, "'v4l2': give both 'width' and 'height', or none of them"),
        ({"gstreamer": "! x"}, "'gstreamer' must begin with an element: 'v4l2src device=/dev/video0 ! jpegdec'"),
        ({"gstreamer": "--help"}, "'gstreamer' must begin with an element"),
        ({"gstreamer": "x !"}, "'gstreamer' must end with an element or caps, not with '!'"),
        ({"gstreamer": "x!y"}, "'gstreamer': write a space on both sides of every '!'"),
        ({"gstreamer": "x a='b"}, "'gstreamer': no closing quotation in the pipeline: check its quotes"),
        ({"gstreamer": "x", "width": 64}, "'gstreamer': give both 'width' and 'height', or none of them"),
        ({"stream": "camera/1"}, "'stream' must be a URL that starts with rtsp://, rtsps://, http://,"),
        ({"stream": "ftp://u:secret@h/1"}, "got 'ftp://***@h/1'"),
        (
            {"stream": "rtsp://h/1", "password_file": "a", "password_env": "B"},
            "'stream': give 'password_file' or 'password_env', not both",
        ),
        ({"no_such_module:Camera": "x"}, "source 'no_such_module:Camera' cannot be imported: No module named"),
        ({"agent.clock:Camera": "x"}, "source 'agent.clock:Camera' cannot be imported: module 'agent.clock' has no"),
        ({"agent.clock:Clock": "x"}, "source 'agent.clock:Clock' must be a class with Options"),
    ],
)
def test_wrong_settings_are_refused_with_the_way_out(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve(settings, BASE)


def test_no_rate_says_how_many_pictures_somebody_sends():
    assert resolve({"folder": "in", "remember": "seen"}, BASE).sent
    assert resolve({"push": 8080}, BASE).sent
    assert not resolve({"files": "a.mp4"}, BASE).sent
    assert not resolve({"v4l2": "/dev/video0"}, BASE).sent


def test_files_lie_beside_the_configuration():
    assert resolve({"files": "clips/a.mp4", "loop": True}, BASE).target == "/etc/vigie/clips/a.mp4"
    assert resolve({"files": "/clips/a.mp4"}, BASE).target == "/clips/a.mp4"
    options = resolve({"stream": "rtsp://h/1", "password_file": "secret"}, BASE).options
    assert isinstance(options, Stream.Options)
    assert options.password_file == str(BASE / "secret")


def test_a_home_folder_is_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/home/pi")
    assert resolve({"files": "~/a.mp4"}, BASE).target == "/home/pi/a.mp4"


def test_a_resolved_source_names_its_class_for_another_process():
    source = resolve({"files": "a.mp4", "loop": True}, BASE)
    assert source.path == "agent.sources.files:Files"
    assert isinstance(source.build(), Files)


def test_a_class_of_ones_own_is_a_kind():
    source = resolve({"agent.sources.files:Files": "a.mp4"}, BASE)
    assert (source.kind, source.path) == ("agent.sources.files:Files", "agent.sources.files:Files")


def test_a_description_holds_no_credentials():
    assert describe(resolve({"stream": "rtsp://admin:secret@10.0.0.5/1"}, BASE)) == "stream: rtsp://***@10.0.0.5/1"


def test_a_number_names_a_device():
    assert resolve({"v4l2": 2}, BASE).target == "2"
