"""Snapshots of the streams: one JPEG a file, `<site>/<device>/<stream>/<captured_at_ns>.jpg`.

A picture is written beside its place and moved there, so that a reader never sees half of one. Pictures are limited
by number and age per stream; names come from topics, which allow only slugs and digits.
"""

import contextlib
import os
import threading
from pathlib import Path

from shared.topics import is_slug
from shared.wire import SNAPSHOT_BYTES_MAX

DAY_NS = 86_400 * 10**9
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_SMALLEST = 100
PIXELS_MAX = 100_000_000
"""More than any camera in the field has: who opens a picture must not need gigabytes for it."""
_FIRST_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers of a frame header, which holds the size of the image."""
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN = 0xDA


class NotAPicture(ValueError):
    """Raised for bytes that are no JPEG, or one beyond the limits."""


class Pictures:
    """The folder of snapshots; may be used from several threads.

    Attributes:
        folder: Created when the first picture comes.
        per_stream: Newest pictures kept of each stream.
        days: Days that a picture is kept, counted from its capture.
    """

    def __init__(self, folder: Path, *, per_stream: int = 100, days: float = 7.0) -> None:
        self.folder = Path(folder)
        self.per_stream = per_stream
        self.days = days
        self._latest: dict[tuple[str, str, str], int] = {}
        self._lock = threading.Lock()

    def add(self, site: str, device: str, stream: str, captured_at_ns: int, jpeg: bytes) -> bool:
        """Keep a picture; False when it is there already. It is on the disk when this returns.

        Raises:
            NotAPicture: The bytes are no JPEG within the limits.
            OSError: It cannot be written.
        """
        check_jpeg(jpeg)
        folder = self._folder(site, device, stream)
        path = folder / f"{captured_at_ns}.jpg"
        if path.exists():
            return False
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{captured_at_ns}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(jpeg)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        key = (site, device, stream)
        newest = self.latest(*key) or 0
        with self._lock:
            self._latest[key] = max(newest, captured_at_ns)
        self._thin(folder)
        return True

    def latest(self, site: str, device: str, stream: str) -> int | None:
        """Capture time in ns of the newest picture of a stream, or None."""
        key = (site, device, stream)
        with self._lock:
            if key in self._latest:
                return self._latest[key]
        times = self._times(self._folder(*key))
        if not times:
            return None
        with self._lock:
            self._latest[key] = times[-1]
        return times[-1]

    def times(self, site: str, device: str, stream: str) -> list[int]:
        """Capture times in ns of a stream's pictures, oldest first."""
        return self._times(self._folder(site, device, stream))

    def read(self, site: str, device: str, stream: str, captured_at_ns: int) -> bytes | None:
        """A picture's bytes, or None when there is none of that time."""
        try:
            return (self._folder(site, device, stream) / f"{captured_at_ns:d}.jpg").read_bytes()
        except FileNotFoundError:
            return None

    def expire(self, now_ns: int) -> int:
        """Delete pictures that are too old; how many."""
        oldest_ns, deleted = now_ns - int(self.days * DAY_NS), 0
        for path in self.folder.glob("*/*/*/*.jpg"):
            if path.stem.isdigit() and int(path.stem) < oldest_ns:
                path.unlink(missing_ok=True)
                deleted += 1
        with self._lock:
            self._latest.clear()
        return deleted

    def _folder(self, site: str, device: str, stream: str) -> Path:
        if not all(is_slug(name) for name in (site, device, stream)):
            raise ValueError(f"{site!r}, {device!r} and {stream!r} must be slugs")
        return self.folder / site / device / stream

    def _times(self, folder: Path) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(int(path.stem) for path in folder.glob("*.jpg") if path.stem.isdigit())
        return []

    def _thin(self, folder: Path) -> None:
        for captured_at_ns in self._times(folder)[: -self.per_stream]:
            (folder / f"{captured_at_ns}.jpg").unlink(missing_ok=True)


def check_jpeg(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of a JPEG, read from its headers; nothing is decoded.

    Raises:
        NotAPicture: It is none, or too large.
    """
    if len(data) > SNAPSHOT_BYTES_MAX:
        raise NotAPicture(f"the picture has {len(data)} bytes, at most {SNAPSHOT_BYTES_MAX} are allowed")
    if len(data) < _SMALLEST or not data.startswith(_START) or not data.rstrip(b"\0").endswith(_END):
        raise NotAPicture("the bytes are no JPEG, or one that is cut short")
    size = _size(data)
    if size is None or 0 in size:
        raise NotAPicture("the JPEG has no frame header with a size")
    if size[0] * size[1] > PIXELS_MAX:
        raise NotAPicture(f"the JPEG has {size[0]} x {size[1]} pixels, at most {PIXELS_MAX} are allowed")
    return size


def _size(data: bytes) -> tuple[int, int] | None:
    """Walk from marker to marker until the frame header."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:  # noqa: PLR2004  # what every marker begins with
        marker = data[at + 1]
        if marker in _FIRST_FRAMES:
            height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            return width, height
        if marker == _START_OF_SCAN:
            return None
        if marker == 0xFF:  # noqa: PLR2004  # filling
            at += 1
        elif marker in _STANDALONE:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None
