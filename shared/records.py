"""The types on the wire, with their limits.

The limits stand in the types, so that decoding checks them. Ages count back from the batch's `sealed_at_ns`:
a batch can be written before the device knows the time, and its bytes never change when it learns it.
Evolution: a newer minor version may append fields to the end of array-like types and add keys to the others;
readers ignore what they do not know. Anything else raises `WIRE_VERSION`.

Units: `age`, timings and durations are hundredths of a millisecond (10,000 ns); coordinates are 1/10000 of the
image's side; scores are 1/10000.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from shared.topics import SLUG_PATTERN

WIRE_VERSION = 1

TICK_NS = 10_000
"""One unit of ages and timings: a hundredth of a millisecond, in ns."""

TICKS_PER_MS = 100

SCALE = 10_000
"""Coordinates and scores are integers from 0 to this."""

Outcome = Literal["ok", "skipped", "gated", "unreadable", "failed"]
"""What became of a captured frame: exactly one of these."""

Fate = Literal["stored", "thinned", "unsealed", "quarantined", "expired"]
"""What became of a frame's record: exactly one of these."""

Lane = Literal["summary", "detail"]
TimeQuality = Literal["synced", "collector", "estimated"]
"""Where wall time came from: the kernel's synchronised clock, the collector's `now_ns`, or neighbouring boots."""

_END = r"$(?!\n)"
"""The end of a pattern: in Python a bare `$` lets a newline follow."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Ticks: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Unit: TypeAlias = Annotated[int, Meta(ge=0, le=SCALE)]
FrameNumber: TypeAlias = Annotated[int, Meta(ge=1, le=2**53)]
ClassId: TypeAlias = Annotated[int, Meta(ge=0, le=2**31)]
WallNs: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Slug: TypeAlias = Annotated[str, Meta(pattern=f"^{SLUG_PATTERN}{_END}")]
Nonce: TypeAlias = Annotated[str, Meta(pattern=f"^[0-9a-f]{{16}}{_END}")]
Sha256: TypeAlias = Annotated[str, Meta(pattern=f"^[0-9a-f]{{64}}{_END}")]
ShortHash: TypeAlias = Annotated[str, Meta(pattern=f"^[0-9a-f]{{12}}{_END}")]
HttpStatus: TypeAlias = Annotated[str, Meta(pattern=f"^[1-5][0-9]{{2}}{_END}")]
ShortText: TypeAlias = Annotated[str, Meta(max_length=128)]
Text: TypeAlias = Annotated[str, Meta(max_length=1024)]

DETECTIONS_MAX = 1000
CLASSES_MAX = 1000
WINDOW_CLASSES_MAX = 100_000
STREAMS_MAX = 256
OBSERVATIONS_MAX = 100_000
HELD_MAX = 100


class Maker(Struct, frozen=True, array_like=True):
    """What made a record: enough to monitor it by.

    Attributes:
        model: The model's name.
        version: The model's version, as its file or the configuration says it.
        sha256: Of the model file.
        config: First 12 hex digits of the sha256 of the stream's effective configuration.
        score: Score threshold, in [0, 1].
        iou: IoU threshold of the non-maximum suppression done by us, or None when the model does its own.
    """

    model: ShortText
    version: ShortText
    sha256: Sha256
    config: ShortHash
    score: Annotated[float, Meta(ge=0, le=1)]
    iou: Annotated[float, Meta(ge=0, le=1)] | None = None


class Detection(Struct, frozen=True, array_like=True):
    """One box: corners as 1/10000 of the image's width and height, inside the image."""

    class_id: ClassId
    score: Unit
    x1: Unit
    y1: Unit
    x2: Unit
    y2: Unit


class Guess(Struct, frozen=True, array_like=True):
    """One class of a classifier with its score; best first."""

    class_id: ClassId
    score: Unit


class Observation(Struct, frozen=True, array_like=True):
    """What the model saw in one frame that was looked at, and what seeing it cost.

    Attributes:
        frame: The frame's number within (stream, epoch, nonce), given at capture.
        age: From capture to sealing.
        capture: Reading and decoding the frame from its source.
        wait: From capture to the start of `prepare`.
        prepare: Frame to input tensor.
        infer: The model.
        decode: Outputs to detections.
        detections: Of a detector.
        classes: Of a classifier, best first.
        error: Why inference failed; empty when it did not.
    """

    frame: FrameNumber
    age: Ticks
    capture: Ticks
    wait: Ticks
    prepare: Ticks
    infer: Ticks
    decode: Ticks
    detections: Annotated[tuple[Detection, ...], Meta(max_length=DETECTIONS_MAX)] = ()
    classes: Annotated[tuple[Guess, ...], Meta(max_length=CLASSES_MAX)] = ()
    error: Text = ""

    @property
    def response(self) -> int:
        """Ticks from capture to decoded result: the response time."""
        return self.wait + self.prepare + self.infer + self.decode


