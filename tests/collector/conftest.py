"""The rig, alone and on a real broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker, until

from collector.ingest import Ingest
from collector.metrics import Metrics
from collector.receive import Inbox, Receiver
from collector.state.pictures import Pictures
from collector.state.quarantine import Quarantine
from tests.collector.rig import Moody, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    metrics = Metrics()
    inbox = Inbox(1000, 10_000_000, metrics)
    with Moody(tmp_path / "vigie.db") as store, Quarantine(tmp_path / "state.db") as quarantine:
        pictures = Pictures(tmp_path / "pictures")
        ingest = Ingest(inbox, store, quarantine, pictures, metrics, lambda _topic, _payload: False, write_wait_s=0.02)
        made = Rig(store, quarantine, pictures, metrics, inbox, ingest, [])
        ingest._publish = made.publish
        yield made
        ingest.stop()


@pytest.fixture
def live(rig: Rig, broker: Broker) -> Iterator[Broker]:
    """The rig on a real broker, connected."""
    broker.start()
    receiver = Receiver(broker.settings(), rig.inbox, rig.metrics)
    rig.ingest._publish = receiver.publish
    rig.ingest.start()
    receiver.start()
    until(lambda: receiver.problem is None)
    yield broker
    receiver.stop()
    rig.ingest.stop()
