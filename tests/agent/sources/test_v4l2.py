"""USB cameras: what can be shown without one."""

import os
from pathlib import Path

import pytest

from agent.capture import Backoff, Capture, Progress
from agent.clock import Clock
from agent.sources import Lost, resolve, v4l2
from agent.sources.v4l2 import V4l2, advice


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """A /dev of our own with two numbered devices, one of which has a lasting name."""
    (tmp_path / "v4l" / "by-id").mkdir(parents=True)
    for name in ("video0", "video2"):
        (tmp_path / name).touch()
    (tmp_path / "v4l" / "by-id" / "usb-Acme-video-index0").symlink_to("../../video2")
    monkeypatch.setattr(v4l2, "DEVICES", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("devices")
def test_a_missing_camera_lists_those_that_exist():
    message = "/dev/video9 does not exist; video devices here: /dev/v4l/by-id/usb-Acme-video-index0, /dev/video0$"
    with pytest.raises(Lost, match=message), V4l2("9", V4l2.Options()):
        pass


def test_a_machine_without_cameras_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(v4l2, "DEVICES", tmp_path)
    with pytest.raises(Lost, match="video devices here: none"), V4l2("/dev/v4l/by-id/usb-x", V4l2.Options()):
        pass


@pytest.mark.usefixtures("devices")
def test_something_that_is_no_camera_is_lost():
    message = "/dev/video0 gives no pictures: another program may be using it"
    with pytest.raises(Lost, match=message), V4l2("/dev/video0", V4l2.Options()):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every device")
def test_a_camera_of_others_says_who_may_use_it(devices):
    (devices / "video0").chmod(0)
    with pytest.raises(Lost, match="add it to the group that may"), V4l2("0", V4l2.Options()):
        pass


@pytest.mark.usefixtures("devices")
def test_a_numbered_device_is_warned_about():
    always = "/dev/v4l/by-id/usb-Acme-video-index0"
    assert (
        advice("/dev/video2") == f"/dev/video2 can be another camera after the next boot; {always} always is this one"
    )
    assert advice("/dev/video0").endswith("use its name in /dev/v4l/by-id if it has one")
    assert not advice(always)


@pytest.mark.usefixtures("devices")
def test_a_start_warns_once_however_often_the_camera_is_opened(caplog, monkeypatch):
    """The real /dev of the capture processes has no such camera, or none that may be opened: they try again."""
    tried: list[str] = []
    source = resolve({"v4l2": "/dev/video2"}, Path("/nowhere"))
    capture = Capture("cam0", source, None, Progress.in_memory(["cam0"]), Clock(), backoff=Backoff(0.01, 0.01))
    begin = capture._supervisor._outage.begin

    def note(trouble):
        tried.append(trouble.name)
        begin(trouble)
        if len(tried) == 3:
            capture.stop()

    monkeypatch.setattr(capture._supervisor._outage, "begin", note)
    with caplog.at_level("INFO"), capture:
        assert list(capture.frames()) == []
    assert len(tried) == 3
    [line] = [line for line in caplog.messages if "after the next boot" in line]
    assert line.startswith("cam0: /dev/video2 can be another camera after the next boot; /dev/v4l/by-id/usb-Acme")


@pytest.mark.usefixtures("devices")
def test_a_device_that_does_not_exist_is_not_warned_about():
    assert not V4l2("/dev/video9", V4l2.Options()).advice()
    assert V4l2("2", V4l2.Options()).advice()
