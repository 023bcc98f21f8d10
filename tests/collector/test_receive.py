"""The bounded queue between broker and store, and the ranges of acks."""

import threading
import time

import pytest

from collector.acks import ENTRIES_MAX, Acks, To, ranges
from collector.admit import Message
from collector.metrics import Metrics
from collector.receive import Inbox
from shared import wire
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
    assert ranges(numbers) == expected


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
