"""Who made progress when, and what becomes of an agent that makes none.

Every thread stamps the board (`shared.stamps`). The watchdog looks at it every second: while all stamps are fresh it
tells systemd so; a part that hangs is said, with where its thread is, and handed to `agent.health`, which decides.
Nothing that hangs in C code can be called back: the process has to end. `LastResort` sees to it that it does, in
bounded time, with everything sealed that can be.
"""

import contextlib
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable

from agent.clock import Clock
from shared.notify import Notifier
from shared.stamps import Board, Hung, Stamp, every_stack

log = logging.getLogger(__name__)

_TICK_S = 1.0
_STOOD_STILL_S = 5.0
"""A tick that came so late means that the whole process stood still, and not one part of it."""
_SEAL_S = 5.0
"""For the last seal, when the end did not come by itself."""
_STACK_CHARS = 4000


class LastResort:
    """Ends the process when the end in good order does not come about in time.

    Its thread is made at the start, for it may be that no thread can be made any more.

    Args:
        clock: The agent's.

    Attributes:
        seal: What is tried last, in at most `_SEAL_S` seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self.seal: Callable[[], object] = lambda: None
        self._clock = clock
        self._changed = threading.Condition()
        self._at: float | None = None
        self._code = 1
        self._over = False
        self._thread = threading.Thread(target=self._run, name="last-resort", daemon=True)

    def start(self) -> None:
        """Be ready."""
        self._thread.start()

    @property
    def armed(self) -> bool:
        """Whether the process is to end."""
        return self._at is not None

    def arm(self, within_s: float, code: int) -> None:
        """The process ends within so many seconds, at worst with this exit code; what was said earlier may be sooner.

        Not for the main thread's signal handlers: it takes a lock.
        """
        at = self._clock.monotonic() + within_s
        with self._changed:
            self._code = code
            self._at = at if self._at is None else min(at, self._at)
            self._changed.notify()

    def disarm(self) -> None:
        """The end came by itself."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._over:
                left_s = None if self._at is None else self._at - self._clock.monotonic()
                if left_s is not None and left_s <= 0:
                    break
                self._changed.wait(left_s)
            if self._over:
                return
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # no thread, or no standard error, any more
            faulthandler.dump_traceback_later(_SEAL_S, exit=True)
        log.critical("the agent does not end by itself and is ended; its threads:\n%s", every_stack())
        with contextlib.suppress(Exception):  # there is nobody left to tell
            self.seal()
        leave(self._code)


class Watchdog:
    """Looks at the board once a second, and tells systemd.

    Args:
        clock: The agent's.
        notifier: To systemd.
        thread_s: Silence after which a thread of the agent's own counts as hung.

    Attributes:
        resort: Ends the process when nothing else does.
    """

    def __init__(self, clock: Clock, notifier: Notifier, thread_s: float) -> None:
        self._clock = clock
        self._notifier = notifier
        self._thread_s = thread_s
        self._board = Board(clock.monotonic)
        self._lock = threading.Lock()
        self._on_hung: dict[Stamp, Callable[[str], None]] = {}
        self._told: set[Stamp] = set()
        self._hung: list[Hung] = []
        self._ready = False
        self._patience_s = 0.0
        self._stopped = threading.Event()
        self.resort = LastResort(clock)
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self.resort.start()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self.resort.disarm()

    def stamp(self, name: str, deadline_s: float | None = None, on_hung: Callable[[str], None] | None = None) -> Stamp:
        """A stamp for a part.

        Args:
            name: What people call it.
            deadline_s: Silence that means that it hangs; None for that of any thread, 0 for never.
            on_hung: Called once when it hangs, with why, in the watchdog's thread.
        """
        made = self._board.stamp(name, self._thread_s if deadline_s is None else deadline_s)
        if on_hung is not None:
            with self._lock:
                self._on_hung[made] = on_hung
        return made

    @property
    def hung(self) -> list[Hung]:
        """The parts that hang, as last looked at."""
        return self._hung

    def give_up(self, stamp: Stamp) -> None:
        """Do without a part that hangs."""
        self._board.give_up(stamp)
        self._hung = [one for one in self._hung if one.stamp is not stamp]

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._notifier.status(text)

    def starting(self, within_s: float) -> None:
        """The start may take so long."""
        self._patience_s = within_s
        self._notifier.extend(within_s)

    def ready(self) -> None:
        """The start is over: from now on systemd watches."""
        self._ready = True
        self._notifier.ready()

    def ending(self, within_s: float, code: int) -> None:
        """The end has begun, and is over within so many seconds, whatever hangs."""
        self._notifier.stopping()
        self._notifier.extend(within_s + 2 * _SEAL_S)
        self.resort.arm(within_s, code)

    def _run(self) -> None:
        last = self._clock.monotonic()
        while not self._stopped.wait(_TICK_S):
            now = self._clock.monotonic()
            if now - last > _STOOD_STILL_S:
                log.warning("the agent stood still for %.0f s", now - last)
                self._board.forgive()
            last = now
            self._look()

    def _look(self) -> None:
        self._hung = hung = self._board.hung()
        for one in hung:
            if one.stamp not in self._told:
                self._told.add(one.stamp)
                self._tell(one)
        if not hung and self._ready:
            self._notifier.alive()

    def _tell(self, one: Hung) -> None:
        log.error("%s hangs: %s; it is at\n%s", one.stamp.name, one.why, one.stamp.stack()[-_STACK_CHARS:])
        with self._lock:
            on_hung = self._on_hung.get(one.stamp)
        if on_hung is not None:
            try:
                on_hung(one.why)
            except Exception:  # the others are to be looked at all the same
                log.exception("what was to be done about %s failed", one.stamp.name)


def leave(code: int) -> None:
    """End this process now, whatever its threads do; not even a log is waited for."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
