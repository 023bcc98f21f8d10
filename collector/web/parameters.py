"""Query parameters, read strictly: an unknown name, a repeated one or a bad value is a problem that names it."""

import difflib
import math
from collections.abc import Collection, Mapping

from werkzeug.datastructures import MultiDict

from collector.timestamps import rfc3339
from collector.web import times
from collector.web.problems import Problem, wrong_parameter
from shared.topics import SLUG_RULE, is_slug

NAME_LENGTH_MAX = 128
RANGE_DAYS_MAX = 1100
"""A little over the three years that the store keeps hours."""

_SHOWN_MAX = 80


class Parameters:
    """The query of one request.

    Attributes:
        given: What came in the URL.
        known: Every parameter that this endpoint has.
        now_ns: The collector's time, for relative times and defaults.
    """

    def __init__(self, given: MultiDict[str, str], known: Collection[str], now_ns: int) -> None:
        self._given: Mapping[str, str] = given
        self._now_ns = now_ns
        for name, values in given.lists():
            if name not in known:
                raise wrong_parameter(name, _unknown(name, known))
            if len(values) > 1:
                raise wrong_parameter(name, f"'{name}' comes {len(values)} times; give it once.")

    def slug(self, name: str) -> str | None:
        """The name of a site, device or stream."""
        value = self._given.get(name)
        if value is not None and not is_slug(value):
            raise self._broken(name, SLUG_RULE)
        return value

    def text(self, name: str) -> str | None:
        """A name that is free text, such as a class."""
        value = self._given.get(name)
        if value is not None and not 0 < len(value) <= NAME_LENGTH_MAX:
            raise self._broken(name, f"1 to {NAME_LENGTH_MAX} characters")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number in [low, high]."""
        text = self._given.get(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise self._broken(name, f"a number from {low:g} to {high:g}")
        return value

    def count(self, name: str, default: int, high: int) -> int:
        """A whole number from 1 to `high`."""
        text = self._given.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < len(str(high)) + 1 and 1 <= int(text) <= high):
            raise self._broken(name, f"a whole number from 1 to {high}")
        return int(text)

    def choices(self, name: str, allowed: Collection[str]) -> tuple[str, ...]:
        """A comma-separated list out of `allowed`; empty when it is not given."""
        text = self._given.get(name)
        if text is None:
            return ()
        values = tuple(text.split(","))
        if len(set(values)) < len(values) or not set(values) <= set(allowed):
            raise self._broken(name, f"one or more of {', '.join(allowed)}, each once, with commas between")
        return values

    def time(self, name: str) -> int | None:
        """A time in ns since 1970."""
        text = self._given.get(name)
        if text is None:
            return None
        try:
            return times.parse_time(text, self._now_ns)
        except ValueError:
            raise self._broken(name, times.TIME_RULE) from None

    def duration(self, name: str) -> int | None:
        """A duration in ns."""
        text = self._given.get(name)
        if text is None:
            return None
        try:
            return times.parse_duration(text)
        except ValueError:
            raise self._broken(name, times.DURATION_RULE) from None

    def period(self, default_s: int | None) -> tuple[int | None, int]:
        """`from` (inclusive) and `to` (exclusive) in ns; without `to` until now, without `from` `default_s` back."""
        end = self.time("to")
        if end is None:
            end = self._now_ns
        start = self.time("from")
        if start is None and default_s is not None:
            start = max(0, end - default_s * times.SECOND_NS)
        if start is not None:
            self._check_period(start, end)
        return start, end

    def _check_period(self, start: int, end: int) -> None:
        if start >= end:
            raise wrong_parameter("from", f"'from' must be before 'to', got {rfc3339(start)} and {rfc3339(end)}.")
        if end - start > RANGE_DAYS_MAX * 86_400 * times.SECOND_NS:
            raise wrong_parameter(
                "from",
                f"'from' and 'to' may be at most {RANGE_DAYS_MAX} days apart, got {rfc3339(start)} and "
                f"{rfc3339(end)}; ask for shorter ranges, one after the other.",
            )

    def _broken(self, name: str, rule: str) -> Problem:
        return wrong_parameter(name, f"'{name}' must be {rule}, got {shown(self._given.get(name, ''))}.")


def shown(value: str) -> str:
    """A value from outside, quoted and cut for a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."


def _unknown(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = f"Known are {', '.join(known)}." if known else "This address takes none."
    return f"{shown(name)} is not a parameter here.{hint} {listed}"
