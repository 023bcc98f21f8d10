"""What to tell the devices: gathered while a write is under way, sent as ranges after it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from shared import topics, wire
from shared.records import Ack

ENTRIES_MAX = 1000
"""Ranges and refusals in one ack; more make another ack."""
REASON_LENGTH_MAX = 1024


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


class Acks:
    """What the devices are to be told next."""

    def __init__(self) -> None:
        self._words: dict[To, _Word] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._words)

    def stored(self, to: To, number: int) -> None:
        """The store has it."""
        self._words.setdefault(to, _Word()).stored.add(number)

    def refused(self, to: To, number: int, reason: str) -> None:
        """It is in quarantine: sending it again would not help."""
        self._words.setdefault(to, _Word()).refused[number] = reason[:REASON_LENGTH_MAX]

    def greet(self, to: To) -> None:
        """Answer a birth, so that the device knows our time."""
        self._words.setdefault(to, _Word())

    def messages(self, now_ns: int) -> Iterator[tuple[str, bytes]]:
        """Topics and payloads to publish; forgets what it gave."""
        words, self._words = self._words, {}
        for to, word in words.items():
            topic = topics.ack(to.site, to.device)
            stored, refused = ranges(word.stored), sorted(word.refused.items())
            for start in range(0, max(len(stored), len(refused), 1), ENTRIES_MAX):
                end = start + ENTRIES_MAX
                ack = Ack(to.nonce, to.epoch, to.lane, now_ns, tuple(stored[start:end]), tuple(refused[start:end]))
                yield topic, wire.encode(ack)


def ranges(numbers: set[int]) -> list[tuple[int, int]]:
    """Numbers as ranges, both ends included."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
