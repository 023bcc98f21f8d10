"""Files to pictures: what `vigie-agent predict` is given, and whoever else reads a picture that a stranger made.

A picture's size is read from its header before any decoder sees it, so that a file of a few bytes that claims to be
60,000 pixels wide costs nothing. A format whose header is not read here is refused for that reason.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from agent.picture_header import FORMATS, declared_size, is_picture, is_whole
from agent.sources import Lost, Pixels, Unreadable
from agent.sources.files import pictures_in

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

    Raises:
        Unreadable: It is neither, or is damaged; of a video that breaks off, after the frames before.
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
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        width, height = video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not video.isOpened() or not 0 < width * height <= PIXELS_MAX:
            raise Unreadable(f"{path}: is no picture or video that can be read, or is damaged")
        promised, number = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0
        while video.grab():
            number += 1
            good, pixels = video.retrieve()
            if not good:
                raise Unreadable(f"{path}: frame {number} cannot be decoded")
            yield Frame(number, np.asarray(pixels, np.uint8))
        if number == 0 or (promised > 0 and number < promised * _COMPLETE):
            raise Unreadable(f"{path}: ends after {number} of {promised} frames: it is damaged")
    finally:
        video.release()


_COMPLETE = 0.95
"""A container's count of frames is an estimate: a few less are no damage."""
