"""A backlog takes what link and collector have left; an answer that is only slow is waited for."""

import random

import pytest

from agent import pacing
from agent.pacing import Pace, Patience


def test_patience_begins_at_its_least_and_doubles_up_to_its_most():
    patience = Patience()
    assert [patience.s(tries) for tries in range(6)] == [5, 10, 20, 40, 60, 60]
    assert patience.s(100_000) == 60


def test_patience_learns_that_answers_are_slow():
    patience = Patience()
    for _ in range(50):
        patience.heard(12.0)
    assert 12 < patience.s(0) < 15
    for _ in range(50):
        patience.heard(0.1)
    assert patience.s(0) == 5, "and forgets it"
    patience.heard(1e9)
    assert patience.s(0) <= 60


def test_an_answer_in_vain_makes_patient_until_one_comes():
    patience = Patience()
    patience.missed()
    patience.missed()
    assert [patience.s(0), patience.s(3)] == [20, 40]
    patience.heard(0.2)
    assert patience.s(0) == 5


def test_answers_that_vary_get_more_patience_than_steady_ones():
    steady, unsteady = Patience(), Patience()
    for took_s in (10.0, 2.0) * 20:
        steady.heard(6.0)
        unsteady.heard(took_s)
    assert unsteady.s(0) > 1.5 * steady.s(0)


def drained(pace: Pace, seconds: float, answer_s: float = 0.1, turn_s: float = 0.05) -> list[float]:
    """When batches of an endless backlog go, each answered after `answer_s`."""
    went: list[float] = []
    on_their_way: list[float] = []
    for turn in range(int(seconds / turn_s)):
        now = 1000 + turn * turn_s
        for sent in [sent for sent in on_their_way if now - sent >= answer_s]:
            on_their_way.remove(sent)
            pace.heard(now - sent, now)
        room = pace.room(now, len(on_their_way))
        pace.spend(room)
        on_their_way += [now] * room
        went += [now] * room
    return went


@pytest.mark.parametrize("rate", [2.0, 20.0, 200.0])
def test_a_backlog_follows_at_its_rate(rate: float):
    pace = Pace(rate)
    pace.begin(1000)
    went = drained(pace, 60)
    assert 0.9 * 58 * rate < len(went) <= 61 * rate
    for second in range(60):
        within = sum(1000 + second <= at < 1001 + second for at in went)
        assert within <= 2 * rate + 1, "a second that was missed may be made good, no more"


def test_devices_that_come_back_together_begin_apart():
    firsts = []
    for _ in range(200):
        pace = Pace(20.0)
        pace.begin(1000)
        firsts.append(drained(pace, 2)[0])
    assert max(firsts) - min(firsts) > 0.7
    assert len(set(firsts)) > 10


def test_a_window_opens_with_answers_and_is_bounded():
    pace = Pace(10_000.0)
    pace.begin(1000)
    now = 1010.0
    assert pace.room(now, 0) == 2, "nothing is known of this link yet"
    for _ in range(5000):
        pace.heard(0.1, now)
    assert pace.room(now + 10, 0) == pace.window_max == pacing.BACKLOG_WINDOW_MAX
    assert pace.room(now + 10, 500) == pace.window_max - 500
    assert pace.room(now + 10, 5000) == 0


def test_a_link_that_fills_up_is_left_to_live_batches():
    """A link that carries 10 batches a second: what waits ahead stays near a second of it, whatever the rate allows."""
    random.seed(1)
    pace = Pace(1000.0)
    pace.begin(1000)
    queue: list[float] = []
    longest = 0
    carried = 0
    for turn in range(20 * 300):
        now = 1000 + turn / 20
        if turn % 2 == 0 and queue:  # one each tenth of a second
            sent = queue.pop(0)
            carried += 1
            pace.heard(now - sent + 0.05, now)
        room = pace.room(now, len(queue))
        pace.spend(room)
        queue += [now] * room
        if turn > 600:
            longest = max(longest, len(queue))
    assert longest <= 30
    assert carried > 0.9 * 3000, "and yet it is used"


def test_lost_answers_halve_the_window_once_for_all_that_were_on_their_way():
    pace = Pace(1000.0)
    pace.begin(1000)
    for _ in range(62):
        pace.heard(0.1, 1001)
    assert pace.room(1005, 0) == 64
    for _ in range(20):
        pace.lost(1005)
    assert pace.room(1005, 0) == 32
    for second in range(100):
        pace.lost(1010 + 10 * second)
    assert pace.room(3000, 0) == 1, "one always asks"


def test_a_slower_route_becomes_the_new_measure():
    pace = Pace(100.0)
    pace.begin(1000)
    pace.heard(0.1, 1000)
    for second in range(100):
        pace.heard(3.0, 1001 + second)
    assert pace.room(1200, 0) == 1
    for second in range(3000):
        pace.heard(3.0, 1200 + second)
    assert pace.room(4300, 0) > 10


def test_waiting_for_the_bucket_takes_as_long_as_it_says():
    pace = Pace(4.0)
    pace.begin(1000)
    now = 1000.0
    wait_s = pace.next_s(0)
    assert 0.25 <= wait_s <= 1.25
    assert pace.room(now + wait_s + 1e-6, 0) == 1
    pace.spend(1)
    assert pace.next_s(0) == pytest.approx(0.25, abs=1e-3)
    assert pace.next_s(2) == float("inf"), "a full window opens with an answer only"
