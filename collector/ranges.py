"""Sets of numbers as ranges: (first, last), both included, ascending."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]


def of(numbers: Iterable[int]) -> list[Range]:
    """Numbers as ranges."""
    return joined((number, number) for number in numbers)


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in any order, which may touch or overlap, as the fewest that hold the same numbers."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def without(ranges: Sequence[Range], taken: Sequence[Range]) -> list[Range]:
    """What is left of `ranges` when `taken` is gone; both are joined."""
    left: list[Range] = []
    position = 0
    for first, last in ranges:
        start = first
        while position < len(taken) and taken[position][1] < start:
            position += 1
        for low, high in taken[position:]:
            if low > last:
                break
            if start < low:
                left.append((start, low - 1))
            start = high + 1
        if start <= last:
            left.append((start, last))
    return left


def both(ranges: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """What is in `ranges` and in `others`; both are joined."""
    return without(ranges, without(ranges, others))


def size(ranges: Iterable[Range]) -> int:
    """How many numbers there are."""
    return sum(last - first + 1 for first, last in ranges)


def words(ranges: Sequence[Range], shown: int = 10) -> str:
    """Ranges as people read them: `3, 7 to 12 and 4 more`."""
    named = [str(first) if first == last else f"{first} to {last}" for first, last in ranges[:shown]]
    more = f" and {len(ranges) - shown} more" if len(ranges) > shown else ""
    return ", ".join(named) + more
