"""The bounded queue between broker and store, and the ranges of acks."""

import threading
import time

import pytest

from collector import ranges, receive
from collector.acks import ENTRIES_MAX, Acks, To
from collector.admit import Message, cut
from collector.metrics import Metrics
from collector.receive import Inbox
from shared import topics, wire
from tests.collector.making import NONCE, T0

TO = To("greenhouse", "pi-roof", NONCE, 1, "detail")


def message(size: int = 10) -> Message:
    return Message("t", bytes(size), retained=False, received_at_ns=T0)


def test_what_finds_no_room_is_not_taken() -> None:
    inbox = Inbox(3, 1000, Metrics())
    assert [inbox.put(message()) for _ in range(4)] == [True, True, True, False]
    full_before, taken = inbox.full, inbox.take(2, 0)
    assert (full_before, len(taken), inbox.full) == (True, 2, False)
    assert inbox.put(message())


def test_bytes_are_bounded_too() -> None:
    inbox = Inbox(100, 1000, Metrics())
    assert inbox.put(message(900))
    assert not inbox.put(message(101))
    assert inbox.put(message(100))
    inbox.take(10, 0)
    assert inbox.put(message(1000))


def test_taking_waits_for_the_first_message_and_gathers_more() -> None:
    inbox = Inbox(100, 1000, Metrics())
    taken: list[Message] = []
    thread = threading.Thread(target=lambda: taken.extend(inbox.take(3, gather_s=30, idle_s=30)))
    thread.start()
    for _ in range(3):
        inbox.put(message())
    inbox.close()  # wakes who gathers
    thread.join(10)
    assert len(taken) == 3


def test_a_closed_inbox_takes_nothing_and_keeps_nobody_waiting() -> None:
    inbox = Inbox(100, 1000, Metrics())
    inbox.close()
    began = time.monotonic()
    assert inbox.take(3, gather_s=30, idle_s=30) == []
    assert not inbox.put(message())
    assert time.monotonic() - began < 5


def told(payload: bytes, device: str = "pi-roof", *, retained: bool = False) -> Message:
    return Message(topics.status("greenhouse", device), payload, retained=retained, received_at_ns=T0)


def test_a_status_finds_room_beside_a_full_queue() -> None:
    """A device sends it once per connection: nobody would send a lost one again."""
    inbox = Inbox(1, 100, Metrics())
    assert [inbox.put(message()), inbox.put(message())] == [True, False]
    assert [inbox.put(told(b"first")), inbox.put(told(b"newest")), inbox.put(told(b"x", "pi-door"))] == [True] * 3
    assert inbox.full
    assert [one.payload for one in inbox.take(2, 0)] == [b"newest", b"x"]
    assert inbox.full, "taking a status makes no room for a batch"
    assert [one.topic for one in inbox.take(2, 0)] == ["t"]
    assert inbox.take(2, 0, idle_s=0) == []


def test_a_status_that_came_live_is_not_replaced_by_its_retained_copy() -> None:
    inbox = Inbox(1, 100, Metrics())
    inbox.put(told(b"online"))
    inbox.put(told(b"online", retained=True))
    inbox.put(told(b"online", "pi-door"))
    inbox.put(told(b"offline", "pi-door", retained=True))
    assert [(one.payload, one.retained) for one in inbox.take(9, 0)] == [(b"online", False), (b"offline", True)]


def test_waiting_statuses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "STATUSES_MAX", 2)
    inbox = Inbox(1, 100, Metrics())
    assert [inbox.put(told(b"x", f"pi-{number}")) for number in range(3)] == [True, True, False]
    assert inbox.put(told(b"y", "pi-0"))
    assert not inbox.put(told(bytes(100), "pi-0"))
    assert not inbox.full
    inbox.take(9, 0)
    assert inbox.put(told(bytes(100), "pi-2"))


def test_a_status_that_is_too_large_replaces_none() -> None:
    inbox = Inbox(9, 10**7, Metrics())
    inbox.put(told(b"online"))
    inbox.put(cut(told(b"x" * 5_000_000)))
    assert [one.payload for one in inbox.take(9, 0)] == [b"online", b"x" * 65_536]


def test_a_status_wakes_who_waits() -> None:
    inbox = Inbox(1, 100, Metrics())
    taken: list[Message] = []
    thread = threading.Thread(target=lambda: taken.extend(inbox.take(1, gather_s=30, idle_s=30)))
    thread.start()
    inbox.put(told(b"x"))
    thread.join(10)
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (set(), []),
        ({5}, [(5, 5)]),
        ({1, 2, 3}, [(1, 3)]),
        ({9, 1, 3, 2, 8, 5}, [(1, 3), (5, 5), (8, 9)]),
    ],
)
def test_numbers_become_ranges(numbers: set[int], expected: list[tuple[int, int]]) -> None:
    assert ranges.of(numbers) == expected


def test_many_ranges_become_several_acks() -> None:
    acks = Acks()
    numbers = range(1, 2 * ENTRIES_MAX + 101, 2)
    for number in numbers:
        acks.stored(TO, number)
    sent = [wire.decode_ack(payload) for _, payload in acks.messages(T0)]
    assert len(sent) == 2
    assert [first for ack in sent for first, _ in ack.stored] == list(numbers)
    assert list(acks.messages(T0)) == [], "what was said is not said again"


def test_a_refusal_carries_its_reason_cut_to_what_an_ack_may_hold() -> None:
    acks = Acks()
    acks.refused(TO, 7, "x" * 5000)
    ((_, payload),) = acks.messages(T0)
    assert wire.decode_ack(payload).refused == ((7, "x" * 1024),)
