"""Hostile payloads through a real broker into a real collector process, each between two good neighbours.

`test_admit` has the table of hostile batches with their reasons; here are those too that need a broker or a store.
"""

import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from brokers import Broker, until

from collector.admit import Message, cut
from collector.state.quarantine import Quarantine
from shared import records, topics, wire
from tests.collector.field import Device, device, jpeg
from tests.collector.making import MAKER, NONCE, T0, detail, runs, status, summary, window
from tests.collector.process import Process
from tests.collector.test_admit import DAY, HOSTILE, header

RSS_MB_MAX = 600
"""A zip bomb that was inflated whole, or all of them in memory together, would need more."""

BATCH = topics.batch("greenhouse", "pi-roof")
STATUS = "vigie/v1/greenhouse/bad-{}/status"
"""Each from a device of its own: of one device the newest is kept."""


def picture(stream: str = "cam0", captured_at_ns: object = T0) -> str:
    return f"vigie/v1/greenhouse/pi-roof/snapshot/{stream}/{captured_at_ns}"


def born_with(streams: int, text: str = "") -> bytes:
    """A birth that names so many streams."""
    named = {f"s{number}": records.StreamStatus(text, None, 60) for number in range(streams)}
    return wire.encode(msgspec.structs.replace(status(), streams=named))


KEPT: dict[str, tuple[str, bytes]] = {
    "birth with 10,000 streams": (STATUS, born_with(10_000)),
    "birth with a huge text": (STATUS, born_with(1, "x" * 5000)),
    "birth that is no JSON": (STATUS, b"\xff\xfe\x00"),
    "birth deep": (STATUS, b'{"v":1,"x":' + b"[" * 90_000),
    "birth with a count as text": (STATUS, wire.encode(status()).replace(b'"epoch":1', b'"epoch":"1"')),
    "birth with half a surrogate": (STATUS, wire.encode(status()).replace(b"Pi 5", b"\\ud800")),
    "birth with a control character": (STATUS, wire.encode(status()).replace(b"Pi 5", b"\x01")),
    "birth too large": (STATUS, b" " * (wire.STATUS_BYTES_MAX + 1)),
    "birth beyond the largest message": (STATUS, b" " * (wire.PAYLOAD_BYTES_MAX + 1)),
    "ack sent as a batch": (BATCH, wire.encode(records.Ack(NONCE, 1, "detail", T0))),
    "version as a fraction": (BATCH, header(v=1.5)),
    "epoch 1e999": (BATCH, header().replace(b'"epoch":1', b'"epoch":1e999')),
    "UTF-16": (BATCH, header().partition(b"\n")[0].decode().encode("utf-16") + b"\n"),
    "trailing zlib": (BATCH, header() + b"more"),
    "picture: nothing": (picture(), b""),
    "picture: GIF": (picture(), b"GIF89a" + bytes(200)),
    "picture: 65,535 x 65,535": (picture(), jpeg(65_535, 65_535)),
    "picture: too large": (picture(), jpeg() + bytes(wire.SNAPSHOT_BYTES_MAX)),
    "picture: from 1970": (picture(captured_at_ns=1), jpeg()),
    "picture: from 2286": (picture(captured_at_ns=9_999_999_999_999_999_999), jpeg()),
    "picture: a marker without end": (
        picture(),
        b"\xff\xd8\xff\xe0" + struct.pack(">H", 65_535) + bytes(200) + b"\xff\xd9",
    ),
}
"""Beside `HOSTILE`: what comes to the quarantine."""

LEFT_ALONE: dict[str, tuple[str, bytes]] = {
    "newer batch": (BATCH, header(v=2)),
    "version of 400 digits": (BATCH, header().replace(b'"v":1', b'"v":' + b"9" * 400)),
    "newer birth": (STATUS, wire.encode(status()).replace(b'"v":1', b'"v":9')),
    "batch of nobody": ("vigie/v1/Green House/pi-roof/batch", detail(1, 1)),
    "picture with a way out": (picture("..", 5), jpeg()),
    "picture with a time that is none": (picture(captured_at_ns="0x7f"), jpeg()),
    "picture of a time with many digits": (picture(captured_at_ns="9" * 400), jpeg()),
    "status of a device with markup": ("vigie/v1/greenhouse/<b>/status", wire.encode(status())),
}
"""What is neither stored nor quarantined, but counted."""

CONTRADICTING: dict[str, bytes] = {
    "other content under a key that is stored": detail(2000, 30_001, 3, sealed_at_ns=T0, found=()),
    "frames of another batch": detail(2001, 30_002, 5, sealed_at_ns=T0),
    "a tombstone of a stored batch with other content": summary(
        9000, records.Tombstone(0, 1, NONCE, 2000, "0" * 64, {"cam0": runs(("ok", 30_001, 30_003))}), sealed_at_ns=T0
    ),
}
"""What only the store can see."""


@pytest.fixture
def process(tmp_path: Path, mosquitto: Broker) -> Iterator[Process]:
    mosquitto.start()
    made = Process(tmp_path, f"broker: {{url: '{mosquitto.url}', retry_s_max: 0.5}}")
    made.start()
    yield made
    made.kill()


