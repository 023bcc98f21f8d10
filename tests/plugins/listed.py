"""A frame source that writes down every frame it gives: what a journey's end is compared with.

Frame n of a start is a square picture of one grey, `grey(n)`, so that what the model saw tells which frame it was.
"""

import time
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import msgspec
import numpy as np

from agent.progress import Progress
from agent.sources import Pixels

SIDE = 64


def grey(frame: int) -> int:
    """The grey of a start's n-th frame."""
    return 20 + frame * 7 % 211


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a test's configuration may say.

    Attributes:
        progress: The agent's progress file: it names the start (nonce) that the frames belong to.
        count: Frames until the source ends; 0 for never.
        pace_s: Seconds between frames.
        live: Whether the newest frame counts.
    """

    progress: str
    count: int = 0
    pace_s: float = 0.0
    live: bool = False


class Listed:
    """`target` is the file that the frames are listed in: a line `<nonce> <frame>` for each."""

    Options: ClassVar[type[msgspec.Struct]] = Settings
    PATHS: ClassVar[tuple[str, ...]] = ("target", "progress")

    def __init__(self, target: str, options: Settings) -> None:
        self.live = options.live
        self._path = Path(target)
        self._options = options

    def __enter__(self) -> "Listed":  # noqa: PYI034  # Self needs Python 3.11
        captured = Progress.read(Path(self._options.progress))
        assert captured is not None
        self._nonce = captured.nonce
        self._frame = len([nonce for nonce, _ in given(self._path) if nonce == self._nonce])
        self._file = self._path.open("a", buffering=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self) -> Pixels | None:
        if self._options.count and self._frame >= self._options.count:
            return None
        time.sleep(self._options.pace_s)
        self._frame += 1
        self._file.write(f"{self._nonce} {self._frame}\n")
        return np.full((SIDE, SIDE, 3), grey(self._frame), np.uint8)


def given(path: Path) -> list[tuple[str, int]]:
    """The list: (nonce, frame), in the order that the frames were given."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(nonce, int(frame)) for nonce, frame in (line.split() for line in lines)]
