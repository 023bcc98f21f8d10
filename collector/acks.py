"""What to tell the devices: gathered while a write is under way, sent as ranges after it.

A device that sends a batch a second gets an ack every `every_s` seconds: on the way to it an ack costs about a fifth
of what the batch costs. Whoever sends faster waits for nothing.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from collector import ranges
from shared import topics, wire
from shared.records import Ack

ENTRIES_MAX = 1000
"""Ranges and refusals in one ack; more make another ack."""
REASON_LENGTH_MAX = 1024
EVERY_S = 2.0
"""Between two acks for a lane; well below the shortest patience of an agent, which is 4 s."""
MANY = 8
"""Batches that are acked at once: a quarter of what an agent may have on its way."""

_TOLD_MAX = 1000


@dataclass(frozen=True, slots=True)
class To:
    """Whose records they are: a lane of one start of a device."""

    site: str
    device: str
    nonce: str
    epoch: int
    lane: str


@dataclass(slots=True)
class _Word:
    stored: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)

    @property
    def patient(self) -> bool:
        """Whether it may wait a little: it is only that a few batches are stored."""
        return 0 < len(self.stored) < MANY and not self.refused


class Acks:
    """What the devices are to be told next.

    Args:
        every_s: Least time between two acks for a lane of batches; refusals, greetings and pictures never wait.
        monotonic: A clock, in seconds.
    """

    def __init__(self, every_s: float = 0.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._monotonic = monotonic
        self._words: dict[To, _Word] = {}
        self._told_at: dict[To, float] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._words)

    def due_in_s(self, longest_s: float) -> float:
        """Seconds until something is to be told, at most `longest_s`."""
        now = self._monotonic()
        return min((max(0.0, self._due_at(to) - now) for to in self._words), default=longest_s)

    def _due_at(self, to: To) -> float:
        waits = self._words[to].patient and to in self._told_at and not to.lane.startswith("snapshot/")
        return self._told_at[to] + self._every_s if waits else 0.0

    def stored(self, to: To, number: int) -> None:
        """The store has it."""
        self._words.setdefault(to, _Word()).stored.add(number)

    def refused(self, to: To, number: int, reason: str) -> None:
        """It is in quarantine: sending it again would not help."""
        self._words.setdefault(to, _Word()).refused[number] = reason[:REASON_LENGTH_MAX]

    def greet(self, to: To) -> None:
        """Answer a birth, so that the device knows our time."""
        self._words.setdefault(to, _Word())

    def messages(self, now_ns: int, *, last: bool = False, synced: bool = False) -> Iterator[tuple[str, bytes]]:
        """Topics and payloads to publish now, or all of them with `last`; forgets what it gave.

        Args:
            now_ns: Our time.
            last: Whether nothing may wait.
            synced: Whether a time service keeps our clock.
        """
        now = self._monotonic()
        for to in [to for to in self._words if last or self._due_at(to) <= now]:
            word = self._words.pop(to)
            self._told_at[to] = now
            topic = topics.ack(to.site, to.device)
            stored, refused = ranges.of(word.stored), sorted(word.refused.items())
            for start in range(0, max(len(stored), len(refused), 1), ENTRIES_MAX):
                end = start + ENTRIES_MAX
                ack = Ack(to.nonce, to.epoch, to.lane, now_ns, tuple(stored[start:end]), tuple(refused[start:end]))
                yield topic, wire.encode(msgspec.structs.replace(ack, synced=synced))
        if len(self._told_at) > _TOLD_MAX:
            self._told_at = {to: at for to, at in self._told_at.items() if now < at + self._every_s}
