"""What the figures mean: who is out, and who is chosen.

Candidates are compared within rounds, in which each works once: whatever else the machine does in a round slows all of
them alike. Among those that are not significantly slower than the fastest, the simplest is chosen: a difference that
cannot be told from noise is worth neither a thread nor a core that spins.
"""

import statistics
from collections.abc import Mapping, Sequence

from agent.benching.figures import interval
from agent.providers import CPU
from agent.tuned import Choice, Measured

Rounds = Mapping[Choice, Sequence[float]]
"""Frames a second of each candidate in each round; all have the same rounds."""

_LEVELS = ("all", "extended", "basic", "none")
_DIGITS = 3

_WIDE = 0.25


def chosen(rounds: Rounds) -> Choice:
    """The simplest of those that are not significantly slower than the fastest."""
    told = compared(rounds)
    return min((one.choice for one in told if one.interval[1] >= 1), key=simplicity)


def compared(rounds: Rounds) -> list[Measured]:
    """Each candidate against the fastest, which comes first."""
    best = fastest(rounds)
    told = []
    for choice, fps in rounds.items():
        ratios = [one / other for one, other in zip(fps, rounds[best], strict=True)]
        low, high = interval(ratios)
        told.append(
            Measured(
                choice,
                round(statistics.median(fps), _DIGITS),
                round(statistics.median(ratios), _DIGITS),
                (round(low, _DIGITS), round(high, _DIGITS)),
                len(fps),
            )
        )
    return sorted(told, key=lambda one: (one.choice != best, -one.ratio, simplicity(one.choice)))


def is_noisy(told: Sequence[Measured]) -> bool:
    """Whether the machine had so much else to do that the figures say little."""
    return any(one.interval[1] - one.interval[0] > _WIDE for one in told)


def fastest(rounds: Rounds) -> Choice:
    """Who was faster than most of the others, in the median of the rounds; else who stands best."""
    standing = _standing(rounds)
    won = {one: sum(_beats(rounds[one], rounds[other]) for other in rounds) for one in rounds}
    return max(rounds, key=lambda choice: (won[choice], standing[choice], _negated(choice)))


def survivors(rounds: Rounds, count: int) -> list[Choice]:
    """The `count` best, and whoever of the rest may be as fast as the last of them: noise puts nobody out."""
    standing = _standing(rounds)
    ordered = sorted(rounds, key=lambda choice: (-standing[choice], simplicity(choice)))
    if len(ordered) <= count:
        return ordered
    last = rounds[ordered[count - 1]]
    ties = [
        choice
        for choice in ordered[count:]
        if all_touch([one / other for one, other in zip(rounds[choice], last, strict=True)])
    ]
    return [*ordered[:count], *ties]


def all_touch(ratios: Sequence[float]) -> bool:
    """Whether a candidate was as fast as the other in at least one round of more than one."""
    return len(ratios) > 1 and max(ratios) >= 1


def simplicity(choice: Choice) -> tuple[int, bool, int, bool]:
    """Sorts the simplest first: fewest threads, no spinning, the usual optimisation, the CPU."""
    return choice.threads, choice.spinning, _LEVELS.index(choice.optimisation), choice.provider != CPU


def _standing(rounds: Rounds) -> dict[Choice, float]:
    """Each candidate's frames a second against the mean of its round: the median over rounds."""
    means = [statistics.fmean(together) for together in zip(*rounds.values(), strict=True)]
    return {
        choice: statistics.median(one / mean for one, mean in zip(fps, means, strict=True))
        for choice, fps in rounds.items()
    }


def _beats(fps: Sequence[float], other: Sequence[float]) -> bool:
    return statistics.median(one / two for one, two in zip(fps, other, strict=True)) > 1


def _negated(choice: Choice) -> tuple[int, ...]:
    return tuple(-int(part) for part in simplicity(choice))
