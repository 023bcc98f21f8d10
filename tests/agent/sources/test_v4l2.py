"""USB cameras: what can be shown without one."""

import os

import pytest

from agent.sources import Lost, v4l2
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
