"""Windows in the making, kept where a killed agent's next start finds them.

A window lives in memory until it is over. Without this, a kill would take up to a minute of summaries with it, and up
to an hour of the hour's, although every frame of them is sealed. The file is rewritten at each seal and never synced:
it outlives the process, and after a power cut it is as old as the kernel's last write-back, which the boot id tells.
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shared import failpoints
from shared.records import TICK_NS, Window

_CHECKSUM_BYTES = 8


class Open(msgspec.Struct, frozen=True, array_like=True):
    """A window in the making, and where it stood.

    Attributes:
        start_boot_ns: Its real start.
        seen_boot_ns: When this was written: its end, if nothing comes after.
        window: Its sums.
    """

    start_boot_ns: int
    seen_boot_ns: int
    window: Window


class _Content(msgspec.Struct, frozen=True):
    nonce: str
    boot_id: str
    windows: tuple[Open, ...]


class OpenWindows:
    """The file. What cannot be written or read is left out: these are sums of frames that are safe elsewhere.

    Args:
        path: In the state folder.
        nonce: Of this start.
        boot_id: Of this boot.
    """

    def __init__(self, path: Path, nonce: str, boot_id: str) -> None:
        self._path = path
        self._nonce = nonce
        self._boot_id = boot_id
        self._fd: int | None = None

    def keep(self, windows: Sequence[Open]) -> None:
        """Replace what is kept."""
        body = msgspec.json.encode(_Content(self._nonce, self._boot_id, tuple(windows)))
        content = b"%08x" % zlib.crc32(body) + body
        try:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._fd, content, 0)
            failpoints.reached("during_windows")
            os.ftruncate(self._fd, len(content))
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def left_by(path: Path, nonce: str, boot_id: str) -> list[tuple[int, Window]]:
    """What the start `nonce` left in this boot: (start, window) pairs; nothing when the file says otherwise."""
    try:
        content = path.read_bytes()
        body = content[_CHECKSUM_BYTES:]
        if int(content[:_CHECKSUM_BYTES], 16) != zlib.crc32(body):
            return []
        found = msgspec.json.decode(body, type=_Content)
    except (OSError, ValueError, msgspec.MsgspecError):
        return []
    if (found.nonce, found.boot_id) != (nonce, boot_id):
        return []
    return [(one.start_boot_ns, _ended(one)) for one in found.windows]


def _ended(one: Open) -> Window:
    duration = max(0, one.seen_boot_ns - one.start_boot_ns) // TICK_NS
    return msgspec.structs.replace(one.window, duration=duration)
