"""How many frames each stream has captured in this start: a small file that outlives `kill -9`.

The capture process adds one the moment `read()` returned, by one aligned store into shared memory. So the number is
exact whatever process dies, and after a power cut it is at most as old as the kernel's last write-back.

Layout: one JSON line (magic, epoch, nonce, boot id, names of the streams, checksum), padded to `_COUNTERS_AT`, then
eight bytes for each stream in that order, in the machine's byte order.
"""

import json
import mmap
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from agent.clock import Clock
from shared import failpoints

_MAGIC = "vigie progress 1"
_COUNTERS_AT = 16_384
_COUNTER_BYTES = 8


class Captured(NamedTuple):
    """What a progress file says.

    Attributes:
        epoch: Of the start that wrote it.
        nonce: Of the start that wrote it.
        boot_id: Of the boot that it was written in: equal to the present one, the numbers are exact.
        streams: Frames captured, by stream.
    """

    epoch: int
    nonce: str
    boot_id: str
    streams: dict[str, int]


class Counter:
    """One stream's number of captured frames, shared by the agent and its capture process.

    Args:
        fd: Of the progress file.
        index: Of the stream in it.
    """

    def __init__(self, fd: int, index: int) -> None:
        self.index = index
        # A view in whole words: an assignment is one store, which no signal can cut in two.
        self._words = memoryview(mmap.mmap(fd, 0)).cast("Q")
        self._at = _COUNTERS_AT // _COUNTER_BYTES + index

    @property
    def value(self) -> int:
        """The last number that was given."""
        return self._words[self._at]

    def next(self) -> int:
        """Give the next number. Only one process at a time may call this."""
        number = self._words[self._at] + 1
        self._words[self._at] = number
        return number


class Progress:
    """A progress file, open."""

    def __init__(self, fd: int, streams: Sequence[str]) -> None:
        self.fd = fd
        self.streams = tuple(streams)

    @classmethod
    def create(cls, path: Path, epoch: int, nonce: str, streams: Sequence[str], *, boot_id: str = "") -> "Progress":
        """Replace the file at `path` by one in which every stream has captured nothing.

        Args:
            path: In the state folder. The new file is on disk when this returns.
            epoch: Of this start.
            nonce: Of this start.
            streams: Their names.
            boot_id: Of this boot; empty to ask the kernel.

        Raises:
            OSError: The file cannot be written.
            ValueError: There are too many streams.
        """
        new = path.with_name(path.name + ".new")
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, _content(epoch, nonce, boot_id or Clock().boot_id(), streams))
            os.fsync(fd)
            failpoints.reached("before_progress")
            new.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, streams)

    @classmethod
    def in_memory(cls, streams: Sequence[str]) -> "Progress":
        """One without a file, for looking at a camera without an agent."""
        fd = os.memfd_create("vigie-progress", os.MFD_CLOEXEC)
        _write_all(fd, _content(1, "0" * 16, "", streams))
        return cls(fd, streams)

    @staticmethod
    def read(path: Path) -> Captured | None:
        """What the file of an earlier start says, or None when there is none or it is torn."""
        try:
            content = path.read_bytes()
            head = json.loads(content[: content.index(b"\n")])
            names = head["streams"]
            counters = memoryview(content[_COUNTERS_AT:]).cast("Q")
            if head["magic"] != _MAGIC or head["checksum"] != _checksum(head) or len(counters) != len(names):
                return None
            return Captured(head["epoch"], head["nonce"], head["boot_id"], dict(zip(names, counters, strict=True)))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def counter(self, stream: str) -> Counter:
        """The counter of one stream.

        Raises:
            ValueError: The file was not made for it.
        """
        if stream not in self.streams:
            raise ValueError(f"the progress file was not made for stream '{stream}'")
        return Counter(self.fd, self.streams.index(stream))

    def close(self) -> None:
        """Let go of the file; counters that were handed out go on working."""
        os.close(self.fd)


def _content(epoch: int, nonce: str, boot_id: str, streams: Sequence[str]) -> bytes:
    """A whole new file."""
    head: dict[str, object] = {
        "magic": _MAGIC,
        "epoch": epoch,
        "nonce": nonce,
        "boot_id": boot_id,
        "streams": list(streams),
    }
    head["checksum"] = _checksum(head)
    line = json.dumps(head).encode() + b"\n"
    if len(line) > _COUNTERS_AT:
        raise ValueError(f"the names of {len(streams)} streams do not fit into a progress file")
    return line.ljust(_COUNTERS_AT, b"\0") + bytes(_COUNTER_BYTES * len(streams))


def _checksum(head: dict[str, object]) -> int:
    """Of everything in the head but itself."""
    return zlib.crc32(json.dumps({key: head[key] for key in sorted(head) if key != "checksum"}).encode())


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
