"""The ledger out of its tables.

Without a range it comes from `totals` and `lanes`: frames are numbered from 1 without a gap and spans never overlap,
so what is missing up to the last known frame is that number less the frames that are known. With a range the spans
themselves are read.
"""

import sqlite3

from collector.stores.answers import EpochBooks, LaneBooks, StreamBooks
from collector.stores.sqlite.read import PLAN_SUMS
from collector.stores.sqlite.schema import FATES, OUTCOMES
from collector.stores.sqlite.write import LANES
from shared.records import Lane

HOLES_MAX = 100
"""Ranges of missing batch numbers that are listed per lane."""

_LANES: tuple[Lane, ...] = ("summary", "detail")


def read(
    connection: sqlite3.Connection, site: str, device: str, from_ns: int | None, to_ns: int | None
) -> list[EpochBooks]:
    """The books of every start of a device, oldest first."""
    rows = connection.execute(_EPOCHS, (site, device)).fetchall()
    names = dict(
        connection.execute(
            "SELECT s.id, s.name FROM streams s JOIN devices d ON d.id = s.device WHERE d.site = ? AND d.device = ?",
            (site, device),
        ).fetchall()
    )
    start, end = from_ns or 0, 2**63 - 1 if to_ns is None else to_ns
    ranged = from_ns is not None or to_ns is not None
    books = []
    for number, epoch, nonce, first_ns, last_ns, told_at_ns, clean, exact, summary, detail in rows:
        ended_in_range = told_at_ns is not None and start <= told_at_ns < end
        sealed_in_range = first_ns is not None and first_ns < end and last_ns >= start
        if not ended_in_range and not sealed_in_range and ranged:
            continue
        one = EpochBooks(epoch, nonce, first_ns, last_ns, told_at_ns)
        if told_at_ns is not None:
            one.clean, one.exact = bool(clean), bool(exact)
        one.streams = _ranged(connection, number, names, start, end) if ranged else _total(connection, number, names)
        _add_plans(connection, number, names, one.streams, (start, end) if ranged else None)
        if ended_in_range or not ranged:
            _add_tails(connection, number, names, one.streams)
        one.lanes = _lanes(connection, number, (summary or 0, detail or 0))
        books.append(one)
    return books


_EPOCHS = (
    "SELECT e.id, e.epoch, e.nonce, e.first_sealed_ns, e.last_sealed_ns, n.told_at_ns, n.clean, n.exact, "
    "n.summary, n.detail FROM epochs e JOIN devices d ON d.id = e.device LEFT JOIN endings n ON n.epoch = e.id "
    "WHERE d.site = ? AND d.device = ? ORDER BY e.epoch, e.first_sealed_ns, e.nonce"
)


def _total(connection: sqlite3.Connection, epoch: int, names: dict[int, str]) -> dict[str, StreamBooks]:
    columns = ", ".join((*OUTCOMES, *FATES))
    rows = connection.execute(
        f"SELECT stream, first, last, {columns} FROM totals WHERE epoch = ?",  # noqa: S608  # names from the schema
        (epoch,),
    )
    streams = {}
    for stream, first, last, *counts in rows:
        outcomes = dict(zip(OUTCOMES, counts, strict=False))
        fates = dict(zip(FATES, counts[len(OUTCOMES) :], strict=True))
        streams[names[stream]] = StreamBooks(first, last, outcomes, fates, last - sum(outcomes.values()))
    return streams


