"""How long an answer may take, and how fast an outage's backlog may follow.

Both are learnt from the answers that came, so that a slow link or a busy collector is waited for and never pushed.
Times are seconds of one monotonic clock.
"""

import math
import random

PATIENCE_S = 5.0
PATIENCE_S_MAX = 60.0
"""Bounds of what is learnt, and the longest wait after all doubling."""

BACKLOG_WINDOW_MAX = 512

_DELAY_S = 1.0
"""How much longer than at its quickest the link may take for a batch of the backlog: live ones wait as long."""

_BASE_S = 600.0
"""How long the quickest counts: routes change."""

_WINDOW_S = 5.0
"""Answers come together, every few seconds: a window of so many seconds keeps the rate meanwhile."""

_FIRST_WINDOW = 2


class Patience:
    """How long the collector's word on a batch may take, from the broker's having it: as TCP learns it (RFC 6298)."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._spread_s = 0.0
        self._missed = 0

    def missed(self) -> None:
        """An answer did not come in time: lost, or slower than what was learnt; wait longer until one says which."""
        self._missed += 1

    def heard(self, took_s: float) -> None:
        """Learn from an answer to what was sent once: after two sendings nobody knows which one it answers."""
        took_s = min(took_s, PATIENCE_S_MAX)
        self._missed = 0
        if self._mean_s is None:
            self._mean_s, self._spread_s = took_s, took_s / 2
        else:
            self._spread_s += (abs(took_s - self._mean_s) - self._spread_s) / 4
            self._mean_s += (took_s - self._mean_s) / 8

    def s(self, tries: int) -> float:
        """How long to wait, after so many waits in vain."""
        learnt_s = 0.0 if self._mean_s is None else self._mean_s + 4 * self._spread_s
        return min(PATIENCE_S_MAX, max(PATIENCE_S, learnt_s) * 2.0 ** min(max(tries, self._missed), 10))


class Pace:
    """When a batch of the backlog may go.

    A bucket that fills at `rate` keeps a thousand devices that come back from flooding their collector. A window
    opens with each answer and is halved when one does not come, and as soon as the link takes a second longer than at
    its quickest, as downloads in the background do (RFC 6817): so the backlog takes what link and collector have left,
    and live batches, which go the same way, wait no longer than that second.

    Args:
        rate: Batches a second at most.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._window_max = max(8.0, min(float(BACKLOG_WINDOW_MAX), _WINDOW_S * rate))
        self.begin(0.0)

    @property
    def window_max(self) -> int:
        """Batches at most that may be on their way."""
        return int(self._window_max)

    def begin(self, now: float) -> None:
        """A new connection, or a new collector: nothing learnt of the last one holds; devices begin apart."""
        self._tokens = -self.rate * random.random()  # noqa: S311  # no secret
        self._filled_at = now
        self._window = float(_FIRST_WINDOW)
        self._doubling = True
        self._halved_until = -math.inf
        self._base_s = self._next_base_s = math.inf
        self._base_at = now

    def room(self, now: float, on_their_way: int) -> int:
        """How many may go now, beside those on their way."""
        self._tokens = min(max(1.0, self.rate), self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return max(0, min(int(self._window) - on_their_way, math.floor(self._tokens)))

    def spend(self, batches: int) -> None:
        """So many went."""
        self._tokens -= batches

    def next_s(self, on_their_way: int) -> float:
        """How long until the bucket lets one more go; no time will do while the window is full."""
        return max(0.0, 1.0 - self._tokens) / self.rate if on_their_way < int(self._window) else math.inf

    def heard(self, took_s: float, now: float) -> None:
        """A batch of the backlog was answered; the link took so long until the broker had it."""
        if took_s - self._quickest_s(took_s, now) > _DELAY_S:
            self._halve(took_s, now)
        else:
            self._window = min(self._window_max, self._window + (1.0 if self._doubling else 1.0 / self._window))

    def lost(self, now: float) -> None:
        """A batch of the backlog was not answered in time."""
        self._halve(PATIENCE_S, now)

    def _quickest_s(self, took_s: float, now: float) -> float:
        if now - self._base_at > _BASE_S:
            self._base_s, self._next_base_s, self._base_at = self._next_base_s, math.inf, now
        self._next_base_s = min(self._next_base_s, took_s)
        self._base_s = min(self._base_s, self._next_base_s)
        return self._base_s

    def _halve(self, for_s: float, now: float) -> None:
        """Once for all that were on their way then: they bring the same news."""
        self._doubling = False
        if now >= self._halved_until:
            self._window = max(1.0, self._window / 2)
            self._halved_until = now + for_s
