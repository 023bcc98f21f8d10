"""Power cuts over the real files: `python -m tests.faults.powercuts [--cuts 10000] [--seed 1] [--jobs 2]`.

A device and a collector are recorded at the system calls (strace) while they work. Then, as often as asked, the power
is cut at some moment of the recording; the disk is left as `disk` says; the real outbox or the real store opens what it
finds, and is asked for everything that it had promised. Exit code 1: something was not there, or did not start.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter

from tests.faults.powercuts.campaign import SUBJECTS, Outcome, Recorded, cut, recorded


def main() -> None:
    """Cut, count and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=SUBJECTS)
    args = parser.parse_args()
    names = [args.only] if args.only else list(SUBJECTS)
    failed = [name for name in names if not run(name, args.cuts * SUBJECTS[name].share // 100, args.seed, args.jobs)]
    sys.exit(1 if failed else 0)


def run(name: str, cuts: int, seed: int, jobs: int) -> bool:
    """All cuts of one subject; whether it stood them."""
    began = time.monotonic()
    one = recorded(name, seed)
    took = time.monotonic() - began
    say(f"{name}: {len(one.ops)} operations recorded in {took:.0f} s")
    parts = [(one, cuts // jobs + (job < cuts % jobs), seed * 1000 + job) for job in range(jobs)]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        outcomes = pool.starmap(_part, parts)
    done, unsure = sum(outcome.cuts for outcome in outcomes), sum(outcome.unsure for outcome in outcomes)
    found = Counter(problem for outcome in outcomes for problem in outcome.problems)
    for problem, count in found.most_common(20):
        say(f"  {count} times: {problem}")
    took = time.monotonic() - began
    say(f"{name}: {done} cuts ({unsure} with something unsynced), {found.total()} problems, {took:.0f} s")
    return done == cuts and not found


def say(line: str) -> None:
    """Print it now: the next may take a while."""
    print(line, flush=True)


def _part(one: Recorded, cuts: int, seed: int) -> Outcome:
    return cut(one, cuts, seed)


if __name__ == "__main__":
    main()