def _ranged(
    connection: sqlite3.Connection, epoch: int, names: dict[int, str], from_ns: int, to_ns: int
) -> dict[str, StreamBooks]:
    """As `_total`, of the batches sealed in the range; a gap belongs to the batch after it."""
    sums = ", ".join(f"sum({name})" for name in OUTCOMES)
    rows = connection.execute(
        f"SELECT stream, fate, min(first), max(last), sum(gap), {sums} FROM (SELECT p.*, p.first - 1 - "  # noqa: S608  # names from the schema
        "lag(p.last, 1, t.forgotten_to) OVER (PARTITION BY p.stream ORDER BY p.first) AS gap "
        "FROM spans p JOIN totals t ON t.epoch = p.epoch AND t.stream = p.stream WHERE p.epoch = ?) "
        "WHERE sealed_at_ns >= ? AND sealed_at_ns < ? GROUP BY 1, 2",
        (epoch, from_ns, to_ns),
    )
    streams: dict[str, StreamBooks] = {}
    for stream, fate, first, last, gap, *counts in rows:
        books = streams.setdefault(names[stream], StreamBooks(first, last))
        books.first, books.last = min(books.first, first), max(books.last, last)
        books.missing += gap
        for name, count in zip(OUTCOMES, counts, strict=True):
            books.outcomes[name] = books.outcomes.get(name, 0) + count
        books.fates[FATES[fate]] = books.fates.get(FATES[fate], 0) + sum(counts)
    return streams


def _add_plans(
    connection: sqlite3.Connection,
    epoch: int,
    names: dict[int, str],
    streams: dict[str, StreamBooks],
    bounds: tuple[int, int] | None,
) -> None:
    """What was planned: of the whole epoch, or of the windows that began in a range."""
    if bounds is None:
        rows = connection.execute("SELECT stream, planned, captured, asleep FROM plans WHERE epoch = ?", (epoch,))
    else:
        rows = connection.execute(
            f"SELECT w.stream, {PLAN_SUMS} FROM windows w WHERE w.stream IN ({', '.join(map(str, names))}) "  # noqa: S608  # names from the code, and integers
            "AND w.hour = 0 AND w.started_at_ns >= ? AND w.started_at_ns < ? AND w.epoch = ? GROUP BY 1",
            (*bounds, epoch),
        )
    for stream, planned, captured, asleep in rows:
        books = streams.setdefault(names[stream], StreamBooks())
        books.planned, books.planned_captured, books.asleep = planned, captured, asleep


def _add_tails(
    connection: sqlite3.Connection, epoch: int, names: dict[int, str], streams: dict[str, StreamBooks]
) -> None:
    rows = connection.execute("SELECT stream, sealed, captured FROM tails WHERE epoch = ?", (epoch,)).fetchall()
    for stream, sealed, captured in rows:
        found = connection.execute("SELECT last FROM totals WHERE epoch = ? AND stream = ?", (epoch, stream)).fetchone()
        last = found[0] if found else 0
        books = streams.setdefault(names[stream], StreamBooks())
        # A device whose outbox was lost says 0 sealed of an epoch of which much has arrived.
        books.tail_sealed = max(sealed, last)
        books.tail_captured = max(books.tail_sealed, captured)
        books.missing += max(0, sealed - last)


def _lanes(connection: sqlite3.Connection, epoch: int, told: tuple[int, int]) -> dict[Lane, LaneBooks]:
    known = {
        lane: rest
        for lane, *rest in connection.execute(
            "SELECT lane, last, batches, forgotten_to FROM lanes WHERE epoch = ?", (epoch,)
        )
    }
    lanes: dict[Lane, LaneBooks] = {}
    for lane in _LANES:
        number = LANES[lane]
        last, batches, forgotten_to = known.get(number, (0, 0, 0))
        books = LaneBooks(max(last, told[number]))
        if last != batches:
            books.missing = _holes(connection, epoch, number, forgotten_to)
        if told[number] > last:
            books.missing.append((last + 1, told[number]))
        if books.last:
            lanes[lane] = books
    return lanes


def _holes(connection: sqlite3.Connection, epoch: int, lane: int, forgotten_to: int) -> list[tuple[int, int]]:
    return connection.execute(
        "SELECT before + 1, batch - 1 FROM (SELECT batch, lag(batch, 1, ?) OVER (ORDER BY batch) AS before "
        "FROM batches WHERE epoch = ? AND lane = ?) WHERE batch > before + 1 LIMIT ?",
        (forgotten_to, epoch, lane, HOLES_MAX),
    ).fetchall()
