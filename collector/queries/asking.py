"""What a question may say, and what is wrong with one that cannot be answered."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from collector.books import FOREVER_NS
from collector.stores.answers import Scope
from collector.timestamps import SECOND_NS, rfc3339

Json: TypeAlias = dict[str, Any]
"""An answer, ready for JSON."""

DIMENSIONS = ("site", "device", "stream", "model", "version")
"""What `summary` can be split by."""

LIMIT_MAX = 1000
ROWS_MAX = 20_000
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS


class BadQuery(ValueError):
    """Raised for a question that cannot be answered as it is asked.

    Attributes:
        parameter: The part of it that is wrong.
    """

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(reason)
        self.parameter = parameter


class NotFound(LookupError):
    """Raised for a question about something that was never heard of."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are meant; None means all.

    Attributes:
        site: Slug.
        device: Slug.
        stream: Slug.
        model: Name of the model.
        version: Version of the model.
        class_: Name of a class, or its id as digits: predictions that hold it.
        min_score: In [0, 1]: predictions with a detection (of `class_`, where given) of at least this score.
        from_ns: Captured at or after.
        to_ns: Captured before.
    """

    site: str | None = None
    device: str | None = None
    stream: str | None = None
    model: str | None = None
    version: str | None = None
    class_: str | None = None
    min_score: float | None = None
    from_ns: int | None = None
    to_ns: int | None = None

    @property
    def scope(self) -> Scope:
        """The streams and models that are meant."""
        return Scope(self.site, self.device, self.stream, self.model, self.version)


EVERYTHING = Filter()


def bounds(from_ns: int | None, to_ns: int | None) -> tuple[int, int]:
    """A range within what a store can compare with; None has no end."""
    start, end = from_ns or 0, FOREVER_NS if to_ns is None else to_ns
    return min(max(0, start), FOREVER_NS), min(max(0, end), FOREVER_NS)


def check_summary(by: Iterable[str], start: int, end: int, every_ns: int | None) -> None:
    """Raise BadQuery for a summary that cannot be made."""
    for name in by:
        if name not in DIMENSIONS:
            raise BadQuery("by", f"'by' takes {', '.join(DIMENSIONS)}, got {name!r}")
    if start >= end:
        raise BadQuery("from", f"'from' must be before 'to', got {rfc3339(start)} and {rfc3339(end)}")
    if every_ns is not None and (not SECOND_NS <= every_ns <= FOREVER_NS or (end - start) / every_ns > ROWS_MAX):
        raise BadQuery(
            "every", f"'every' must be at least a second and give at most {ROWS_MAX} steps; take longer ones"
        )
