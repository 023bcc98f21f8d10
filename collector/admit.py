"""A message as something that may be stored, or the reason why not.

`shared.wire` checks the format; what is checked here beyond it is what the store relies on: plausible times, and sums
that cannot overflow. Nothing here knows the store or the broker.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from collector.clock import EARLIEST_NS
from collector.state.pictures import NotAPicture, check_jpeg
from collector.state.quarantine import Bad
from collector.stores.answers import Received, ReceivedStatus
from shared import topics, wire
from shared.histogram import BINS, restore
from shared.records import (
    TICK_NS,
    WIRE_VERSION,
    Batch,
    Detail,
    Header,
    ModelInfo,
    StreamRuns,
    Summary,
    Tombstone,
    Window,
)
from shared.topics import Address, NotOurs
from shared.wire import TooNew, Unreadable

WINDOW_COUNT_MAX = 2**40
"""Of any count, sum or duration in a window: millions of windows add up without leaving 64 bits."""

FRAMES_MAX = 10_000_000
"""Of a stream in one batch: a camera of 1000 frames a second has as many in almost three hours."""

PREFIX_BYTES = 64 * 1024
"""Kept of a message that is too large and has no header line within the limit."""


@dataclass(frozen=True, slots=True)
class Message:
    """What came from the broker, and when.

    Attributes:
        topic: It came on this topic.
        payload: As it came, or what `cut` left of it.
        retained: Whether the broker kept it from earlier.
        received_at_ns: When it came.
        too_large: Why it was cut, in one sentence; empty when it was not.
    """

    topic: str
    payload: bytes
    retained: bool
    received_at_ns: int
    too_large: str = ""


def cut(message: Message) -> Message:
    """What is kept of a message: beyond the limit only a batch's header line, or the first bytes of anything else."""
    payload = message.payload
    if len(payload) <= wire.PAYLOAD_BYTES_MAX:
        return message
    end = payload.find(b"\n", 0, wire.PAYLOAD_BYTES_MAX) + 1 if message.topic.endswith("/batch") else 0
    kept = payload[: end or PREFIX_BYTES]
    reason = (
        f"the message has {len(payload)} bytes, at most {wire.PAYLOAD_BYTES_MAX} are allowed; kept of it: the first "
        f"{len(kept)}; its sha256: {hashlib.sha256(payload).hexdigest()}"
    )
    return Message(message.topic, kept, message.retained, message.received_at_ns, reason)


@dataclass(frozen=True, slots=True)
class GoodBatch:
    """A batch that may be stored, and the message that it came in; `parts` says how much memory it takes."""

    message: Message
    received: Received
    parts: int = 1


@dataclass(frozen=True, slots=True)
class GoodSnapshot:
    """A picture that may be kept."""

    message: Message
    site: str
    device: str
    stream: str
    captured_at_ns: int


