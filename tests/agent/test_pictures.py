"""Files to pictures."""

import os
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.pictures import decode, expand, frames, read
from agent.sources import Unreadable

BGR = np.zeros((40, 60, 3), np.uint8)
BGR[:20, :30] = 10, 120, 250


def encoded(pixels, suffix=".png"):
    good, data = cv2.imencode(suffix, pixels)
    assert good
    return data.tobytes()


def with_orientation(jpeg, orientation):
    """`jpeg` with an EXIF segment that holds nothing but the orientation (CIPA DC-008, 4.6.4)."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".jpg", ".webp"])
def test_pictures_are_read_as_they_are(suffix):
    pixels = decode(encoded(BGR, suffix))
    assert pixels.shape == BGR.shape
    assert np.abs(pixels[5:15, 5:25].astype(int) - BGR[5:15, 5:25]).max() < 12


@pytest.mark.parametrize(
    ("orientation", "corner"),
    list(enumerate(["top left", "top right", "bottom right", "bottom left"] * 2, start=1)),
)
def test_pictures_are_turned_upright(orientation, corner):
    """The bright corner lies where the eight orientations of EXIF put it; 5 to 8 change width for height."""
    pixels = decode(with_orientation(encoded(BGR, ".jpg"), orientation))
    assert pixels.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    top, left = pixels.shape[0] // 4, pixels.shape[1] // 4
    places = {
        "top left": (top, left),
        "top right": (top, -left),
        "bottom left": (-top, left),
        "bottom right": (-top, -left),
    }
    bright = {name for name, place in places.items() if pixels[place].max() > 128}
    assert bright == {corner}


def test_sixteen_bits_become_eight():
    deep = np.full((4, 4, 3), 0x80FF, np.uint16)
    assert decode(encoded(deep)).tolist() == np.full((4, 4, 3), 0x80).tolist()


def test_grey_becomes_three_channels():
    assert decode(encoded(np.full((4, 6), 77, np.uint8))).tolist() == np.full((4, 6, 3), 77).tolist()


def test_alpha_is_left_out():
    assert decode(encoded(np.full((4, 6, 4), (1, 2, 3, 0), np.uint8)))[0, 0].tolist() == [1, 2, 3]


def test_a_bomb_is_refused_before_it_is_decoded():
    """A PNG of 60 bytes that claims 60000x60000 pixels, which would take 10 GB."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + b"\0\0\0\0"
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="claims to be 60000x60000 pixels; 100 million are allowed"):
            decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_a_picture_that_is_cut_short_is_refused(suffix):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(noise, suffix)
    with pytest.raises(Unreadable, match="cannot be decoded: it is damaged"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"hello, this is text", b"\0" * 100])
def test_what_is_no_picture_is_refused_with_what_would_be(data):
    with pytest.raises(Unreadable, match=r"no picture in a format that is read here \(BMP, GIF, JPEG, PNG, PNM"):
        decode(data)


def test_a_header_without_a_size_is_refused():
    with pytest.raises(Unreadable, match="does not say how large"):
        decode(b"\x89PNG\r\n\x1a\n")


def test_reading_names_the_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(Unreadable, match=rf"^{tmp_path}/a\.png: is damaged"):
        read(tmp_path / "a.png")
    with pytest.raises(Unreadable, match=rf"^{tmp_path}/b\.png: No such file"):
        read(tmp_path / "b.png")


def test_a_folder_stands_for_its_pictures_in_natural_order(tmp_path):
    for name in ("10.png", "2.png", "notes.txt"):
        (tmp_path / name).write_bytes(encoded(BGR))
    assert [path.name for path in expand(tmp_path)] == ["2.png", "10.png"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(Unreadable, match="holds no picture"):
        expand(tmp_path)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(Unreadable, match="No such file or directory"):
        expand(tmp_path / "nix")


def test_a_still_picture_has_no_number(tmp_path):
    """Whatever its name says: the first bytes count."""
    (tmp_path / "clip.mp4").write_bytes(encoded(BGR))
    assert [frame.number for frame in frames(tmp_path / "clip.mp4")] == [None]


def write_video(path, count=12):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert video.isOpened()
    for number in range(count):
        video.write(np.full((48, 64, 3), 20 * number % 241, np.uint8))
    video.release()
    return path


def test_a_videos_frames_are_numbered_from_one(tmp_path):
    """An AVI begins with RIFF, as a WebP does."""
    seen = list(frames(write_video(tmp_path / "clip.avi")))
    assert [frame.number for frame in seen] == list(range(1, 13))
    assert [round(float(frame.pixels.mean()), -1) for frame in seen] == [20 * n for n in range(12)]


def test_a_video_that_breaks_off_is_told_after_its_frames(tmp_path):
    path = write_video(tmp_path / "clip.avi", 100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen: list[int | None] = []
    with pytest.raises(Unreadable, match=r"clip\.avi: ends after \d+ of 100 frames"):
        seen.extend(frame.number for frame in frames(path))


def test_a_damaged_frame_costs_itself_only_and_is_told_of_after_the_others(tmp_path):
    path = write_video(tmp_path / "clip.avi")
    data = bytearray(path.read_bytes())
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", data)]
    data[starts[4] : starts[4] + 200] = bytes(200)
    path.write_bytes(data)
    seen: list[int | None] = []
    with pytest.raises(Unreadable, match=r"clip\.avi: 1 of 12 frames cannot be decoded: it is damaged"):
        seen.extend(frame.number for frame in frames(path))
    assert seen == [1, 2, 3, 4, *range(6, 13)]


@pytest.mark.parametrize(("wanted", "printed"), [({}, False), ({"OPENCV_FFMPEG_LOGLEVEL": "16"}, True)])
def test_what_is_wrong_is_said_here_and_not_by_ffmpeg_unless_asked(tmp_path, wanted, printed):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\0\0\0\x14ftypisom\0\0\2\0isom" + b"\0\0\0\x10mdat" + bytes(8))
    script = "import sys; from pathlib import Path; from agent.pictures import frames; next(frames(Path(sys.argv[1])))"
    usual = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", script, str(path)]
    said = subprocess.run(command, check=False, env={**usual, **wanted}, cwd=root, capture_output=True, text=True)
    assert said.stderr.endswith(f"Unreadable: {path}: is no picture or video that can be read, or is damaged\n")
    assert ("moov atom not found" in said.stdout + said.stderr) == printed
    assert "WARN" not in said.stderr


def test_a_file_that_is_neither_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see\n")
    with pytest.raises(Unreadable, match=r"notes\.txt: is no picture or video"):
        next(frames(tmp_path / "notes.txt"))
