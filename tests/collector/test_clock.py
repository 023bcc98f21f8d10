"""The collector's own clock: what is believed of it, and what happens while it is not."""

import pytest

from collector.clock import DOUBTED_NS, EARLIEST_NS, OwnClock
from shared import wire
from tests.collector.making import detail, status
from tests.collector.rig import BATCH, Rig

SECOND = 10**9
DAY = 86_400 * SECOND
NOW = 1_795_000_000 * SECOND
STATUS = BATCH.replace("/batch", "/status")


class Machine:
    """A machine whose clocks a test sets."""

    def __init__(self, wall_ns: int = NOW) -> None:
        self.wall_ns = wall_ns
        self.boot_ns = 1000 * SECOND
        self.synced: bool | None = False
        self.clock = OwnClock(lambda: self.wall_ns, lambda: self.boot_ns, lambda: self.synced)

    def pass_by(self, ns: int) -> None:
        self.wall_ns += ns
        self.boot_ns += ns


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_clock_that_goes_on_is_believed(machine: Machine) -> None:
    for _ in range(400):
        machine.pass_by(DAY)
        assert machine.clock() == machine.wall_ns
    assert not machine.clock.doubt


def test_a_clock_that_was_never_set_is_not_believed_even_if_it_is_kept() -> None:
    machine = Machine(EARLIEST_NS - 1)
    machine.synced = True
    assert machine.clock() == DOUBTED_NS
    assert "before 2020" in machine.clock.doubt


@pytest.mark.parametrize(("days", "word"), [(3650, "ahead"), (2, "ahead"), (-2, "back"), (-1000, "back")])
def test_a_jump_that_no_time_service_made_is_not_believed(machine: Machine, days: int, word: str) -> None:
    machine.wall_ns += days * DAY
    assert machine.clock() == DOUBTED_NS
    assert f"{abs(days)} days {word}" in machine.clock.doubt
    machine.pass_by(DAY)
    assert machine.clock() == DOUBTED_NS, "time alone does not make it right"
    machine.wall_ns -= days * DAY
    assert machine.clock() == machine.wall_ns, "set back to where it was it is believed again"


def test_a_time_service_ends_any_doubt(machine: Machine) -> None:
    machine.wall_ns += 3650 * DAY
    assert machine.clock() == DOUBTED_NS
    machine.synced = True
    assert machine.clock() == machine.wall_ns
    machine.synced = False
    machine.pass_by(DAY)
    assert machine.clock() == machine.wall_ns, "from here on it is measured anew"


def test_hours_are_summer_time_and_hands_not_faults(machine: Machine) -> None:
    machine.wall_ns += 3600 * SECOND
    assert machine.clock() == machine.wall_ns


def test_a_clock_that_was_set_back_while_we_were_away_is_not_believed(machine: Machine) -> None:
    machine.clock.not_before(NOW + DAY)
    assert machine.clock() == machine.wall_ns
    machine.clock.not_before(NOW + 2 * DAY)
    assert machine.clock() == DOUBTED_NS
    assert "2 days behind" in machine.clock.doubt
    machine.synced = True
    assert machine.clock() == machine.wall_ns


def test_while_it_is_in_doubt_nothing_is_taken_refused_or_told(rig: Rig, machine: Machine) -> None:
    """Else a collector in 2036 would take every batch for expired, and one in 2021 refuse them as of the future."""
    machine.wall_ns += 3650 * DAY
    payloads = {BATCH: detail(1, 1), STATUS: wire.encode(status())}
    for topic, payload in payloads.items():
        rig.ingest.process([rig.message(topic, payload, machine.clock())])
    assert (rig.sent, rig.store.devices(), rig.quarantine.newest()) == ([], [], [])
    assert rig.count("messages_dropped", cause="own_clock") == 2


def test_an_ack_says_whether_a_time_service_keeps_our_clock(rig: Rig) -> None:
    rig.process(detail(1, 1))
    rig.ingest._synced = lambda: True
    rig.process(detail(2, 6))
    assert [ack.synced for _, ack in rig.sent] == [False, True]
