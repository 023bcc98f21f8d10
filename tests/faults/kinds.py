"""The kinds of faults: each is a generator that does harm, yields for how many seconds, and undoes it.

What a kind claims no other fault may touch meanwhile. `finally` undoes: a campaign that ends closes what is under way.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.site import Site

Fault = Callable[[Site, random.Random], Iterator[float]]


class Impossible(Exception):
    """Raised by a fault that this machine does not let happen; the text says why."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: Of the fault.
        fault: Does it.
        claims: What only one fault at a time may touch.
        weight: How often it comes, against the others.
    """

    name: str
    fault: Fault
    claims: frozenset[str]
    weight: int = 2


KINDS: dict[str, Kind] = {}
"""By name."""


def kind(*claims: str, weight: int = 2) -> Callable[[Fault], Fault]:
    """Make a function a kind of fault, under its own name."""

    def register(fault: Fault) -> Fault:
        name: str = getattr(fault, "__name__")  # noqa: B009  # a Callable need not have one
        KINDS[name] = Kind(name, fault, frozenset(claims), weight)
        return fault

    return register
