"""Whether the agent had better be started anew: what it needs to be of any use, and what a restart may mend.

Without the thread that seals, or those that send, it is of no use: it ends at once. Anything else, a camera that
cannot be begun, a model that hangs, memory that grows, is a guess at what is wrong, and other streams may work: that
takes a restart from the budget, unless nothing else is left to do.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from agent.clock import Clock
from agent.restarts import Restarts
from agent.seal import Journal
from agent.watchdog import Watchdog
from shared.stamps import Stamp

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_LASTING_S = 30.0
"""What is wrong for a moment only is no reason."""
_MB = 1_000_000
_SHARE = 0.75


class Health:
    """Looks at the agent as a whole. For one thread.

    Args:
        clock: The agent's.
        journal: Gets `restart_refused`.
        watchdog: Knows what hangs.
        restarts: The budget.
        memory: The agent's own.
    """

    def __init__(
        self, clock: Clock, journal: Journal, watchdog: Watchdog, restarts: Restarts, memory: "Memory"
    ) -> None:
        self._journal = journal
        self._watchdog = watchdog
        self._restarts = restarts
        self._refused: set[str] = set()
        self._lasting = [_Lasting(clock, memory.too_large), _Lasting(clock, exhausted)]

    def why_anew(
        self, needed: Mapping[str, bool], vital: Sequence[Stamp], suspects: Mapping[str, str], *, last: bool
    ) -> str:
        """Why the agent had better be started anew; nothing while its own machinery works.

        Args:
            needed: What it is of no use without, and whether that is there.
            vital: Stamps of the same.
            suspects: What seems wrong with single streams.
            last: Whether nothing else is left to do.
        """
        for name, alive in needed.items():
            if not alive:
                return f"the thread for {name} ended"
        hung = self._watchdog.hung
        for one in hung:
            if one.stamp in vital:
                return str(one)
        wrong = {**suspects, **{one.stamp.name: one.why for one in hung}}
        wrong |= {text.partition(":")[0]: text.partition(": ")[2] for text in self._wrong()}
        self._refused &= wrong.keys()
        for name, why in wrong.items():
            if last or (name not in self._refused and self._restarts.take()):
                return f"{name}: {why}"
            if name not in self._refused:
                self._refuse(name, why)
        for one in hung:
            self._watchdog.give_up(one.stamp)
            self._refused.discard(one.stamp.name)
        return ""

    def _wrong(self) -> Iterator[str]:
        return (why for lasting in self._lasting if (why := lasting.look()))

    def _refuse(self, name: str, why: str) -> None:
        self._refused.add(name)
        log.error(
            "a restart of the agent might help, but it had its %d of today: %s: %s", self._restarts.most, name, why
        )
        self._journal.event("restart_refused", f"{name}: {why}")


class _Lasting:
    """What is wrong since `_LASTING_S`."""

    def __init__(self, clock: Clock, look: Callable[[], str]) -> None:
        self._clock = clock
        self._look = look
        self._due = 0.0
        self._since: float | None = None
        self._why = ""

    def look(self) -> str:
        now = self._clock.monotonic()
        if now >= self._due:
            self._due = now + _LOOK_S
            self._why = self._look()
            self._since = None if not self._why else self._since if self._since is not None else now
        return self._why if self._since is not None and now - self._since >= _LASTING_S else ""


class Memory:
    """What the agent's own process has to itself, against what it may have.

    Args:
        most_mb: Its ceiling; None for three quarters of what there is, 0 for none.
    """

    def __init__(self, most_mb: int | None) -> None:
        self.most_mb = round(_SHARE * available_mb()) if most_mb is None else most_mb
        self._fd = -1
        with suppress(OSError):  # open from the start on: later it may be that nothing can be opened
            self._fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)

    def too_large(self) -> str:
        """What to say while it is over its ceiling."""
        mb = self.mb()
        if not self.most_mb or mb <= self.most_mb:
            return ""
        return f"memory: the agent grew to {mb} MB; 'agent_mb' allows {self.most_mb}"

    def mb(self) -> int:
        """What it has to itself, in MB; 0 where nobody knows."""
        try:
            text = os.pread(self._fd, 8192, 0).decode(errors="replace")
            return int(text.partition("RssAnon:")[2].split(maxsplit=1)[0]) * 1024 // _MB
        except (OSError, ValueError, IndexError):
            return 0

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def available_mb(root: Path = Path("/")) -> int:
    """The device's memory, or what the control group of this process (`MemoryMax=`) may have of it, in MB."""
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        group = (root / "proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip().lstrip("/")
        most = min(most, int((root / "sys/fs/cgroup" / group / "memory.max").read_text(encoding="ascii")))
    return most // _MB


def exhausted() -> str:
    """What to say when this process can open no file, or begin no thread, any more."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return f"files: none can be opened any more: {error.strerror}"
    try:
        probe = threading.Thread(target=int, name="probe", daemon=True)
        probe.start()
        probe.join(_LOOK_S)
    except RuntimeError as error:
        return f"threads: none can be begun any more: {error}"
    return ""
