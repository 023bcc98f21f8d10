"""Whether a collector starts after a power cut, and has everything that it had acked or refused."""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from collector.state.quarantine import Quarantine
from collector.stores.answers import Received
from collector.stores.sqlite import SQLite
from tests.collector.making import received
from tests.faults.powercuts.collector_life import FRAMES, STARTS_CLEAN, STEPS, bad, batches
from tests.faults.powercuts.commits import digest


class Known(NamedTuple):
    """What had been said before the cut, and what was said next.

    Attributes:
        commits: Digests that the store may have: after its last commit, and after the one that was cut.
        stored: Starts and steps whose batches were written, and so could be acked.
        kept: Starts and steps whose bad message was in quarantine, and so could be refused.
    """

    commits: list[str | None]
    stored: list[tuple[int, int]]
    kept: list[tuple[int, int]]


def known(said: Sequence[Sequence[object]], at: int) -> Known:
    """What the marks say: the first `at` came before the cut."""
    commits = [(index, str(one[2])) for index, one in enumerate(said) if _is_of_store(one)]
    before = [digested for index, digested in commits if index < at]
    return Known(
        [before[-1] if before else None, next((digested for index, digested in commits if index >= at), None)],
        _steps(said[:at], "stored"),
        _steps(said[:at], "kept"),
    )


def _is_of_store(said: Sequence[object]) -> bool:
    return said[0] == "commit" and str(said[1]).endswith("vigie.db")


def _steps(said: Sequence[Sequence[object]], word: str) -> list[tuple[int, int]]:
    return [(int(str(one[1])), int(str(one[2]))) for one in said if one[0] == word]


def problems(folder: Path, past: Known) -> Iterator[str]:
    """Start the collector in `folder`; everything that is not as it must be."""
    with SQLite(folder / "vigie.db") as store:
        yield from _state(folder / "vigie.db", past)
        yield from _batches(store, past)
        yield from _once(folder / "vigie.db")
    with Quarantine(folder / "state.db") as quarantine:
        there = {kept.payload for one in quarantine.newest(1000) if (kept := quarantine.get(one.id))}
        for start, step in past.kept:
            if bad(start, step).payload not in there:
                yield f"lost from quarantine: step {step} of start {start}"


def _state(path: Path, past: Known) -> Iterator[str]:
    db = sqlite3.connect(path)
    if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        yield "the store's file is damaged"
    if digest(db) not in past.commits:
        yield "the store holds what no commit, nor the one under way, had left"
    db.close()


def _batches(store: SQLite, past: Known) -> Iterator[str]:
    """Every device sends everything again: what was acked is known, what was not is taken."""
    stored = set(past.stored)
    for start in range(len(STARTS_CLEAN)):
        sent = [(step, one) for step in range(STEPS) for one in _received(start, step)]
        answers = store.write([one for _, one in sent])
        again = {step for (step, _), answer in zip(sent, answers, strict=True) if answer != "duplicate"}
        for step in sorted(step for step in again if (start, step) in stored):
            yield f"lost: step {step} of start {start}"


@cache
def _received(start: int, step: int) -> list[Received]:
    return [received(payload) for payload in batches(start, step)]


@cache
def _frames() -> int:
    """How many were sent in all: each batch of frames has as many."""
    every = [one for start in range(len(STARTS_CLEAN)) for step in range(STEPS) for one in _received(start, step)]
    return FRAMES * sum(one.batch.header.lane == "detail" for one in every)


def _once(path: Path) -> Iterator[str]:
    db = sqlite3.connect(path)
    frames, different = db.execute(
        "SELECT count(*), count(DISTINCT stream || ' ' || epoch || ' ' || frame) FROM observations"
    ).fetchone()
    db.close()
    expected = _frames()
    if not frames == different == expected:
        yield f"{expected} frames were sent, {frames} are there, {different} of them different"
