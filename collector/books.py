"""The ledger of a device: what became of every frame that got a number.

`captured` counts the numbers that were given, as far as anybody knows: it is the sum of the outcomes unless frames
wait or are missing. `sealed` is the sum of the fates. Frames that must exist and did not arrive are `waiting` where the
device said last that it still has their batches, and `missing` where it did not: those are known to nobody.
A frame beyond the last one known is not missing: it may still be under way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collector import ranges
from collector.figures import TICKS_PER_S, share
from collector.ranges import Range
from collector.stores.answers import EpochBooks, FrameGap, LaneBooks, StreamBooks
from collector.timestamps import rfc3339_or_none
from shared.records import Held, Lane, StreamRuns

OUTCOMES = ("ok", "skipped", "gated", "unreadable", "failed", "unknown")
FATES = ("stored", "thinned", "unsealed", "quarantined", "expired")
HOLES_SHOWN_MAX = 100
FOREVER_NS = 2**63 - 1

HeldRanges = Mapping[tuple[int, str, Lane], Sequence[Range]]
"""What a device still has: epoch, nonce and lane -> batch numbers."""


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
    waiting: int = 0
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
    held: HeldRanges = field(default_factory=dict)

    def holes(self, lane: Lane) -> list[Range]:
        """The holes in a lane's numbers, less what is in quarantine."""
        books = self.books.lanes.get(lane)
        away = (one.batch for one in (*self.quarantined, *self.elsewhere) if one.lane == lane)
        return ranges.without(books.missing, ranges.of(away)) if books else []

    def holds(self, lane: Lane) -> Sequence[Range]:
        """Numbers of a lane that the device still has."""
        return self.held.get((self.books.epoch, self.books.nonce, lane), ())


def held_ranges(held: Iterable[Held] | None) -> HeldRanges:
    """What a device told that it still has, by lane."""
    found: dict[tuple[int, str, Lane], list[Range]] = {}
    for one in held or ():
        found.setdefault((one.epoch, one.nonce, one.lane), []).append((one.first, one.last))
    return {lane: ranges.joined(parts) for lane, parts in found.items()}


def ledger(
    epochs: Sequence[EpochBooks],
    quarantined: Sequence[Quarantined],
    held: HeldRanges,
    from_ns: int = 0,
    to_ns: int = FOREVER_NS,
) -> dict[str, object]:
    """The whole account, in the shape of the API; the epochs are of that range, the quarantined ones of any time."""
    outcomes, fates, missing, waiting = dict.fromkeys(OUTCOMES, 0), dict.fromkeys(FATES, 0), 0, 0
    shown = []
    for epoch in _with_quarantine(epochs, quarantined, from_ns, to_ns):
        epoch.held = held
        streams = {name: _account(name, epoch) for name in _names(epoch)}
        for stream in streams.values():
            missing += stream.missing
            waiting += stream.waiting
            for key, count in stream.outcomes.items():
                outcomes[key] += count
            for key, count in stream.fates.items():
                fates[key] += count
        shown.append(_shown(epoch, streams))
    return {
        "captured": sum(outcomes.values()) + waiting + missing,
        "outcomes": outcomes,
        "sealed": sum(fates.values()),
        "fates": fates,
        "waiting": waiting,
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
    stream.waiting = min(stream.missing, sum(_waits(name, gap, epoch) for gap in books.gaps))
    stream.missing -= stream.waiting
    if books.tail_captured is not None:
        stream.tail_lost = max(0, books.tail_captured - told)
        stream.outcomes["unknown"] = stream.fates["unsealed"] = stream.tail_lost
    return stream


def _waits(name: str, gap: FrameGap, epoch: _Epoch) -> int:
    """How many frames of a gap are on their way: all that are not in quarantine, where the device has every batch."""
    between = ranges.both(epoch.holes("detail"), [(gap.after + 1, gap.before - 1)])
    if not between or ranges.without(between, epoch.holds("detail")):
        return 0
    away = (batch.streams[name] for batch in epoch.quarantined if name in batch.streams)
    return (
        gap.last
        - gap.first
        + 1
        - sum(runs.last - runs.first + 1 for runs in away if gap.first <= runs.first <= gap.last)
    )


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
                "captured": sum(stream.outcomes.values()) + stream.waiting + stream.missing,
                "outcomes": {name: count for name, count in stream.outcomes.items() if count},
                "fates": {name: count for name, count in stream.fates.items() if count},
                "waiting": stream.waiting,
                "missing": stream.missing,
                "tail_lost": stream.tail_lost,
                "planned": stream.planned,
                "coverage": stream.coverage,
                "asleep_s": stream.asleep_s,
            }
            for name, stream in streams.items()
        },
        "batches": {lane: {"last": found.last, **_not_arrived(lane, epoch)} for lane, found in books.lanes.items()},
    }


def _not_arrived(lane: Lane, epoch: _Epoch) -> dict[str, object]:
    holes, held = epoch.holes(lane), epoch.holds(lane)
    parts = {"waiting": ranges.both(holes, held), "missing": ranges.without(holes, held)}
    return {name: [list(part) for part in found[:HOLES_SHOWN_MAX]] for name, found in parts.items()} | {"asked": None}
