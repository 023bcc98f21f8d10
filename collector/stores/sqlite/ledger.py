"""The ledger out of its tables.

Without a range it comes from `totals`, `lanes` and `holes`: frames are numbered from 1 without a gap and spans never
overlap, so what is missing up to the last known frame is that number less the frames that are known. With a range the
spans themselves are read.
"""

import sqlite3
from collections.abc import Mapping

from collector.stores.answers import Balance, EpochBooks, FrameGap, LaneBooks, StreamBooks
from collector.stores.sqlite.read import PLAN_SUMS
from collector.stores.sqlite.schema import FATES, LANES, OUTCOMES

HOLES_MAX = 100
"""Ranges of missing batch numbers that are listed per lane, and of missing frames per stream."""

FOREVER_NS = 2**63 - 1

_DETAIL = LANES.index("detail")


def read(
    connection: sqlite3.Connection, site: str, device: str, from_ns: int | None, to_ns: int | None
) -> list[EpochBooks]:
    """The books of every start of a device, oldest first."""
    found = connection.execute("SELECT id FROM devices WHERE site = ? AND device = ?", (site, device)).fetchone()
    if found is None:
        return []
    names = dict(connection.execute("SELECT id, name FROM streams WHERE device = ?", found).fetchall())
    if from_ns is None and to_ns is None:
        return _whole(connection, found[0], names)
    return _ranged(connection, found[0], names, from_ns or 0, FOREVER_NS if to_ns is None else to_ns)


def balances(connection: sqlite3.Connection) -> list[Balance]:
    """The sums of every device's ledger, from the totals alone."""
    return [Balance(*row) for row in connection.execute(_BALANCES)]


_KNOWN = f"coalesce({' + '.join(f't.{name}' for name in OUTCOMES)}, 0)"
_LAST = "max(coalesce(t.last, 0), coalesce(x.sealed, 0))"
_LOST = f"iif(x.captured IS NULL, 0, max(0, x.captured - {_LAST}))"
_BALANCES = (
    f"SELECT d.site, d.device, sum({_LAST} + {_LOST}), sum({_KNOWN} + {_LOST}), sum({_LAST} - {_KNOWN}) "  # noqa: S608  # names from the schema
    "FROM (SELECT epoch, stream FROM totals UNION SELECT epoch, stream FROM tails) k "
    "LEFT JOIN totals t ON t.epoch = k.epoch AND t.stream = k.stream "
    "LEFT JOIN tails x ON x.epoch = k.epoch AND x.stream = k.stream "
    "JOIN epochs e ON e.id = k.epoch JOIN devices d ON d.id = e.device GROUP BY d.id ORDER BY 1, 2"
)

_EPOCHS = (
    "SELECT e.id, e.epoch, e.nonce, e.first_sealed_ns, e.last_sealed_ns, n.told_at_ns, n.clean, n.exact "
    "FROM epochs e LEFT JOIN endings n ON n.epoch = e.id WHERE e.device = ? "
    "ORDER BY e.epoch, e.first_sealed_ns, e.nonce"
)
_OF_DEVICE = "epoch IN (SELECT id FROM epochs WHERE device = ?)"


def _epochs(connection: sqlite3.Connection, device: int) -> dict[int, EpochBooks]:
    """The starts of a device with their lanes, without their streams."""
    books = {}
    for number, epoch, nonce, first_ns, last_ns, told_at_ns, clean, exact in connection.execute(_EPOCHS, (device,)):
        one = books[number] = EpochBooks(epoch, nonce, first_ns, last_ns, told_at_ns)
        if told_at_ns is not None:
            one.clean, one.exact = bool(clean), bool(exact)
    lanes = f"SELECT epoch, lane, max(last, told) FROM lanes WHERE {_OF_DEVICE} ORDER BY lane"  # noqa: S608  # names from the code
    for epoch, lane, last in connection.execute(lanes, (device,)):
        if last:
            books[epoch].lanes[LANES[lane]] = LaneBooks(last)
    holes = f"SELECT epoch, lane, first, last FROM holes WHERE {_OF_DEVICE} ORDER BY epoch, lane, first"  # noqa: S608  # as above
    for epoch, lane, first, last in connection.execute(holes, (device,)):
        missing = books[epoch].lanes[LANES[lane]].missing
        if missing and missing[-1][1] == first - 1:  # known at another time
            missing[-1] = (missing[-1][0], last)
        elif len(missing) < HOLES_MAX:
            missing.append((first, last))
    return books


