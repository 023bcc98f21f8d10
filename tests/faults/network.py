"""Faults of the network between agent, broker and collector."""

import random
from collections.abc import Callable, Iterator

from tests.faults.kinds import kind
from tests.faults.proxy import BOTH, DOWN, PUBACK, UP, Packet, Proxy, Rule
from tests.faults.site import Site

BITS_PER_S = 64_000


def _link(site: Site, rng: random.Random) -> Proxy:
    return rng.choice((site.agent_link, site.collector_link))


@kind(weight=3)
def link_cut(site: Site, rng: random.Random) -> Iterator[float]:
    """A reset, in the middle of whatever is on its way."""
    _link(site, rng).cut()
    yield rng.uniform(0.05, 0.3)


@kind()
def link_dropped(site: Site, rng: random.Random) -> Iterator[float]:
    _link(site, rng).drop()
    yield rng.uniform(0.05, 0.3)


@kind()
def links_flapping(site: Site, rng: random.Random) -> Iterator[float]:
    for _ in range(rng.randint(3, 8)):
        _link(site, rng).cut()
        yield rng.uniform(0.05, 0.4)


@kind("refusing")
def link_refused(site: Site, rng: random.Random) -> Iterator[float]:
    """No connection, and none to be had."""
    link = _link(site, rng)
    link.refusing = True
    link.cut()
    try:
        yield rng.uniform(1.0, 5.0)
    finally:
        link.refusing = False


@kind("stalled")
def half_open(site: Site, rng: random.Random) -> Iterator[float]:
    """Nothing comes through, and nobody is told; then it does again, or the connection is gone."""
    return _stalled(_link(site, rng), BOTH, rng)


@kind("stalled")
def half_open_up(site: Site, rng: random.Random) -> Iterator[float]:
    return _stalled(_link(site, rng), frozenset({UP}), rng)


@kind("stalled")
def half_open_down(site: Site, rng: random.Random) -> Iterator[float]:
    return _stalled(_link(site, rng), frozenset({DOWN}), rng)


def _stalled(link: Proxy, directions: frozenset[str], rng: random.Random) -> Iterator[float]:
    link.stalled = directions
    try:
        yield rng.uniform(0.5, 8.0)
        if rng.random() < 0.5:
            link.drop()
    finally:
        link.stalled = frozenset()


@kind("slow")
def slow_link(site: Site, rng: random.Random) -> Iterator[float]:
    """64 kbit/s, both ways."""
    link = _link(site, rng)
    link.bits_per_s = BITS_PER_S
    try:
        yield rng.uniform(2.0, 8.0)
    finally:
        link.bits_per_s = 0


@kind("sliced")
def sliced(site: Site, rng: random.Random) -> Iterator[float]:
    """Byte by byte."""
    link = _link(site, rng)
    link.sliced = True
    try:
        yield rng.uniform(1.0, 4.0)
    finally:
        link.sliced = False


@kind("delayed")
def delayed(site: Site, rng: random.Random) -> Iterator[float]:
    """As by a satellite."""
    link = _link(site, rng)
    link.delay_s = rng.uniform(0.1, 0.7)
    try:
        yield rng.uniform(2.0, 6.0)
    finally:
        link.delay_s = 0.0


def _ruled(site: Site, name: str, rule: Rule, rng: random.Random) -> Iterator[float]:
    """A rule for both links, for a while.

    Then connections end: TCP loses nothing while they stand, so nobody sends again what a rule took out of one.
    """
    links = (site.agent_link, site.collector_link)
    for link in links:
        link.rules[name] = rule
    try:
        yield rng.uniform(1.0, 6.0)
    finally:
        for link in links:
            link.rules.pop(name, None)
            link.drop()


def _is_ack(packet: Packet) -> bool:
    return packet.topic.endswith("/ack")


def _is_batch(packet: Packet) -> bool:
    return packet.topic.endswith("/batch")


@kind("acks doubled")
def acks_doubled(site: Site, rng: random.Random) -> Iterator[float]:
    """Both links: four of each arrive."""
    return _ruled(site, "acks doubled", lambda p, _d, _h: [p.data] * (2 if _is_ack(p) else 1), rng)


@kind("acks dropped", weight=3)
def acks_dropped(site: Site, rng: random.Random) -> Iterator[float]:
    share, own = rng.choice((0.3, 1.0)), random.Random(rng.random())
    return _ruled(site, "acks dropped", lambda p, _d, _h: [] if _is_ack(p) and own.random() < share else [p.data], rng)


@kind("acks late")
def acks_reordered(site: Site, rng: random.Random) -> Iterator[float]:
    """An ack after the one that follows it."""
    return _ruled(site, "acks late", _swapped("ack", _is_ack), rng)


@kind("batches doubled")
def batches_doubled(site: Site, rng: random.Random) -> Iterator[float]:
    return _ruled(site, "batches doubled", lambda p, _d, _h: [p.data] * (2 if _is_batch(p) else 1), rng)


@kind("batches late")
def batches_reordered(site: Site, rng: random.Random) -> Iterator[float]:
    return _ruled(site, "batches late", _swapped("batch", _is_batch), rng)


@kind("batches dropped")
def batches_dropped(site: Site, rng: random.Random) -> Iterator[float]:
    """As by a broker that confirms what it then forgets: towards the collector only."""
    own = random.Random(rng.random())

    def rule(packet: Packet, direction: str, _held: dict[str, bytes]) -> list[bytes]:
        return [] if _is_batch(packet) and direction == DOWN and own.random() < 0.5 else [packet.data]

    return _ruled(site, "batches dropped", rule, rng)


@kind("pubacks dropped")
def pubacks_dropped(site: Site, rng: random.Random) -> Iterator[float]:
    own = random.Random(rng.random())
    return _ruled(
        site, "pubacks dropped", lambda p, _d, _h: [] if p.kind == PUBACK and own.random() < 0.5 else [p.data], rng
    )


def _swapped(name: str, wanted: Callable[[Packet], bool]) -> Rule:
    def rule(packet: Packet, direction: str, held: dict[str, bytes]) -> list[bytes]:
        if not wanted(packet):
            return [packet.data]
        key = f"{name} {direction}"
        if key in held:
            return [packet.data, held.pop(key)]
        held[key] = packet.data
        return []

    return rule
