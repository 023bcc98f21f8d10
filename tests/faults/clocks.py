"""Faults of wall clocks."""

import random
from collections.abc import Iterator

from tests.faults import launch
from tests.faults.kinds import kind
from tests.faults.site import Site

HOUR_S, DAY_S, YEAR_S = 3600, 86_400, 31_536_000


@kind("agent clock", weight=3)
def agent_clock_jumps(site: Site, rng: random.Random) -> Iterator[float]:
    """By years, both ways: back to 2021 at most, and ahead by less than the year that this site's collector takes."""
    ahead_s = rng.choice((-5 * YEAR_S, -YEAR_S, -HOUR_S, -30, 30, HOUR_S, DAY_S, 300 * DAY_S))
    return _moved(site, "agent", ahead_s, launch.SYNCED, rng)


@kind("agent clock")
def agent_clock_unknown(site: Site, rng: random.Random) -> Iterator[float]:
    """In 1970 or anywhere, and the kernel says that it is not synchronised: the collector tells the time."""
    return _moved(site, "agent", rng.choice((-56 * YEAR_S, -YEAR_S, 0, 5 * YEAR_S)), launch.UNSYNCED, rng)


@kind("collector clock")
def collector_clock_jumps(site: Site, rng: random.Random) -> Iterator[float]:
    return _moved(site, "collector", rng.choice((-DAY_S, -HOUR_S, -5, 5, HOUR_S, DAY_S)), launch.SYNCED, rng)


def _moved(site: Site, name: str, ahead_s: int, synced: str, rng: random.Random) -> Iterator[float]:
    if synced == launch.SYNCED:
        site.aheads_s.add(ahead_s)
    launch.set_clock(site.folder, name, ahead_s, synced)
    try:
        yield rng.uniform(1.0, 6.0)
    finally:
        launch.set_clock(site.folder, name, 0)