class Between:
    """Sends hostile messages, each followed by a good batch, and waits until those good ones are acked."""

    def __init__(self, one: Device) -> None:
        self.one = one
        self.good: dict[int, bytes] = {}
        self.hostile = 0

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.one.send(topic, payload, retain=retain)
        self.hostile += 1
        number = 100 + len(self.good)
        # Its own stream: the frames of the hostile ones are not its business.
        self.good[number] = detail(number, 5 * len(self.good) + 1, stream="good", sealed_at_ns=T0)
        self.one.send_batch(self.good[number])

    def settled(self) -> None:
        self.one.deliver(self.good, timeout_s=90)


def quarantined(process: Process) -> dict[tuple[str, bytes], str]:
    """Reasons by topic and payload."""
    with Quarantine(process.folder / "state" / "state.db") as held:
        found = [held.get(one.id) for one in held.newest(1000)]
    return {(one.topic, one.payload or b""): one.reason for one in found if one is not None}


def counted(process: Process, name: str) -> float:
    """A counter of the collector, over all its labels."""
    pattern = re.compile(rf"^vigie_collector_{name}_total(?:{{[^}}]*}})? (\S+)$", re.MULTILINE)
    return sum(float(value) for value in pattern.findall(process.text("/metrics")))


def test_hostile_payloads_between_good_neighbours(process: Process, mosquitto: Broker) -> None:
    """No crash, each refused, quarantined or counted with a reason; every good neighbour stored once and acked."""
    before = process.pid
    with device(mosquitto) as one:
        one.send_status()
        until(lambda: one.acks)
        one.deliver({2000: detail(2000, 30_001, 3, sealed_at_ns=T0)})
        between = Between(one)
        bad = [(BATCH, make()) for name, (make, _) in HOSTILE.items() if name != "the future"]
        bad += [(BATCH, detail(3000, 1, sealed_at_ns=time.time_ns() + 3 * DAY))]
        bad += [(topic.format(number), payload) for number, (topic, payload) in enumerate(KEPT.values())]
        for topic, payload in bad:
            between.send(topic, payload)
        for topic, payload in LEFT_ALONE.values():
            between.send(topic.format("newer"), payload)
        for payload in CONTRADICTING.values():
            between.send(BATCH, payload)
        between.settled()
        # What was bad in its own lane is refused there; each of these batches has a header that can be believed.
        until(lambda: {2000, 2001} <= set(one.refused()))
        until(lambda: 9000 in one.refused("summary"))
        until(lambda: T0 in one.refused("snapshot/cam0"))
    assert between.hostile >= 60
    assert process.pid == before, "it is the same process"
    kept = {(topic, cut(Message(topic, payload, retained=False, received_at_ns=T0)).payload) for topic, payload in bad}
    kept |= {(BATCH, payload) for payload in CONTRADICTING.values()}
    found = quarantined(process)
    assert set(found) == kept
    assert all(found.values())
    assert counted(process, "messages_too_new") == 3
    assert counted(process, "messages_dropped") == len(LEFT_ALONE) - 3
    assert process.rss_mb_max() < RSS_MB_MAX
    seen = [one["frame"] for one in process.everything("/api/v1/predictions?stream=good&limit=1000", "predictions")]
    assert sorted(seen) == list(range(1, 5 * len(between.good) + 1)), "each once"
    ledger = process.get("/api/v1/devices/greenhouse/pi-roof/ledger")[1]
    streams = ledger["epochs"][0]["streams"]
    assert (streams["good"]["captured"], streams["good"]["missing"]) == (5 * len(between.good), 0)
    assert process.stop() == 0


def test_replays_reorderings_and_retained_batches_change_nothing(process: Process, mosquitto: Broker) -> None:
    batches = {number: detail(number, 5 * number - 4) for number in range(1, 21)}
    with device(mosquitto) as one:
        for number in sorted(batches, key=lambda number: (number % 3, -number)):
            one.send_batch(batches[number])
            one.send_batch(batches[number])
        one.send(BATCH, batches[7], retain=True)
        one.deliver(batches)
        mosquitto.stop()
        mosquitto.start()
        until(process.ready)
        one.deliver({21: detail(21, 101)})
    answer = process.everything("/api/v1/predictions?limit=1000", "predictions")
    assert sorted(seen["frame"] for seen in answer) == list(range(1, 106))
    assert quarantined(process) == {}


def test_little_messages_that_hold_much_are_stored_within_bounded_memory(process: Process, mosquitto: Broker) -> None:
    """30 batches of 20,000 boxes each come in a few kB; decoded together they would take hundreds of MB."""
    boxes = tuple(records.Detection(0, 1, 0, 0, 1, 1) for _ in range(1000))
    batches = {number: detail(number, 20 * number - 19, 20, found=boxes) for number in range(1, 31)}
    assert max(map(len, batches.values())) < 20_000
    with device(mosquitto) as one:
        one.deliver(batches, timeout_s=90)
        one.send_batch(summary(1, *(window(0, {"ok": 1}, maker=MAKER) for _ in range(5000)), sealed_at_ns=T0))
        until(lambda: one.stored("summary") == {1}, 60)
    assert process.rss_mb_max() < RSS_MB_MAX / 2
