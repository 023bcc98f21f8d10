"""Holes in the batch numbers of a lane: what must exist and has not arrived, kept in step by the writing transaction.

A number must exist once a higher one of its lane arrived, once a later start told how far its lane had got, or once
the device's vitals did. A hole appears with that word, shrinks with each batch that fills a part of it, and is gone
when nothing of it is left: who asks finds few rows, however long the lane is.
"""

import sqlite3

from collector.stores.answers import Hole, LaneKey
from collector.stores.sqlite.schema import LANES

PER_LANE_MAX = 1000
"""Holes of one lane that are told at once, the lowest first."""


class Holes:
    """The holes as one transaction changes them; `flush` writes how far the lanes reach."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._told: dict[tuple[int, int], int] = {}

    def told(self, epoch: int, lane: int, number: int, at_ns: int) -> None:
        """Note that the lane has batches up to `number`."""
        self._extend(epoch, lane, number + 1, at_ns)

    def arrived(self, epoch: int, lane: int, number: int, at_ns: int) -> None:
        """Note that a batch arrived that was not there before."""
        if self._extend(epoch, lane, number, at_ns):
            self._told[epoch, lane] = number
            return
        hole = self._execute(
            "SELECT first, last, since_ns FROM holes WHERE epoch = ? AND lane = ? AND first <= ? "
            "ORDER BY first DESC LIMIT 1",
            (epoch, lane, number),
        ).fetchone()
        if hole is None or hole[1] < number:
            return
        first, last, since_ns = hole
        self._execute("DELETE FROM holes WHERE epoch = ? AND lane = ? AND first = ?", (epoch, lane, first))
        self._insert(epoch, lane, first, number - 1, since_ns)
        self._insert(epoch, lane, number + 1, last, since_ns)

    def flush(self) -> None:
        """Write how far the lanes reach."""
        self._executemany(
            "INSERT INTO lanes (epoch, lane, last, batches, told) VALUES (?, ?, 0, 0, ?) "
            "ON CONFLICT DO UPDATE SET told = max(told, excluded.told)",
            [(*lane, told) for lane, told in self._told.items() if told],
        )

    def _extend(self, epoch: int, lane: int, number: int, at_ns: int) -> bool:
        """Note that everything below `number` exists; whether `number` lies beyond what was known."""
        if (epoch, lane) not in self._told:
            found = self._execute(
                "SELECT max(told, forgotten_to) FROM lanes WHERE epoch = ? AND lane = ?", (epoch, lane)
            ).fetchone()
            self._told[epoch, lane] = found[0] if found else 0
        known = self._told[epoch, lane]
        if number <= known:
            return False
        self._insert(epoch, lane, known + 1, number - 1, at_ns)
        self._told[epoch, lane] = number - 1
        return True

    def _insert(self, epoch: int, lane: int, first: int, last: int, since_ns: int) -> None:
        if first <= last:
            self._execute("INSERT INTO holes VALUES (?, ?, ?, ?, ?)", (epoch, lane, first, last, since_ns))


def read(connection: sqlite3.Connection) -> list[Hole]:
    """The holes of all devices, by lane and number."""
    rows = connection.execute(
        "SELECT d.site, d.device, e.epoch, e.nonce, h.lane, h.first, h.last, h.since_ns FROM (SELECT *, "
        "row_number() OVER (PARTITION BY epoch, lane ORDER BY first) AS place FROM holes) h "
        "JOIN epochs e ON e.id = h.epoch JOIN devices d ON d.id = e.device WHERE h.place <= ? "
        "ORDER BY d.site, d.device, e.epoch, e.nonce, h.lane, h.first",
        (PER_LANE_MAX,),
    )
    return [
        Hole(LaneKey(site, device, epoch, nonce, LANES[lane]), first, last, since_ns)
        for site, device, epoch, nonce, lane, first, last, since_ns in rows
    ]
