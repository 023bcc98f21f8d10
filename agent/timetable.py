"""When a stream is to capture: times of the day, by the clock or by the sun, in the place's own time.

`between` names ranges. Each begins on every local day, and a range that is over midnight ends on the next one. What the
ranges cover together is when the stream is awake; the rest of the time it is asleep.

A clock that is put forward leaves some times out: such a time stands for the moment of the change. One that is put
back brings some times twice: a range begins at the first of them and ends at the last.
"""

import os
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.sun import Place, daylight

SECOND_NS = 1_000_000_000
PERIOD_S_MIN = 0.001
PERIOD_S_MAX = 86_400.0
_OFFSET_MINUTES_MAX = 720
_NOON_MINUTES = 12 * 60
_DAY_MINUTES = 24 * 60
_LOOKED_AHEAD_DAYS = 400
"""Longer than any polar night."""
_DAYS_AROUND = 2

_LENGTHS_S = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86_400.0,
    "day": 86_400.0,
}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]+)")
_MOMENT = r"(\d\d?:\d\d|sunrise|sunset)([+-]\d+ ?(?:min|h))?"
_RANGE = re.compile(rf"{_MOMENT} ?- ?{_MOMENT}")
_RANGE_RULE = "must be two times of the day such as '06:00-20:30', or of the sun such as 'sunrise-30min-sunset+1h'"


def period_s(every: float | str) -> float:
    """Seconds between frames, from `every` of the configuration: seconds, or text such as `10 min`.

    Raises:
        ValueError: Naming the rule and the value.
    """
    seconds = every if isinstance(every, int | float) else _length_s(every)
    if not PERIOD_S_MIN <= seconds <= PERIOD_S_MAX:
        raise ValueError(f"must be {PERIOD_S_MIN} s to 1 d, got {every!r}")
    return float(seconds)


def _length_s(text: str) -> float:
    found = _LENGTH.fullmatch(text.strip().lower())
    if found is None or found[2] not in _LENGTHS_S:
        raise ValueError(f"must be seconds, or a number with ms, s, min, h or d such as '10 min', got {text!r}")
    return float(found[1]) * _LENGTHS_S[found[2]]


def zone(name: str) -> tzinfo:
    """The time zone `name`; the device's own for an empty one.

    Raises:
        ValueError: There is none of that name here, with what to do.
    """
    if not name:
        return _own_zone()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"must name a time zone such as Europe/Berlin, got {name!r}; is it spelled so, and the package "
            "'tzdata' installed (sudo apt install tzdata)?"
        ) from error


def _own_zone() -> tzinfo:
    """What the device is set to: `TZ`, or /etc/localtime, or UTC where there is neither."""
    named = os.environ.get("TZ", "").removeprefix(":")
    try:
        if named:
            return ZoneInfo(named)
        path = Path("/etc/localtime").resolve()
        with path.open("rb") as file:
            return ZoneInfo.from_file(file, key="/".join(path.parts).partition("/zoneinfo/")[2] or "local time")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return timezone.utc


class _Moment(NamedTuple):
    """A time of every day: `minutes` after midnight by the clock, or after the sun's event."""

    kind: Literal["clock", "sunrise", "sunset"]
    minutes: int

    @property
    def is_early(self) -> bool:
        """Whether it belongs to the first half of a day."""
        return self.minutes < _NOON_MINUTES if self.kind == "clock" else self.kind == "sunrise"


class _Range(NamedTuple):
    """From `begin` to `end`, every day anew."""

    begin: _Moment
    end: _Moment

    @property
    def by_sun(self) -> bool:
        """Whether it depends on where the device is."""
        return (self.begin.kind, self.end.kind) != ("clock", "clock")

    @property
    def over_midnight(self) -> bool:
        """Whether it ends on the day after the one that it begins on."""
        if self.by_sun:
            return not self.begin.is_early and self.end.is_early
        return self.end.minutes <= self.begin.minutes


class Stretch(NamedTuple):
    """A stretch of one state, in ns since 1970.

    Attributes:
        awake: Which of the two.
        from_ns: Its begin, as far as it was looked for.
        until_ns: Its end, as far as it was looked for.
    """

    awake: bool
    from_ns: int
    until_ns: int


