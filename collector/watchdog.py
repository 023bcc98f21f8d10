"""Whether every part of the collector makes progress; systemd is told while they do.

The thread that serves the web asks once a second: so when it stands still nobody is told, and systemd ends the process.
A part that hangs is said, with where its thread is, and the collector ends, to be started anew: what was not acked
stays with the devices.
"""

import faulthandler
import logging
import time
from contextlib import suppress

from shared.notify import Notifier
from shared.stamps import Board, Stamp

THREAD_S = 120.0
"""Silence of a thread that means that it hangs; a write to a slow disk takes seconds."""

_LOOK_S = 1.0
_END_S = 30.0
_STOOD_STILL_S = 5.0

_log = logging.getLogger(__name__)


class Watchdog:
    """Looks at the parts.

    Args:
        thread_s: Silence of a part that means that it hangs.
        notifier: To systemd.
    """

    def __init__(self, thread_s: float = THREAD_S, notifier: Notifier | None = None) -> None:
        self._board = Board(time.monotonic)
        self._thread_s = thread_s
        self._notifier = notifier or Notifier()
        self._looked_at = time.monotonic()

    def stamp(self, name: str) -> Stamp:
        """A stamp for a part; it is judged from its first beat on."""
        return self._board.stamp(name, self._thread_s)

    def ready(self) -> None:
        """The start is over."""
        self._notifier.ready()

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._notifier.status(text)

    def ending(self) -> None:
        """The end has begun, and is over within `_END_S`, whatever hangs."""
        self._notifier.stopping()
        self._notifier.extend(_END_S + _LOOK_S)
        with suppress(OSError, ValueError, RuntimeError):  # standard error is closed, or none
            faulthandler.dump_traceback_later(_END_S, exit=True)

    def ended(self) -> None:
        """The end came by itself."""
        faulthandler.cancel_dump_traceback_later()
        self._notifier.close()

    def well(self) -> bool:
        """Whether no part hangs; to be asked again and again, by one thread."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return True
        if now - self._looked_at > _STOOD_STILL_S:
            self._board.forgive()  # all of it stood still, or the asker did
        self._looked_at = now
        hung = self._board.hung()
        for one in hung:
            _log.error("%s hangs: %s; it is at\n%s", one.stamp.name, one.why, one.stamp.stack())
        if not hung:
            self._notifier.alive()
        return not hung
