"""Batches as agents would have sent them, for a real store: figures that tests can work out by hand."""

import hashlib
import random
from dataclasses import dataclass, field

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
    Event,
    Header,
    Maker,
    ModelInfo,
    Observation,
    Previous,
    Run,
    Status,
    StreamRuns,
    StreamStatus,
    Summarised,
    Summary,
    Vitals,
    Window,
)

SECOND_NS = 1_000_000_000
NAMES = ("unripe", "turning", "ripe")
SHA = "ab" * 32
WINDOW_S = 60
SEAL_S = 10


@dataclass
class Camera:
    """One device with one stream, and how it behaves.

    Attributes:
        site: Its site.
        device: Its name.
        stream: Its stream.
        fps: Frames captured per second.
        seconds: How long it has run.
        silent_s: How long ago it fell silent.
        none_every: Every how many frames the model sees nothing; 0 for never.
        lost: Whether its camera is lost at the end.
        names: Class names of its model.
    """

    site: str = "greenhouse"
    device: str = "pi-roof"
    stream: str = "cam0"
    fps: int = 2
    seconds: int = 600
    silent_s: int = 0
    none_every: int = 5
    lost: bool = False
    names: tuple[str, ...] = NAMES
    nonce: str = field(default="")

    def __post_init__(self) -> None:
        told = hashlib.sha256(f"{self.site}/{self.device}".encode()).hexdigest()
        self.nonce = self.nonce or told[:16]

    @property
    def maker(self) -> Maker:
        return Maker(model="ripeness", version="1.2.0", sha256=SHA, config="0123456789ab", score=0.25, iou=0.5)


def batches(camera: Camera, now_ns: int) -> list[Received]:
    """Everything that `camera` sent until now: detail batches of 10 s, summary batches of a minute."""
    sent: list[Received] = []
    end_ns = now_ns - camera.silent_s * SECOND_NS
    start_ns = end_ns - camera.seconds * SECOND_NS
    dice = random.Random(camera.device)  # noqa: S311  # repeatable data, no secret
    detail, frame = 0, 1
    for summary, begin_s in enumerate(range(0, camera.seconds, WINDOW_S), start=1):
        sealed_ns = start_ns + (begin_s + WINDOW_S) * SECOND_NS
        seen = _observe(camera, dice, frame, begin_s)
        for first in range(0, len(seen), SEAL_S * camera.fps):
            detail += 1
            part = seen[first : first + SEAL_S * camera.fps]
            early = (WINDOW_S - SEAL_S) * SECOND_NS - first // camera.fps * SECOND_NS
            sent.append(_received(_detail(camera, detail, sealed_ns - early, part)))
        records = [*_first_words(camera, sealed_ns, start_ns, begin_s == 0), *_minute(camera, seen, begin_s)]
        if camera.lost and begin_s + WINDOW_S >= camera.seconds:
            records.append(
                Event(age=10_000, name="camera_lost", detail="no such device: /dev/video0", stream=camera.stream)
            )
        sent.append(_received(_batch(camera, "summary", summary, sealed_ns, Summary(tuple(records)), {})))
        frame += len(seen)
    return sent


def status(camera: Camera, now_ns: int, *, state: str = "online", error: str = "") -> ReceivedStatus:
    """The birth of `camera`, or another word of its agent."""
    at_ns = now_ns - (camera.silent_s + camera.seconds) * SECOND_NS
    stream = StreamStatus(
        source="/dev/video0",
        fps=float(camera.fps),
        window_s=WINDOW_S,
        model="" if error else "ripeness",
        version="" if error else "1.2.0",
        sha256="" if error else SHA,
        config="0123456789ab",
        task="detect",
        family="yolo",
        provider="CPUExecutionProvider",
        requested_provider="CPUExecutionProvider",
        error=error,
    )
    said = Status(
        v=1,
        state=state,  # type: ignore[arg-type]  # one of its three words
        epoch=1,
        nonce=camera.nonce,
        agent_version="0.1.0",
        python="3.11.2",
        platform="Linux aarch64",
        hardware="Raspberry Pi 4",
        started_at_ns=at_ns,
        streams={camera.stream: stream},
    )
    return ReceivedStatus(camera.site, camera.device, said, at_ns, retained=False)