@dataclass(frozen=True, slots=True)
class Newer:
    """A message of a wire version that this release does not know: kept by the device until we do."""

    site: str
    device: str
    version: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that is not for us."""

    cause: str


Admitted = GoodBatch | ReceivedStatus | GoodSnapshot | Bad | Newer | Ignored


def admit(message: Message, clock_ahead_ns: int) -> Admitted:
    """Read and check a message; whatever it holds, this answers."""
    try:
        address = topics.parse(message.topic)
    except NotOurs:
        return Ignored("foreign_topic")
    read = _READERS.get(address.kind)
    cause = _not_taken(message, address)
    if read is None or cause:
        return Ignored(cause or "not_for_us")
    try:
        if message.too_large:
            return bad(message, address, "too_large", message.too_large, _long_header(message.payload, address))
        return read(message, address, clock_ahead_ns)
    except TooNew as error:
        return Newer(address.site, address.device, error.version)
    except (Unreadable, NotAPicture) as error:
        header = error.header if isinstance(error, Unreadable) else None
        return bad(message, address, f"bad_{address.kind}", str(error), header)


def _not_taken(message: Message, address: Address) -> str:
    """Why a message is left alone whatever it holds; empty when it is not."""
    if message.received_at_ns < EARLIEST_NS:  # no time could be checked, and devices would learn a wrong one from us
        return "own_clock"
    # A retained one comes at each connection, is no sign of life, and came live before: else its device sends it again.
    return "retained" if message.retained and address.kind in {"batch", "snapshot"} else ""


def bad(message: Message, address: Address, cause: str, reason: str, header: Header | None) -> Bad:
    """The message for quarantine; a header that names another device is not believed."""
    own = header is not None and (header.site, header.device) == (address.site, address.device)
    return Bad(message.topic, message.payload, cause, reason, message.received_at_ns, header if own else None)


def _batch(message: Message, address: Address, clock_ahead_ns: int) -> GoodBatch:
    if message.payload.find(b"\n", 0, wire.HEADER_BYTES_MAX) < 0:
        raise Unreadable(
            f"there is no header line within the first {wire.HEADER_BYTES_MAX} bytes",
            _long_header(message.payload, address),
        )
    batch = wire.decode_batch(message.payload, address)
    problem = _problem(batch, message.received_at_ns + clock_ahead_ns)
    if problem:
        raise Unreadable(problem, batch.header)
    return GoodBatch(message, Received(batch, message.received_at_ns), _parts(batch))


def _parts(batch: Batch) -> int:
    """How many objects a batch is in memory, about 100 bytes each."""
    if isinstance(batch.body, Detail):
        seen = (one for block in batch.body.blocks for one in block.observations)
        return 1 + sum(1 + len(one.detections) + len(one.classes) for one in seen)
    parts = 1
    for record in batch.body.records:
        parts += 1
        if isinstance(record, Window):
            parts += len(record.classes) + sum(1 + len(data.bins) for data in record.histograms.values())
        elif isinstance(record, ModelInfo):
            parts += len(record.names)
        elif isinstance(record, Tombstone):
            parts += sum(1 + len(runs.outcomes) for runs in record.streams.values())
    return parts


def _long_header(payload: bytes, address: Address) -> Header | None:
    """The header of a batch that is refused for its size, so that its device can be told; None when it is unreadable.

    Raises:
        TooNew: Its wire version is newer than this release.
    """
    line, newline, _ = payload.partition(b"\n")
    if address.kind != "batch" or not newline:
        return None
    try:
        version = msgspec.json.decode(line, type=_Version).v
        if version > WIRE_VERSION:
            raise TooNew(version)
        return msgspec.json.decode(line, type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class _Version(msgspec.Struct):
    v: int


def _status(message: Message, address: Address, _clock_ahead_ns: int) -> ReceivedStatus | Ignored:
    if not message.payload:
        return Ignored("status_cleared")  # how a broker is told to forget a retained message
    status = wire.decode_status(message.payload)
    return ReceivedStatus(address.site, address.device, status, message.received_at_ns, message.retained)


def _snapshot(message: Message, address: Address, clock_ahead_ns: int) -> GoodSnapshot:
    check_jpeg(message.payload)
    captured_at_ns = address.captured_at_ns or 0
    if not EARLIEST_NS <= captured_at_ns <= message.received_at_ns + clock_ahead_ns:
        raise NotAPicture("its capture time is before 2020 or in the future")
    return GoodSnapshot(message, address.site, address.device, address.stream or "", captured_at_ns)


_READERS: dict[str, Callable[[Message, Address, int], Admitted]] = {
    "batch": _batch,
    "status": _status,
    "snapshot": _snapshot,
}


def _problem(batch: Batch, latest_ns: int) -> str | None:
    """What makes a well-formed batch one that cannot be stored."""
    header = batch.header
    if header.sealed_at_ns > latest_ns:
        return "it was sealed in the future: is the device's clock right?"
    if header.sealed_at_ns - _oldest_age(batch) * TICK_NS < EARLIEST_NS:
        return "it holds records from before 2020: is the device's clock right?"
    if isinstance(batch.body, Detail):
        return _frames_problem(header.streams)
    if header.streams:
        return "a summary batch covers no frames, but its header names streams"
    return _summary_problem(batch.body)


def _oldest_age(batch: Batch) -> int:
    if isinstance(batch.body, Detail):
        return max((seen.age for block in batch.body.blocks for seen in block.observations), default=0)
    return max((record.age for record in batch.body.records), default=0)


def _summary_problem(body: Summary) -> str | None:
    for record in body.records:
        problem = None
        if isinstance(record, Window):
            problem = _window_problem(record)
        elif isinstance(record, Tombstone):
            problem = _tombstone_problem(record)
        if problem:
            return problem
    return None


def _window_problem(window: Window) -> str | None:
    numbers = [window.duration, window.first, window.last, window.none, *window.outcomes.values()]
    numbers += window.requests.values()
    for name, data in window.histograms.items():
        if name in BINS:  # others are of a newer minor version
            try:
                restore(name, data)
            except ValueError as error:
                return f"a window of stream {window.stream!r}: {error}"
            numbers += (data.n, data.sum)
    for count in window.classes:
        numbers += (count.frames, count.detections, count.top)
    if max(numbers) > WINDOW_COUNT_MAX:
        return f"a window of stream {window.stream!r} holds a number beyond {WINDOW_COUNT_MAX}"
    if len({count.class_id for count in window.classes}) < len(window.classes):
        return f"a window of stream {window.stream!r} counts a class twice"
    return None


def _frames_problem(streams: Mapping[str, StreamRuns]) -> str | None:
    for stream, runs in streams.items():
        frames = runs.last - runs.first + 1
        if frames > FRAMES_MAX:
            return f"it covers {frames} frames of stream {stream!r}, more than {FRAMES_MAX}"
    return None


def _tombstone_problem(tombstone: Tombstone) -> str | None:
    for stream, runs in tombstone.streams.items():
        ends = [(runs.first, runs.first - 1), *((run.first, run.last) for run in runs.outcomes)]
        joined = all(after[0] == before[1] + 1 and after[1] >= after[0] for before, after in pairwise(ends))
        if not joined or ends[-1][1] != runs.last:
            return f"the outcomes of a thinned batch leave a gap or overlap in stream {stream!r}"
    return _frames_problem(tombstone.streams)
