"""The collector without its web pages and without a process of its own, for tests."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collector.admit import Message
from collector.ingest import Ingest
from collector.metrics import Metrics
from collector.queries import Queries
from collector.receive import Inbox
from collector.state.pictures import Pictures
from collector.state.quarantine import Quarantine
from collector.stores import Rejected, Unavailable
from collector.stores.answers import Received, Written
from collector.stores.sqlite import SQLite
from shared import topics, wire
from shared.records import Ack
from tests.collector.making import SECOND, T0

BATCH = topics.batch("greenhouse", "pi-roof")


class Moody(SQLite):
    """The real store, which can be told to be unavailable, or to refuse batches without saying which."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.down = threading.Event()
        self.hates: frozenset[int] = frozenset()

    def write(self, batches: Sequence[Received]) -> list[Written]:
        if self.down.is_set():
            raise Unavailable("the test took it away", retry_after_s=0.02)
        if any(one.batch.header.batch in self.hates for one in batches):
            raise Rejected({}, "one of them is bad")
        return super().write(batches)


@dataclass
class Rig:
    """The collector without its web pages and without a process of its own."""

    store: Moody
    quarantine: Quarantine
    pictures: Pictures
    metrics: Metrics
    inbox: Inbox
    ingest: Ingest
    sent: list[tuple[str, Ack]]
    offline: bool = False

    def publish(self, topic: str, payload: bytes) -> bool:
        """An ack as it would be sent."""
        if not self.offline:
            self.sent.append((topic, wire.decode_ack(payload)))
        return not self.offline

    def frames(self) -> list[int]:
        found = Queries(self.store).predictions(limit=1000)["predictions"]
        return sorted(one["frame"] for one in found)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"vigie_collector_{name}_total", labels) or 0.0

    def message(self, topic: str, payload: bytes, received_at_ns: int) -> Message:
        """As the receiver makes it."""
        return Message(topic, payload, retained=False, received_at_ns=received_at_ns)

    def process(self, *payloads: bytes, topic: str = BATCH, retained: bool = False) -> None:
        self.ingest.process([Message(topic, payload, retained, T0 + SECOND) for payload in payloads])
