"""Files to pictures: what `vigie-agent predict` is given, and whoever else reads a picture that a stranger made.

A picture's size is read from its header before any decoder sees it, so that a file of a few bytes that claims to be
60,000 pixels wide costs nothing. A format whose header is not read here is refused for that reason.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from agent.picture_header import FORMATS, declared_size, is_picture, is_whole
from agent.sources import Lost, Pixels, Unreadable, frames_text
from agent.sources.files import pictures_in
from agent.sources.video import Video

PIXELS_MAX = 100_000_000
"""Four times the largest sensor of a mobile phone that is not a composite; 300 MB as BGR."""

BYTES_MAX = 500_000_000
"""Of one picture's file."""

HEAD_BYTES = 16
"""Enough to tell a picture's format."""


class Frame(NamedTuple):
    """A picture from a file: `number` counts a video's frames from 1, and is None for a still picture."""

    number: int | None
    pixels: Pixels


def expand(path: Path) -> list[Path]:
    """The files that `path` stands for: itself, or the pictures in a folder, in natural order (2 before 10).

    Raises:
        Unreadable: There is nothing there.
    """
    try:
        if path.is_dir():
            return pictures_in(path)
        path.stat()
    except Lost as error:
        raise Unreadable(str(error)) from error
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    return [path]


def frames(path: Path) -> Iterator[Frame]:
    """What is in the file at `path`: one still picture, or a video's frames in order.

    Frames of a video that cannot be decoded are passed over, and told of after the others.

    Raises:
        Unreadable: It is neither, or is damaged; of a video, after every frame that can be decoded.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    if is_picture(head):
        yield Frame(None, read(path))
    else:
        yield from _video(path)


def read(path: Path) -> Pixels:
    """The picture in a file: [height, width, 3] BGR of 8 bits, upright as its EXIF orientation says, without alpha.

    Raises:
        Unreadable: With file and reason.
    """
    try:
        size = path.stat().st_size
        if size > BYTES_MAX:
            raise Unreadable(f"{path}: has {size} bytes; a picture may have {BYTES_MAX}")
        return decode(path.read_bytes())
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    except _Broken as error:
        raise Unreadable(f"{path}: {error}") from error


def decode(data: bytes) -> Pixels:
    """The picture that `data` encodes: [height, width, 3] BGR of 8 bits, upright, without alpha.

    Raises:
        Unreadable: With the reason.
    """
    size = declared_size(data)
    if size is None and is_picture(data[:HEAD_BYTES]):
        raise _Broken("is damaged: its header does not say how large it is")
    if size is None:
        raise _Broken(f"is no picture in a format that is read here ({', '.join(sorted(set(FORMATS.values())))})")
    width, height = size
    if width <= 0 or height <= 0:
        raise _Broken(f"is damaged: it claims to be {width}x{height} pixels")
    if width * height > PIXELS_MAX:
        raise _Broken(f"claims to be {width}x{height} pixels; {PIXELS_MAX // 1_000_000} million are allowed")
    try:
        # This flag turns by EXIF, reduces 16 bits to 8, looks up palettes, and makes grey three equal channels.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise _Broken(_UNDECODABLE) from error
    if pixels is None or not is_whole(data):
        raise _Broken(_UNDECODABLE)
    return np.asarray(pixels, np.uint8)


_UNDECODABLE = f"cannot be decoded: it is damaged, cut short, or of a kind that OpenCV {cv2.__version__} does not read"


class _Broken(Unreadable):
    """A reason that a file's name goes before."""


def _video(path: Path) -> Iterator[Frame]:
    """The frames of a video."""
    _quiet_libraries()
    try:
        video = Video(path)
    except Lost as error:
        raise Unreadable(_NO_VIDEO.format(path)) from error
    try:
        if not 0 < video.pixels <= PIXELS_MAX:
            raise Unreadable(_NO_VIDEO.format(path))
        while video.grab():
            with contextlib.suppress(Unreadable):
                yield Frame(video.passed, video.retrieve())
        if video.passed == 0:
            raise Unreadable(f"{path}: has no frame that can be read")
        damage = video.damage()
        if video.unreadable:
            told = f", and it ends {damage}" if damage else ": it is damaged"
            raise Unreadable(f"{path}: {video.unreadable} of {frames_text(video.passed)} cannot be decoded{told}")
        if damage:
            raise Unreadable(f"{path}: ends {damage}")
    finally:
        video.close()


_NO_VIDEO = "{}: is no picture or video that can be read, or is damaged"


def _quiet_libraries() -> None:
    """Let FFmpeg and OpenCV print nothing about a file, unless the user wants it: what is wrong is said here."""
    if not {"OPENCV_FFMPEG_LOGLEVEL", "OPENCV_FFMPEG_DEBUG"} & os.environ.keys():
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # AV_LOG_QUIET; OpenCV reads it when it first opens a video
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
