"""Faults of processes: killed, stopped, frozen, killed at a failpoint, doubled."""

import random
import signal
from collections.abc import Iterator
from contextlib import suppress

import psutil

from tests.faults import launch
from tests.faults.kinds import kind
from tests.faults.services import Service
from tests.faults.site import Site

AGENT_FAILPOINTS = (
    "epoch_begun",
    "before_progress",
    "progress_begun",
    "first_sealed",
    "before_put",
    "before_commit",
    "after_commit",
    "after_put",
    "during_windows",
    "before_publish",
    "after_publish",
    "before_settle",
    "after_settle",
)
STARTING = frozenset(AGENT_FAILPOINTS[:4])
"""Passed once, at the start."""
COLLECTOR_FAILPOINTS = (
    "before_write",
    "before_commit",
    "after_write",
    "before_ack",
    "during_acks",
    "after_statuses",
)
_ARMED_S = 8.0


def _killed(service: Service, rng: random.Random) -> Iterator[float]:
    service.hold(rng.uniform(0, 0.5))
    service.signal(signal.SIGKILL)
    yield rng.uniform(0.1, 1.0)


def _stopped(service: Service, rng: random.Random) -> Iterator[float]:
    service.signal(signal.SIGTERM)
    yield rng.uniform(0.1, 2.0)


def _frozen(service: Service, seconds: float) -> Iterator[float]:
    thaw = service.freeze()
    try:
        yield seconds
    finally:
        thaw()


def _killed_at(site: Site, name: str, service: Service, failpoint: str, passage: int) -> Iterator[float]:
    launch.arm(site.folder, name, failpoint, passage)
    try:
        before = service.starts
        for _ in range(int(_ARMED_S / 0.2)):
            yield 0.2
            if service.starts > before:
                return
        site.notes.append(f"{name} did not pass {failpoint} {passage} time(s) within {_ARMED_S:g} s")
    finally:
        launch.disarm(site.folder, name)


@kind("agent", weight=3)
def agent_killed(site: Site, rng: random.Random) -> Iterator[float]:
    return _killed(site.agent, rng)


@kind("agent")
def agent_stopped(site: Site, rng: random.Random) -> Iterator[float]:
    return _stopped(site.agent, rng)


@kind("agent")
def agent_frozen(site: Site, rng: random.Random) -> Iterator[float]:
    return _frozen(site.agent, rng.uniform(0.2, 5.0))


@kind("agent", weight=4)
def agent_killed_at_failpoint(site: Site, rng: random.Random) -> Iterator[float]:
    failpoint = rng.choice(AGENT_FAILPOINTS)
    if failpoint in STARTING:
        return _killed_twice(site, failpoint)
    return _killed_at(site, "agent", site.agent, failpoint, rng.randint(1, 5))


def _killed_twice(site: Site, failpoint: str) -> Iterator[float]:
    """Killed, and again while it starts."""
    launch.arm(site.folder, "agent", failpoint, 1)
    before = site.agent.starts
    site.agent.signal(signal.SIGKILL)
    for _ in range(int(_ARMED_S / 0.05)):
        if site.agent.starts > before:
            break
        yield 0.05
    yield from _killed_at(site, "agent", site.agent, failpoint, 1)


@kind("capture", weight=3)
def capture_killed(site: Site, rng: random.Random) -> Iterator[float]:
    for process in rng.sample(found := site.capture_processes(), rng.randint(min(1, len(found)), len(found))):
        with suppress(psutil.Error):
            process.kill()
    yield rng.uniform(0.1, 0.5)


@kind("capture")
def capture_frozen(site: Site, rng: random.Random) -> Iterator[float]:
    """For longer than its deadline, perhaps."""
    found = site.capture_processes()
    for process in found:
        with suppress(psutil.Error):
            process.suspend()
    yield rng.uniform(0.2, 4.5)
    for process in found:
        with suppress(psutil.Error):
            process.resume()


@kind("collector", weight=3)
def collector_killed(site: Site, rng: random.Random) -> Iterator[float]:
    return _killed(site.collector, rng)


@kind("collector")
def collector_stopped(site: Site, rng: random.Random) -> Iterator[float]:
    return _stopped(site.collector, rng)


@kind("collector")
def collector_frozen(site: Site, rng: random.Random) -> Iterator[float]:
    return _frozen(site.collector, rng.uniform(0.2, 5.0))


@kind("collector", weight=4)
def collector_killed_at_failpoint(site: Site, rng: random.Random) -> Iterator[float]:
    return _killed_at(site, "collector", site.collector, rng.choice(COLLECTOR_FAILPOINTS), rng.randint(1, 5))


@kind("broker", weight=3)
def broker_killed(site: Site, rng: random.Random) -> Iterator[float]:
    """It forgets everything: sessions, queues and what was retained."""
    return _killed(site.broker, rng)


@kind("broker")
def broker_stopped(site: Site, rng: random.Random) -> Iterator[float]:
    return _stopped(site.broker, rng)


@kind("broker")
def broker_frozen(site: Site, rng: random.Random) -> Iterator[float]:
    return _frozen(site.broker, rng.uniform(0.2, 5.0))


@kind("broker")
def broker_away(site: Site, rng: random.Random) -> Iterator[float]:
    seconds = rng.uniform(2.0, 6.0)
    site.broker.hold(seconds)
    site.broker.signal(signal.SIGKILL)
    yield seconds


@kind("collector")
def collector_away(site: Site, rng: random.Random) -> Iterator[float]:
    seconds = rng.uniform(2.0, 6.0)
    site.collector.hold(seconds)
    site.collector.signal(signal.SIGKILL)
    yield seconds


@kind("broker", "collector")
def broker_and_collector_killed(site: Site, rng: random.Random) -> Iterator[float]:
    site.broker.signal(signal.SIGKILL)
    site.collector.signal(signal.SIGKILL)
    yield rng.uniform(0.1, 1.0)


@kind("broker", "collector", "agent", weight=1)
def everything_killed(site: Site, rng: random.Random) -> Iterator[float]:
    for service in site.services:
        service.signal(signal.SIGKILL)
    yield rng.uniform(0.1, 1.0)


@kind("second collector")
def second_collector(site: Site, rng: random.Random) -> Iterator[float]:
    """Another one on the same store, which is stopped or killed."""
    other = site.second_collector()
    site.services.append(other)
    other.start()
    try:
        yield rng.uniform(2.0, 8.0)
        other.let_end()
        other.signal(rng.choice((signal.SIGKILL, signal.SIGTERM)))
    finally:
        site.services.remove(other)
        other.close()