class Timetable:
    """When a stream is awake.

    Args:
        between: Ranges as the configuration names them; at least one.
        local: The time zone that they are meant in.
        place: Where the device is; None where no range needs to know.

    Raises:
        ValueError: A range breaks a rule; with the rule, the range and the way out.
    """

    def __init__(self, between: Sequence[str], local: tzinfo, place: Place | None = None) -> None:
        self.zone = local
        self._place = place
        self._ranges = [self._checked(text) for text in between]
        self._known = Stretch(awake=False, from_ns=0, until_ns=0)

    def _checked(self, text: str) -> _Range:
        parsed = _range(text)
        if parsed.by_sun and self._place is None:
            raise ValueError(f"needs 'location' of the agent, with latitude and longitude, got {text!r}")
        if not any(self._spans(parsed, date(2026, 1, 1) + timedelta(days)) for days in range(366)):
            raise ValueError(
                f"must leave some time of some day, got {text!r}; a range over midnight with the sun in it goes "
                "from an afternoon or sunset to a morning or sunrise: take two ranges for another one"
            )
        return parsed

    def at(self, wall_ns: int) -> Stretch:
        """The stretch that a moment, in ns since 1970, lies in. Cheap while the stretch lasts."""
        if not self._known.from_ns <= wall_ns < self._known.until_ns:
            self._known = self._stretch(wall_ns)
        return self._known

    def next_awake_ns(self, wall_ns: int) -> int | None:
        """When the stream is awake at or after a moment; None when it is not within a year."""
        stretch = self.at(wall_ns)
        for _ in range(_LOOKED_AHEAD_DAYS):
            if stretch.awake:
                return max(wall_ns, stretch.from_ns)
            stretch = self._stretch(stretch.until_ns)
        return None

    def local(self, wall_ns: int) -> str:
        """A moment as people of the place read it: `2026-11-24 06:00 CET`."""
        moment = datetime.fromtimestamp(wall_ns / SECOND_NS, self.zone)
        return f"{moment:%Y-%m-%d %H:%M %Z}".strip()

    def _stretch(self, wall_ns: int) -> Stretch:
        today = datetime.fromtimestamp(wall_ns // SECOND_NS, self.zone).date()
        edge_ns = [round(_instant_s(today + timedelta(days), 0, self.zone) * SECOND_NS) for days in (-1, _DAYS_AROUND)]
        from_ns, last_ns = edge_ns
        for begin_ns, end_ns in self._awake_around(today):
            if wall_ns < begin_ns:
                return Stretch(awake=False, from_ns=from_ns, until_ns=min(begin_ns, last_ns))
            if wall_ns < end_ns:
                return Stretch(awake=True, from_ns=begin_ns, until_ns=min(end_ns, last_ns))
            from_ns = end_ns
        return Stretch(awake=False, from_ns=from_ns, until_ns=last_ns)

    def _awake_around(self, today: date) -> list[tuple[int, int]]:
        """When the stream is awake in the days around one: stretches apart from each other, in order."""
        days = (today + timedelta(days) for days in range(-_DAYS_AROUND - 1, _DAYS_AROUND + 2))
        merged: list[tuple[int, int]] = []
        for begin_ns, end_ns in sorted(span for day in days for one in self._ranges for span in self._spans(one, day)):
            if merged and begin_ns <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end_ns, merged[-1][1]))
            else:
                merged.append((begin_ns, end_ns))
        return merged

    def _spans(self, one: _Range, day: date) -> list[tuple[int, int]]:
        """The stretch of a range that begins on `day`: none where it is empty."""
        begin_s = self._moment_s(one.begin, day, last=False)
        end_s = self._moment_s(one.end, day + timedelta(one.over_midnight), last=True)
        return [(round(begin_s * SECOND_NS), round(end_s * SECOND_NS))] if begin_s < end_s else []

    def _moment_s(self, moment: _Moment, day: date, *, last: bool) -> float:
        if moment.kind == "clock":
            return _instant_s(day, moment.minutes, self.zone, last=last)
        assert self._place is not None  # noqa: S101  # the constructor checked it
        light = daylight(self._place, _instant_s(day, _NOON_MINUTES, self.zone))
        return (light.sunrise_s if moment.kind == "sunrise" else light.sunset_s) + moment.minutes * 60


def _range(text: str) -> _Range:
    found = _RANGE.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{_RANGE_RULE}, got {text!r}")
    begin, end = _moment(found[1], found[2], text), _moment(found[3], found[4], text)
    if begin == end:
        raise ValueError(f"must end at another time than it begins, got {text!r}; leave it out to capture all day")
    if begin.kind == "clock" and begin.minutes == _DAY_MINUTES:
        raise ValueError(f"must begin before 24:00, got {text!r}; the day begins at 00:00")
    return _Range(begin, end)


def _moment(text: str, offset: str | None, whole: str) -> _Moment:
    if text in {"sunrise", "sunset"}:
        minutes = 0
        if offset:
            number = int(offset.removesuffix("min").removesuffix("h"))
            minutes = number * 60 if offset.endswith("h") else number
        if abs(minutes) > _OFFSET_MINUTES_MAX:
            raise ValueError(f"must stay within 12 h of the sun's time, got {whole!r}")
        return _Moment("sunrise" if text == "sunrise" else "sunset", minutes)
    if offset:
        raise ValueError(f"may add to sunrise and sunset only, got {whole!r}; write the time that you mean")
    hours, minutes = (int(part) for part in text.split(":"))
    if minutes >= 60 or hours * 60 + minutes > _DAY_MINUTES:  # noqa: PLR2004  # minutes of an hour
        raise ValueError(f"must have times from 00:00 to 24:00, got {whole!r}")
    return _Moment("clock", hours * 60 + minutes)


def _instant_s(day: date, minutes: int, local: tzinfo, *, last: bool = False) -> float:
    """When the clock shows `minutes` after midnight of `day`; of two such moments the first, or the last."""
    naive = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001  # the zone comes next
    one, other = (naive.replace(tzinfo=local, fold=fold).timestamp() for fold in (0, 1))
    if one > other:  # the clock is put forward over this time
        return _change_s(other, one, local)
    return max(one, other) if last else min(one, other)


def _change_s(before_s: float, after_s: float, local: tzinfo) -> float:
    """When the clock is put forward between two moments, to the second."""
    old = datetime.fromtimestamp(before_s, local).utcoffset()
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if datetime.fromtimestamp(middle_s, local).utcoffset() == old:
            before_s = middle_s
        else:
            after_s = middle_s
    return after_s
