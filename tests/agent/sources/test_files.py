"""Frames from files."""

import contextlib
import re
import struct
import time

import cv2
import numpy as np
import pytest

from agent.sources import Lost, Unreadable
from agent.sources.files import Files, pictures_in

GREY = np.full((48, 64, 3), 90, np.uint8)


def write(path, pixels=GREY):
    assert cv2.imwrite(str(path), pixels)
    return path


def opened(path, **options):
    return Files(str(path), Files.Options(**options))


def write_video(path, frames=5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    return path


def levels(source):
    found = []
    while (pixels := source.read()) is not None:
        found.append(round(float(pixels.mean())))
    return found


def test_pictures_come_in_natural_order(tmp_path):
    for name in ("b2.png", "b10.png", "b1.PNG", "a11.png", ".hidden.png", "notes.txt", "10.png", "9.png"):
        write(tmp_path / "x.png").rename(tmp_path / name)
    assert [path.name for path in pictures_in(tmp_path)] == [
        "9.png",
        "10.png",
        "a11.png",
        "b1.PNG",
        "b2.png",
        "b10.png",
    ]


def test_a_broken_picture_costs_itself_only(tmp_path):
    write(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "4.png").mkdir()
    write(tmp_path / "5.png")
    with opened(tmp_path) as source:
        assert source.read() is not None
        for _ in range(3):
            with pytest.raises(Unreadable):
                source.read()
        assert source.read() is not None
        assert source.read() is None


def test_a_picture_that_is_gone_costs_itself_only(tmp_path):
    write(tmp_path / "1.png")
    write(tmp_path / "2.png")
    with opened(tmp_path) as source:
        (tmp_path / "1.png").unlink()
        with pytest.raises(Unreadable, match="No such file"):
            source.read()
        assert source.read() is not None


def test_one_picture_is_one_frame(tmp_path):
    with opened(write(tmp_path / "a.jpg")) as source:
        assert source.read() is not None
        assert source.read() is None


def test_grey_and_deep_pictures_become_colour(tmp_path):
    write(tmp_path / "1.png", np.full((48, 64), 90, np.uint8))
    write(tmp_path / "2.png", np.full((48, 64), 90 * 257, np.uint16))
    write(tmp_path / "3.png", np.full((48, 64, 4), 90, np.uint8))
    with opened(tmp_path) as source:
        for _ in range(3):
            pixels = source.read()
            assert pixels is not None
            assert pixels.shape == (48, 64, 3)
            assert round(float(pixels.mean())) == 90


def test_a_picture_is_turned_as_its_exif_says(tmp_path):
    path = write(tmp_path / "a.jpg")
    tag = struct.pack("<HHIHHI", 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + tag
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    jpeg = path.read_bytes()
    path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    with opened(path) as source:
        pixels = source.read()
    assert pixels is not None
    assert pixels.shape == (64, 48, 3)


def test_a_video_comes_whole_and_in_order(tmp_path):
    with opened(write_video(tmp_path / "a.avi")) as source:
        assert levels(source) == pytest.approx([0, 40, 80, 120, 160], abs=3)


def test_a_loop_begins_again(tmp_path):
    with opened(write_video(tmp_path / "a.avi"), loop=True) as source:
        found = []
        for _ in range(12):
            pixels = source.read()
            assert pixels is not None
            found.append(round(float(pixels.mean()) / 40))
    assert found == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_resuming_in_a_later_round_finds_the_place(tmp_path):
    with opened(write_video(tmp_path / "a.avi"), loop=True) as source:
        source.resume(13)
        pixels = source.read()
    assert pixels is not None
    assert round(float(pixels.mean()) / 40) == 3


def test_resuming_past_the_end_is_the_end(tmp_path):
    with opened(write_video(tmp_path / "a.avi")) as source:
        source.resume(5)
        assert source.read() is None


def test_real_time_takes_its_time(tmp_path):
    with opened(write_video(tmp_path / "a.avi"), realtime=True) as source:
        assert source.live
        began = time.monotonic()
        assert len(levels(source)) == 5
        assert time.monotonic() - began >= 4 / 50


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.mp4", None, "does not exist"),
        ("text.mp4", b"this is no video", "cannot be played"),
        ("empty.mp4", b"", "cannot be played"),
    ],
)
def test_what_cannot_be_opened_says_why(tmp_path, name, content, message, loop):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Lost, match=message), opened(path, loop=loop):
        pass


def test_an_empty_folder_says_what_it_looked_for(tmp_path):
    with pytest.raises(Lost, match=r"holds no picture \(\.bmp, "), opened(tmp_path):
        pass


def test_a_file_that_vanishes_during_a_loop_is_lost(tmp_path):
    path = write_video(tmp_path / "a.avi")
    with opened(path, loop=True) as source:
        for _ in range(5):
            source.read()
        path.unlink()
        with pytest.raises(Lost, match="does not exist"):
            source.read()


def write_film(path, frames=60, fourcc="MJPG"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), 25, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 4 * number % 256, np.uint8))
    writer.release()
    return path


