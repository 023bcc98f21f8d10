"""A device on the wire, for tests: publishes real bytes, keeps what is not acked, and sends it again."""

import contextlib
import time
from collections.abc import Iterator, Mapping

from brokers import Broker, until

from shared import records, topics, wire
from shared.mqtt import Link
from tests.collector.making import NONCE, status

RESEND_S = 0.3


class Device:
    """A device; `acks` are those that came, oldest first."""

    def __init__(self, broker: Broker, site: str = "greenhouse", device: str = "pi-roof") -> None:
        self.site, self.device = site, device
        self.acks: list[records.Ack] = []
        self._link = Link(
            broker.settings(),
            client_id=f"vigie-test-{device}",
            subscriptions=[(topics.ack(site, device), 0)],
            on_message=lambda _topic, payload, _retained: self.acks.append(wire.decode_ack(payload)),
            max_inflight=1000,
        )

    def start(self) -> None:
        self._link.start()
        until(lambda: self._link.connected)

    def stop(self) -> None:
        self._link.stop(timeout_s=1)

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish, as soon as the broker takes it."""
        until(lambda: self._link.publish(topic, payload, retain=retain) is not None)

    def send_batch(self, payload: bytes) -> None:
        self.send(topics.batch(self.site, self.device), payload)

    def send_status(self, state: str = "online") -> None:
        self.send(topics.status(self.site, self.device), wire.encode(status(state)), retain=True)

    def send_snapshot(self, captured_at_ns: int, jpeg: bytes, stream: str = "cam0") -> None:
        self.send(topics.snapshot(self.site, self.device, stream, captured_at_ns), jpeg)

    def stored(self, lane: str = "detail", nonce: str = NONCE) -> set[int]:
        """Numbers that were acked."""
        return {
            number
            for ack in list(self.acks)
            if (ack.lane, ack.nonce) == (lane, nonce)
            for first, last in ack.stored
            for number in range(first, last + 1)
        }

    def refused(self, lane: str = "detail") -> dict[int, str]:
        """Numbers that were refused, with the reason."""
        return dict(pair for ack in list(self.acks) if ack.lane == lane for pair in ack.refused)

    def deliver(self, batches: Mapping[int, bytes], timeout_s: float = 30.0) -> None:
        """Send detail batches by number, again and again, until each is acked."""
        deadline = time.monotonic() + timeout_s
        while missing := set(batches) - self.stored():
            assert time.monotonic() < deadline, f"not acked: {sorted(missing)}"
            for number in sorted(missing):
                self._link.publish(topics.batch(self.site, self.device), batches[number])
            self._await(set(batches), time.monotonic() + RESEND_S)

    def _await(self, numbers: set[int], deadline: float) -> None:
        while numbers - self.stored() and time.monotonic() < deadline:
            time.sleep(0.005)


@contextlib.contextmanager
def device(broker: Broker, name: str = "pi-roof") -> Iterator[Device]:
    """A connected device."""
    made = Device(broker, device=name)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def jpeg(width: int = 64, height: int = 48) -> bytes:
    """The headers of a JPEG of this size, and enough of a body to pass for one."""
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    header = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    frame = b"\xff\xc0\x00\x11\x08" + size + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    return header + frame + b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00" + bytes(100) + b"\xff\xd9"
