"""What goes into a store and what comes out of it: plain values, the same for every store.

Times are integer ns since 1970, durations and ages are ticks of 1/100 ms, scores and coordinates are 1/10000, as on
the wire; `collector.queries` turns them into what people read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from shared.records import (
    Batch,
    Detection,
    Fate,
    Guess,
    Held,
    HistogramData,
    Lane,
    Maker,
    Outcome,
    Status,
    StreamRuns,
)

Written = Literal["stored", "duplicate", "expired"]
"""What a store did with a batch; all three are final, so all three are acked."""


@dataclass(frozen=True, slots=True)
class Received:
    """A batch and when the collector got it."""

    batch: Batch
    received_at_ns: int


@dataclass(frozen=True, slots=True)
class ReceivedStatus:
    """A birth or last will, and when the collector got it.

    Attributes:
        site: From the topic.
        device: From the topic.
        status: What was said.
        received_at_ns: When the collector got it.
        retained: Whether the broker kept it from earlier: then it says nothing about now.
    """

    site: str
    device: str
    status: Status
    received_at_ns: int
    retained: bool


@dataclass(frozen=True, slots=True)
class Scope:
    """Which records are meant; None means all."""

    site: str | None = None
    device: str | None = None
    stream: str | None = None
    model: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What is known of a device.

    Attributes:
        site: Its site.
        device: Its name in the site.
        last_batch_at_ns: When its last batch was received, or None.
        status: Its last status, or None; after a last will what the birth said, with the will's state and start.
        status_at_ns: When that was received.
        heard_at_ns: When a status that it sent itself just then was last received, or None: neither a retained one
            nor a last will is a sign of life.
        state_since_ns: Since when its state is what it is, or None.
        epoch: Of the start that its newest status or batch names, or None.
        streams: Names of the streams that it ever told of.
        held: Batches that it still had when it last told of them, or None: it never did.
        held_at_ns: When that was, by its own clock.
    """

    site: str
    device: str
    last_batch_at_ns: int | None
    status: Status | None
    status_at_ns: int | None
    heard_at_ns: int | None
    state_since_ns: int | None
    epoch: int | None
    streams: tuple[str, ...]
    held: tuple[Held, ...] | None = None
    held_at_ns: int | None = None

    @property
    def seen_ns(self) -> int | None:
        """When a sign of life was last received."""
        return max((at for at in (self.heard_at_ns, self.last_batch_at_ns) if at is not None), default=None)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that a device told of; `names` are its classes by class id."""

    sha256: str
    model: str
    version: str
    task: str
    family: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """An observation with its keys."""

    site: str
    device: str
    stream: str
    epoch: int
    nonce: str
    frame: int
    captured_at_ns: int
    maker: Maker
    width: int
    height: int
    capture: int
    wait: int
    prepare: int
    infer: int
    decode: int
    detections: tuple[Detection, ...]
    classes: tuple[Guess, ...]
    error: str

    @property
    def place(self) -> "Place":
        """Where it stands in the order of all observations."""
        return (self.captured_at_ns, self.site, self.device, self.stream, self.epoch, self.nonce, self.frame)


Place = tuple[int, str, str, str, int, str, int]
"""`captured_at_ns, site, device, stream, epoch, nonce, frame`: observations are read in descending order of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which observations are meant.

    Attributes:
        scope: Of which streams.
        from_ns: Captured at or after.
        to_ns: Captured before.
        classes: At least one of these: (model sha256 or None for any model, class id); None for no such filter.
        min_score: A detection (of `classes`, where given) has at least this score, in 1/10000; 0 for no such filter.
    """

    scope: Scope
    from_ns: int
    to_ns: int
    classes: frozenset[tuple[str | None, int]] | None = None
    min_score: int = 0


@dataclass(slots=True)
class WindowSum:
    """Windows of one stream and maker that start in one bucket of time, added up.

    Attributes:
        site: The stream's site.
        device: The stream's device.
        stream: The stream.
        maker: What made the results.
        bucket_ns: Start of the bucket, or None for the whole range.
        duration: Covered time in ticks.
        outcomes: Frames per outcome.
        none: Frames with outcome `ok` and no detection.
        planned: Frames that the plan wanted, in windows that say so; None where none does.
        planned_captured: Frames captured in those windows.
        asleep: Time asleep in ticks.
        histograms: By name; each counts the windows that have it.
        classes: class id -> frames, detections, top.
        http_requests: HTTP status -> requests that a push source answered.
    """

    site: str
    device: str
    stream: str
    maker: Maker
    bucket_ns: int | None
    duration: int
    outcomes: Mapping[Outcome, int]
    none: int
    planned: int | None = None
    planned_captured: int = 0
    asleep: int = 0
    histograms: dict[str, HistogramData] = field(default_factory=dict)
    classes: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    http_requests: dict[str, int] = field(default_factory=dict)


class LaneKey(NamedTuple):
    """A lane of one start of a device."""

    site: str
    device: str
    epoch: int
    nonce: str
    lane: Lane


class Hole(NamedTuple):
    """Batches `first` to `last`, both included, that must exist and did not arrive.

    `since_ns` is when the collector received what says that they exist.
    """

    lane: LaneKey
    first: int
    last: int
    since_ns: int


class FrameGap(NamedTuple):
    """Frames `first` to `last` of a stream that did not arrive.

    `after` is the detail batch of the frames before them (0: there is none), `before` that of the frames after them.
    """

    first: int
    last: int
    after: int
    before: int


class Balance(NamedTuple):
    """The sums of a device's ledger.

    Attributes:
        site: Its site.
        device: Its name in the site.
        captured: Frames that got a number, as far as is known.
        sealed: Frames with a fate, lost tails included.
        missing: Frames that must exist and did not arrive.
    """

    site: str
    device: str
    captured: int
    sealed: int
    missing: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch as the ledger has it.

    Attributes:
        batch: Its number.
        sealed_at_ns: When it was sealed; a thinned one, when its tombstone was.
        sha256: Of its body, in hex.
        fate: Of its frames.
        streams: The frames that it covers.
    """

    batch: int
    sealed_at_ns: int
    sha256: str
    fate: Fate
    streams: Mapping[str, StreamRuns]