def damage(path, frames):
    """Overwrite these frames (from 0) of a film of JPEGs."""
    data = bytearray(path.read_bytes())
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", data)]
    for number in frames:
        data[starts[number] : starts[number] + 200] = bytes(200)
    path.write_bytes(data)
    return path


def outcomes(source):
    """What came: a level, or None for what could not be read."""
    found: list[int | None] = []
    while source.grab():
        found.append(None)
        with contextlib.suppress(Unreadable):
            found[-1] = round(float(source.retrieve().mean()) / 4)
    return found


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_a_damaged_frame_of_a_video_costs_itself_only(tmp_path, name):
    path = damage(write_film(tmp_path / name), [10, 11, 30])
    with opened(path) as source:
        found = outcomes(source)
        assert source.ending() == ""
    assert found == [None if number in {10, 11, 30} else number for number in range(60)]


def test_resuming_counts_damaged_frames(tmp_path):
    path = damage(write_film(tmp_path / "a.avi"), [10, 11, 30])
    with opened(path) as source:
        source.resume(11)
        assert outcomes(source)[:2] == [None, 12]


def test_a_video_that_is_cut_short_says_where_it_ended(tmp_path):
    path = write_film(tmp_path / "a.avi")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with opened(path) as source:
        found = outcomes(source)
        assert found == list(range(len(found)))
        assert source.ending() == f"after {len(found)} of 60 frames: the file is damaged"


def test_a_long_run_of_damage_is_passed_while_the_video_announces_more(tmp_path):
    path = damage(write_film(tmp_path / "a.mp4", 120), range(10, 100))
    with opened(path) as source:
        found = outcomes(source)
    assert found[:10] == list(range(10))
    assert found[10:100] == [None] * 90
    assert None not in found[100:]
    assert len(found) == 120


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_a_video_without_a_readable_frame_says_so(tmp_path, name):
    path = damage(write_film(tmp_path / name), range(60))
    with opened(path) as source:
        assert outcomes(source) == []
        assert source.ending() == "after 0 of 60 frames: the file is damaged"


def test_a_video_whose_end_is_damaged_makes_no_frames_up(tmp_path):
    path = damage(write_film(tmp_path / "a.mp4"), [20, *range(50, 60)])
    with opened(path) as source:
        assert len(outcomes(source)) == 50
        assert source.ending() == "after 50 of 60 frames: the file is damaged"


@pytest.mark.parametrize("count", [0, -1, -192153584101141.0, 1e18, float("nan"), 59, 61, 62])
def test_a_count_that_is_nonsense_or_a_little_wrong_claims_nothing(tmp_path, monkeypatch, count):
    path = write_film(tmp_path / "a.avi")
    _announce(monkeypatch, count)
    with opened(path) as source:
        assert outcomes(source) == list(range(60))
        assert source.ending() == ""


def test_an_estimated_count_claims_nothing_where_the_rate_varies(tmp_path, monkeypatch):
    """Matroska does not count: a film of 200 frames over 43 s, 25 a second at first, announces 1091."""
    path = write_film(tmp_path / "a.avi")
    _announce(monkeypatch, 300, seconds=12)
    with opened(path) as source:
        outcomes(source)
        assert source.ending() == ""


def test_a_film_that_leaves_frames_out_by_intention_is_not_called_damaged(tmp_path, monkeypatch):
    """An edit list of MP4, as phones write it when one trims a film."""
    path = write_film(tmp_path / "a.mp4")
    _announce(monkeypatch, 80)
    with opened(path) as source:
        outcomes(source)
        assert source.ending() == "after 60 frames; the file announces 80"


def test_an_mp4_that_is_cut_short_is_told_from_one_that_leaves_frames_out(tmp_path, monkeypatch):
    """Its last box is longer than what is there of it, whether or not a frame could not be read."""
    path = write_film(tmp_path / "a.mp4")
    with path.open("ab") as file:
        file.write(b"\0\0\x10\0mdat half of it")
    _announce(monkeypatch, 80)
    with opened(path) as source:
        outcomes(source)
        assert source.ending() == "after 60 of 80 frames: the file is damaged"


def test_a_loop_warns_once_of_a_video_that_is_cut_short(tmp_path, caplog):
    path = write_film(tmp_path / "a.avi")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with opened(path, loop=True) as source:
        for _ in range(120):
            assert source.grab()
    [said] = caplog.messages
    assert "of 60 frames: the file is damaged" in said


def _announce(monkeypatch, count, seconds=None):
    """Let every video announce so many frames, and reach so far into its time."""

    class Announcing:
        def __init__(self, *args):
            self._video = cv2_capture(*args)

        def get(self, what):
            if what == cv2.CAP_PROP_FRAME_COUNT:
                return count
            if what == cv2.CAP_PROP_POS_MSEC and seconds is not None:
                return seconds * 1000.0
            return self._video.get(what)

        def __getattr__(self, name):
            return getattr(self._video, name)

    cv2_capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Announcing)
