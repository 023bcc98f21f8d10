"""Frames from files."""

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
