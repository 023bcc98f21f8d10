"""What the plan wants now, with a clock that tests set: unknown at first, jumping, passing."""

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from setclock import SECOND, SetClock

from agent.duty import CLOSED_FROM_S, LOOK_S, Duty
from agent.timetable import Timetable

if TYPE_CHECKING:
    from agent.dues import State

MIDNIGHT = 1_779_840_000 * SECOND
"""27 May 2026, 00:00 UTC."""
HOUR_S = 3600.0


class Told:
    """A duty and what it told."""

    def __init__(self, period_s: float | None = None, between: tuple[str, ...] = ("06:00-20:00",)) -> None:
        self.clock = SetClock()
        self.events: list[tuple[str, str]] = []
        self.switches: list[tuple[State, int]] = []
        table = Timetable(between, ZoneInfo("UTC")) if between else None
        self.duty = Duty(
            "cam0",
            period_s,
            table,
            self.clock,
            lambda name, detail: self.events.append((name, detail)),
            lambda state, boot_ns: self.switches.append((state, boot_ns)),
        )


def test_without_a_plan_there_is_nothing_to_wait_for_or_to_tell() -> None:
    told = Told(between=())
    assert told.duty.wait_s() == 0
    assert told.duty.awake()
    assert told.events == []
    assert told.switches == [("awake", told.clock.boot_ns())]


def test_a_night_is_told_once_and_so_is_the_morning() -> None:
    told = Told()
    told.clock.learn(MIDNIGHT)
    for _ in range(5):
        assert told.duty.wait_s() == LOOK_S
        told.clock.forward(HOUR_S)
    assert told.events == [("stream_asleep", "until 2026-05-27 06:00 UTC")]
    told.clock.forward(HOUR_S)
    assert told.duty.wait_s() == 0
    assert told.events[1:] == [("stream_awake", "until 2026-05-27 20:00 UTC")]
    assert [awake for awake, _ in told.switches] == ["asleep", "awake"]


def test_while_the_time_is_unknown_it_captures_and_says_so() -> None:
    told = Told()
    assert told.duty.wait_s() == told.duty.wait_s() == 0
    assert told.events == [("stream_awake", "the time is not known yet: captures whatever the plan says")]
    told.clock.learn(MIDNIGHT)
    assert told.duty.wait_s() > 0
    assert told.events[1:] == [("stream_asleep", "until 2026-05-27 06:00 UTC")]


def test_a_clock_that_jumps_is_followed_both_ways() -> None:
    told = Told()
    told.clock.learn(MIDNIGHT)
    assert not told.duty.awake()
    told.clock.learn(MIDNIGHT + 12 * 3600 * SECOND)
    assert told.duty.awake()
    told.clock.learn(MIDNIGHT)
    assert not told.duty.awake()


def test_a_time_that_was_known_is_not_forgotten() -> None:
    """A time server that is away for long lets the kernel lose its trust in the clock, which goes on all the same."""
    told = Told()
    told.clock.learn(MIDNIGHT)
    assert not told.duty.awake()
    told.clock.known = None
    assert not told.duty.awake()
    told.clock.forward(7 * HOUR_S)
    assert told.duty.awake()


def test_a_slow_plan_closes_the_camera_between_frames_and_keeps_its_step() -> None:
    told = Told(600.0, ())
    assert told.duty.closes
    assert told.duty.wait_s() == 0, "the first frame is wanted at once"
    told.clock.forward(3)
    told.duty.came()
    assert told.duty.wait_s() == pytest.approx(597), (
        "the next one is wanted ten minutes after the plan's, not after ours"
    )
    told.clock.forward(597 + 1300)
    assert told.duty.wait_s() == 0, "overdue"
    told.duty.came()
    assert told.duty.wait_s() == pytest.approx(500), "two frames are lost, and not made up for"


def test_a_faster_plan_keeps_the_camera_open() -> None:
    told = Told(CLOSED_FROM_S - 1, ())
    told.duty.wait_s()
    told.duty.came()
    assert not told.duty.closes
    assert told.duty.wait_s() == 0
    assert told.duty.expected_s == pytest.approx(told.clock.monotonic() + CLOSED_FROM_S - 1)


def test_a_stream_that_wakes_wants_a_frame_at_once() -> None:
    told = Told(7200.0)
    told.clock.learn(MIDNIGHT + 19 * 3600 * SECOND)
    assert told.duty.wait_s() == 0
    told.duty.came()
    told.clock.forward(10.5 * HOUR_S)
    assert told.duty.wait_s() == LOOK_S, "half past five: asleep, though a frame would be due by its period"
    told.clock.forward(HOUR_S)
    assert told.duty.wait_s() == 0


def test_its_end_is_told() -> None:
    told = Told()
    told.duty.wait_s()
    told.duty.end()
    assert [awake for awake, _ in told.switches] == ["awake", "ended"]
