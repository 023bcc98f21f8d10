"""The one judge of a campaign: what the cameras listed, against what the collector can show.

Every frame that a camera gave is in the store once, as itself, or the ledger says what became of it, with numbers that
agree. What a damaged outbox took, it may have taken only from what the collector had not confirmed by then, and the
ledger must show it.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import greymodel
import msgspec

from agent.outbox.rows import LANES, Rows
from collector.state.quarantine import Quarantine
from collector.timestamps import rfc3339
from shared.records import Run
from tests.faults import camera
from tests.faults.site import DEVICE, SITE, STREAMS, Site

_TIME_SLACK_NS = 5_000_000_000
_SHOWN = 12
_runs = msgspec.msgpack.Decoder(tuple[Run, ...])


@dataclass
class Verdict:
    """What the oracle found.

    Attributes:
        wrong: Each thing that must not be, in one sentence. Empty is what a campaign is to give.
        figures: What became of how many frames.
    """

    wrong: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)

    def expect(self, condition: object, sentence: str) -> None:
        """Note the sentence unless the condition holds."""
        if not condition:
            self.wrong.append(sentence)


@dataclass
class _Books:
    """Of one stream in one start: frames by what the store has of them."""

    outcomes: dict[int, str] = field(default_factory=dict)
    quarantined: set[int] = field(default_factory=set)


Key = tuple[str, str]
"""Nonce and stream."""


def judge(site: Site) -> Verdict:
    """Compare; every process is up but the agent, whose cameras have ended."""
    verdict = Verdict()
    books = _from_store(site, verdict)
    _add_quarantine(site, books)
    ledger = site.ledger()
    epochs = {epoch["nonce"]: epoch for epoch in ledger["epochs"]}
    listings = {stream: camera.listed(site.folder, stream) for stream in STREAMS}
    for stream, listing in listings.items():
        for nonce, last in listing.last.items():
            found = books.get((nonce, stream), _Books())
            _judge_stream(verdict, site, (nonce, stream), last, found, epochs.get(nonce))
    _judge_rows(verdict, site, books, listings)
    _judge_sums(verdict, ledger)
    _judge_batches(verdict, site, ledger)
    _judge_outbox(verdict, site)
    _judge_logs(verdict, site)
    return verdict


def _from_store(site: Site, verdict: Verdict) -> dict[Key, _Books]:
    """Outcomes of frames as the collector's own entries have them."""
    books: dict[Key, _Books] = {}
    store = site.store()
    rows = store.execute(
        "SELECT e.nonce, s.name, p.first, p.last, p.fate, p.runs FROM spans p JOIN epochs e ON e.id = p.epoch "
        "JOIN streams s ON s.id = p.stream JOIN devices d ON d.id = e.device WHERE d.site = ? AND d.device = ?",
        (SITE, DEVICE),
    ).fetchall()
    store.close()
    for nonce, stream, first, last, fate, runs in rows:
        known = books.setdefault((nonce, stream), _Books()).outcomes
        frames = {n: run.outcome for run in _runs.decode(runs) for n in range(run.first, run.last + 1)}
        verdict.expect(
            set(frames) == set(range(first, last + 1)), f"{nonce} {stream}: runs do not cover {first}-{last}"
        )
        verdict.expect(fate == 0, f"{nonce} {stream} {first}-{last}: fate {fate}, and this site has room for all")
        twice = known.keys() & frames.keys()
        verdict.expect(not twice, f"{nonce} {stream}: frames {_some(twice)} are in two batches")
        known.update(frames)
    return books


def _add_quarantine(site: Site, books: dict[Key, _Books]) -> None:
    with Quarantine(site.folder / "collector-state" / "state.db") as quarantine:
        for batch in quarantine.of_device(SITE, DEVICE):
            for stream, runs in batch.streams.items():
                held = books.setdefault((batch.nonce, stream), _Books())
                held.quarantined |= set(range(runs.first, runs.last + 1)) - held.outcomes.keys()


