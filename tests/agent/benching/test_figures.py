"""The bench's arithmetic."""

import os
import statistics

import pytest

from agent.benching import figures


def test_the_interval_holds_the_median_and_narrows_with_agreement() -> None:
    wide = figures.interval([0.5, 0.8, 1.0, 1.2, 1.5])
    narrow = figures.interval([0.98, 0.99, 1.0, 1.01, 1.02])
    assert wide[0] < 1.0 < wide[1]
    assert wide[0] < narrow[0] <= 1.0 <= narrow[1] < wide[1]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (0.5, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, expected: int) -> None:
    assert figures.percentile(list(range(100, 0, -1)), percent) == expected


def test_a_rate_is_right_whether_frames_are_done_one_by_one_or_in_pairs() -> None:
    assert figures.rate([0.1 * n for n in range(11)], 1) == pytest.approx(10)
    pairs = [0.2 * (n // 2) for n in range(12)]
    assert figures.rate(pairs, 2) == pytest.approx(10), "not 11, by counting one of the first pair as done in no time"


def test_too_few_frames_have_no_rate() -> None:
    with pytest.raises(ValueError, match="only 4 frames"):
        figures.rate([1, 2, 3, 4], 2)


def test_what_this_process_takes_can_be_told() -> None:
    memory = figures.memory_mb(os.getpid())
    assert 5 < memory["pss"] <= memory["rss"] <= memory["peak"]
    before = figures.cpu_s(os.getpid())
    while figures.cpu_s(os.getpid()) == before:
        statistics.median(range(10_000))
    assert figures.children(os.getpid()) == []
