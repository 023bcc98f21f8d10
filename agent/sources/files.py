"""A video file, a picture, or a folder of pictures in natural order."""

import logging
import re
import time
from pathlib import Path
from types import TracebackType
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.sources import Lost, Pixels
from agent.sources.video import Video

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of what is taken for a picture; a file with another one is taken for a video."""

_FOLDER_FPS = 10.0
"""Pictures a second of a folder, or of a video without a rate, in real time, when nothing else is said."""
_FPS_MAX = 1000.0

_log = logging.getLogger(__name__)


class Files:
    """Frames from files.

    Args:
        target: Path of the video, the picture or the folder.
        options: See `Options`.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What the configuration may say.

        Attributes:
            loop: Begin again at the end, without end.
            realtime: Play like a camera, at the file's own pace: the newest frame counts. Otherwise every frame comes,
                in order, as fast as it is asked for.
            fps: Frames a second to play in real time, instead of the file's own rate (of a folder: 10).
        """

        loop: bool = False
        realtime: bool = False
        fps: Annotated[float, Meta(gt=0, le=_FPS_MAX)] | None = None

    PATHS = ("target",)
    CAMERA = False

    live: bool
    _reel: "_Reel"  # since `with`

    def __init__(self, target: str, options: Options) -> None:
        self._path = Path(target)
        self._options = options
        self.live = options.realtime
        self._due = 0.0
        self._given_in_pass = 0
        self._told_ending = False

    def __enter__(self) -> "Files":  # noqa: PYI034  # Self needs Python 3.11
        """Open the file, or list the folder."""
        self._reel = _open(self._path)
        self._due = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._reel.close()

    def grab(self) -> bool:
        """Go to the next frame, waiting for its time when playing in real time; False at the end.

        Raises:
            Lost: A file that is to loop has no frame, or is gone.
        """
        if not self._reel.grab():
            if not self._options.loop:
                return False
            self._rewind()
        self._given_in_pass += 1
        if self.live:
            self._wait()
        return True

    def retrieve(self) -> Pixels:
        """The frame that `grab` went to.

        Raises:
            Unreadable: It cannot be decoded.
        """
        return self._reel.retrieve()

    def read(self) -> Pixels | None:
        """The next frame, or None at the end. Raises `Unreadable` and `Lost`."""
        return self.retrieve() if self.grab() else None

    def ending(self) -> str:
        """After the end: where the file ended, if that is not where it announced to."""
        return self._reel.ending()

    def resume(self, frames: int) -> None:
        """Pass over `frames` frames, through as many rounds as that takes."""
        for _ in range(frames):
            if not self._reel.grab():
                if not self._options.loop:
                    return
                self._rewind()
            self._given_in_pass = 1

    def _rewind(self) -> None:
        """Begin again, on the first frame."""
        if not self._given_in_pass:
            raise Lost(f"no frame could be read from {self._path}")
        self._given_in_pass = 0
        if not self._told_ending and (ending := self._reel.ending()):
            _log.warning("%s ends %s", self._path, ending)
            self._told_ending = True
        self._reel.close()
        self._reel = _open(self._path)
        if not self._reel.grab():
            raise Lost(f"no frame could be read from {self._path} any more")

    def _wait(self) -> None:
        """Wait until the frame's time has come; a frame that is late does not make the next ones hurry."""
        period_s = 1 / (self._options.fps or self._reel.fps or _FOLDER_FPS)
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due, time.monotonic() - period_s) + period_s


class _Pictures:
    """Picture files, one after the other."""

    fps = _FOLDER_FPS

    def __init__(self, paths: list[Path]) -> None:
        from agent import pictures  # noqa: PLC0415  # which lists folders by this module

        self._decode = pictures.read
        self._next = iter(paths)
        self._path = Path()

    def grab(self) -> bool:
        path = next(self._next, None)
        if path is None:
            return False
        self._path = path
        return True

    def retrieve(self) -> Pixels:
        return self._decode(self._path)

    def ending(self) -> str:
        """A folder announces nothing."""
        return ""

    def close(self) -> None:
        """Nothing is open."""


_Reel = Video | _Pictures


def _open(path: Path) -> _Reel:
    """What `path` means; raises `Lost` when there is nothing to play."""
    if path.is_dir():
        return _Pictures(pictures_in(path))
    if not path.exists():
        raise Lost(f"{path} does not exist")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _Pictures([path])
    return Video(path)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder, in natural order (2 before 10).

    Raises:
        Lost: There is none.
    """
    paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != "."]
    if not paths:
        raise Lost(f"{folder} holds no picture ({', '.join(PICTURE_SUFFIXES)})")
    return sorted(paths, key=lambda path: natural(path.name))


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in a name by value."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
