"""What there is to try on this machine, as far as the configuration leaves it open."""

import itertools
import os
from collections.abc import Iterable, Sequence

import onnxruntime as ort

from agent import providers
from agent.config import Settings
from agent.providers import CPU, ELSEWHERE, Optimisation
from agent.session import THREADS_OPTION
from agent.tuned import Choice

LEVELS: tuple[Optimisation, ...] = ("all", "extended", "basic", "none")

_EVERY_COUNT_TO = 4


def first(settings: Settings, cores: int | None = None, available: Sequence[str] | None = None) -> list[Choice]:
    """Every sensible candidate with the usual optimisation; the simplest first.

    Args:
        settings: What they say is not tried otherwise.
        cores: Of this machine that the agent may use; None to ask the kernel.
        available: Providers of the runtime; None to ask it.
    """
    level = settings.optimisation or "all"
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    found = []
    for provider in _providers(settings, ort.get_available_providers() if available is None else available):
        for threads, spinning in _threads(provider, settings, cores):
            found.append(Choice(provider, threads, spinning, level))
    return found


def other_levels(choices: Iterable[Choice], settings: Settings) -> list[Choice]:
    """The same with the other levels of optimisation, unless the configuration says which."""
    if settings.optimisation is not None:
        return []
    return [
        Choice(choice.provider, choice.threads, choice.spinning, level)
        for choice, level in itertools.product(choices, LEVELS)
        if level != choice.optimisation
    ]


def _providers(settings: Settings, available: Sequence[str]) -> list[str]:
    """The CPU comes first: it is what all others are measured against."""
    if settings.providers:
        return [providers.full(settings.providers[0])]
    return [CPU, *(name for name in available if name != CPU and name not in ELSEWHERE)]


def _threads(provider: str, settings: Settings, cores: int) -> list[tuple[int, bool]]:
    """Threads, and whether they spin: every number up to four, then powers of two, and all."""
    if settings.threads is not None:
        counts = [settings.threads or cores]
    elif provider == CPU or provider in THREADS_OPTION:
        counts = [n for n in range(1, cores + 1) if n <= _EVERY_COUNT_TO or n & (n - 1) == 0 or n == cores]
    else:
        counts = [1]
    may_spin = (False, True) if settings.spinning is None else (settings.spinning,)
    if provider != CPU:
        may_spin = (bool(settings.spinning),)
    return [
        (count, spinning)
        for count in counts
        for spinning in may_spin
        if count > 1 or not spinning or settings.spinning  # one thread waits for nobody
    ]
