"""What goes when the quota is used up, or its time is over.

Acked batches are kept for a collector that lost its store and will ask for them; beyond the quota they go first.
Then detail batches that were never sent are thinned: by number, odd ones first, then odd multiples of 2, of 4 ...:
what stays is even over time. Each leaves a tombstone.
"""

from collections.abc import Iterator

from agent.clock import Clock
from agent.outbox import ranges
from agent.outbox.rows import LANES, Epoch, Row, Rows
from agent.outbox.walltime import age_ns
from shared import wire
from shared.records import Lane, Tombstone

_LEVELS = 40


class Quota:
    """Keeps the rows within bounds; every call is part of the caller's transaction.

    Args:
        rows: The outbox's.
        clock: The agent's.
        quota_bytes: For all pages in use.
        keep_acked_ns: How long acked batches stay.
    """

    def __init__(self, rows: Rows, clock: Clock, quota_bytes: int, keep_acked_ns: int) -> None:
        self._rows = rows
        self._clock = clock
        self._quota_bytes = quota_bytes
        self._keep_acked_ns = keep_acked_ns
        self._thinned_to: dict[tuple[int, int], int] = {}

    @property
    def exceeded(self) -> bool:
        """Whether something has to go."""
        return self._rows.used_bytes() > self._quota_bytes

    def refuses(self, lane: Lane) -> bool:
        """Whether a lane has to wait: summaries, which remain when detail cannot be kept, get a quarter more."""
        return self._rows.used_bytes() > self._quota_bytes * (1.25 if lane == "summary" else 1) + 65_536

    def purge(self, limit: int, current: Epoch, *, young: bool) -> int:
        """Delete settled batches, oldest first: those past their time, or with `young` any. How many that were."""
        purged = 0
        for lane in LANES:
            for epoch in self._rows.in_order():
                if purged < limit:
                    purged += self._purge_epoch(epoch, lane, limit - purged, current, young=young)
        if purged:
            self._rows.forget_empty(keep=current)
        self._rows.shrink()
        return purged

    def _purge_epoch(self, epoch: Epoch, lane: Lane, limit: int, current: Epoch, *, young: bool) -> int:
        doomed: list[int] = []
        for first, last in epoch.lane(lane).settled:
            for row in self._rows.select(epoch, lane, first, last, limit - len(doomed)):
                if not young and not self._is_old(epoch, row, current):
                    self._rows.delete(epoch, lane, doomed)
                    return len(doomed)
                doomed.append(row.number)
            if len(doomed) >= limit:
                break
        if doomed:
            self._rows.delete(epoch, lane, doomed)
        return len(doomed)

    def _is_old(self, epoch: Epoch, row: Row, current: Epoch) -> bool:
        age = age_ns(self._clock, epoch, row, current)
        return age is not None and age >= self._keep_acked_ns

    def thin(self, limit: int) -> list[Tombstone]:
        """Delete detail batches that were never sent; their tombstones, for the summary lane."""
        tombstones: list[Tombstone] = []
        for epoch, number in self._candidates():
            found = self._rows.select(epoch, "detail", number, number, 1)
            tombstones += [self._thin_one(epoch, row) for row in found]
            if len(tombstones) == limit:
                break
        return tombstones

    def _candidates(self) -> Iterator[tuple[Epoch, int]]:
        for level in range(_LEVELS):
            for epoch in self._rows.in_order():
                step = 2 << level
                number = self._thinned_to.get((level, epoch.number), step // 2)
                while number <= epoch.detail.sealed:
                    if sent_to := ranges.end(epoch.sent, number):
                        number += (sent_to - number + step) // step * step
                        continue
                    self._thinned_to[level, epoch.number] = number + step
                    if not ranges.contains(epoch.detail.settled, number):
                        yield epoch, number
                    number += step

    def _thin_one(self, epoch: Epoch, row: Row) -> Tombstone:
        self._rows.change(epoch).detail.waiting -= 1
        self._rows.delete(epoch, "detail", [row.number])
        return Tombstone(0, epoch.number, epoch.nonce, row.number, wire.digest(row.body), row.runs)

    def forget_progress(self) -> None:
        """A transaction failed: look again at what it had thinned."""
        self._thinned_to.clear()
