"""Faults of cameras."""

import random
from collections.abc import Iterator

from tests.faults.kinds import kind
from tests.faults.site import STREAMS, Site


def _told(site: Site, rng: random.Random, order: str, seconds: float) -> Iterator[float]:
    path = site.folder / f"do-{rng.choice(STREAMS)}"
    path.with_suffix(".new").write_text(order)
    path.with_suffix(".new").replace(path)
    yield seconds


@kind("camera")
def camera_lost(site: Site, rng: random.Random) -> Iterator[float]:
    return _told(site, rng, "lost", 0.3)


@kind("camera")
def camera_stalled(site: Site, rng: random.Random) -> Iterator[float]:
    """Until its deadline."""
    return _told(site, rng, "block", 1.0)


@kind("camera")
def camera_crashes(site: Site, rng: random.Random) -> Iterator[float]:
    """Its library takes the capture process with it."""
    return _told(site, rng, "crash", 0.3)


@kind("camera")
def camera_gives_garbage(site: Site, rng: random.Random) -> Iterator[float]:
    return _told(site, rng, f"garbage {rng.randint(1, 12)}", 0.5)


@kind("camera")
def camera_unreadable(site: Site, rng: random.Random) -> Iterator[float]:
    return _told(site, rng, f"unreadable {rng.randint(1, 30)}", 0.5)


@kind("camera")
def camera_changes_size(site: Site, rng: random.Random) -> Iterator[float]:
    return _told(site, rng, "size", 0.3)


@kind("camera", weight=1)
def camera_talks(site: Site, rng: random.Random) -> Iterator[float]:
    return _told(site, rng, f"flood {rng.randint(1000, 20_000)}", 0.5)
