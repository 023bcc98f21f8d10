"""Sets of batch numbers as ranges: sorted lists of (first, last), both included, that neither touch nor overlap."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

Ranges = list[tuple[int, int]]


def added(ranges: Ranges, first: int, last: int) -> Ranges:
    """`ranges` with `first` to `last`."""
    before = [r for r in ranges if r[1] < first - 1]
    after = [r for r in ranges if r[0] > last + 1]
    touched = ranges[len(before) : len(ranges) - len(after)]
    if touched:
        first, last = min(first, touched[0][0]), max(last, touched[-1][1])
    return [*before, (first, last), *after]


def removed(ranges: Ranges, first: int, last: int) -> Ranges:
    """`ranges` without `first` to `last`."""
    left = []
    for low, high in ranges:
        if high < first or low > last:
            left.append((low, high))
        else:
            left += [r for r in ((low, first - 1), (last + 1, high)) if r[0] <= r[1]]
    return left


def of(numbers: Iterable[int]) -> Ranges:
    """Ascending numbers as ranges."""
    found: Ranges = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def contains(ranges: Ranges, number: int) -> bool:
    """Whether `number` is in one of them."""
    return end(ranges, number) is not None


def end(ranges: Ranges, number: int) -> int | None:
    """Where the range that holds `number` ends."""
    index = bisect_left(ranges, (number + 1,)) - 1
    return ranges[index][1] if index >= 0 and ranges[index][1] >= number else None


def within(ranges: Ranges, first: int, last: int) -> Iterator[tuple[int, int]]:
    """What they cover of `first` to `last`."""
    for low, high in ranges:
        if low > last:
            break
        if high >= first:
            yield max(low, first), min(high, last)


def gaps(ranges: Ranges, first: int, last: int) -> Iterator[tuple[int, int]]:
    """What they leave of `first` to `last`."""
    for low, high in ranges:
        if low > last:
            break
        if low > first:
            yield first, low - 1
        first = max(first, high + 1)
    if first <= last:
        yield first, last


def before(ranges: Ranges, number: int) -> tuple[int, int] | None:
    """The gap that ends right before the range that holds `number`, if that range is not the beginning."""
    index = bisect_left(ranges, (number + 1,)) - 1
    if index < 0:
        return None
    begins_after = ranges[index - 1][1] if index else 0
    return (begins_after + 1, ranges[index][0] - 1) if begins_after + 1 < ranges[index][0] else None