def _judge_stream(
    verdict: Verdict, site: Site, key: Key, listed: int, books: _Books, epoch: dict[str, Any] | None
) -> None:
    """One start of one stream: frames 1 to `listed` were given, the last one perhaps without a number."""
    nonce, stream = key
    name = f"start {epoch['epoch'] if epoch else '?'} ({nonce}) {stream}"
    known = books.outcomes.keys() | books.quarantined
    verdict.expect(max(known, default=0) <= listed, f"{name}: {max(known, default=0)} in the store, {listed} given")
    away = set(range(1, listed + 1)) - known
    verdict.figures["given"] += listed
    verdict.figures.update(books.outcomes.values())
    verdict.figures["quarantined"] += len(books.quarantined)
    costs = {n for one in site.may_cost if one[:2] == key for n in range(one[2], one[3] + 1)}
    if epoch is None or stream not in epoch["streams"]:
        # A start may end before its first frame is numbered; a damaged outbox may take what told of earlier starts.
        unshown = away - ({1} if listed == 1 else set())
        unexplained = unshown if not costs else set()
        verdict.figures["lost with a damaged outbox, not shown"] += len(unshown - unexplained)
        verdict.expect(not unexplained, f"{name}: the ledger does not know it; {listed} frames were given")
        return
    told = epoch["streams"][stream]
    tail = {n for n in away if n > max(known, default=0)}
    holes = away - tail
    verdict.expect(holes <= costs, f"{name}: frames {_some(holes - costs)} are missing")
    verdict.figures["missing"] += len(holes - costs)
    verdict.figures["missing, by damage, shown"] += len(holes & costs)
    accounted = told["missing"] + told["tail_lost"]
    verdict.figures["unsealed, told"] += told["tail_lost"]
    # The kill can fall between the camera's line and the number.
    unnumbered = len(away) - accounted
    verdict.figures["listed without a number"] += max(0, unnumbered)
    if epoch["exact"]:
        verdict.expect(
            unnumbered in {0, 1},
            f"{name}: {listed} given, {len(known)} known, {told['missing']} missing and {told['tail_lost']} lost at "
            f"the end are shown: {unnumbered} are not explained",
        )
    else:
        verdict.figures["starts that do not know their end exactly"] += 1
        verdict.expect(unnumbered >= 0, f"{name}: more is shown as lost than was given: {-unnumbered}")
        verdict.expect(
            told["missing"] == len(holes), f"{name}: {told['missing']} are shown as missing, {len(holes)} are"
        )
    if epoch["clean"]:
        verdict.expect(told["tail_lost"] == 0, f"{name}: ended cleanly, and lost {told['tail_lost']} at its end")


def _judge_rows(verdict: Verdict, site: Site, books: dict[Key, _Books], listings: dict[str, camera.Listing]) -> None:
    """Each observation once, and of the frame whose key it has."""
    rows = site.predictions()
    found = Counter((row["nonce"], row["stream"], row["frame"]) for row in rows)
    twice = [key for key, count in found.items() if count > 1]
    verdict.figures["observations"] += len(rows)
    verdict.figures["twice"] += len(twice)
    verdict.expect(not twice, f"twice in the store: {_some(twice)}")
    looked_at = {
        (*key, n) for key, one in books.items() for n, outcome in one.outcomes.items() if outcome in {"ok", "failed"}
    }
    verdict.expect(found.keys() >= looked_at, f"booked, but not in the store: {_some(looked_at - found.keys())}")
    verdict.expect(looked_at >= found.keys(), f"in the store, but not booked: {_some(found.keys() - looked_at)}")
    offsets = [ahead * 1_000_000_000 + _boot_offset_ns() for ahead in site.aheads_s]
    for row in rows:
        _judge_row(verdict, row, listings[row["stream"]], offsets)


