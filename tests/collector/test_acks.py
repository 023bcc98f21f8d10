"""When the devices are told what."""

from collector.acks import EVERY_S, MANY, Acks, To
from shared import wire

DETAIL = To("greenhouse", "pi-roof", "0123456789abcdef", 3, "detail")
PICTURES = To("greenhouse", "pi-roof", "0123456789abcdef", 3, "snapshot/cam0")


class _Clock:
    s = 1000.0

    def __call__(self) -> float:
        return self.s


def told(acks: Acks, *, last: bool = False) -> list[tuple[tuple[int, int], ...]]:
    return [wire.decode_ack(payload).stored for _, payload in acks.messages(1, last=last)]


def test_a_device_that_sends_a_batch_a_second_is_told_of_several_at_once() -> None:
    clock = _Clock()
    acks = Acks(EVERY_S, clock)
    said = []
    for number in range(1, 11):
        acks.stored(DETAIL, number)
        said += told(acks)
        assert acks.waiting == (acks.due_in_s(10.0) < 10.0)
        clock.s += 1
    assert said == [((1, 1),), ((2, 3),), ((4, 5),), ((6, 7),), ((8, 9),)]
    assert acks.due_in_s(10.0) == 0.0
    assert told(acks) == [((10, 10),)]


def test_what_waits_is_due_when_its_time_comes_without_another_message() -> None:
    clock = _Clock()
    acks = Acks(EVERY_S, clock)
    acks.stored(DETAIL, 1)
    assert told(acks)
    acks.stored(DETAIL, 2)
    clock.s += 0.5
    assert not told(acks)
    assert acks.due_in_s(10.0) == EVERY_S - 0.5
    clock.s += EVERY_S - 0.5
    assert told(acks) == [((2, 2),)]


def test_a_backlog_a_refusal_a_greeting_and_a_picture_never_wait() -> None:
    acks = Acks(EVERY_S, _Clock())
    acks.stored(DETAIL, 1)
    assert told(acks)
    for number in range(2, 2 + MANY):
        acks.stored(DETAIL, number)
    assert told(acks) == [((2, 1 + MANY),)]
    acks.refused(DETAIL, 50, "bad")
    assert told(acks) == [()]
    acks.greet(DETAIL)
    assert told(acks) == [()]
    for captured_at_ns in (100, 200):
        acks.stored(PICTURES, captured_at_ns)
        assert told(acks) == [((captured_at_ns, captured_at_ns),)]


def test_the_end_tells_everything() -> None:
    acks = Acks(EVERY_S, _Clock())
    for number in (1, 2):
        acks.stored(DETAIL, number)
        told(acks)
    assert told(acks, last=True) == [((2, 2),)]
    assert not acks.waiting


def test_lanes_that_are_silent_are_forgotten() -> None:
    """The memory of who was told when does not grow with the number of starts."""
    clock = _Clock()
    acks = Acks(EVERY_S, clock)
    for start in range(3000):
        acks.stored(To("greenhouse", "pi-roof", f"{start:016x}", start + 1, "detail"), 1)
        told(acks)
        clock.s += EVERY_S
    assert len(acks._told_at) <= 1001
