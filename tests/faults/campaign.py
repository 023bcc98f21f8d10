"""`python -m tests.faults.campaign --seed 1 --faults 700`: a real site, faults that overlap in time, and one judge.

The seed decides which faults come, in which order, how long they last, and the pauses between them. How processes and
kernel fall into step with that is theirs: the same seed makes the same campaign, not the same interleaving.
"""

import argparse
import heapq
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults import builds, cameras, clocks, disks, network, oracle, processes, strangers
from tests.faults.kinds import KINDS, Impossible, Kind
from tests.faults.oracle import Verdict
from tests.faults.site import Site

FAMILIES = (processes, network, disks, clocks, cameras, strangers)
OVERLAP_MAX = 4
PAUSE_S = 0.6
BACK_S = 10.0
_UP_S = 60.0
_DRAIN_S = 240.0
_TURN_S = 0.02


@dataclass
class Tally:
    """What became of the faults of a kind."""

    applied: int = 0
    overlapped: int = 0
    seconds: float = 0.0
    impossible: str = ""


@dataclass
class Result:
    """A campaign that is over."""

    verdict: Verdict
    tallies: dict[str, Tally]
    backs_s: dict[str, list[float]]
    notes: list[str]
    injected: dict[str, int]
    seconds: float

    @property
    def good(self) -> bool:
        """Whether everything is explained."""
        return not self.verdict.wrong


@dataclass(order=True)
class _Active:
    due: float
    order: int
    kind: Kind = field(compare=False)
    steps: Iterator[float] = field(compare=False)
    since: float = field(compare=False)

    def undo(self) -> None:
        """Undo what is under way."""
        close = getattr(self.steps, "close", None)
        if close is not None:
            close()


def deck(kinds: Sequence[Kind], rng: random.Random) -> Iterator[Kind]:
    """Kinds in a random order without end: each as often as its weight in every round."""
    while True:
        cards = [kind for kind in kinds for _ in range(kind.weight)]
        rng.shuffle(cards)
        yield from cards


class Campaign:
    """Faults on a site.

    Args:
        site: Started when `run` is called.
        seed: Of the schedule.
        faults: How many.
        kinds: Names; all by default.
        drain_s: How long the outbox may take to run empty at the end.
    """

    def __init__(
        self, site: Site, seed: int, faults: int, kinds: Sequence[str] = (), *, drain_s: float = _DRAIN_S
    ) -> None:
        self._site = site
        self._faults = faults
        self._rng = random.Random(seed)
        self._deck = deck([KINDS[name] for name in kinds or KINDS], self._rng)
        self._drain_s = drain_s
        self._tallies: dict[str, Tally] = {}
        self._active: list[_Active] = []
        self._orders = itertools.count()
        self._began = time.monotonic()

    def run(self) -> Result:
        """All of it."""
        for service in self._site.services:
            service.start()
        _wait(lambda: all(service.up for service in self._site.services), _UP_S, "everything to be up at first")
        try:
            self._harm()
        finally:
            for active in self._active:
                active.undo()
        self._settle()
        verdict = oracle.judge(self._site)
        backs_s = {service.name: service.backs_s for service in self._site.services}
        for name, waits in backs_s.items():
            late = [wait for wait in waits if wait > BACK_S]
            verdict.figures[f"times that {name} was back later than {BACK_S:g} s"] = len(late)
        return Result(
            verdict, self._tallies, backs_s, self._site.notes, self._site.injected, time.monotonic() - self._began
        )

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)

    def _harm(self) -> None:
        """Begin one fault after the other, and let each have its turns."""
        begun, next_at = 0, time.monotonic()
        waiting: list[tuple[Kind, random.Random]] = []
        while begun < self._faults or self._active:
            now = time.monotonic()
            self._turn(now)
            if begun < self._faults and now >= next_at and len(self._active) < OVERLAP_MAX:
                while len(waiting) < OVERLAP_MAX * 2:
                    waiting.append((next(self._deck), random.Random(self._rng.random())))
                if (chosen := self._free(waiting)) is not None:
                    waiting.remove(chosen)
                    self._begin(*chosen)
                    begun += 1
                    next_at = now + self._rng.expovariate(1 / PAUSE_S)
            time.sleep(_TURN_S)

    def _free(self, waiting: list[tuple[Kind, random.Random]]) -> tuple[Kind, random.Random] | None:
        claimed = frozenset().union(*(active.kind.claims for active in self._active))
        return next((one for one in waiting if not one[0].claims & claimed), None)

    def _begin(self, kind: Kind, rng: random.Random) -> None:
        tally = self._tallies.setdefault(kind.name, Tally())
        tally.applied += 1
        tally.overlapped += bool(self._active)
        beside = ", ".join(sorted(active.kind.name for active in self._active))
        self._say(
            f"{sum(t.applied for t in self._tallies.values()):4}  {kind.name}{f'  (beside {beside})' if beside else ''}"
        )
        now = time.monotonic()
        active = _Active(now, next(self._orders), kind, kind.fault(self._site, rng), now)
        heapq.heappush(self._active, active)
        self._turn(now)

    def _turn(self, now: float) -> None:
        """Let each fault that is due go on."""
        while self._active and self._active[0].due <= now:
            active = heapq.heappop(self._active)
            tally = self._tallies[active.kind.name]
            try:
                active.due = now + next(active.steps)
            except StopIteration:
                tally.seconds += time.monotonic() - active.since
                continue
            except Impossible as reason:
                tally.impossible = str(reason)
                continue
            heapq.heappush(self._active, active)

    def _settle(self) -> None:
        """No more faults: let everything come back, the cameras end, and the outbox run empty."""
        site = self._site
        self._say("no more faults: everything comes back")
        _wait(lambda: all(service.up for service in site.services), _UP_S, "everything to come back")
        site.agent.let_end()
        site.end_cameras()
        until = time.monotonic() + self._drain_s
        quiet = 0
        while quiet < 2 and time.monotonic() < until:
            # Once for the end, and once more to tell of that end.
            site.agent.wait_down(self._drain_s)
            text = site.agent.log.read_text(errors="replace")
            confirmed = text.rstrip().splitlines()[-1].endswith("everything is confirmed")
            quiet = quiet + 1 if confirmed and site.agent.code == 0 else 0
            if quiet < 2:
                site.agent.revive()
                _wait(partial(_started_after, site, site.agent.starts), _UP_S, "the agent")
                site.agent.let_end()
        self._say("the outbox is empty" if quiet == 2 else "the outbox did not run empty")