class Block(Struct, frozen=True, array_like=True):
    """A run of observations of one stream with one maker and one image size (pixels), in frame order."""

    stream: Slug
    maker: Maker
    width: Annotated[int, Meta(ge=1, le=65_535)]
    height: Annotated[int, Meta(ge=1, le=65_535)]
    observations: Annotated[tuple[Observation, ...], Meta(max_length=OBSERVATIONS_MAX)]


class Run(Struct, frozen=True, array_like=True):
    """Frames `first` to `last`, both included, that had one outcome."""

    outcome: Outcome
    first: FrameNumber
    last: FrameNumber


class StreamRuns(Struct, frozen=True):
    """Every frame of a stream from `first` to `last`: the runs follow each other without a gap."""

    first: FrameNumber
    last: FrameNumber
    outcomes: Annotated[tuple[Run, ...], Meta(min_length=1, max_length=OBSERVATIONS_MAX)]


class Header(Struct, frozen=True):
    """The first line of a batch: plain JSON, readable whatever happened to the body.

    Attributes:
        v: Version of the wire format.
        site: Must equal the topic's.
        device: Must equal the topic's.
        epoch: Starts of the agent, counted from 1.
        nonce: 64 random bits of this start, in hex.
        lane: `summary` goes first, `detail` follows; each counts its own batches.
        batch: 1, 2, 3 ... within (epoch, nonce, lane).
        sealed_at_ns: Wall time of sealing in ns since 1970; ages count back from it.
        time_quality: Where that wall time came from.
        sha256: Of the body, as sent.
        streams: The frames that a detail batch covers; empty in the summary lane.
    """

    v: Annotated[int, Meta(ge=1)]
    site: Slug
    device: Slug
    epoch: Annotated[int, Meta(ge=1, le=2**53)]
    nonce: Nonce
    lane: Lane
    batch: Annotated[int, Meta(ge=1, le=2**53)]
    sealed_at_ns: WallNs
    time_quality: TimeQuality
    sha256: Sha256
    streams: Annotated[dict[Slug, StreamRuns], Meta(max_length=STREAMS_MAX)]


class Detail(Struct, frozen=True):
    """The body of a `detail` batch."""

    blocks: Annotated[tuple[Block, ...], Meta(max_length=OBSERVATIONS_MAX)]


class HistogramData(Struct, frozen=True, array_like=True):
    """A histogram over the fixed bins of its name (`shared.histogram.BINS`): exact n and sum, and [bin, count] pairs.

    Only bins that are not empty are sent.
    """

    n: Count
    sum: Count
    bins: Annotated[tuple[tuple[Annotated[int, Meta(ge=0, le=31)], Count], ...], Meta(max_length=32)]


class ClassCount(Struct, frozen=True, array_like=True):
    """How often a class was seen in a window.

    Attributes:
        class_id: The class.
        frames: Frames that contain it (classifier: frames where it is top and reaches the threshold).
        detections: Detections of it (classifier: the same as `frames`).
        top: Frames where it has the best score.
    """

    class_id: ClassId
    frames: Count
    detections: Count
    top: Count


