"""How the starts before this one went: an agent that dies again and again must not do so for ever, unheard.

Counted are starts in a row that ended soon, and not because somebody asked them to. No clock is needed for it: a start
counts when it begins, and no more once it worked for `PROVED_S` seconds or ended in good order. Nor does it matter
what ended it: a model that crashes its runtime, a configuration that names no model, a device that loses its power as
soon as it works hard. After `most` of them the agent starts in *safe mode*: without cameras and models, so that it can
still be reached and say why. After a pause that doubles up to an hour it tries a start as usual again; and so does the
next start after somebody stopped it, who may have mended something.

The file is replaced as a whole. One that is torn or cannot be read or written is no reason to fail: nothing is known.
"""

import logging
import os
import zlib
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

PROVED_S = 60.0
PAUSE_S = 60.0
PAUSE_S_MAX = 3600.0
_CHECKSUM_CHARS = 8
_REASON_CHARS = 500
_BYTES_MAX = 16_384


class _Kept(msgspec.Struct, frozen=True):
    """The file.

    Attributes:
        failures: Starts in a row that ended soon, this one included until it is proved.
        pauses: Times that safe mode lasted its pause, since a start was proved.
        trial: Whether the next start is to be as usual whatever `failures` says.
        doing: What the last start was at.
        reason: Why it ended, if it could say so.
        untold: Whether nobody was told of that reason.
    """

    failures: int = 0
    pauses: int = 0
    trial: bool = False
    doing: str = ""
    reason: str = ""
    untold: bool = False


class Safe(msgspec.Struct, frozen=True):
    """What a start in safe mode is told: why, and for how long."""

    reason: str
    pause_s: float


class Starts:
    """The count.

    Args:
        path: In the state folder.
        most: Starts in a row that may end soon; 0 for any number.

    Attributes:
        untold: Why the start before ended, where it could tell nobody.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path = path
        self._most = most
        self._kept = _Kept()
        self.untold = ""

    def begin(self) -> Safe | None:
        """Count a start; what to do instead of starting as usual."""
        before = self._kept = _read(self._path)
        self.untold = before.reason if before.untold else ""
        if self._most and before.failures >= self._most and not before.trial:
            self._write(untold=False)
            pause_s = min(PAUSE_S_MAX, PAUSE_S * 2.0 ** min(before.pauses, 20))
            return Safe(_why(before), pause_s)
        self._write(failures=before.failures + 1, trial=False, doing="", reason="", untold=False)
        return None

    def doing(self, what: str) -> None:
        """Say what is done next, should it be the last thing."""
        self._write(doing=what, sync=False)

    def proved(self) -> None:
        """This start works."""
        self._write(failures=0, pauses=0, doing="", sync=False)

    def stopped(self) -> None:
        """Somebody asked the agent to end: that says nothing against this start, and the next one is as usual."""
        self._write(failures=max(0, self._kept.failures - 1), pauses=0, trial=True, doing="")

    def failed(self, reason: str, *, told: bool) -> None:
        """The agent ends by itself, and why; `told` when the collector will learn it."""
        self._write(reason=reason[:_REASON_CHARS], untold=not told)

    def pause_over(self) -> None:
        """Safe mode lasted long enough: the next start is as usual."""
        self._write(trial=True, pauses=self._kept.pauses + 1)

    def _write(self, *, sync: bool = True, **changes: int | str | bool) -> None:
        changed = msgspec.structs.replace(self._kept, **changes)
        if changed == self._kept:
            return
        self._kept = changed
        body = msgspec.json.encode(changed)
        new = self._path.with_name(self._path.name + ".new")
        try:
            with new.open("wb") as file:
                file.write(b"%08x" % zlib.crc32(body) + body)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            new.replace(self._path)
            if sync:
                _sync_folder(self._path.parent)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)


def _read(path: Path) -> _Kept:
    """What the file says; nothing when there is none or it is torn."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX)
        body = content[_CHECKSUM_CHARS:]
        if int(content[:_CHECKSUM_CHARS], 16) == zlib.crc32(body):
            return msgspec.json.decode(body, type=_Kept)
    except (OSError, ValueError, msgspec.MsgspecError):
        pass
    return _Kept()


def _why(before: _Kept) -> str:
    """Why there is safe mode, for whoever is called."""
    how = before.reason or "the last one crashed, or was killed, without a word"
    while_doing = f" while {before.doing}" if before.doing and not before.reason else ""
    return f"{before.failures} starts in a row ended within {PROVED_S:.0f} s: {how}{while_doing}"


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