def _started_after(site: Site, starts: int) -> bool:
    return site.agent.starts > starts


def _wait(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(_TURN_S)


def report(result: Result) -> str:
    """The tables, and what is wrong."""
    lines = [f"{'kind of fault':34} {'applied':>7} {'overlapped':>10} {'seconds':>8}"]
    for name in sorted(result.tallies):
        one = result.tallies[name]
        lines.append(f"{name:34} {one.applied:7} {one.overlapped:10} {one.seconds:8.1f}  {one.impossible}".rstrip())
    total = sum(one.applied for one in result.tallies.values())
    lines.append(f"{len(result.tallies)} kinds, {total} faults in {result.seconds:.0f} s")
    lines += ["", f"{'back after its end':34} {'times':>7} {'median s':>10} {'worst s':>8}"]
    for name, waits in result.backs_s.items():
        median, worst = (statistics.median(waits), max(waits)) if waits else (0.0, 0.0)
        lines.append(f"{name:34} {len(waits):7} {median:10.2f} {worst:8.2f}")
    lines += ["", "calls that a disk refused: " + (", ".join(f"{k} {n}" for k, n in result.injected.items()) or "none")]
    lines += [f"{count} x {note}" for note, count in Counter(result.notes).most_common(10)]
    lines += ["", *(f"{name:48} {count:9,}" for name, count in result.verdict.figures.items()), ""]
    wrong = result.verdict.wrong
    lines += [f"WRONG: {sentence}" for sentence in wrong[:40]]
    lines.append(f"{len(wrong)} things are wrong" if wrong else "everything is explained")
    return "\n".join(lines)


def main() -> int:
    """Run one; exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description="break a real site, and look")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--kinds", nargs="*", default=[], choices=sorted(KINDS), metavar="KIND")
    parser.add_argument("--build", default=builds.GOOD, choices=[builds.GOOD, *builds.BROKEN])
    parser.add_argument("--folder", type=Path, help="where its files go; kept then, and when something is wrong")
    parser.add_argument("--list", action="store_true", help="list the kinds of faults")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(sorted(KINDS)))
        return 0
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="vigie-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {asked.seed}, {asked.faults} faults, build {asked.build}, files in {folder}", flush=True)
    site = Site(folder, asked.build)
    try:
        result = Campaign(site, asked.seed, asked.faults, asked.kinds).run()
    finally:
        site.close()
    print(report(result))
    impossible = {name: one.impossible for name, one in result.tallies.items() if one.impossible}
    if impossible and os.environ.get("VIGIE_REQUIRE") == "all":
        print(f"not possible on this machine, and all is required: {impossible}")
        return 1
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
