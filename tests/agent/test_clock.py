"""The clock seam."""

import pytest

from agent.clock import Clock
from shared.records import TICK_NS


class FakeClock(Clock):
    """Stands still until told otherwise."""

    def __init__(self):
        super().__init__()
        self.boot = 5_000_000_000
        self.wall = 1_800_000_000_000_000_000
        self.synchronised = False
        self.boot_ns = lambda: self.boot  # type: ignore[method-assign]  # a fake
        self.wall_ns = lambda: self.wall  # type: ignore[method-assign]  # a fake
        self.kernel_synchronised = lambda: self.synchronised  # type: ignore[method-assign]  # a fake


def test_boot_time_never_goes_back():
    clock = Clock()
    stamps = [clock.boot_ns() for _ in range(1000)]
    assert stamps == sorted(stamps)
    assert stamps[0] > 0


def test_the_real_clock_answers_every_question_on_this_machine():
    clock = Clock()
    assert isinstance(clock.kernel_synchronised(), bool)
    assert clock.monotonic() > 0
    assert clock.boot_id() == clock.boot_id()


def test_a_machine_without_adjtimex_is_not_synchronised(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert not Clock().kernel_synchronised()


@pytest.mark.parametrize(
    ("state", "status", "expected"), [(0, 0x2001, True), (0, 0x0040, False), (5, 0, False), (-1, 0, False)]
)
def test_the_kernel_is_synchronised_when_it_says_so(monkeypatch, state, status, expected):
    class Libc:
        def adjtimex(self, pointer):
            pointer._obj.status = status
            return state

    monkeypatch.setattr("ctypes.CDLL", lambda _name: Libc())
    assert Clock().kernel_synchronised() is expected


def test_wall_time_is_unknown_until_someone_says_it():
    assert FakeClock().offset() is None


def test_the_collectors_time_will_do():
    clock = FakeClock()
    clock.hear(1_700_000_000_000_000_000)
    clock.boot += 60_000_000_000
    assert clock.offset() == (1_700_000_000_000_000_000 - 5_000_000_000, "collector")


def test_a_synchronised_kernel_is_believed_before_the_collector():
    clock = FakeClock()
    clock.hear(1)
    clock.synchronised = True
    assert clock.offset() == (clock.wall - clock.boot, "synced")


def test_offsets_are_whole_ticks():
    clock = FakeClock()
    clock.hear(1_700_000_000_000_004_999)
    offset = clock.offset()
    assert offset is not None
    assert offset[0] % TICK_NS == 0
    assert abs(offset[0] - (1_700_000_000_000_004_999 - clock.boot)) <= TICK_NS // 2
