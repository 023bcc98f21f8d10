"""The clock seam."""

import pytest

from agent.clock import EARLIEST_NS, Clock
from shared.records import TICK_NS

SECOND = 1_000_000_000
NOW_NS = 1_795_000_000 * SECOND


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


def test_a_machine_without_adjtimex_does_not_say(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert Clock().kernel_synchronised() is None


@pytest.mark.parametrize(
    ("state", "status", "expected"), [(0, 0x2001, True), (0, 0x0040, False), (5, 0, False), (-1, 0, None)]
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
    clock.hear(1_790_000_000_000_000_000)
    clock.boot += 60_000_000_000
    assert clock.offset() == (1_790_000_000_000_000_000 - 5_000_000_000, "collector")


def test_a_synchronised_kernel_is_believed_before_the_collector():
    clock = FakeClock()
    clock.hear(clock.wall + 50 * SECOND, synced=True)
    clock.synchronised = True
    assert clock.offset() == (clock.wall - clock.boot, "synced")
    assert clock.disagreement_ns() is None


@pytest.mark.parametrize("year_ns", [1, 96_768_000 * SECOND, EARLIEST_NS - SECOND], ids=["1970", "1973", "2025"])
def test_no_clock_is_believed_that_shows_a_time_before_vigie(year_ns):
    clock = FakeClock()
    clock.wall, clock.synchronised = year_ns, True
    clock.hear(year_ns, synced=True)
    assert clock.offset() is None, "1970 is nobody's time"
    clock.hear(NOW_NS)
    assert clock.offset() == (NOW_NS - clock.boot, "collector")


@pytest.mark.parametrize("ahead_s", [-400 * 86_400, -61, 61, 10 * 365 * 86_400])
def test_of_two_clocks_that_are_kept_and_differ_the_collectors_counts(ahead_s):
    clock = FakeClock()
    clock.wall, clock.synchronised = NOW_NS + ahead_s * SECOND, True
    clock.hear(NOW_NS, synced=True)
    if clock.wall >= EARLIEST_NS:
        assert clock.disagreement_ns() == ahead_s * SECOND
    assert clock.offset() == (NOW_NS - clock.boot, "collector")
    clock.wall = NOW_NS
    assert clock.disagreement_ns() is None
    assert clock.offset() == (NOW_NS - clock.boot, "synced"), "mended, it counts again"


def test_a_collector_whose_clock_nobody_keeps_does_not_overrule_a_synchronised_kernel():
    clock = FakeClock()
    clock.synchronised = True
    clock.hear(clock.wall - 3600 * SECOND)
    assert clock.offset() == (clock.wall - clock.boot, "synced")
    assert clock.disagreement_ns() == 3600 * SECOND, "but that they differ is told"


@pytest.mark.parametrize("ahead_s", [-86_401, 86_401, 10 * 365 * 86_400])
def test_nothing_is_dated_a_day_or_more_from_the_collectors_time(ahead_s):
    """It would be refused or taken for expired, whichever clock is right."""
    clock = FakeClock()
    clock.wall, clock.synchronised = NOW_NS + ahead_s * SECOND, True
    clock.hear(NOW_NS)
    assert clock.offset() == (NOW_NS - clock.boot, "collector")
    assert clock.disagreement_ns() == ahead_s * SECOND


def test_the_networks_jitter_does_not_move_the_collectors_time():
    clock = FakeClock()
    clock.hear(NOW_NS)
    known = clock.offset()
    for jitter_ns in (SECOND, -2 * SECOND, 1):
        clock.hear(NOW_NS + jitter_ns)
        assert clock.offset() == known
    clock.hear(NOW_NS + 3 * SECOND)
    assert clock.offset() == (NOW_NS + 3 * SECOND - clock.boot, "collector")


def test_an_offset_stays_until_it_is_off_by_half_a_millisecond():
    """Then two frames, 1 ms apart at least, keep their order whatever a slew does between two batches."""
    clock = FakeClock()
    clock.synchronised = True
    known = clock.offset()
    assert known is not None
    for slewed_ns in (-500_000, 500_000, 499_999):
        clock.wall = 1_800_000_000 * SECOND + slewed_ns
        assert clock.offset() == known
    clock.wall -= SECOND
    stepped = clock.offset()
    assert stepped is not None
    assert known[0] - SECOND <= stepped[0] < known[0] - 490_000_000


def test_a_process_that_waits_between_two_clocks_reads_them_again():
    clock = FakeClock()
    clock.synchronised = True
    slow = iter([0, 0, 80_000_000])  # descheduled for 80 ms between the first wall and boot reading

    def boot():
        clock.boot += next(slow, 0)
        return clock.boot

    clock.boot_ns = boot  # type: ignore[method-assign]  # a fake
    offset = clock.offset()
    assert offset is not None
    assert offset[0] == clock.wall - clock.boot


def test_offsets_are_whole_ticks():
    clock = FakeClock()
    clock.hear(1_790_000_000_000_004_999)
    offset = clock.offset()
    assert offset is not None
    assert offset[0] % TICK_NS == 0
    assert abs(offset[0] - (1_790_000_000_000_004_999 - clock.boot)) <= TICK_NS // 2