class Window(Struct, frozen=True, tag_field="kind", tag="window"):
    """An immutable summary of one stream over a stretch of time.

    Attributes:
        stream: The stream.
        maker: What made the results.
        seconds: Nominal length: the configured window, or 3600.
        age: From the window's real start to sealing.
        duration: Its real length; shorter at a start, a stop and a change of maker.
        first: First frame settled in it, 0 when there was none.
        last: Last frame settled in it, 0 when there was none.
        outcomes: Frames per outcome; absent means 0.
        none: Frames with outcome `ok` and no detection (classifier: best score below the threshold).
        histograms: By name of `shared.histogram.BINS`.
        classes: Per class, by class id.
        planned: Frames that the capture plan wanted in it; None for a plan without a rate, or an older agent.
        asleep: How much of its length the stream was to be asleep.
        requests: HTTP requests that a push source answered, per status, those included that became frames.
    """

    stream: Slug
    maker: Maker
    seconds: Annotated[int, Meta(ge=1, le=86_400)]
    age: Ticks
    duration: Ticks
    first: Count
    last: Count
    outcomes: dict[Outcome, Count]
    none: Count
    histograms: Annotated[dict[ShortText, HistogramData], Meta(max_length=64)]
    classes: Annotated[tuple[ClassCount, ...], Meta(max_length=WINDOW_CLASSES_MAX)]
    planned: Count | None = None
    asleep: Ticks = 0
    requests: Annotated[dict[HttpStatus, Count], Meta(max_length=500)] = {}  # msgspec copies it


class Held(Struct, frozen=True, array_like=True):
    """Batches `first` to `last`, both included, that a device still has on disk and the collector has not settled.

    Numbers that quota thinned may lie in between.
    """

    epoch: Annotated[int, Meta(ge=1, le=2**53)]
    nonce: Nonce
    lane: Lane
    first: Annotated[int, Meta(ge=1, le=2**53)]
    last: Annotated[int, Meta(ge=1, le=2**53)]


class Vitals(Struct, frozen=True, tag_field="kind", tag="vitals", omit_defaults=True):
    """How the device is; None where the board does not say. `shared.schema.VITALS` has units and meaning.

    `held` is what waited on the device at that moment, oldest first: `()` when nothing did, None from an agent that
    does not tell it. A hole that it covers is on its way. `detail_sealed` is the number of this start's last sealed
    detail batch: that many exist.
    """

    age: Ticks
    uptime_s: Annotated[float, Meta(ge=0)]
    cpu_percent: Annotated[float, Meta(ge=0)] | None = None
    memory_percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    memory_available_bytes: Count | None = None
    rss_bytes: Count | None = None
    disk_free_bytes: Count | None = None
    temperature_c: float | None = None
    throttled: bool | None = None
    under_voltage: bool | None = None
    outbox_batches: Count | None = None
    outbox_bytes: Count | None = None
    outbox_oldest_s: Annotated[float, Meta(ge=0)] | None = None
    snapshots_waiting: Count | None = None
    snapshots_dropped: Count | None = None
    reconnects: Count | None = None
    held: Annotated[tuple[Held, ...], Meta(max_length=HELD_MAX)] | None = None
    detail_sealed: Count | None = None


class ModelInfo(Struct, frozen=True, tag_field="kind", tag="model"):
    """A model that a stream runs, told once per start and after each change: class names and provider.

    Attributes:
        age: From the moment it was loaded to sealing.
        stream: The stream.
        maker: As in the stream's records.
        task: `detect` or `classify`.
        family: The decoder's name.
        names: Class names by class id.
        provider: The execution provider that really runs it.
        requested_provider: The one that was asked for.
        input_size: Width and height of the input tensor, in pixels.
    """

    age: Ticks
    stream: Slug
    maker: Maker
    task: Literal["detect", "classify"]
    family: ShortText
    names: Annotated[tuple[ShortText, ...], Meta(max_length=100_000)]
    provider: ShortText
    requested_provider: ShortText
    input_size: tuple[int, int]


class Event(Struct, frozen=True, tag_field="kind", tag="event", omit_defaults=True):
    """Something worth telling: `name` is one of `shared.schema.EVENTS`."""

    age: Ticks
    name: ShortText
    detail: Text = ""
    stream: Slug | None = None


class Tail(Struct, frozen=True):
    """Where a stream stood when its epoch ended.

    Attributes:
        sealed: Last frame in a sealed batch, 0 when none was.
        captured: Last frame that got a number: what lies between was never sealed.
    """

    sealed: Count
    captured: Count


class Previous(Struct, frozen=True, tag_field="kind", tag="previous"):
    """The first record of every start: how the epoch before it ended.

    Attributes:
        age: From the start to sealing.
        epoch: The epoch before; 0 on a device's first start.
        nonce: Its nonce; sixteen zeros on a device's first start.
        sealed: Last sealed batch per lane, 0 when none was.
        clean: Whether it ended as it should.
        exact: Whether `captured` is exact; after a power cut it may be behind by what the disk had not got.
        streams: The tail of each stream.
    """

    age: Ticks
    epoch: Count
    nonce: Nonce
    sealed: dict[Lane, Count]
    clean: bool
    exact: bool
    streams: Annotated[dict[Slug, Tail], Meta(max_length=STREAMS_MAX)]


