"""A camera that writes down every frame before it gives it, and fails when it is told to.

The list is the truth that a campaign's end is compared with. A line is `<nonce> <frame> <boot ns>`; the frame's number
is read from the agent's own counter, so that a process killed between the line and the number lists the same frame
again. The picture is one grey, which tells stream, start and frame.

Orders come as a file `do-<stream>` in the camera's folder, which the frame that obeys takes away.
"""

import os
import sys
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from agent.progress import Counter
from agent.sources import Lost, Pixels, Unreadable

NONCE = "VIGIE_CAMPAIGN_NONCE"
SIDE = 64
OTHER_SIDE = 96
END = "cameras-end"
"""A file of this name in the folder is the end of every camera."""
_BLOCKED_S = 3600.0


def grey(nonce: str, stream: str, frame: int) -> int:
    """The grey of a frame: neighbours, streams and starts differ."""
    return 20 + (zlib.crc32(f"{nonce}/{stream}".encode()) + frame * 7) % 211


class Listing(msgspec.Struct, frozen=True):
    """What a camera listed.

    Attributes:
        last: Frames of each start, by its nonce; the last one may have got no number.
        boot_ns: When a frame was given, by (nonce, frame).
    """

    last: dict[str, int]
    boot_ns: dict[tuple[str, int], int]


def listed(folder: Path, stream: str) -> Listing:
    """The list of a stream."""
    path = folder / f"given-{stream}"
    last: dict[str, int] = {}
    boot_ns: dict[tuple[str, int], int] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        nonce, frame, at = line.split()
        last[nonce] = max(last.get(nonce, 0), int(frame))
        boot_ns[nonce, int(frame)] = int(at)
    return Listing(last, boot_ns)


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a site's configuration may say.

    Attributes:
        called: Name of the stream that it is the camera of.
        index: Of the stream in the agent's progress file.
        pace_s: Seconds between frames.
    """

    called: str
    index: int
    pace_s: float = 0.05


class Camera:
    """`target` is the folder of list and orders."""

    Options: ClassVar[type[msgspec.Struct]] = Settings
    PATHS: ClassVar[tuple[str, ...]] = ("target",)
    live = True

    def __init__(self, target: str, options: Settings) -> None:
        self._folder = Path(target)
        self._options = options
        self._side = SIDE
        self._garbage = self._unreadable = 0

    def __enter__(self) -> "Camera":  # noqa: PYI034  # Self needs Python 3.11
        self._nonce = os.environ[NONCE]
        self._counter = Counter(_progress_fd(), self._options.index)
        self._list = os.open(self._folder / f"given-{self._options.called}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._list)

    def read(self) -> Pixels | None:
        time.sleep(self._options.pace_s)
        if (self._folder / END).exists():
            return None
        self._obey(self._order())
        frame = self._counter.value + 1
        at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        os.write(self._list, f"{self._nonce} {frame} {at}\n".encode())
        if self._unreadable:
            self._unreadable -= 1
            raise Unreadable("a picture cut short")
        if self._garbage:
            self._garbage -= 1
            return cast("Pixels", _GARBAGE[self._garbage % len(_GARBAGE)])
        return np.full((self._side, self._side, 3), grey(self._nonce, self._options.called, frame), np.uint8)

    def _order(self) -> str:
        path = self._folder / f"do-{self._options.called}"
        try:
            order = path.read_text()
            path.unlink()
        except FileNotFoundError:
            return ""
        return order

    def _obey(self, order: str) -> None:
        word, _, count = order.partition(" ")
        if word == "lost":
            raise Lost("the camera hung up")
        if word == "block":
            time.sleep(_BLOCKED_S)
        elif word == "crash":
            os.abort()
        elif word == "flood":
            sys.stderr.write("WARNING:noise http://admin:s3cret@camera/\n" * int(count))
        elif word == "garbage":
            self._garbage = int(count)
        elif word == "unreadable":
            self._unreadable = int(count)
        elif word == "size":
            self._side = OTHER_SIDE if self._side == SIDE else SIDE
        else:
            assert not word, order


def _progress_fd() -> int:
    """The agent's progress file, as this process got it."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            name = Path(entry.readlink()).name
        except OSError:  # that of the folder being read
            continue
        if name.startswith(("progress", "memfd:vigie-progress")):
            return int(entry.name)
    raise AssertionError("no progress file is open")


_GARBAGE: list[Any] = [
    [1, 2, 3],
    np.zeros((4, 4, 3)),
    np.zeros((4, 4), np.uint8),
    np.zeros((0, 4, 3), np.uint8),
    "a picture",
    np.broadcast_to(np.uint8(0), (60_000, 60_000, 3)),
]
