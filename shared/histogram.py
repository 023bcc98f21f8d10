"""Integer histograms over fixed bins, with exact n and sum: merging two is adding them.

They add across minutes, cameras, devices and versions, in any order and any database. The bins of a name never
change within a wire version; a golden test pins them.
"""

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.records import SCALE, TICKS_PER_MS, HistogramData

BINS_MAX = 30
"""With n and sum, a histogram has at most 32 integer fields in any store."""


@dataclass(frozen=True, slots=True)
class Bins:
    """The fixed bins of one name.

    Attributes:
        unit: Of the values.
        edges: Ascending; bin i holds edges[i-1] <= value < edges[i], the first and last are open.
        low: Smallest value that there can be: the first bin's lower end.
        high: The last bin's upper end; None when it is open.
        meaning: What is counted.
    """

    unit: str
    edges: tuple[int, ...]
    low: int
    high: int | None
    meaning: str

    def index(self, value: int) -> int:
        """The bin of `value`."""
        return bisect.bisect_right(self.edges, value)

    @property
    def count(self) -> int:
        """How many bins there are."""
        return len(self.edges) + 1

    def bounds(self, index: int) -> tuple[int, int]:
        """Lower and upper end of a bin; an open last bin counts as a point at its lower end."""
        low = self.edges[index - 1] if index else self.low
        high = self.edges[index] if index < len(self.edges) else self.high
        return low, low if high is None else high


def _geometric(first_ms: float, last_ms: float) -> tuple[int, ...]:
    """29 edges in ticks, each the same factor above the one before."""
    factor = (last_ms / first_ms) ** (1 / (BINS_MAX - 2))
    return tuple(round(first_ms * TICKS_PER_MS * factor**i) for i in range(BINS_MAX - 1))


_SLOW = _geometric(1, 60_000)
_QUICK = _geometric(0.05, 5_000)
_TICKS = "1/100 ms"

BINS: Mapping[str, Bins] = {
    "response": Bins(_TICKS, _SLOW, 0, None, "capture to decoded result: the response time"),
    "capture": Bins(_TICKS, _SLOW, 0, None, "reading and decoding the frame from its source"),
    "wait": Bins(_TICKS, _SLOW, 0, None, "from capture to the start of prepare"),
    "prepare": Bins(_TICKS, _QUICK, 0, None, "frame to input tensor"),
    "infer": Bins(_TICKS, _SLOW, 0, None, "the model"),
    "decode": Bins(_TICKS, _QUICK, 0, None, "outputs to detections"),
    "score": Bins("1/10000", tuple(range(500, SCALE, 500)), 0, SCALE, "score of each detection, or of the top class"),
    "detections": Bins(
        "1", (*range(1, 16), 20, 25, 30, 40, 50, 75, 100, 150, 200, 300), 0, None, "detections per frame"
    ),
}


@dataclass(slots=True)
class Histogram:
    """Counts over the bins of one name; `sum` is exact, so the mean is too."""

    bins: Bins
    n: int = 0
    sum: int = 0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * self.bins.count

    def add(self, value: int) -> None:
        """Count one value."""
        self.n += 1
        self.sum += value
        self.counts[self.bins.index(value)] += 1

    def merge(self, other: "Histogram") -> None:
        """Add another one of the same bins."""
        self.n += other.n
        self.sum += other.sum
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]

    @property
    def mean(self) -> float | None:
        """Exact mean in the bins' unit; None without values."""
        return self.sum / self.n if self.n else None

    def quantile(self, q: float) -> float | None:
        """The q-quantile in the bins' unit, linear within its bin; None without values.

        Its error is at most the width of the bin that it falls into. Beyond the last edge of an open last bin that
        edge is the answer: the true one is at least that.
        """
        if not self.n:
            return None
        rank, below = q * self.n, 0
        for index, count in enumerate(self.counts):
            if count and below + count >= rank:
                low, high = self.bins.bounds(index)
                return low + (high - low) * max(0.0, rank - below) / count
            below += count
        return float(self.bins.bounds(self.bins.count - 1)[1])

    def data(self) -> HistogramData:
        """As it is sent: only bins that are not empty."""
        return HistogramData(self.n, self.sum, tuple((i, c) for i, c in enumerate(self.counts) if c))


def restore(name: str, data: HistogramData) -> Histogram:
    """A histogram from what was sent.

    Raises:
        ValueError: The name is unknown, a bin does not exist or comes twice, or the counts do not add up to n.
    """
    if name not in BINS:
        raise ValueError(f"there is no histogram {name!r}; known are {', '.join(BINS)}")
    bins = BINS[name]
    counts = [0] * bins.count
    for index, count in data.bins:
        if index >= bins.count or counts[index]:
            raise ValueError(f"histogram {name!r}: bin {index} does not exist or comes twice")
        counts[index] = count
    if sum(counts) != data.n:
        raise ValueError(f"histogram {name!r}: the bins hold {sum(counts)} values, n says {data.n}")
    return Histogram(bins, data.n, data.sum, counts)


def merged(name: str, parts: Iterable[Histogram]) -> Histogram:
    """The sum of histograms of one name."""
    total = Histogram(BINS[name])
    for part in parts:
        total.merge(part)
    return total
