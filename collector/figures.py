"""Sums of windows as the figures that people ask for: rates, shares, means and percentiles.

Everything comes from integers that add up, so a figure of a month over all cameras is as exact as that of a minute
of one; only percentiles have the error of their histogram's bin.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from collector.stores.answers import WindowSum
from shared.histogram import BINS, Histogram, restore
from shared.records import SCALE, TICKS_PER_MS, HistogramData, Maker, Outcome
from shared.schema import TIMINGS

OUTCOMES: tuple[Outcome, ...] = ("ok", "skipped", "gated", "unreadable", "failed")
TICKS_PER_S = TICKS_PER_MS * 1000
DAY_S = 86_400

DURATIONS = ("response", *(timing.name for timing in TIMINGS))
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
SCORE_QUANTILES = {"p5": 0.05, "p50": 0.5, "p95": 0.95}

ClassName = Callable[[Maker, int], str]
"""Names a class of a model."""


@dataclass(slots=True)
class _Stream:
    """What one stream adds to a rate."""

    captured: int = 0
    requests: int = 0
    ticks: int = 0


@dataclass(slots=True)
class Total:
    """Windows added up, of however many streams, makers and stretches of time."""

    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    none: int = 0
    histograms: dict[str, Histogram] = field(default_factory=dict)
    classes: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    streams: dict[tuple[str, str, str], _Stream] = field(default_factory=dict)
    planned: int | None = None
    planned_captured: int = 0
    asleep: int = 0
    http_requests: dict[str, int] = field(default_factory=dict)

    def add(self, part: WindowSum, class_name: ClassName) -> None:
        """Add one sum."""
        for outcome, count in part.outcomes.items():
            self.outcomes[outcome] += count
        self.none += part.none
        if part.planned is not None:
            self.planned = (self.planned or 0) + part.planned
        self.planned_captured += part.planned_captured
        self.asleep += part.asleep
        for status, count in part.http_requests.items():
            self.http_requests[status] = self.http_requests.get(status, 0) + count
        for name, data in part.histograms.items():
            self._add_histogram(name, data)
        for class_id, counts in part.classes.items():
            key = (class_name(part.maker, class_id), class_id)
            self.classes[key] = [a + b for a, b in zip(self.classes.get(key, (0, 0, 0)), counts, strict=True)]
        stream = self.streams.setdefault((part.site, part.device, part.stream), _Stream())
        stream.captured += sum(part.outcomes.values())
        stream.requests += _requests(part.outcomes)
        stream.ticks += part.duration

    def _add_histogram(self, name: str, data: HistogramData) -> None:
        part = restore(name, data)
        if name in self.histograms:
            self.histograms[name].merge(part)
        else:
            self.histograms[name] = part

    def figures(self, *, histograms: bool = False) -> dict[str, object]:
        """The figures by name; a share or rate of nothing is None."""
        captured = sum(self.outcomes.values())
        figures: dict[str, object] = {
            "frames": captured,
            "outcomes": dict(self.outcomes),
            "requests": _requests(self.outcomes),
            "requests_per_day": self._rate("requests", DAY_S),
            "http_requests": dict(sorted(self.http_requests.items())),
            "fps": self._rate("captured", 1),
            "covered_s": round(sum(stream.ticks for stream in self.streams.values()) / TICKS_PER_S, 3),
            "planned": self.planned,
            "coverage": share(self.planned_captured, self.planned or 0),
            "asleep_s": round(self.asleep / TICKS_PER_S, 3),
            "without_detection": {"frames": self.none, "share": share(self.none, self.outcomes["ok"])},
            "error_rate": share(self.outcomes["failed"] + self.outcomes["unreadable"], captured),
        }
        for name in DURATIONS:
            figures[f"{name}_ms"] = self._spread(name, TICKS_PER_MS, QUANTILES)
        figures["score"] = self._spread("score", SCALE, SCORE_QUANTILES)
        figures["detections_per_frame"] = self._spread("detections", 1, QUANTILES)
        figures["classes"] = self._classes()
        if histograms:
            figures["histograms"] = {name: _bins(name, found) for name, found in sorted(self.histograms.items())}
        return figures

    def _rate(self, what: str, per_s: int) -> float | None:
        """Frames per so many seconds: each stream's rate over its own covered time, added up."""
        rates = [
            getattr(stream, what) * per_s * TICKS_PER_S / stream.ticks
            for stream in self.streams.values()
            if stream.ticks
        ]
        return round(sum(rates), 3) if rates else None

    def _spread(self, name: str, per_unit: int, quantiles: dict[str, float]) -> dict[str, float | None]:
        found = self.histograms.get(name) or Histogram(BINS[name])
        values = {"mean": found.mean, **{key: _quantile(name, found, q) for key, q in quantiles.items()}}
        return {key: None if value is None else round(value / per_unit, 4) for key, value in values.items()}

    def _classes(self) -> list[dict[str, object]]:
        detections = sum(counts[1] for counts in self.classes.values())
        return [
            {
                "class": name,
                "class_id": class_id,
                "frames": counts[0],
                "detections": counts[1],
                "top": counts[2],
                "share": share(counts[1], detections),
            }
            for (name, class_id), counts in sorted(
                self.classes.items(), key=lambda item: (-item[1][1], item[0][1], item[0][0])
            )
        ]


def total(parts: Iterable[WindowSum], class_name: ClassName) -> Total:
    """The sum of sums."""
    added = Total()
    for part in parts:
        added.add(part, class_name)
    return added


def share(part: int, whole: int) -> float | None:
    """`part` / `whole`; None of nothing."""
    return round(part / whole, 6) if whole else None


def _quantile(name: str, found: Histogram, q: float) -> float | None:
    """Of counts it is a whole number: within a bin of one value there is nothing to interpolate."""
    value = found.quantile(q)
    if value is None or name != "detections":
        return value
    in_open_bin = q * found.n > found.n - found.counts[-1]
    return value if in_open_bin or not value else math.ceil(value) - 1


def _requests(outcomes: Mapping[Outcome, int]) -> int:
    """Frames that were inferred, whether it worked or not."""
    return outcomes["ok"] + outcomes["failed"]


def _bins(name: str, found: Histogram) -> dict[str, object]:
    """Bins for a chart: bin i holds edges[i] <= value < edges[i + 1]; a last edge of None means without an end."""
    bins = found.bins
    per_unit = TICKS_PER_MS if name in DURATIONS else SCALE if name == "score" else 1
    edges = (bins.low, *bins.edges, bins.high)
    return {
        "unit": "ms" if name in DURATIONS else "1",
        "edges": [None if edge is None else round(edge / per_unit, 4) for edge in edges],
        "counts": list(found.counts),
        "n": found.n,
    }
