"""Whether a device starts after a power cut, and has everything that it must have."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from setclock import NOW, SetClock

from agent.config import OutboxSettings
from agent.openwindows import left_by
from agent.outbox import Key, Outbox
from agent.progress import Progress
from agent.restarts import Restarts
from shared import wire
from shared.records import Event, Summary
from tests.faults.powercuts.commits import digest
from tests.faults.powercuts.outbox_life import DEVICE, SITE, STARTS, clock_of, thinned_by


class Known(NamedTuple):
    """What had been said before the cut, and what was said next.

    Attributes:
        commits: Digests that the database may have: after the last commit, and after the one that was cut.
        begun: Starts: epoch and nonce.
        put: Batches whose `put` had returned, with the sha256 of their bodies.
        sent: Batches that had been handed to the network, with the sha256 of their whole message.
        acked: Batches that the collector had.
        thinned: Batches of which a summary that was sent says so.
        every: All batches of the whole recording: one that was being put may be there, too.
    """

    commits: list[str | None]
    begun: list[tuple[int, str]]
    put: dict[Key, str]
    sent: dict[Key, str]
    acked: set[Key]
    thinned: set[Key]
    every: dict[Key, str]


def known(said: Sequence[Sequence[object]], at: int) -> Known:
    """What the marks say: the first `at` came before the cut."""
    before = said[:at]
    commits = [str(one[2]) for one in before if one[0] == "commit"]
    next_commit = next((str(one[2]) for one in said[at:] if one[0] == "commit"), None)
    return Known(
        [commits[-1] if commits else None, next_commit],
        [(int(str(one[1])), str(one[2])) for one in before if one[0] == "begun"],
        _by_key(before, "put"),
        _by_key(before, "sent"),
        # An ack is written with what comes after it: what the cut interrupts may have taken in one more.
        set(_by_key([(*one, "") for one in said[: at + 2]], "acked")),
        {Key(*one) for sent in before if sent[0] == "sent" for one in sent[6]},  # type: ignore[attr-defined]
        _by_key(said, "put"),
    )


def _by_key(said: Sequence[Sequence[object]], word: str) -> dict[Key, str]:
    return {Key(*one[1:5]): str(one[5]) for one in said if one[0] == word}  # type: ignore[arg-type]


def problems(folder: Path, past: Known) -> Iterator[str]:
    """Start the device in `folder`; everything that is not as it must be."""
    told: list[str] = []
    clock = clock_of(len(STARTS))
    clock.learn(NOW + clock.boot_ns())
    captured = Progress.read(folder / "progress")
    settings = OutboxSettings(keep_acked_h=24)
    with Outbox(folder / "outbox.db", clock, settings, SITE, DEVICE, lambda *event: told.append(str(event))) as outbox:
        if told and past.commits[0] is not None:
            yield f"the outbox did not open as it was: {told}"
        yield from _state(folder / "outbox.db", past)
        yield from _start(outbox, captured.epoch if captured else 0, past)
        yield from _batches(outbox, past)
        yield from _goes_on(outbox, clock)
    yield from _files(folder, clock)


def _state(path: Path, past: Known) -> Iterator[str]:
    db = sqlite3.connect(path)
    found = digest(db)
    db.close()
    if found not in past.commits:
        yield "the database holds what no commit, nor the one under way, had left"


def _start(outbox: Outbox, after: int, past: Known) -> Iterator[str]:
    start = outbox.begin(after=after)
    if past.begun and start.epoch <= max(epoch for epoch, _ in past.begun):
        yield f"epoch {start.epoch} is given a second time"
    if start.nonce in {nonce for _, nonce in past.begun}:
        yield "a nonce is given a second time"
    ended = start.previous
    for lane, sealed in ended.sealed.items():
        last = max((key.batch for key in past.put if (key.nonce, key.lane) == (ended.nonce, lane)), default=0)
        if sealed < last:
            yield f"the start before is said to have ended at {lane} {sealed}: {last} was sealed"


def _batches(outbox: Outbox, past: Known) -> Iterator[str]:
    messages = outbox.due(100_000)
    due = {message.key: message for message in messages}
    if len(due) != len(messages):
        yield "a batch is due twice"
    thinned = past.thinned | {one for message in messages for one in thinned_by(message)}
    for key in past.put.keys() - past.acked - due.keys() - thinned:
        yield f"lost: {key}"
    for key, message in due.items():
        header, body = wire.split(message.payload)
        if wire.digest(body) != header.sha256 or past.every.get(key, header.sha256) != header.sha256:
            yield f"another content than was put: {key}"
        if past.sent.get(key, wire.digest(message.payload)) != wire.digest(message.payload):
            yield f"not what was sent before: {key}"


def _goes_on(outbox: Outbox, clock: SetClock) -> Iterator[str]:
    number = outbox.put("summary", {}, wire.pack(Summary((Event(0, "agent_started"),))), clock.boot_ns())
    if number != 1:
        yield f"the first batch of a start has number {number}"
    if not any(message.key == Key(outbox.started.epoch, outbox.nonce, "summary", 1) for message in outbox.due(100_000)):
        yield "what was put after the cut is not due"


def _files(folder: Path, clock: SetClock) -> Iterator[str]:
    """The small files: each as it was, or as if it were not there."""
    begun = Progress.read(folder / "progress")
    if begun is not None:
        for boot in {start[0] for start in STARTS}:
            for _, window in left_by(folder / "windows", begun.nonce, boot):
                if window.outcomes != {"ok": window.last}:
                    yield f"a window of frames that never were: {window}"
    restarts = Restarts(folder / "restarts", 5, clock)
    if not restarts.take():
        yield "the file of restarts cannot be used"
    restarts.close()
