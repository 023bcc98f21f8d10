"""A store that cannot be written: nothing is acked, memory stays bounded, and afterwards all of it is stored once."""

import os
import re
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker, until

from collector.queries import Queries
from collector.stores.sqlite import SQLite
from shared.records import Vitals
from tests.collector.field import device
from tests.collector.making import SECOND, T0, born, detail, detection, received, summary
from tests.collector.process import Process

GROWTH_MB_MAX = 120
"""The queue's 8 MB, what was taken of it, and what a decoded portion takes; far less than what is sent."""


@pytest.fixture
def process(tmp_path: Path, mosquitto: Broker) -> Iterator[Process]:
    mosquitto.start()
    made = Process(
        tmp_path, f"broker: {{url: '{mosquitto.url}', retry_s_max: 0.5}}\nlimits: {{queue_messages: 500, queue_mb: 8}}"
    )
    made.start()
    yield made
    made.kill()


def reason(process: Process) -> str:
    """Why it is not ready, as `/readyz` says it; empty while it is."""
    status, answer = process.get("/readyz")
    return answer["reasons"].get("store", "") if status == 503 else ""


def test_while_the_store_is_locked_nothing_is_acked_and_memory_is_bounded(process: Process, mosquitto: Broker) -> None:
    """Another process has it: 40 MB are sent meanwhile, some of it again and again, as devices do."""
    boxes = tuple(detection(number % 80, number % 9000) for number in range(900))
    batches = {number: detail(number, 5 * number - 4, found=boxes) for number in range(1, 301)}
    with device(mosquitto) as one:
        one.deliver({1: batches[1]})
        before_mb = process.rss_mb_max()
        other = sqlite3.connect(process.folder / "vigie.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        try:
            sent = 0
            while sent < 40_000_000:
                for number in range(2, 301):
                    one.send_batch(batches[number])
                    sent += len(batches[number])
            until(lambda: "another process has been writing for too long" in reason(process), 60)
            assert one.stored() == {1}
            assert process.rss_mb_max() - before_mb < GROWTH_MB_MAX
        finally:
            other.close()
        one.deliver(batches, timeout_s=120)
        until(process.ready, 60)
    ledger = process.get("/api/v1/devices/greenhouse/pi-roof/ledger")[1]
    assert (ledger["captured"], ledger["missing"], ledger["fates"]["stored"]) == (1500, 0, 1500)
    assert re.search(r"the store can be used again after \d+ s", process.log())


def test_a_disk_that_takes_no_more_is_said_and_used_again_when_it_does(process: Process, mosquitto: Broker) -> None:
    """The kernel refuses every byte beyond what the files have now, as a full disk does."""
    batches = {number: detail(number, 5 * number - 4) for number in range(1, 41)}
    with device(mosquitto) as one:
        one.deliver({1: batches[1]})
        whole = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, whole[1]))
        for number in range(2, 41):
            one.send_batch(batches[number])
        until(lambda: "vigie.db: " in reason(process), 60)
        assert one.stored() == {1}
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, whole)
        one.deliver(batches, timeout_s=90)
        until(process.ready, 60)
    ledger = process.get("/api/v1/devices/greenhouse/pi-roof/ledger")[1]
    assert (ledger["captured"], ledger["missing"], ledger["fates"]["stored"]) == (200, 0, 200)
    assert process.stop() == 0


_EXPIRE = """
import sys
from pathlib import Path
from collector.stores.sqlite import SQLite
with SQLite(Path(sys.argv[1]), detail_days=1, minutes_days=1) as store:
    print(store.expire(int(sys.argv[2])))
"""


@pytest.mark.parametrize("at", [1, 2, 3])
def test_killed_while_it_deletes_what_is_old_the_sums_stay_right(tmp_path: Path, at: int) -> None:
    """Each step is a transaction of its own; the next run goes on where it was."""
    path, later_ns = tmp_path / "vigie.db", T0 + 3 * 86_400 * SECOND
    with SQLite(path) as store:
        store.write([received(detail(number, 5 * number - 4)) for number in range(1, 31)])
        store.write([received(summary(1, Vitals(0, 1.0)))])
        store.write_statuses([born()])
    ended = []
    for failpoint in (f"in_expire:kill:{at}", ""):
        done = subprocess.run(
            [sys.executable, "-c", _EXPIRE, str(path), str(later_ns)],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "VIGIE_FAILPOINT": failpoint},
            timeout=60,
            check=False,
        )
        ended.append(done.returncode)
    assert ended == [-9, 0]
    with SQLite(path) as store:
        ledger = Queries(store).ledger("greenhouse", "pi-roof")
        assert (ledger["captured"], ledger["missing"], ledger["fates"]["stored"]) == (150, 0, 150)
        assert Queries(store).predictions(limit=10)["predictions"] == []
        assert store.expire(later_ns) == 0
