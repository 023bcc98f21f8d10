"""What the store lacks is asked for, with a growing pause; what asking does not bring is told once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.books import Quarantined
from collector.clock import DOUBTED_NS
from collector.gaps import Gaps
from collector.metrics import Metrics
from collector.state.asked import Asked
from collector.state.database import Database
from collector.state.events import Events
from collector.state.quarantine import Bad, Quarantine
from collector.stores.answers import LaneKey, Scope
from collector.stores.sqlite import SQLite
from shared import wire
from shared.records import Ack, Held, Lane, Previous, Tail, Vitals
from tests.collector.making import NONCE, SECOND, T0, decoded, detail, received, runs, summary

DETAIL = LaneKey("greenhouse", "pi-roof", 1, NONCE, "detail")


class Asker:
    """A collector's part that asks, with a clock that the test sets; each `look` is one of a new process."""

    def __init__(self, folder: Path) -> None:
        self.store = SQLite(folder / "vigie.db")
        self.state = Database(folder / "state.db")
        self.quarantine = Quarantine(self.state)
        self.events = Events(self.state)
        self.metrics = Metrics()
        self.now_ns = T0
        self.said: list[tuple[str, Ack]] = []
        self.connected = True

    def publish(self, topic: str, payload: bytes) -> bool:
        if self.connected:
            self.said.append((topic, wire.decode_ack(payload)))
        return self.connected

    def put(self, *payloads: bytes) -> None:
        self.store.write([received(payload, self.now_ns) for payload in payloads])

    def clock(self) -> int:
        return self.now_ns

    def look(self, after_s: float) -> list[tuple[int, str, list[tuple[int, int]]]]:
        """What is asked for so much later: epoch, lane, ranges."""
        self.now_ns += int(after_s * SECOND)
        self.said.clear()
        asked = Asked(self.state)
        Gaps(
            self.store, self.quarantine, asked, self.metrics, self.publish, after_s=100, tries=3, clock=self.clock
        ).look()
        return [(ack.epoch, ack.lane, list(ack.resend)) for _, ack in self.said]

    def told(self) -> list[tuple[str, str]]:
        return [(event.name, event.detail) for event in self.events.events(Scope(), 0, 2**63 - 1, 100)]


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    made = Asker(tmp_path)
    made.store.open()
    made.state.open()
    yield made
    made.store.close()
    made.state.close()


def vitals(asker: Asker, number: int, *held: Held) -> bytes:
    return summary(number, Vitals(0, 1.0, held=held), sealed_at_ns=asker.now_ns)


def test_a_hole_is_asked_for_when_it_is_old_enough_and_again_after_a_growing_pause(asker: Asker) -> None:
    asker.put(detail(1, 1), detail(4, 16), detail(9, 41))
    assert asker.look(80) == []
    asker.put(summary(1, sealed_at_ns=asker.now_ns))
    assert asker.look(19) == []
    assert asker.look(1) == [(1, "detail", [(2, 3), (5, 8)])]
    assert asker.said[0][0] == "vigie/v1/greenhouse/pi-roof/ack"
    for pause_s in (100, 200, 400):
        asker.now_ns += (pause_s - 2) * SECOND
        asker.put(summary(int(pause_s), sealed_at_ns=asker.now_ns))  # it lives; its summary lane has holes, too
        assert (1, "detail", [(2, 3), (5, 8)]) not in asker.look(1)
        assert (1, "detail", [(2, 3), (5, 8)]) in asker.look(1)


def test_what_the_device_holds_or_the_quarantine_has_is_not_asked_for(asker: Asker) -> None:
    asker.put(detail(1, 1), detail(9, 41), vitals(asker, 1, Held(1, NONCE, "detail", 4, 6)))
    payload = detail(3, 11)
    asker.quarantine.put([Bad("vigie/v1/greenhouse/pi-roof/batch", payload, "bad", "odd", T0, decoded(payload).header)])
    assert asker.quarantine.of_device("greenhouse", "pi-roof") == [
        Quarantined(1, NONCE, "detail", 3, T0 + 3 * SECOND, {"cam0": runs(("ok", 11, 15))})
    ]
    asker.now_ns += 99 * SECOND
    asker.put(vitals(asker, 2, Held(1, NONCE, "detail", 4, 6)))
    assert asker.look(1) == [(1, "detail", [(2, 2), (7, 8)])]
    asker.now_ns += 99 * SECOND
    asker.put(vitals(asker, 3, Held(1, NONCE, "detail", 2, 8)))
    assert asker.look(1) == [], "asking made them due again"
    asker.put(*(detail(batch, 5 * batch - 4) for batch in (2, 4, 5, 6, 7, 8)))
    assert asker.look(1) == []
    assert Asked(asker.state).all() == {}, "the request is done"
    assert asker.told() == []


