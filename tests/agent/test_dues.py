"""What was due: sums of any cuts of time are the whole, and a day's are the plan's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.dues import Due, Dues

SECOND = 1_000_000_000


def test_frames_are_due_from_waking_on() -> None:
    dues = Dues(600 * SECOND)
    dues.switch("awake", 100 * SECOND)
    assert dues.until(100 * SECOND) == Due(0, 0)
    assert dues.until(101 * SECOND) == Due(1, 0), "the first one at once"
    assert dues.until(700 * SECOND) == Due(1, 0)
    assert dues.until(701 * SECOND) == Due(2, 0)
    dues.switch("asleep", 800 * SECOND)
    assert dues.until(10_000 * SECOND) == Due(2, 9200 * SECOND)


@settings(deadline=None)
@given(
    period_ns=st.one_of(st.none(), st.integers(1_000_000, 1000 * SECOND)),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(["awake", "asleep", "ended"])), max_size=8),
    cuts=st.lists(st.integers(0, 50_000), max_size=8),
)
def test_what_was_due_never_shrinks_and_is_what_the_awake_time_holds(period_ns, changes, cuts) -> None:
    dues, now, awake_ns, spans, before = Dues(period_ns), 0, 0, 0, Due(None if period_ns is None else 0, 0)
    asleep_ns = 0
    state = "ended"
    for length_s, awake in [*changes, (1, "ended")]:
        now += length_s * SECOND
        awake_ns += length_s * SECOND * (state == "awake")
        asleep_ns += length_s * SECOND * (state == "asleep")
        dues.switch(awake, now)
        state = awake
        spans += awake == "awake"
        here = dues.until(now)
        assert here.asleep_ns == asleep_ns
        assert (here.frames is None) == (period_ns is None)
        assert (here.frames or 0) >= (before.frames or 0)
        before = here
    if period_ns is not None:
        assert before.frames is not None
        assert 0 <= before.frames * period_ns - awake_ns <= spans * period_ns
    assert dues.until(now + max(cuts, default=0) * SECOND) == before, "it has ended"


def test_a_moment_before_the_last_change_counts_up_to_the_change() -> None:
    dues = Dues(SECOND)
    dues.switch("awake", 0)
    dues.switch("asleep", 10 * SECOND)
    assert dues.until(9 * SECOND) == Due(10, 0)


@pytest.mark.parametrize("awake", ["asleep", "ended"])
def test_a_stream_that_is_not_awake_owes_nothing(awake) -> None:
    dues = Dues(SECOND)
    dues.switch(awake, 0)
    assert dues.until(100 * SECOND).frames == 0