class Tombstone(Struct, frozen=True, tag_field="kind", tag="tombstone"):
    """A detail batch that the quota thinned: its bookkeeping lives on, its observations do not.

    Attributes:
        age: From thinning to sealing.
        epoch: The batch's.
        nonce: The batch's.
        batch: Its number in the detail lane.
        sha256: Of the body that was thinned.
        streams: The frames that it covered.
    """

    age: Ticks
    epoch: Annotated[int, Meta(ge=1, le=2**53)]
    nonce: Nonce
    batch: Annotated[int, Meta(ge=1, le=2**53)]
    sha256: Sha256
    streams: Annotated[dict[Slug, StreamRuns], Meta(max_length=STREAMS_MAX)]


Summarised: TypeAlias = Previous | ModelInfo | Event | Window | Vitals | Tombstone


class Summary(Struct, frozen=True):
    """The body of a `summary` batch."""

    records: Annotated[tuple[Summarised, ...], Meta(max_length=OBSERVATIONS_MAX)]


class Batch(Struct, frozen=True):
    """A batch as the collector reads it."""

    header: Header
    body: Detail | Summary


class StreamStatus(Struct, frozen=True):
    """A stream in the birth message; `source` has its credentials taken out, `plan` says in words when it captures."""

    source: Text
    fps: float | None
    window_s: Annotated[int, Meta(ge=1, le=86_400)]
    model: ShortText = ""
    version: ShortText = ""
    sha256: Text = ""
    config: ShortText = ""
    task: ShortText = ""
    family: ShortText = ""
    provider: ShortText = ""
    requested_provider: ShortText = ""
    error: Text = ""
    plan: Text = ""


class Status(Struct, frozen=True):
    """Birth of an agent, or its last will; retained.

    Attributes:
        v: Version of the wire format.
        state: `online`; `stopped` after an orderly end; `offline` from the last will.
        epoch: As in the batches.
        nonce: As in the batches.
        agent_version: Vigie's version on the device.
        python: Version of Python.
        platform: Operating system and machine.
        hardware: The board's name, where it has one.
        config_sha256: Of the effective configuration without secrets.
        started_at_ns: Wall time of the start; None while the device does not know the time.
        streams: By name.
        maintenance: Whether somebody works at the device, and nobody is to be alarmed.
        maintenance_until_ns: Wall time of its end; None while the device does not know the time.
    """

    v: Annotated[int, Meta(ge=1)]
    state: Literal["online", "stopped", "offline"]
    epoch: Annotated[int, Meta(ge=1, le=2**53)]
    nonce: Nonce
    agent_version: ShortText = ""
    python: ShortText = ""
    platform: ShortText = ""
    hardware: ShortText = ""
    config_sha256: Sha256 | UnsetType = UNSET
    started_at_ns: WallNs | None = None
    streams: Annotated[dict[Slug, StreamStatus], Meta(max_length=STREAMS_MAX)] = {}
    maintenance: bool = False
    maintenance_until_ns: WallNs | None = None


class Ack(Struct, frozen=True, omit_defaults=True):
    """The collector's word to a device: these records are in the store; also the answer to a birth.

    Attributes:
        nonce: Of the start whose batches these are.
        epoch: Of the start whose batches these are.
        lane: `summary`, `detail`, or `snapshot/<stream>`.
        stored: Ranges of batch numbers, both ends included; for snapshots of capture times in ns.
        refused: Numbers that the collector quarantined, with the reason; sending them again would not help.
        resend: Ranges of batch numbers that the store lacks, both ends included: send them again where they are kept.
        now_ns: The collector's wall time; one before 2026 means that it does not know the time itself.
        synced: Whether a time service keeps the collector's clock.
    """

    nonce: Nonce
    epoch: Annotated[int, Meta(ge=1, le=2**53)]
    lane: Annotated[str, Meta(pattern=f"^(summary|detail|snapshot/{SLUG_PATTERN}){_END}")]
    now_ns: WallNs
    stored: tuple[tuple[int, int], ...] = ()
    refused: tuple[tuple[int, Text], ...] = ()
    resend: tuple[tuple[int, int], ...] = ()
    synced: bool = False
