"""Two cards made from one image are noticed; a device that restarts or reconnects is not mistaken for two."""

import pytest

from collector.state.database import Database
from collector.state.events import Events
from collector.stores.answers import Scope
from collector.twins import REMEMBERED, Twins
from shared import topics, wire
from tests.collector.making import SECOND, T0, status
from tests.collector.rig import Rig

ROOF = ("greenhouse", "pi-roof")


def heard(twins: Twins, starts: str) -> list[bool]:
    return [twins.born(*ROOF, start) for start in starts]


@pytest.mark.parametrize("starts", ["a", "aaaa", "abcde", "aabbbcc", "abcdefghijklmnopqrstuvwxyz"])
def test_starts_that_follow_each_other_are_one_device(starts: str) -> None:
    assert not any(heard(Twins(), starts))


@pytest.mark.parametrize("starts", ["aba", "abca", "aabbab", "xyzabababab"])
def test_a_start_that_is_heard_again_after_a_later_one_is_told_once(starts: str) -> None:
    assert sum(heard(Twins(), starts)) == 1


def test_it_is_told_again_when_one_of_them_was_started_anew() -> None:
    assert sum(heard(Twins(), "abababcbcbcb")) == 2


def test_another_device_is_another_device() -> None:
    twins = Twins()
    assert not any(twins.born("greenhouse", f"pi-{number % 2}x", f"{number % 2}") for number in range(10))


def test_what_is_remembered_is_bounded() -> None:
    twins = Twins()
    for number in range(100):
        twins.born(*ROOF, str(number))
    assert len(twins._heard[ROOF]) == REMEMBERED


def test_two_devices_of_one_name_are_said_and_counted(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    topic = topics.status(*ROOF)
    told = Events(Database(rig.quarantine.path.with_name("told.db")))
    told._database.open()
    rig.ingest._tell = told.tell
    for nonce in ("a", "b", "a", "b", "a"):
        rig.process(wire.encode(status(nonce=nonce * 16)), topic=topic)
    assert rig.count("devices_twice") == 1
    (event,) = told.events(Scope(), 0, 2**63 - 1, 10)
    assert (event.site, event.device, event.name, event.at_ns) == (*ROOF, "device_twice", T0 + SECOND)
    assert not told.tell(event), "two collectors that see it tell it once"
    told._database.close()
    assert caplog.text.count("greenhouse/pi-roof is two devices") == 1


def test_wills_and_retained_births_are_no_second_device(rig: Rig) -> None:
    topic = topics.status(*ROOF)
    for state, nonce in [("online", "a"), ("online", "b"), ("offline", "a"), ("stopped", "a")]:
        rig.process(wire.encode(status(state, nonce=nonce * 16)), topic=topic)
    rig.process(wire.encode(status(nonce="a" * 16)), topic=topic, retained=True)
    assert rig.count("devices_twice") == 0