def test_starts_of_which_nothing_is_known_are_found_one_after_the_other(asker: Asker) -> None:
    """A store that was restored knows the first start to batch 2, and hears the third from batch 7 on."""
    ended: dict[Lane, int] = {"summary": 3, "detail": 5}
    asker.put(detail(1, 1), detail(2, 6))
    asker.now_ns += 1000 * SECOND
    second, third = "2" * 16, "3" * 16
    asker.put(summary(7, epoch=3, nonce=third))
    assert asker.look(100) == []
    asker.put(vitals(asker, 9))
    assert (3, "summary", [(1, 6)]) in (asked := asker.look(0)), asked
    end = Previous(0, 2, second, ended, clean=True, exact=True, streams={"cam0": Tail(25, 25)})
    asker.put(summary(1, end, epoch=3, nonce=third))
    asker.now_ns += 100 * SECOND
    asker.put(vitals(asker, 10))
    asked = asker.look(0)
    assert (2, "summary", [(1, 3)]) in asked
    assert (2, "detail", [(1, 5)]) in asked
    end = Previous(0, 1, NONCE, ended, clean=True, exact=True, streams={"cam0": Tail(25, 25)})
    asker.put(summary(1, end, epoch=2, nonce=second))
    asker.now_ns += 100 * SECOND
    asker.put(vitals(asker, 11))
    assert (1, "detail", [(3, 5)]) in asker.look(0)


def test_a_clock_in_doubt_asks_nobody_and_tells_nothing_in_1970(asker: Asker) -> None:
    asker.put(detail(1, 1), detail(9, 41))
    asker.now_ns, later_ns = DOUBTED_NS, asker.now_ns + 100 * SECOND
    assert asker.look(0) == []
    assert asker.told() == []
    asker.now_ns = later_ns
    asker.put(summary(1, sealed_at_ns=asker.now_ns))
    assert asker.look(0) == [(1, "detail", [(2, 8)])], "as soon as it is right again"


def test_a_device_that_is_not_there_is_not_asked_and_not_given_up(asker: Asker) -> None:
    asker.put(detail(1, 1), detail(3, 11))
    assert asker.look(1000) == []
    asker.put(detail(4, 16))
    asker.connected = False
    assert asker.look(1) == []
    assert asker.metrics.resend_requests._value.get() == 0
    asker.connected = True
    assert asker.look(1) == [(1, "detail", [(2, 2)])]


def test_what_asking_does_not_bring_is_told_once_and_so_is_that_it_came_after_all(asker: Asker) -> None:
    asker.put(detail(1, 1), detail(3, 11))
    number = 3
    for after_s in (100, 100, 200, 400, 800, 1600, 3600, 3600):
        asker.now_ns += (after_s - 1) * SECOND
        number += 1
        asker.put(detail(number, 5 * number - 4))
        assert asker.look(1) == [(1, "detail", [(2, 2)])]
    (told,) = asker.told()
    assert told[0] == "gap_remains"
    assert f"detail batches 2 of start 1 ({NONCE}) did not come, asked for 3 times" in told[1]
    asking = Asked(asker.state).all()[DETAIL]
    assert (asking.remains, asking.tries) == (((2, 2),), 8)
    asker.put(detail(2, 6))
    assert asker.look(1) == []
    assert [name for name, _ in asker.told()] == ["gap_filled", "gap_remains"]
    assert Asked(asker.state).all() == {}


def test_where_some_came_asking_begins_anew(asker: Asker) -> None:
    """A refill of a day takes hours: as long as it goes on nothing is given up."""
    asker.put(detail(1, 1), detail(30, 146))
    number = 30
    for batch in range(2, 20):
        asker.now_ns += 100 * SECOND
        number += 1
        asker.put(detail(number, 5 * number - 4), detail(batch, 5 * batch - 4))
        assert asker.look(0) == [(1, "detail", [(batch + 1, 29)])]
    assert asker.told() == []