def _whole(connection: sqlite3.Connection, device: int, names: Mapping[int, str]) -> list[EpochBooks]:
    epochs = _epochs(connection, device)
    columns = ", ".join((*OUTCOMES, *FATES))
    rows = connection.execute(
        f"SELECT epoch, stream, first, last, {columns} FROM totals WHERE {_OF_DEVICE}",  # noqa: S608  # names from the schema
        (device,),
    ).fetchall()
    for epoch, stream, first, last, *counts in rows:
        outcomes = dict(zip(OUTCOMES, counts, strict=False))
        fates = dict(zip(FATES, counts[len(OUTCOMES) :], strict=True))
        books = StreamBooks(first, last, outcomes, fates, last - sum(outcomes.values()))
        if books.missing:
            lane = epochs[epoch].lanes.get("detail")
            books.gaps = _gaps(connection, epoch, stream, last, lane.missing if lane else [])
        epochs[epoch].streams[names[stream]] = books
    plans = f"SELECT epoch, stream, planned, captured, asleep FROM plans WHERE {_OF_DEVICE}"  # noqa: S608  # names from the code
    for epoch, stream, planned, captured, asleep in connection.execute(plans, (device,)):
        _plan(epochs[epoch], names[stream], planned, captured, asleep)
    _add_tails(connection, device, names, epochs)
    return list(epochs.values())


def _ranged(
    connection: sqlite3.Connection, device: int, names: Mapping[int, str], start: int, end: int
) -> list[EpochBooks]:
    """As `_whole`, of the batches sealed in the range; an epoch counts where a batch or its end lies in it."""
    epochs = {
        number: one
        for number, one in _epochs(connection, device).items()
        if (one.first_sealed_ns is not None and one.first_sealed_ns < end and (one.last_sealed_ns or 0) >= start)
        or (one.ended_at_ns is not None and start <= one.ended_at_ns < end)
    }
    for number, one in epochs.items():
        one.streams = _spans(connection, number, names, start, end)
        planned = connection.execute(
            f"SELECT w.stream, {PLAN_SUMS} FROM windows w WHERE w.stream IN ({', '.join(map(str, names))}) "  # noqa: S608  # names from the code, and integers
            "AND w.hour = 0 AND w.started_at_ns >= ? AND w.started_at_ns < ? AND w.epoch = ? GROUP BY 1",
            (start, end, number),
        )
        for stream, *plan in planned:
            _plan(one, names[stream], *plan)
    ended = {
        number: one for number, one in epochs.items() if one.ended_at_ns is not None and start <= one.ended_at_ns < end
    }
    _add_tails(connection, device, names, ended)
    return list(epochs.values())


def _plan(books: EpochBooks, stream: str, planned: int | None, captured: int, asleep: int) -> None:
    one = books.streams.setdefault(stream, StreamBooks())
    one.planned, one.planned_captured, one.asleep = planned, captured, asleep