def _observe(camera: Camera, dice: random.Random, first: int, begin_s: int) -> list[Observation]:
    count = WINDOW_S * camera.fps
    step = 100_000 // camera.fps  # ticks between frames
    return [
        Observation(
            frame=first + i,
            age=SEAL_S * 100_000 - i % (SEAL_S * camera.fps) * step,
            capture=dice.randint(200, 500),
            wait=dice.randint(10, 60),
            prepare=dice.randint(200, 400),
            infer=dice.randint(2800, 4600) + begin_s // 2,
            decode=dice.randint(30, 120),
            detections=()
            if camera.none_every and (first + i) % camera.none_every == 0
            else _detections(camera, dice, first + i),
        )
        for i in range(count)
    ]


def _detections(camera: Camera, dice: random.Random, frame: int) -> tuple[Detection, ...]:
    boxes = []
    for place in range(1 + frame % 3):
        x, y = 800 + place * 2800 + dice.randint(0, 300), 2500 + (place % 2) * 2200
        score = min(9_900, max(2_600, int(dice.gauss(7_600, 1_500))))
        boxes.append(
            Detection(
                dice.choices(range(len(camera.names)), range(len(camera.names), 0, -1))[0],
                score,
                x,
                y,
                x + 1700,
                y + 2600,
            )
        )
    return tuple(boxes)


def _minute(camera: Camera, seen: list[Observation], begin_s: int) -> list[Summarised]:
    histograms = {name: Histogram(BINS[name]) for name in BINS}
    classes: dict[int, list[int]] = {}
    for one in seen:
        for stage in ("capture", "wait", "prepare", "infer", "decode", "response"):
            histograms[stage].add(getattr(one, stage))
        histograms["detections"].add(len(one.detections))
        for box in one.detections:
            histograms["score"].add(box.score)
            classes.setdefault(box.class_id, [0, 0, 0])[1] += 1
        for class_id in {box.class_id for box in one.detections}:
            classes[class_id][0] += 1
        if one.detections:
            classes[max(one.detections, key=lambda box: box.score).class_id][2] += 1
    minute = WINDOW_S * 100_000
    window = Window(
        stream=camera.stream,
        maker=camera.maker,
        seconds=WINDOW_S,
        age=minute,
        duration=minute,
        first=seen[0].frame,
        last=seen[-1].frame,
        outcomes={"ok": len(seen)},
        none=sum(not one.detections for one in seen),
        histograms={name: histogram.data() for name, histogram in histograms.items()},
        classes=tuple(ClassCount(class_id, *counts) for class_id, counts in sorted(classes.items())),
    )
    vitals = Vitals(
        age=10_000,
        uptime_s=begin_s + WINDOW_S,
        cpu_percent=38 + 8 * ((begin_s // WINDOW_S) % 5) / 5,
        memory_percent=41.5,
        temperature_c=52 + (begin_s / max(1, camera.seconds)) * 9,
        disk_free_bytes=21_000_000_000,
        outbox_batches=1,
        outbox_bytes=40_000,
        outbox_oldest_s=0.4,
    )
    return [window, vitals]


def _first_words(camera: Camera, sealed_ns: int, start_ns: int, first: bool) -> list[Summarised]:  # noqa: FBT001  # private
    if not first:
        return []
    age = (sealed_ns - start_ns) // TICK_NS
    return [
        Previous(age=age, epoch=0, nonce="0" * 16, sealed={}, clean=True, exact=True, streams={}),
        ModelInfo(
            age=age,
            stream=camera.stream,
            maker=camera.maker,
            task="detect",
            family="yolo",
            names=camera.names,
            provider="CPUExecutionProvider",
            requested_provider="CPUExecutionProvider",
            input_size=(416, 416),
        ),
        Event(age=age, name="agent_started", detail="the last run ended cleanly"),
    ]


def _detail(camera: Camera, number: int, sealed_ns: int, seen: list[Observation]) -> Batch:
    block = Block(camera.stream, camera.maker, 640, 480, tuple(seen))
    first, last = seen[0].frame, seen[-1].frame
    runs = {camera.stream: StreamRuns(first, last, (Run("ok", first, last),))}
    return _batch(camera, "detail", number, sealed_ns, Detail((block,)), runs)


def _batch(
    camera: Camera, lane: str, number: int, sealed_ns: int, body: Detail | Summary, runs: dict[str, StreamRuns]
) -> Batch:
    header = Header(
        v=1,
        site=camera.site,
        device=camera.device,
        epoch=1,
        nonce=camera.nonce,
        lane=lane,  # type: ignore[arg-type]  # one of its two words
        batch=number,
        sealed_at_ns=sealed_ns,
        time_quality="synced",
        sha256=wire.digest(wire.pack(body)),
        streams=runs,
    )
    return Batch(header, body)


def _received(batch: Batch) -> Received:
    return Received(batch, batch.header.sealed_at_ns + SECOND_NS // 10)
