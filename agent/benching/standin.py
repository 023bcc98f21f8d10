"""The least that a collector does: it confirms what a device sends.

A process of its own, as a collector would be: `python -m agent.benching.standin BROKER SITE DEVICE FILE`, where BROKER
is `BrokerSettings` in JSON. It says `ready` on standard output once it is subscribed, and appends the detail batches
to FILE, if that is not empty, each behind its length in 4 bytes. It ends with its standard input.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from shared import topics, wire
from shared.mqtt import BrokerSettings, Link
from shared.records import Ack, Detail, Observation

_LENGTH_BYTES = 4
_CONNECT_S = 10.0


class StandIn:
    """Confirms the batches of one device.

    Args:
        broker: How to reach it.
        site: Slug of the site.
        device: Slug of the device.
        kept: Gets every detail batch, if anything does.
    """

    def __init__(self, broker: BrokerSettings, site: str, device: str, kept: BinaryIO | None = None) -> None:
        self._topics = topics.status(site, device), topics.batch(site, device)
        self._ack_topic = topics.ack(site, device)
        self._start = ("0" * 16, 1)
        self._kept = kept
        self._ready = threading.Event()
        self._link = Link(
            broker,
            client_id=f"vigie-bench-{device}-standin",
            subscriptions=[(topic, 1) for topic in (*self._topics, f"{topics.PREFIX}/{site}/{device}/snapshot/#")],
            on_connected=self._ready.set,
            on_message=self._hear,
        )

    def start(self) -> bool:
        """Begin; whether the broker let it in."""
        self._link.start()
        return self._ready.wait(_CONNECT_S)

    def stop(self) -> None:
        """End."""
        self._link.stop(timeout_s=1.0)

    def _hear(self, topic: str, payload: bytes, _retained: bool) -> None:  # noqa: FBT001  # as Link calls it
        if topic == self._topics[0]:
            self._greet(payload)
        elif topic == self._topics[1]:
            self._keep(payload)
        else:
            address = topics.parse(topic)
            taken = address.captured_at_ns or 0
            self._say(Ack(*self._start, f"snapshot/{address.stream}", time.time_ns(), stored=((taken, taken),)))

    def _greet(self, payload: bytes) -> None:
        status = wire.decode_status(payload)
        if status.state == "online":
            self._start = status.nonce, status.epoch
            self._say(Ack(*self._start, "detail", time.time_ns()))

    def _keep(self, payload: bytes) -> None:
        header, body = wire.split(payload)
        if self._kept is not None and header.lane == "detail":
            self._kept.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
            self._kept.flush()
        number = (header.batch, header.batch)
        self._say(Ack(header.nonce, header.epoch, header.lane, time.time_ns(), stored=(number,)))

    def _say(self, ack: Ack) -> None:
        self._link.publish(self._ack_topic, wire.encode(ack), qos=0)


def read(path: Path) -> list[Observation]:
    """The observations in what a stand-in kept."""
    data, at = path.read_bytes(), 0
    seen: list[Observation] = []
    while at + _LENGTH_BYTES <= len(data):
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        if end > len(data):
            break  # being written
        body = msgspec.json.decode(wire.inflate(data[at + _LENGTH_BYTES : end]), type=Detail)
        seen += [observation for block in body.blocks for observation in block.observations]
        at = end
    return seen


def main() -> None:
    """Confirm until standard input ends."""
    broker, site, device, path = sys.argv[1:]
    with Path(path or os.devnull).open("ab") as kept:
        standin = StandIn(msgspec.json.decode(broker, type=BrokerSettings), site, device, kept if path else None)
        if not standin.start():
            sys.exit(1)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
        standin.stop()


if __name__ == "__main__":
    main()
