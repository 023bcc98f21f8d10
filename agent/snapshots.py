"""JPEGs on disk, until the collector has them.

A picture waits under its frame's name until the batch of that frame has its wall time; then it is renamed to its
capture time, which so equals the stored observation's. Pictures are no records: nothing is synced for them, and beyond
their quota the oldest go.
"""

import contextlib
import logging
import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from agent.outbox import Outbox
from shared import wire
from shared.records import TICK_NS

log = logging.getLogger(__name__)

_PLACED = re.compile(r"(?P<captured_at_ns>[1-9][0-9]{0,18})\.jpg")
_WAITING = re.compile(r"(?P<boot_ns>[0-9]{1,19})-(?P<frame>[1-9][0-9]{0,15})-(?P<nonce>[0-9a-f]{16})\.jpg")
_TEMPORARY = ".tmp"


class Name(NamedTuple):
    """What names a picture for ever."""

    stream: str
    captured_at_ns: int


class Snapshot(NamedTuple):
    """A picture as it is sent."""

    name: Name
    jpeg: bytes


@dataclass(slots=True)
class _Picture:
    path: Path
    size: int
    captured_at_ns: int | None = None


class Snapshots:
    """The spool of pictures. `with` opens it; safe for several threads.

    Args:
        folder: Where they wait, in one folder for each stream.
        outbox: Which knows where a frame stands in time; begun before the first `put`.
        quota_mb: Size of all of them at most.
    """

    def __init__(self, folder: Path, outbox: Outbox, quota_mb: int) -> None:
        self._folder = folder
        self._outbox = outbox
        self._quota_bytes = quota_mb * 1_000_000
        self._lock = threading.Lock()
        self._pictures: list[_Picture] = []  # oldest first
        self._size = 0
        self._dropped = 0
        self._failing = False

    def __enter__(self) -> "Snapshots":  # noqa: PYI034  # Python 3.10 has no Self
        """Open: take in what an earlier start left."""
        with self._lock, contextlib.suppress(OSError):  # a folder that cannot be read shows at the first `put`
            found = sorted(self._folder.glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
            for path in found:
                self._take_in(path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open: everything is on disk already."""

    @property
    def dropped(self) -> int:
        """Pictures lost to the quota, to the disk, or because their frame was never sealed; since the start."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Pictures that the collector has not confirmed."""
        return len(self._pictures)

    def put(self, stream: str, frame: int, captured_boot_ns: int, jpeg: bytes) -> bool:
        """Keep a picture of a frame of this start; whether it was kept."""
        path = self._folder / stream / f"{captured_boot_ns}-{frame}-{self._outbox.nonce}.jpg"
        with self._lock:
            kept = len(jpeg) <= wire.SNAPSHOT_BYTES_MAX and self._write(path, jpeg)
            if kept:
                self._pictures.append(_Picture(path, len(jpeg)))
                self._size += len(jpeg)
                while self._size > self._quota_bytes:
                    self._drop(self._pictures[0])
            else:
                self._dropped += 1
            return kept

    def due(self, limit: int, skip: Collection[Name] = ()) -> list[Snapshot]:
        """What to send next, newest first; without those of `skip`, and without those whose time is not fixed yet."""
        with self._lock:
            snapshots: list[Snapshot] = []
            for picture in reversed(self._pictures[:]):
                if len(snapshots) == limit:
                    break
                name = self._name(picture)
                if name is not None and name not in skip and (jpeg := self._read(picture)):
                    snapshots.append(Snapshot(name, jpeg))
            return snapshots

    def acked(self, stream: str, stored: Sequence[tuple[int, int]]) -> int:
        """Delete the pictures that the collector has or refused (ranges of capture times, both ends included)."""
        with self._lock:
            gone = [
                picture
                for picture in self._pictures
                if picture.captured_at_ns is not None
                and picture.path.parent.name == stream
                and any(first <= picture.captured_at_ns <= last for first, last in stored)
            ]
            for picture in gone:
                self._delete(picture)
            return len(gone)

    def _take_in(self, path: Path) -> None:
        placed = _PLACED.fullmatch(path.name)
        if placed or _WAITING.fullmatch(path.name):
            picture = _Picture(path, path.stat().st_size, int(placed["captured_at_ns"]) if placed else None)
            self._pictures.append(picture)
            self._size += picture.size
        elif path.suffix == _TEMPORARY:
            path.unlink()

    def _write(self, path: Path, jpeg: bytes) -> bool:
        temporary = path.with_suffix(_TEMPORARY)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(jpeg)
            temporary.rename(path)
        except OSError as error:
            if not self._failing:
                log.warning("pictures cannot be kept in %s: %s", self._folder, error.strerror)
            self._failing = True
            with contextlib.suppress(OSError):
                temporary.unlink()
            return False
        self._failing = False
        return True

    def _read(self, picture: _Picture) -> bytes | None:
        """The bytes, if a power cut left them whole; what it did not goes."""
        try:
            jpeg = picture.path.read_bytes()
        except OSError:
            jpeg = b""
        if jpeg.startswith(b"\xff\xd8") and jpeg.endswith(b"\xff\xd9") and len(jpeg) <= wire.SNAPSHOT_BYTES_MAX:
            return jpeg
        self._drop(picture)
        return None

    def _name(self, picture: _Picture) -> Name | None:
        """Its name, fixed on disk; None while that cannot be yet."""
        if picture.captured_at_ns is None:
            self._place(picture)
        return None if picture.captured_at_ns is None else Name(picture.path.parent.name, picture.captured_at_ns)

    def _place(self, picture: _Picture) -> None:
        named = _WAITING.fullmatch(picture.path.name)
        if named is None:
            raise AssertionError(picture.path)  # `_take_in` and `put` make no others
        boot_ns = int(named["boot_ns"])
        try:
            placed = self._outbox.placed(named["nonce"], picture.path.parent.name, int(named["frame"]), boot_ns)
        except KeyError:
            self._drop(picture)
            return
        if placed is None:
            return
        # As the collector counts it: whole ticks back from the sealing.
        age_ns = max(0, placed.sealed_boot_ns - boot_ns) // TICK_NS * TICK_NS
        captured_at_ns = placed.sealed_boot_ns - age_ns + placed.offset_ns
        path = picture.path.with_name(f"{captured_at_ns}.jpg")
        try:
            picture.path.rename(path)
        except OSError:
            return
        picture.path, picture.captured_at_ns = path, captured_at_ns

    def _drop(self, picture: _Picture) -> None:
        self._dropped += 1
        self._delete(picture)

    def _delete(self, picture: _Picture) -> None:
        self._pictures.remove(picture)
        self._size -= picture.size
        with contextlib.suppress(OSError):
            picture.path.unlink()