@dataclass(slots=True)
class StreamBooks:
    """A stream's frames within an epoch, as the ledger has them.

    Attributes:
        first: Smallest frame known, 0 when none is.
        last: Greatest frame known, 0 when none is.
        outcomes: Frames per outcome.
        fates: Frames per fate, of those that arrived: `stored`, `thinned`, `expired`.
        missing: Frames in gaps before and between the known ones.
        gaps: Where they are; the first ones, where they are many.
        tail_sealed: Last sealed frame as the next start told, or the last one that arrived where that is more; None
            while no start told. Unlike `last` it knows no range.
        tail_captured: Last numbered frame as the next start told, at least `tail_sealed`, or None.
        planned: Frames that the plan wanted, in the windows that say so; None where none does.
        planned_captured: Frames captured in those windows.
        asleep: Time asleep in ticks.
    """

    first: int = 0
    last: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    fates: dict[Fate, int] = field(default_factory=dict)
    missing: int = 0
    gaps: list[FrameGap] = field(default_factory=list)
    tail_sealed: int | None = None
    tail_captured: int | None = None
    planned: int | None = None
    planned_captured: int = 0
    asleep: int = 0


@dataclass(slots=True)
class LaneBooks:
    """The batches of a lane within an epoch.

    Attributes:
        last: Greatest batch number known or told, 0 when none is.
        missing: Ranges of numbers up to it that are not known, both ends included.
    """

    last: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class EpochBooks:
    """One start of an agent, as the ledger has it.

    Attributes:
        epoch: Its number.
        nonce: Its random bits.
        first_sealed_ns: Sealing time of the first batch known, or None.
        last_sealed_ns: Sealing time of the last batch known, or None.
        ended_at_ns: When the next start told how this one ended, or None while none did.
        clean: Whether it ended as it should, or None while no later start told.
        exact: Whether the tails are exact.
        streams: By name.
        lanes: By lane.
    """

    epoch: int
    nonce: str
    first_sealed_ns: int | None = None
    last_sealed_ns: int | None = None
    ended_at_ns: int | None = None
    clean: bool | None = None
    exact: bool | None = None
    streams: dict[str, StreamBooks] = field(default_factory=dict)
    lanes: dict[Lane, LaneBooks] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventSeen:
    """Something that a device told."""

    site: str
    device: str
    stream: str | None
    at_ns: int
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class VitalsSeen:
    """How a device was; `values` by name of `shared.schema.VITALS`, None where it did not say."""

    site: str
    device: str
    at_ns: int
    values: Mapping[str, float | bool | None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a stream has been lately.

    Attributes:
        site: The stream's site.
        device: The stream's device.
        stream: The stream.
        frames: Captured between two sealings.
        seconds: Between these two.
        last_sealed_ns: When the newest batch with frames of it was sealed.
    """

    site: str
    device: str
    stream: str
    frames: int
    seconds: float
    last_sealed_ns: int
