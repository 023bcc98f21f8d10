"""Batches and statuses as a device makes them, for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from collector.stores.answers import Received, ReceivedStatus
from shared import wire
from shared.histogram import BINS, Histogram
from shared.records import (
    TICK_NS,
    Batch,
    Block,
    ClassCount,
    Detail,
    Detection,
    Header,
    Lane,
    Maker,
    ModelInfo,
    Observation,
    Outcome,
    Run,
    Status,
    StreamRuns,
    StreamStatus,
    Summarised,
    Summary,
    Window,
)
from shared.topics import Address

T0 = 1_795_456_800 * 10**9
"""2026-11-23T18:00:00Z in ns."""

SECOND = 10**9
NONCE = "0123456789abcdef"
MAKER = Maker("stages", "1.2.0", "a" * 64, "0123456789ab", 0.25, 0.45)
NAMES = ("green", "turning", "ripe")


def detection(class_id: int = 0, score: int = 9000) -> Detection:
    """A box in the middle of the image."""
    return Detection(class_id, score, 2500, 2500, 5000, 7500)


def observation(frame: int, age_ns: int = 0, *found: Detection, error: str = "", infer: int = 2000) -> Observation:
    """A frame that was looked at; 20 ms of inference."""
    return Observation(frame, age_ns // TICK_NS, 500, 100, 300, infer, 50, found, (), error)


def runs(*outcomes: tuple[Outcome, int, int]) -> StreamRuns:
    """Outcomes of consecutive frames."""
    return StreamRuns(outcomes[0][1], outcomes[-1][2], tuple(Run(*one) for one in outcomes))


def encoded(
    body: Detail | Summary,
    streams: Mapping[str, StreamRuns],
    *,
    batch: int,
    sealed_at_ns: int,
    site: str = "greenhouse",
    device: str = "pi-roof",
    epoch: int = 1,
    nonce: str = NONCE,
) -> bytes:
    """A batch as it is sent."""
    packed = wire.pack(body)
    lane: Lane = "detail" if isinstance(body, Detail) else "summary"
    header = Header(
        1, site, device, epoch, nonce, lane, batch, sealed_at_ns, "synced", wire.digest(packed), dict(streams)
    )
    return wire.join(header, packed)


def decoded(payload: bytes) -> Batch:
    """A batch read again, unchecked against a topic."""
    header, _ = wire.split(payload)
    address = Address(header.site, header.device, "batch")
    return wire.decode_batch(payload, address)


def detail(
    batch: int,
    first: int,
    count: int = 5,
    *,
    stream: str = "cam0",
    sealed_at_ns: int | None = None,
    found: Sequence[Detection] = (detection(),),
    maker: Maker = MAKER,
    **header: Any,
) -> bytes:
    """A detail batch with `count` frames that were all looked at, 100 ms apart, the last 100 ms before sealing."""
    sealed = T0 + batch * SECOND if sealed_at_ns is None else sealed_at_ns
    seen = tuple(
        observation(frame, (first + count - frame) * SECOND // 10, *found) for frame in range(first, first + count)
    )
    body = Detail((Block(stream, maker, 640, 480, seen),))
    return encoded(body, {stream: runs(("ok", first, first + count - 1))}, batch=batch, sealed_at_ns=sealed, **header)


def summary(batch: int, *records: Summarised, sealed_at_ns: int | None = None, **header: Any) -> bytes:
    """A summary batch."""
    sealed = T0 + batch * SECOND if sealed_at_ns is None else sealed_at_ns
    return encoded(Summary(records), {}, batch=batch, sealed_at_ns=sealed, **header)


def received(payload: bytes, received_at_ns: int | None = None) -> Received:
    """A batch as the store gets it, half a second after its sealing."""
    batch = decoded(payload)
    return Received(batch, batch.header.sealed_at_ns + SECOND // 2 if received_at_ns is None else received_at_ns)


def histogram(name: str, *values: int) -> Histogram:
    """A histogram of values."""
    made = Histogram(BINS[name])
    for value in values:
        made.add(value)
    return made


def window(  # noqa: PLR0913  # what a test may want of one
    age_ns: int,
    outcomes: Mapping[Outcome, int],
    *,
    none: int = 0,
    stream: str = "cam0",
    seconds: int = 60,
    maker: Maker = MAKER,
    histograms: Mapping[str, Sequence[int]] | None = None,
    classes: Sequence[tuple[int, int, int, int]] = (),
    planned: int | None = None,
    asleep_s: int = 0,
    requests: Mapping[str, int] | None = None,
) -> Window:
    """A window that began `age_ns` before its batch was sealed."""
    return Window(
        stream,
        maker,
        seconds,
        age_ns // TICK_NS,
        seconds * 100_000,
        1,
        sum(outcomes.values()),
        dict(outcomes),
        none,
        {name: histogram(name, *values).data() for name, values in (histograms or {}).items()},
        tuple(ClassCount(*one) for one in classes),
        planned,
        asleep_s * 100_000,
        dict(requests or {}),
    )


def model(stream: str = "cam0", maker: Maker = MAKER) -> ModelInfo:
    """What a device tells of its model."""
    return ModelInfo(
        0, stream, maker, "detect", "yolov8", NAMES, "CPUExecutionProvider", "CPUExecutionProvider", (640, 640)
    )


def status(state: Any = "online", *, epoch: int = 1, nonce: str = NONCE) -> Status:
    """A birth, or what is sent at an end; a last will says no more than the agent's own."""
    if state == "offline":
        return Status(1, state, epoch, nonce)
    stream = StreamStatus(
        "files:clip.mp4",
        10.0,
        60,
        "stages",
        "1.2.0",
        "a" * 64,
        "0123456789ab",
        "detect",
        "yolov8",
        "CPUExecutionProvider",
    )
    streams = {"cam0": stream} if state == "online" else {}
    return Status(1, state, epoch, nonce, "0.1.0", "3.11", "Linux", "Pi 5", streams=streams)


def born(
    state: Any = "online",
    at_ns: int = T0,
    *,
    retained: bool = False,
    device: str = "pi-roof",
    epoch: int = 1,
    nonce: str = NONCE,
) -> ReceivedStatus:
    """A status as the store gets it."""
    return ReceivedStatus("greenhouse", device, status(state, epoch=epoch, nonce=nonce), at_ns, retained)