def _judge_row(verdict: Verdict, row: dict[str, Any], listing: camera.Listing, offsets: list[int]) -> None:
    name = f"{row['nonce']} {row['stream']} {row['frame']}"
    verdict.expect(row["outcome"] == "ok", f"{name}: {row['outcome']}")
    if len(row["detections"]) != 1:
        verdict.wrong.append(f"{name}: {len(row['detections'])} detections")
        return
    (detection,) = row["detections"]
    seen = greymodel.grey_of(detection["box"], row["width"])
    expected = camera.grey(row["nonce"], row["stream"], row["frame"])
    verdict.expect(seen == expected, f"{name}: grey {seen} was seen, {expected} was given")
    given = listing.boot_ns.get((row["nonce"], row["frame"]))
    if given is None:
        verdict.wrong.append(f"{name}: was never given")
        return
    captured = _ns(row["captured_at"])
    late = min((abs(captured - given - offset) for offset in offsets), default=0)
    if late > _TIME_SLACK_NS:
        verdict.figures["with another time than any clock told"] += 1
        verdict.wrong.append(f"{name}: captured at {rfc3339(captured)}, which no clock ever said")


def _judge_sums(verdict: Verdict, ledger: dict[str, Any]) -> None:
    verdict.figures["missing, in the ledger"] += ledger["missing"]
    outcomes, fates = sum(ledger["outcomes"].values()), sum(ledger["fates"].values())
    verdict.figures["waiting, in the ledger"] += ledger["waiting"]
    verdict.expect(not ledger["waiting"], f"the ledger: {ledger['waiting']} are said to wait on an empty device")
    verdict.expect(
        ledger["captured"] == outcomes + ledger["waiting"] + ledger["missing"],
        f"the ledger: captured {ledger['captured']}, outcomes {outcomes}, missing {ledger['missing']}",
    )
    verdict.expect(fates == outcomes, f"the ledger: fates {fates}, outcomes {outcomes}")


def _judge_batches(verdict: Verdict, site: Site, ledger: dict[str, Any]) -> None:
    """A lane's numbers have no hole, unless a damaged outbox took a batch."""
    for epoch in ledger["epochs"]:
        for lane, told in epoch["batches"].items():
            holes = sum(last - first + 1 for first, last in told["missing"])
            verdict.figures["batches missing"] += holes
            verdict.expect(
                site.damaged or not holes, f"start {epoch['epoch']}: {holes} batches of its {lane} lane are missing"
            )


def _judge_outbox(verdict: Verdict, site: Site) -> None:
    """Nothing waits."""
    rows = Rows(site.folder / "agent-state" / "outbox.db")
    rows.open()
    waiting = {
        f"{lane} of start {epoch.number}": len(left)
        for epoch in rows.in_order()
        for lane in LANES
        if (left := list(rows.unsettled(epoch, lane, 1, epoch.lane(lane).sealed, 1000)))
    }
    rows.close()
    verdict.figures["batches waiting"] += sum(waiting.values())
    verdict.expect(not waiting, f"the outbox is not empty: {waiting}")


def _judge_logs(verdict: Verdict, site: Site) -> None:
    """A traceback is a bug, whatever came of it."""
    for path in sorted(Path(site.folder).glob("*.log")):
        text = path.read_text(errors="replace")
        for match in re.finditer(r"^Traceback .*?\n(?=\S)(.*)$", text, re.MULTILINE | re.DOTALL):
            last = match.group(1).splitlines()[0]
            verdict.wrong.append(f"{path.name}: a traceback: {last[:200]}")


def _boot_offset_ns() -> int:
    import time  # noqa: PLC0415

    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _ns(text: str) -> int:
    from datetime import datetime  # noqa: PLC0415

    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000) * 1_000_000


def _some(items: Any) -> str:  # anything that can be sorted
    found = sorted(items)
    return f"{found[:_SHOWN]}{' …' if len(found) > _SHOWN else ''} ({len(found)})"
