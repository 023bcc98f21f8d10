"""`vigie-collector audit SITE/DEVICE`: whether every frame of a device is accounted for, read from the store again.

The ledger is what batches said when they arrived. The audit reads its single entries and the observations themselves:
each frame of a stored batch that was looked at has exactly one observation, no other frame has one, no frame is in two
batches, and what the entries add up to is what the sums of the ledger say. What was thinned, quarantined or lost with
the power is explained; what nobody explains makes the audit fail.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from collector import build, config, ranges
from collector.queries.accounts import PAGE, Accounts, digest
from collector.queries.asking import Json, NotFound
from collector.state.asked import Asked
from collector.stores import Store, Unavailable
from collector.stores.answers import Entry, LaneKey
from collector.web.times import TIME_RULE, parse_time
from shared import topics

HOUR_NS = 3600 * 10**9
FOREVER_NS = 2**63 - 1
SHOWN_MAX = 20

_BLOCK = 4096
_ANYTHING = 255
"""Told of a frame whose observation may be there or not: its batch is out of the range, or beyond the retention."""

Stream = tuple[int, str, str]
"""Epoch, nonce, stream."""


class Tally:
    """How often each frame of a stream was named, in blocks: a byte each, and only where there are any."""

    def __init__(self) -> None:
        self.blocks: dict[int, bytearray] = {}

    def add(self, frame: int, count: int = 1) -> None:
        """Count a frame; `_ANYTHING` stays."""
        block = self.blocks.setdefault(frame // _BLOCK, bytearray(_BLOCK))
        place = frame % _BLOCK
        if block[place] != _ANYTHING:
            block[place] = _ANYTHING if count == _ANYTHING else min(_ANYTHING - 1, block[place] + count)

    def get(self, block: int) -> bytearray:
        """The counts of a block."""
        return self.blocks.get(block) or bytearray(_BLOCK)


@dataclass(slots=True)
class Findings:
    """What the entries and the observations of a device say.

    Attributes:
        frames: Frames that were to have an observation, and were compared.
        batches: Entries that were read.
        problems: What does not hold, with where.
    """

    frames: int = 0
    batches: int = 0
    problems: list[str] = field(default_factory=list)


def compare(store: Store, site: str, device: str, from_ns: int, to_ns: int, kept_from_ns: int) -> Findings:
    """Compare the ledger's entries sealed in a range with the observations, and with the ledger's sums.

    Args:
        store: Open.
        site: Of the device.
        device: Its name.
        from_ns: Batches sealed at or after.
        to_ns: Batches sealed before.
        kept_from_ns: Observations from before may be gone.

    What is found while batches arrive may be of the moment between two readings: it counts when it is found twice.

    Raises:
        Unavailable: The store cannot be read.
    """
    found = _look(store, site, device, from_ns, to_ns, kept_from_ns)
    if found.problems:
        again = _look(store, site, device, from_ns, to_ns, kept_from_ns)
        again.problems = [problem for problem in again.problems if problem in found.problems]
        return again
    return found


def _look(store: Store, site: str, device: str, from_ns: int, to_ns: int, kept_from_ns: int) -> Findings:
    found = Findings()
    told: dict[Stream, Tally] = {}
    sums: dict[Stream, int] = {}
    for books in store.ledger(site, device):
        for name in books.lanes:
            before: dict[str, int] = {}
            for entry in _entries(store, LaneKey(site, device, books.epoch, books.nonce, name)):
                within = from_ns <= entry.sealed_at_ns < to_ns
                found.batches += within
                for stream, runs in entry.streams.items():
                    key = (books.epoch, books.nonce, stream)
                    if runs.first <= before.get(stream, 0):
                        found.problems.append(
                            f"start {books.epoch}, {stream}: frame {runs.first} of batch {entry.batch} is in an "
                            "earlier batch too"
                        )
                    before[stream] = runs.last
                    sums[key] = sums.get(key, 0) + runs.last - runs.first + 1
                checked = within and entry.sealed_at_ns >= kept_from_ns
                found.frames += _tell(told, (books.epoch, books.nonce), entry, checked=checked)
    found.problems += _sums(store, site, device, sums)
    seen = _seen(store, site, device)
    for key in sorted({*told, *seen}):
        found.problems += _differences(key, told.get(key, Tally()), seen.get(key, Tally()))
    return found


def _entries(store: Store, lane: LaneKey) -> Iterator[Entry]:
    last = 0
    while page := store.entries(lane, last, PAGE):
        yield from page
        last = page[-1].batch


def _tell(told: dict[Stream, Tally], start: tuple[int, str], entry: Entry, *, checked: bool) -> int:
    """Note which frames of a batch have an observation; how many are to be compared."""
    frames = 0
    if entry.fate != "stored":
        return 0
    for stream, runs in entry.streams.items():
        tally = told.setdefault((*start, stream), Tally())
        for run in runs.outcomes:
            if run.outcome in {"ok", "failed"}:
                for frame in range(run.first, run.last + 1):
                    tally.add(frame, 1 if checked else _ANYTHING)
                frames += checked * (run.last - run.first + 1)
    return frames


def _seen(store: Store, site: str, device: str) -> dict[Stream, Tally]:
    """Every observation of the device, an hour at a time."""
    found: dict[Stream, Tally] = {}
    first = min((one.first_sealed_ns for one in store.ledger(site, device) if one.first_sealed_ns), default=0)
    last = max((one.last_sealed_ns or 0 for one in store.ledger(site, device)), default=0)
    edges = [0, *range(first, last + HOUR_NS, HOUR_NS), FOREVER_NS]
    for start, end in pairwise(edges):
        for key, frames in store.frames(site, device, start, end).items():
            tally = found.setdefault(key, Tally())
            for frame in frames:
                tally.add(frame)
    return found


def _sums(store: Store, site: str, device: str, entries: Mapping[Stream, int]) -> Iterator[str]:
    """Where the sums of the ledger are not those of its entries; fewer entries may be left, the old ones go."""
    for books in store.ledger(site, device):
        for name, stream in books.streams.items():
            frames = sum(stream.outcomes.values())
            fates = sum(stream.fates.values())
            there = entries.get((books.epoch, books.nonce, name), 0)
            if frames != fates:
                yield f"start {books.epoch}, {name}: {frames} frames have an outcome, {fates} have a fate"
            if there > frames:
                yield f"start {books.epoch}, {name}: the entries cover {there} frames, the sums {frames}"


def _differences(key: Stream, told: Tally, seen: Tally) -> Iterator[str]:
    epoch, _, stream = key
    lacking: list[int] = []
    extra: list[int] = []
    twice: list[int] = []
    for number in sorted({*told.blocks, *seen.blocks}):
        ours, theirs = told.get(number), seen.get(number)
        if ours == theirs and max(ours) <= 1:
            continue
        for place, (expected, got) in enumerate(zip(ours, theirs, strict=True)):
            frame = number * _BLOCK + place
            if got > 1:
                twice.append(frame)
            elif expected != _ANYTHING and expected > got:
                lacking.append(frame)
            elif not expected and got:
                extra.append(frame)
    for frames, words in (
        (lacking, "no observation, although the ledger says that they are stored"),
        (extra, "an observation, although no batch of the ledger has them"),
        (twice, "more than one observation"),
    ):
        if frames:
            named = ranges.words(ranges.of(frames))
            yield f"start {epoch}, {stream}: frame{'s' * (len(frames) > 1)} {named}: {words}"


def verdict(account: Json, found: Findings) -> Json:
    """The account with the audit's answer: `proven`, and `problems` where it is not."""
    problems = list(found.problems)
    explained = sum(account["outcomes"].values()) + account["waiting"] + account["missing"]
    if account["captured"] != explained:
        problems.append(f"{account['captured']} frames were captured, {explained} have an outcome, wait or are missing")
    if account["sealed"] != sum(account["fates"].values()):
        problems.append(f"{account['sealed']} frames were sealed, {sum(account['fates'].values())} have a fate")
    if account["missing"]:
        problems.append(f"{account['missing']} frames are missing")
    for epoch in account["epochs"]:
        for lane, batches in epoch["batches"].items():
            if batches["missing"]:
                named = ranges.words([(first, last) for first, last in batches["missing"]])
                problems.append(f"start {epoch['epoch']}: {lane} batches {named} did not arrive")
    return {
        "proven": not problems,
        "problems": problems,
        "batches_read": found.batches,
        "observations_compared": found.frames,
        **account,
    }


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    add_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add `audit` to the command line."""
    parser = commands.add_parser(
        "audit",
        help="prove that every frame of a device is accounted for; exit code 1 where that cannot be proven",
    )
    parser.add_argument("device", metavar="SITE/DEVICE", type=_device)
    parser.add_argument(
        "--from", dest="start", type=_time, metavar="TIME", help=f"only batches sealed then or later: {_RULE}"
    )
    parser.add_argument("--to", dest="end", type=_time, metavar="TIME", help="only batches sealed before")
    parser.add_argument("--json", action="store_true", help="print the whole account as JSON")
    parser.add_argument(
        "--batches",
        action="store_true",
        help="print a line `lane epoch nonce batch sha256 fate` for each batch, no more",
    )
    add_config(parser)
    parser.set_defaults(run=_run)


_RULE = TIME_RULE.replace("%2B", "+")


def _device(text: str) -> tuple[str, str]:
    site, _, device = text.partition("/")
    if not (topics.is_slug(site) and topics.is_slug(device)):
        raise argparse.ArgumentTypeError(f"must be SITE/DEVICE, such as greenhouse/pi-roof, got {text!r}")
    return site, device


def _time(text: str) -> int:
    try:
        return parse_time(text, time.time_ns())
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {_RULE}, got {text!r}") from None


def _run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    site, device = args.device
    if not Path(settings.store.path).exists():
        sys.stderr.write(f"vigie-collector: there is no store at {settings.store.path}: see 'store.path'\n")
        return 2
    store, state = build.store(settings), build.database(settings)
    try:
        store.open()
        state.open()
        accounts = Accounts(store, build.quarantine(settings, state), Asked(state))
        account = accounts.of(site, device, args.start, args.end)
        if args.batches:
            return _print_batches(store, site, device, account)
        now_ns = time.time_ns()
        # Observations go a little before their entries: an hour between two times of deleting, and their age.
        kept_from_ns = now_ns - int(settings.store.detail_days * 24 * HOUR_NS) + 2 * HOUR_NS
        start, end = args.start or 0, FOREVER_NS if args.end is None else args.end
        found = compare(store, site, device, start, end, kept_from_ns)
        answer = verdict(account, found)
        _add_digests(store, site, device, answer)
    except NotFound as error:
        sys.stderr.write(f"vigie-collector: {error}\n")
        return 2
    except Unavailable as error:
        sys.stderr.write(f"vigie-collector: {error.reason}\n")
        return 1
    finally:
        store.close()
        state.close()
    sys.stdout.write(
        json.dumps(answer, indent=2) + "\n" if args.json else "".join(f"{line}\n" for line in _lines(answer))
    )
    return 0 if answer["proven"] else 1


def _print_batches(store: Store, site: str, device: str, account: Json) -> int:
    for epoch in account["epochs"]:
        for lane in epoch["batches"]:
            for one in _entries(store, LaneKey(site, device, epoch["epoch"], epoch["nonce"], lane)):
                sys.stdout.write(f"{lane} {epoch['epoch']} {epoch['nonce']} {one.batch} {one.sha256} {one.fate}\n")
    return 0


def _add_digests(store: Store, site: str, device: str, account: Json) -> None:
    for epoch in account["epochs"]:
        for lane, batches in epoch["batches"].items():
            batches["digest"] = digest(store, LaneKey(site, device, epoch["epoch"], epoch["nonce"], lane))


def _lines(answer: Json) -> Iterator[str]:
    """The answer for people."""
    yield f"captured  {answer['captured']:>12,}  {_parts(answer['outcomes'])}"
    yield f"sealed    {answer['sealed']:>12,}  {_parts(answer['fates'])}"
    yield f"waiting   {answer['waiting']:>12,}  on the device"
    yield f"missing   {answer['missing']:>12,}"
    for epoch in answer["epochs"]:
        tail = f", {epoch['tail_lost']} lost at its end" if epoch["tail_lost"] else ""
        yield f"start {epoch['epoch']} ({epoch['nonce']}): frames {epoch['first']} to {epoch['last']}{tail}"
        for lane, batches in epoch["batches"].items():
            one = batches["digest"]
            yield f"  {lane:<7} {one['batches']} batches, {one['first']} to {one['last']}, digest {one['sha256']}"
    yield f"{answer['batches_read']:,} batches read, {answer['observations_compared']:,} observations compared"
    for problem in answer["problems"][:SHOWN_MAX]:
        yield f"NOT PROVEN: {problem}"
    if len(answer["problems"]) > SHOWN_MAX:
        yield f"NOT PROVEN: and {len(answer['problems']) - SHOWN_MAX} more; --json has them all"
    if answer["proven"]:
        yield "PROVEN: every frame is accounted for"


def _parts(counts: Mapping[str, int]) -> str:
    shown: Iterable[str] = (f"{count:,} {name}" for name, count in counts.items() if count)
    return ", ".join(shown)
