"""The fleet at a glance: how each device is, and what its streams did in the last minutes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from collector.figures import total
from collector.queries.asking import DAY_NS, LIMIT_MAX, Json
from collector.queries.predictions import Names
from collector.stores import Store
from collector.stores.answers import DeviceFacts, EventSeen, Pace, Scope, VitalsSeen, WindowSum
from collector.timestamps import SECOND_NS, rfc3339, rfc3339_or_none
from shared.records import Status, StreamStatus

_PACE_NS = 60 * SECOND_NS
_SLOW_S = 15.0
"""From this period on a minute is too short to say how fast a stream is."""
_PERIODS = 3
_ASLEEP_SHARE = 0.9
_PLAN_EVENTS = frozenset({"stream_asleep", "stream_awake"})
_LATELY_NS = 300 * SECOND_NS
_EVENTS_PER_DEVICE = 5


class Pictures(Protocol):
    """Where snapshots are."""

    def latest(self, site: str, device: str, stream: str) -> int | None:
        """Capture time in ns of the newest one, or None."""


@dataclass(slots=True)
class _Lately:
    """What the fleet's page shows beside a device's own words."""

    paces: dict[tuple[str, str, str], Pace]
    windows: dict[tuple[str, str, str], list[WindowSum]] = field(default_factory=dict)
    vitals: dict[tuple[str, str], VitalsSeen] = field(default_factory=dict)
    events: dict[tuple[str, str], list[Json]] = field(default_factory=dict)
    plans: dict[tuple[str, str, str], Json] = field(default_factory=dict)


class Fleet:
    """Glances at all devices.

    Args:
        store: Where records are.
        pictures: Where snapshots are, or None.
        online_ns: Silence after which a device no longer counts as online.
        events: Tells events of devices and of the collector, newest first.
        balances: The sums of the ledgers of some devices.
    """

    def __init__(
        self,
        store: Store,
        pictures: Pictures | None,
        online_ns: int,
        events: Callable[[Scope, int, int, int], list[EventSeen]],
        balances: Callable[[Sequence[DeviceFacts]], dict[tuple[str, str], Json]],
    ) -> None:
        self._store = store
        self._pictures = pictures
        self._online_ns = online_ns
        self._events = events
        self._balances = balances

    def glances(self, facts: Sequence[DeviceFacts], names: Names, now_ns: int) -> list[Json]:
        """Every device with what its streams did lately."""
        lately, balances = self._lately(facts, now_ns), self._balances(facts)
        return [self._glance(one, lately, names, now_ns) | {"ledger": balances[one.site, one.device]} for one in facts]

    def device(self, facts: DeviceFacts, now_ns: int) -> Json:
        """A device as it describes itself."""
        status = facts.status
        told = status.streams if status else {}
        return {
            "site": facts.site,
            "device": facts.device,
            "name": facts.device,
            "online": self.online(facts, now_ns),
            "state": status.state if status else None,
            "maintenance": _maintained(status, now_ns),
            "last_seen": rfc3339_or_none(facts.seen_ns),
            "epoch": facts.epoch,
            "agent_version": status.agent_version if status else None,
            "hardware": status.hardware if status else None,
            "platform": status.platform if status else None,
            "streams": [_stream(name, told.get(name)) for name in sorted({*facts.streams, *told})],
        }

    def online(self, facts: DeviceFacts, now_ns: int) -> bool:
        """Whether it says that it runs, and was heard lately."""
        seen_ns = facts.seen_ns
        says_so = facts.status is not None and facts.status.state == "online"
        return says_so and seen_ns is not None and now_ns - seen_ns <= self._online_ns

    def _lately(self, facts: Sequence[DeviceFacts], now_ns: int) -> _Lately:
        """What the streams did in the last minutes, and what the devices told; one question each for all of them."""
        lengths_s = [stream.window_s for one in facts if one.status for stream in one.status.streams.values()]
        since_ns = now_ns - max(_LATELY_NS, 2 * max(lengths_s, default=0) * SECOND_NS)
        lately = _Lately(self._paces(facts, now_ns))
        for part in self._store.windows(Scope(), since_ns, now_ns + DAY_NS, None):
            lately.windows.setdefault((part.site, part.device, part.stream), []).append(part)
        for one in self._store.vitals(Scope(), now_ns - _LATELY_NS, now_ns + DAY_NS, 25 * (len(facts) + 1)):
            lately.vitals.setdefault((one.site, one.device), one)
        started = set()
        for event in self._events(Scope(), now_ns - DAY_NS, now_ns + DAY_NS, LIMIT_MAX):
            told = lately.events.setdefault((event.site, event.device), [])
            shown = {
                "at": rfc3339(event.at_ns),
                "stream": event.stream,
                "name": event.name,
                "detail": event.detail,
            }
            if event.name == "agent_started":
                started.add((event.site, event.device))  # what was told before says nothing of this start
            if event.name in _PLAN_EVENTS and event.stream is not None and (event.site, event.device) not in started:
                lately.plans.setdefault((event.site, event.device, event.stream), shown)
            if len(told) < _EVENTS_PER_DEVICE:
                told.append(shown)
        return lately

    def _paces(self, facts: Sequence[DeviceFacts], now_ns: int) -> dict[tuple[str, str, str], Pace]:
        """How fast the streams have been: in the last minute, or in the last periods of a slow plan."""
        paces = {(p.site, p.device, p.stream): p for p in self._store.paces(now_ns - _PACE_NS)}
        slow = {
            (one.site, one.device, name): 1 / stream.fps
            for one in facts
            if one.status
            for name, stream in one.status.streams.items()
            if stream.fps and 1 / stream.fps > _SLOW_S
        }
        if slow:
            since_ns = now_ns - round((_PERIODS * max(slow.values()) + _PACE_NS / SECOND_NS) * SECOND_NS)
            for pace in self._store.paces(since_ns):
                if (pace.site, pace.device, pace.stream) in slow:
                    paces[pace.site, pace.device, pace.stream] = pace
        return paces

    def _glance(self, facts: DeviceFacts, lately: _Lately, names: Names, now_ns: int) -> Json:
        key = (facts.site, facts.device)
        device = self.device(facts, now_ns)
        vitals = lately.vitals.get(key)
        since_ns = facts.state_since_ns if device["online"] else facts.seen_ns
        if facts.status is not None and facts.status.state != "online":
            since_ns = facts.state_since_ns
        return device | {
            "since": rfc3339_or_none(since_ns),
            "vitals": {"at": rfc3339(vitals.at_ns), **vitals.values} if vitals else None,
            "events": lately.events.get(key, []),
            "streams": [
                stream | self._stream_glance((*key, stream["stream"]), lately, names) for stream in device["streams"]
            ],
        }

    def _stream_glance(self, key: tuple[str, str, str], lately: _Lately, names: Names) -> Json:
        figures = total(lately.windows.get(key, ()), names.name).figures()
        pace = lately.paces.get(key)
        captured_at_ns = self._pictures.latest(*key) if self._pictures else None
        return {
            "frames_per_s": _pace(pace) if pace and pace.seconds else None,
            "last_sealed": rfc3339(pace.last_sealed_ns) if pace else None,
            **_plan(lately.plans.get(key), lately.windows.get(key, ())),
            **{
                name: figures[name]
                for name in (
                    *("frames", "response_ms", "infer_ms", "without_detection", "error_rate", "classes"),
                    *("planned", "coverage", "asleep_s"),
                )
            },
            "snapshot": None
            if captured_at_ns is None
            else {"captured_at": rfc3339(captured_at_ns), "captured_at_ns": captured_at_ns},
        }


def _maintained(status: Status | None, now_ns: int) -> bool:
    """Whether a device said that somebody works at it, and that is not over; its end holds even when it is silent."""
    if status is None or not status.maintenance:
        return False
    until_ns = status.maintenance_until_ns
    return status.state == "online" if until_ns is None else now_ns < until_ns


def _pace(pace: Pace) -> float:
    """Frames per second, with two digits that count."""
    rate = pace.frames / pace.seconds
    return round(rate, 2) if rate >= 1 else float(f"{rate:.2g}")


def _plan(told: Json | None, windows: Sequence[WindowSum]) -> Json:
    """Whether a stream is asleep by its plan: the device says so when it changes, and in each window."""
    if told is not None:
        asleep = told["name"] == "stream_asleep"
        return {"asleep": asleep, "plan_at": told["at"], "plan_detail": told["detail"]}
    lasted = sum(part.duration for part in windows)
    asleep = lasted > 0 and sum(part.asleep for part in windows) > _ASLEEP_SHARE * lasted
    return {"asleep": asleep, "plan_at": None, "plan_detail": ""}


def _stream(name: str, told: StreamStatus | None) -> Json:
    """A stream as its device describes it."""
    return {
        "stream": name,
        "model": told.model if told else None,
        "model_version": told.version if told else None,
        "model_sha256": told.sha256 if told else None,
        "provider": told.provider if told else None,
        "requested_provider": told.requested_provider if told else None,
        "task": told.task if told else None,
        "source": told.source if told else None,
        "fps": told.fps if told else None,
        "plan": (told.plan or None) if told else None,
        "error": (told.error or None) if told else None,
    }
