"""The ledger of a device: what became of every frame that got a number.

`captured` counts the numbers that were given, as far as anybody knows: it is the sum of the outcomes unless frames are
missing. `sealed` is the sum of the fates, and `missing` counts the frames that must exist but are known to nobody.
A frame beyond the last one known is not missing: it may still be under way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from collector.figures import TICKS_PER_S, share
from collector.stores.answers import EpochBooks, LaneBooks, StreamBooks
from collector.timestamps import rfc3339_or_none
from shared.records import Lane, StreamRuns

OUTCOMES = ("ok", "skipped", "gated", "unreadable", "failed", "unknown")
FATES = ("stored", "thinned", "unsealed", "quarantined", "expired")
HOLES_SHOWN_MAX = 100
FOREVER_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A batch in quarantine whose header could be read and that its own device sent."""

    epoch: int
    nonce: str
    lane: Lane
    batch: int
    sealed_at_ns: int
    streams: dict[str, StreamRuns]


@dataclass(slots=True)
class _Stream:
    """A stream's account within an epoch."""

    first: int
    last: int
    outcomes: dict[str, int]
    fates: dict[str, int]
    missing: int
    tail_lost: int = 0
    planned: int | None = None
    coverage: float | None = None
    asleep_s: float = 0.0


@dataclass(slots=True)
class _Epoch:
    """An epoch's account; `elsewhere` are its quarantined batches out of the range, which only end its tails."""

    books: EpochBooks
    quarantined: list[Quarantined] = field(default_factory=list)
    elsewhere: list[Quarantined] = field(default_factory=list)


def ledger(
    epochs: Sequence[EpochBooks], quarantined: Sequence[Quarantined], from_ns: int = 0, to_ns: int = FOREVER_NS
) -> dict[str, object]:
    """The whole account, in the shape of the API; the epochs are of that range, the quarantined ones of any time."""
    outcomes, fates, missing = dict.fromkeys(OUTCOMES, 0), dict.fromkeys(FATES, 0), 0
    shown = []
    for epoch in _with_quarantine(epochs, quarantined, from_ns, to_ns):
        streams = {name: _account(name, epoch) for name in _names(epoch)}
        for stream in streams.values():
            missing += stream.missing
            for key, count in stream.outcomes.items():
                outcomes[key] += count
            for key, count in stream.fates.items():
                fates[key] += count
        shown.append(_shown(epoch, streams))
    return {
        "captured": sum(outcomes.values()) + missing,
        "outcomes": outcomes,
        "sealed": sum(fates.values()),
        "fates": fates,
        "missing": missing,
        "epochs": shown,
    }


def _with_quarantine(
    epochs: Sequence[EpochBooks], quarantined: Sequence[Quarantined], from_ns: int, to_ns: int
) -> list[_Epoch]:
    """Each start with its quarantined batches, less those that arrived whole after all."""
    known = {(books.epoch, books.nonce): _Epoch(books) for books in epochs}
    for batch in sorted(quarantined, key=lambda batch: (batch.epoch, batch.batch)):
        key = (batch.epoch, batch.nonce)
        counts = from_ns <= batch.sealed_at_ns < to_ns
        if not counts and key not in known:
            continue
        epoch = known.setdefault(key, _Epoch(EpochBooks(*key)))
        again = any((batch.lane, batch.batch) == (other.lane, other.batch) for other in epoch.quarantined)
        if not again and not _arrived(epoch.books.lanes.get(batch.lane), batch.batch):
            (epoch.quarantined if counts else epoch.elsewhere).append(batch)
    return sorted(known.values(), key=lambda epoch: (epoch.books.epoch, epoch.books.nonce))


def _arrived(lane: LaneBooks | None, batch: int) -> bool:
    if lane is None or batch > lane.last:
        return False
    return not any(first <= batch <= last for first, last in lane.missing)


def _names(epoch: _Epoch) -> list[str]:
    names = set(epoch.books.streams)
    for batch in epoch.quarantined:
        names.update(batch.streams)
    return sorted(names)


def _account(name: str, epoch: _Epoch) -> _Stream:
    books = epoch.books.streams.get(name) or StreamBooks()
    stream = _Stream(
        books.first,
        books.last,
        dict.fromkeys(OUTCOMES, 0) | books.outcomes,
        dict.fromkeys(FATES, 0) | books.fates,
        books.missing,
        planned=books.planned,
        coverage=share(books.planned_captured, books.planned or 0),
        asleep_s=round(books.asleep / TICKS_PER_S, 3),
    )
    told = max(books.last, books.tail_sealed or 0)
    for batch in epoch.quarantined:
        if name in batch.streams:
            told = _add_quarantined(stream, batch.streams[name], told)
    told = max([told, *(batch.streams[name].last for batch in epoch.elsewhere if name in batch.streams)])
    if books.tail_captured is not None:
        stream.tail_lost = max(0, books.tail_captured - told)
        stream.outcomes["unknown"] = stream.fates["unsealed"] = stream.tail_lost
    return stream


def _add_quarantined(stream: _Stream, runs: StreamRuns, told: int) -> int:
    """Account for the frames of a quarantined batch; the last frame known with it."""
    frames = runs.last - runs.first + 1
    for run in runs.outcomes:
        stream.outcomes[run.outcome] += run.last - run.first + 1
    stream.fates["quarantined"] += frames
    if runs.last <= told:
        stream.missing = max(0, stream.missing - frames)
    else:
        stream.missing += max(0, runs.first - 1 - told)
    stream.first = min(stream.first or runs.first, runs.first)
    stream.last = max(stream.last, runs.last)
    return max(told, runs.last)


def _shown(epoch: _Epoch, streams: dict[str, _Stream]) -> dict[str, object]:
    books = epoch.books
    return {
        "epoch": books.epoch,
        "nonce": books.nonce,
        "first": min((stream.first for stream in streams.values() if stream.first), default=0),
        "last": max((stream.last for stream in streams.values()), default=0),
        "first_at": rfc3339_or_none(books.first_sealed_ns),
        "last_at": rfc3339_or_none(books.last_sealed_ns),
        "tail_lost": sum(stream.tail_lost for stream in streams.values()),
        "clean": books.clean,
        "exact": books.exact,
        "streams": {
            name: {
                "first": stream.first,
                "last": stream.last,
                "captured": sum(stream.outcomes.values()) + stream.missing,
                "missing": stream.missing,
                "tail_lost": stream.tail_lost,
                "planned": stream.planned,
                "coverage": stream.coverage,
                "asleep_s": stream.asleep_s,
            }
            for name, stream in streams.items()
        },
        "batches": {
            lane: {"last": found.last, "missing": _missing(lane, found, epoch)} for lane, found in books.lanes.items()
        },
    }


def _missing(lane: Lane, books: LaneBooks, epoch: _Epoch) -> list[list[int]]:
    """The holes in a lane's numbers, less what is in quarantine."""
    away = sorted(batch.batch for batch in epoch.quarantined if batch.lane == lane)
    holes: list[list[int]] = []
    for first, last in books.missing:
        start = first
        for number in away:
            if first <= number <= last:
                if start < number:
                    holes.append([start, number - 1])
                start = number + 1
        if start <= last:
            holes.append([start, last])
    return holes[:HOLES_SHOWN_MAX]
