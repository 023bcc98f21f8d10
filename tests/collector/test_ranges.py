"""Ranges are sets of numbers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from collector import ranges

_NUMBERS = st.sets(st.integers(1, 60))


def numbers(found: list[ranges.Range]) -> set[int]:
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(found)), "as few as can be"
    return {number for first, last in found for number in range(first, last + 1)}


@given(_NUMBERS, _NUMBERS)
def test_ranges_are_sets(some: set[int], others: set[int]) -> None:
    left, right = ranges.of(some), ranges.of(others)
    assert numbers(left) == some
    assert numbers(ranges.without(left, right)) == some - others
    assert numbers(ranges.both(left, right)) == some & others
    assert numbers(ranges.joined([*right, *left])) == some | others
    assert ranges.size(left) == len(some)


def test_ranges_overlap_and_touch_in_any_order() -> None:
    assert ranges.joined([(7, 9), (1, 3), (4, 4), (2, 3), (8, 12)]) == [(1, 4), (7, 12)]


def test_ranges_in_words() -> None:
    assert ranges.words([(3, 3), (7, 12)]) == "3, 7 to 12"
    assert ranges.words([(n, n) for n in range(1, 40, 2)], shown=2) == "1, 3 and 18 more"
