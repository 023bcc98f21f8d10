"""SIGTERM, SIGINT and SIGHUP, heard by a thread: the main thread may hang, or hold the very lock that is wanted.

Python runs a signal's handler in the main thread, between two of its steps. The C part of it, which runs at once,
writes the number into a socket: that is what is listened to.
"""

import logging
import signal
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

log = logging.getLogger(__name__)

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # a closed terminal is no reason to lose a second


class Signals:
    """Calls `on_first` at the first signal that asks for the end, and `on_more` at each one after it.

    Args:
        on_first: Lets the program end in good order.
        on_more: Somebody is impatient.

    To be entered by the main thread.
    """

    def __init__(self, on_first: Callable[[], None], on_more: Callable[[], None]) -> None:
        self._on_first = on_first
        self._on_more = on_more
        self._heard, self._told = socket.socketpair()
        self._told.setblocking(False)  # noqa: FBT003  # the socket's own word
        self._before: dict[signal.Signals, Any] = {}
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)

    def __enter__(self) -> "Signals":  # noqa: PYI034  # Self needs Python 3.11
        """Begin to listen."""
        self._thread.start()
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        for number in _ENDING:
            self._before[number] = signal.signal(number, _nothing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        signal.set_wakeup_fd(-1)
        for number, before in self._before.items():
            signal.signal(number, before)
        self._told.close()

    def _run(self) -> None:
        heard = 0
        while data := self._heard.recv(64):
            for number in data:
                if number in _ENDING:
                    heard += 1
                    log.info("%s: %s", signal.Signals(number).name, "ending" if heard == 1 else "ending faster")
                    (self._on_first if heard == 1 else self._on_more)()
        self._heard.close()


def _nothing(_number: int, _frame: object) -> None:
    """Python asks for a handler; the thread does the work."""
