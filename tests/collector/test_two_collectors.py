"""Two collector processes share one SQLite store and one broker: nothing twice, nothing missing, acks right.

One of them is killed with SIGKILL around every commit, and the other goes on.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker, until

from collector.state.quarantine import Quarantine
from tests.collector.field import Device, device
from tests.collector.making import detail, summary
from tests.collector.process import Process

PLACES = ("before_write", "before_commit", "after_write", "after_quarantine", "before_ack", "during_acks")
ROUND = 12
"""Batches of each round; every third of a round's other batches is bad."""


@pytest.fixture(params=["", "shared_group: team"], ids=["both get everything", "they share the work"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, mosquitto: Broker) -> Iterator[tuple[Process, Process]]:
    mosquitto.start()
    lines = f"broker: {{url: '{mosquitto.url}', retry_s_max: 0.5}}\n{request.param}"
    one, two = Process(tmp_path, lines, "one"), Process(tmp_path, lines, "two")
    yield one, two
    one.kill()
    two.kill()


def good(number: int) -> bytes:
    return detail(number, 5 * number - 4)


def bad(number: int) -> bytes:
    """Its header can be read, its body cannot."""
    return good(number)[:-1] + b"!"


def send_round(one: Device, first: int) -> None:
    for number in range(first, first + ROUND):
        one.send_batch(good(number) if number % 3 else bad(number))


def test_one_of_two_is_killed_at_every_place(pair: tuple[Process, Process], mosquitto: Broker) -> None:
    steady, victim = pair
    steady.start()
    last = 0
    with device(mosquitto) as one:
        for place in PLACES:
            victim.start(failpoint=f"{place}:kill")
            while victim.running:
                send_round(one, last + 1)
                last += ROUND
                until(lambda last=last: not victim.running or len(one.stored()) + len(one.refused()) >= last)  # type: ignore[misc]
            assert victim.wait() == -9, place
        victim.start()
        one.deliver({number: good(number) for number in range(1, last + 1) if number % 3}, timeout_s=90)
        wrong = [number for number in range(1, last + 1) if not number % 3]
        while missing := [number for number in wrong if number not in one.refused()]:
            for number in missing:
                one.send_batch(bad(number))
            until(lambda missing=missing: set(missing) <= set(one.refused()))  # type: ignore[misc]
        one.send_batch(summary(1))
        until(lambda: one.stored("summary") == {1})
        assert not one.stored() & set(one.refused()), "no batch is both"
    for process in pair:
        seen = process.everything("/api/v1/predictions?limit=1000", "predictions")
        frames = [
            frame for number in range(1, last + 1) if number % 3 for frame in range(5 * number - 4, 5 * number + 1)
        ]
        assert sorted(one["frame"] for one in seen) == frames, "each once"
        ledger = process.get("/api/v1/devices/greenhouse/pi-roof/ledger")[1]
        assert (ledger["captured"], ledger["missing"]) == (5 * last, 0)
        assert (ledger["fates"]["stored"], ledger["fates"]["quarantined"]) == (len(frames), 5 * len(wrong))
    with Quarantine(steady.folder / "state" / "state.db") as held:
        assert sorted(one.batch or 0 for one in held.newest(1000)) == wrong, "each bad one is kept once"
    assert [process.stop() for process in pair] == [0, 0]