def _spans(
    connection: sqlite3.Connection, epoch: int, names: Mapping[int, str], from_ns: int, to_ns: int
) -> dict[str, StreamBooks]:
    """The streams of an epoch, of the batches sealed in the range; a gap belongs to the batch after it."""
    spans = (
        "SELECT p.*, lag(p.last, 1, t.forgotten_to) OVER along AS known, lag(p.batch, 1, 0) OVER along AS earlier "
        "FROM spans p JOIN totals t ON t.epoch = p.epoch AND t.stream = p.stream WHERE p.epoch = ? "
        "WINDOW along AS (PARTITION BY p.stream ORDER BY p.first)"
    )
    sums = ", ".join(f"sum({name})" for name in OUTCOMES)
    rows = connection.execute(
        f"SELECT stream, fate, min(first), max(last), sum(first - 1 - known), {sums} FROM ({spans}) "  # noqa: S608  # names from the schema
        "WHERE sealed_at_ns >= ? AND sealed_at_ns < ? GROUP BY 1, 2",
        (epoch, from_ns, to_ns),
    ).fetchall()
    streams: dict[str, StreamBooks] = {}
    for stream, fate, first, last, gap, *counts in rows:
        books = streams.setdefault(names[stream], StreamBooks(first, last))
        books.first, books.last = min(books.first, first), max(books.last, last)
        books.missing += gap
        for name, count in zip(OUTCOMES, counts, strict=True):
            books.outcomes[name] = books.outcomes.get(name, 0) + count
        books.fates[FATES[fate]] = books.fates.get(FATES[fate], 0) + sum(counts)
    if any(books.missing for books in streams.values()):
        gaps = connection.execute(
            f"SELECT stream, known + 1, first - 1, earlier, batch FROM ({spans}) WHERE first > known + 1 "  # noqa: S608  # as above
            "AND sealed_at_ns >= ? AND sealed_at_ns < ?",
            (epoch, from_ns, to_ns),
        )
        for stream, *gap in gaps:
            known = streams[names[stream]].gaps
            if len(known) < HOLES_MAX:
                known.append(FrameGap(*gap))
    return streams


def _gaps(
    connection: sqlite3.Connection, epoch: int, stream: int, last: int, holes: list[tuple[int, int]]
) -> list[FrameGap]:
    """The frames that belong to holes in the detail lane, found by bisection: a stream's batches follow its frames."""
    found: dict[int, FrameGap] = {}
    forgotten = connection.execute(
        "SELECT forgotten_to FROM totals WHERE epoch = ? AND stream = ?", (epoch, stream)
    ).fetchone()
    for _, highest in holes:
        after = first_above(connection, epoch, stream, highest, last)
        if after is None:
            continue
        first, batch = after
        before = connection.execute(
            "SELECT last, batch FROM spans WHERE epoch = ? AND stream = ? AND first < ? ORDER BY first DESC LIMIT 1",
            (epoch, stream, first),
        ).fetchone() or (forgotten[0], 0)
        if first > before[0] + 1:
            found[first] = FrameGap(before[0] + 1, first - 1, before[1], batch)
    return list(found.values())


def first_above(
    connection: sqlite3.Connection, epoch: int, stream: int, batch: int, last: int
) -> tuple[int, int] | None:
    """First frame and batch of the first span of a stream whose batch is above `batch`, or None."""
    low, high, found = 1, last + 1, None
    while low < high:
        middle = (low + high) // 2
        span = connection.execute(
            "SELECT first, batch FROM spans WHERE epoch = ? AND stream = ? AND first >= ? ORDER BY first LIMIT 1",
            (epoch, stream, middle),
        ).fetchone()
        if span is None or span[1] > batch:
            high = middle
            found = span or found
        else:
            low = span[0] + 1
    return found


def _add_tails(
    connection: sqlite3.Connection, device: int, names: Mapping[int, str], epochs: Mapping[int, EpochBooks]
) -> None:
    rows = connection.execute(
        "SELECT x.epoch, x.stream, x.sealed, x.captured, coalesce(t.last, 0), s.batch FROM tails x "
        "LEFT JOIN totals t ON t.epoch = x.epoch AND t.stream = x.stream "
        "LEFT JOIN spans s ON s.epoch = x.epoch AND s.stream = x.stream AND s.last = t.last AND s.first = "
        "(SELECT max(first) FROM spans WHERE epoch = x.epoch AND stream = x.stream) "
        "WHERE x.epoch IN (SELECT id FROM epochs WHERE device = ?)",
        (device,),
    )
    for epoch, stream, sealed, captured, last, batch in rows:
        if epoch not in epochs:
            continue
        books = epochs[epoch].streams.setdefault(names[stream], StreamBooks())
        # A device whose outbox was lost says 0 sealed of an epoch of which much has arrived.
        books.tail_sealed = max(sealed, last)
        books.tail_captured = max(books.tail_sealed, captured)
        if sealed > last:
            books.missing += sealed - last
            lane = epochs[epoch].lanes.get("detail")
            books.gaps.append(FrameGap(last + 1, sealed, batch or 0, lane.last + 1 if lane else 1))
