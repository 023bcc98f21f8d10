"""The ledger's single entries, and the frames that have an observation: what an audit compares."""

import sqlite3

import msgspec

from collector.stores.answers import Entry, LaneKey
from collector.stores.sqlite.ledger import first_above
from collector.stores.sqlite.schema import FATES, LANES
from shared.records import Run, StreamRuns

_runs = msgspec.msgpack.Decoder(tuple[Run, ...])


def entries(connection: sqlite3.Connection, lane: LaneKey, after: int, limit: int) -> list[Entry]:
    """The entries of a lane in the order of their numbers, from the first one above `after`."""
    found = connection.execute(
        "SELECT e.id FROM epochs e JOIN devices d ON d.id = e.device "
        "WHERE d.site = ? AND d.device = ? AND e.epoch = ? AND e.nonce = ?",
        lane[:4],
    ).fetchone()
    if found is None:
        return []
    (epoch,) = found
    rows = connection.execute(
        "SELECT batch, sealed_at_ns, lower(hex(sha256)), fate FROM batches WHERE epoch = ? AND lane = ? AND batch > ? "
        "ORDER BY batch LIMIT ?",
        (epoch, LANES.index(lane.lane), after, limit),
    ).fetchall()
    if not rows:
        return []
    spans = _spans(connection, epoch, after, rows[-1][0]) if lane.lane == "detail" else {}
    return [
        Entry(batch, sealed_at_ns, sha256, FATES[fate], spans.get(batch, {}))
        for batch, sealed_at_ns, sha256, fate in rows
    ]


def _spans(connection: sqlite3.Connection, epoch: int, after: int, until: int) -> dict[int, dict[str, StreamRuns]]:
    """The frames of the batches above `after` up to `until`; of each stream they lie side by side."""
    found: dict[int, dict[str, StreamRuns]] = {}
    streams = connection.execute(
        "SELECT t.stream, s.name, t.last FROM totals t JOIN streams s ON s.id = t.stream WHERE t.epoch = ?", (epoch,)
    ).fetchall()
    for stream, name, last in streams:
        start = first_above(connection, epoch, stream, after, last)
        if start is None:
            continue
        rows = connection.execute(
            "SELECT batch, first, last, runs FROM spans WHERE epoch = ? AND stream = ? AND first >= ? ORDER BY first",
            (epoch, stream, start[0]),
        )
        for batch, first, last_frame, runs in rows:
            if batch > until:
                break
            found.setdefault(batch, {})[name] = StreamRuns(first, last_frame, _runs.decode(runs))
    return found


def frames(
    connection: sqlite3.Connection, site: str, device: str, from_ns: int, to_ns: int
) -> dict[tuple[int, str, str], list[int]]:
    """Numbers of the frames captured in the range that have an observation, by epoch, nonce and stream."""
    streams = connection.execute(
        "SELECT s.id, s.name FROM streams s JOIN devices d ON d.id = s.device WHERE d.site = ? AND d.device = ?",
        (site, device),
    ).fetchall()
    starts = {
        number: (epoch, nonce)
        for number, epoch, nonce in connection.execute(
            "SELECT e.id, e.epoch, e.nonce FROM epochs e JOIN devices d ON d.id = e.device "
            "WHERE d.site = ? AND d.device = ?",
            (site, device),
        )
    }
    found: dict[tuple[int, str, str], list[int]] = {}
    for stream, name in streams:
        rows = connection.execute(
            "SELECT epoch, frame FROM observations WHERE stream = ? AND captured_at_ns >= ? AND captured_at_ns < ?",
            (stream, from_ns, to_ns),
        )
        for epoch, frame in rows:
            found.setdefault((*starts[epoch], name), []).append(frame)
    return found
