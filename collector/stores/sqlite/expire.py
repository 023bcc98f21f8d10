"""Deleting what is older than the retention, in steps short enough that writers hardly wait."""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial

from collector.stores.sqlite.write import Retention
from shared import failpoints

STEP_ROWS = 5_000

Run = Callable[[Callable[[sqlite3.Connection], int]], int]
"""Runs one step in a write transaction of its own and answers how many rows it deleted."""


def expire(connection: sqlite3.Connection, run: Run, retention: Retention, now_ns: int) -> int:
    """Delete what is too old; the count of rows."""
    deleted = 0
    for step in _steps(connection, retention, now_ns):
        while count := run(step):
            failpoints.reached("in_expire")
            deleted += count
    return deleted


def _steps(
    connection: sqlite3.Connection, retention: Retention, now_ns: int
) -> Iterator[Callable[[sqlite3.Connection], int]]:
    detail_ns, minutes_ns, hours_ns = (
        now_ns - age_ns for age_ns in (retention.detail_ns, retention.minutes_ns, retention.hours_ns)
    )
    for (stream,) in connection.execute("SELECT id FROM streams").fetchall():
        yield partial(_timed, "observations", stream, detail_ns)
        yield partial(_windows, stream, 0, minutes_ns)
        yield partial(_windows, stream, 1, hours_ns)
    for (device,) in connection.execute("SELECT id FROM devices").fetchall():
        yield partial(_timed, "vitals", device, minutes_ns)
        yield partial(_timed, "events", device, minutes_ns)
    yield partial(_ledger, detail_ns)
    yield partial(_statuses, minutes_ns)


_CLUSTERED = {
    "observations": ("stream", "captured_at_ns"),
    "vitals": ("device", "at_ns"),
    "events": ("device", "at_ns"),
}
"""Tables clustered by owner and time, with the names of the two columns."""


def _timed(table: str, number: int, oldest_ns: int, connection: sqlite3.Connection) -> int:
    """The oldest rows of one owner, up to the instant of the row that ends the step."""
    owner, at_ns = _CLUSTERED[table]
    found = connection.execute(
        f"SELECT {at_ns} FROM {table} WHERE {owner} = ? AND {at_ns} < ? ORDER BY {at_ns} LIMIT 1 OFFSET ?",  # noqa: S608  # names from the code above
        (number, oldest_ns, STEP_ROWS),
    ).fetchone()
    until_ns = found[0] + 1 if found else oldest_ns
    return connection.execute(
        f"DELETE FROM {table} WHERE {owner} = ? AND {at_ns} < ?",  # noqa: S608  # names from the code above
        (number, until_ns),
    ).rowcount


def _windows(stream: int, hour: int, oldest_ns: int, connection: sqlite3.Connection) -> int:
    numbers = connection.execute(
        "SELECT id FROM windows WHERE stream = ? AND hour = ? AND started_at_ns < ? LIMIT ?",
        (stream, hour, oldest_ns, STEP_ROWS // 10),
    ).fetchall()
    connection.executemany("DELETE FROM histograms WHERE window = ?", numbers)
    connection.executemany("DELETE FROM class_counts WHERE window = ?", numbers)
    connection.executemany("DELETE FROM request_counts WHERE window = ?", numbers)
    connection.executemany("DELETE FROM windows WHERE id = ?", numbers)
    return len(numbers)


def _ledger(oldest_ns: int, connection: sqlite3.Connection) -> int:
    """Ledger rows received too long ago, in the order in which they came; totals and lanes keep the sums."""
    rows = connection.execute(
        "SELECT id, epoch, lane, batch, received_at_ns FROM batches ORDER BY id LIMIT ?", (STEP_ROWS // 10,)
    ).fetchall()
    old = [row for row in rows if row[4] < oldest_ns]
    for number, epoch, lane, batch, _ in old:
        connection.execute(
            "UPDATE lanes SET forgotten_to = max(forgotten_to, ?) WHERE epoch = ? AND lane = ?", (batch, epoch, lane)
        )
        if lane:
            _spans(connection, epoch, batch)
        connection.execute("DELETE FROM holes WHERE epoch = ? AND lane = ? AND last < ?", (epoch, lane, batch))
        connection.execute("DELETE FROM batches WHERE id = ?", (number,))
    return len(old)


def _spans(connection: sqlite3.Connection, epoch: int, batch: int) -> None:
    """The spans of a batch: they are among the oldest of each stream, so the search is short."""
    streams = connection.execute("SELECT stream FROM totals WHERE epoch = ?", (epoch,)).fetchall()
    for (stream,) in streams:
        found = connection.execute(
            "SELECT first, last FROM spans WHERE epoch = ? AND stream = ? AND batch = ? ORDER BY first LIMIT 1",
            (epoch, stream, batch),
        ).fetchone()
        if found is None:
            continue
        connection.execute(
            "UPDATE totals SET forgotten_to = max(forgotten_to, ?) WHERE epoch = ? AND stream = ?",
            (found[1], epoch, stream),
        )
        connection.execute("DELETE FROM spans WHERE epoch = ? AND stream = ? AND first = ?", (epoch, stream, found[0]))


def _statuses(oldest_ns: int, connection: sqlite3.Connection) -> int:
    return connection.execute(
        "DELETE FROM statuses WHERE id IN (SELECT id FROM statuses WHERE received_at_ns < ? ORDER BY id LIMIT ?)",
        (oldest_ns, STEP_ROWS),
    ).rowcount
