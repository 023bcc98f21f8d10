"""A week without network, time service and clock battery, through three power cuts; then the collector is reached.

The agent's parts are real, on a clock that the test moves; broker and collector are processes.
"""

import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fieldday import DEVICE, SECOND, SITE, Given, Start, in_the_field
from smallsite import Site, wait_for

from shared import topics, wire
from shared.mqtt import BrokerSettings, Link
from shared.records import Header, Lane

pytestmark = pytest.mark.journey

CUTS_AT = (0.24, 0.44, 0.75)
MINUTES = float(os.environ.get("VIGIE_WEEK_MINUTES", "20"))
"""Between two frames: every 20 minutes within `make test`, every minute within `make chaos`."""


LIVE_S = 0.2
"""Between two frames while the backlog is delivered."""


class Onlooker:
    """Writes down every batch in the order in which the broker gives them out."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[float, Header]] = []
        self._link = Link(
            BrokerSettings(url=url),
            client_id="onlooker",
            subscriptions=[(topics.batch(SITE, DEVICE), 1)],
            on_message=self._on_message,
        )
        self._link.start()
        wait_for(lambda: self._link.connected, "the onlooker")

    def _on_message(self, _topic: str, payload: bytes, _retained: bool) -> None:  # noqa: FBT001  # as Link calls it
        self.seen.append((time.monotonic(), wire.split(payload)[0]))

    def first_times(self) -> list[Header]:
        """Each batch once, where it came first."""
        firsts: dict[tuple[int, str, int], Header] = {}
        for _, header in self.seen:
            firsts.setdefault((header.epoch, header.lane, header.batch), header)
        return list(firsts.values())

    def stop(self) -> None:
        self._link.stop(timeout_s=1)


def rss_mb() -> float:
    """Memory of this process that is resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def rows(folder: Path, query: str) -> list[Any]:
    """What the store holds."""
    with sqlite3.connect(f"file:{folder / 'vigie.db'}?mode=ro", uri=True) as store:
        found = store.execute(query).fetchall()
    store.close()
    return found


def check_the_times(given: list[Given], stored: dict[tuple[str, int], int], now_ns: int) -> None:
    """Nothing in 1970, frames in their order, each boot between its neighbours, and as long as it was."""
    boots = [
        [(frame, stored[frame.nonce, frame.frame]) for frame in boot if (frame.nonce, frame.frame) in stored]
        for _, boot in itertools.groupby(given, lambda frame: frame.nonce)
    ]
    times = [at_ns for boot in boots for _, at_ns in boot]
    assert times == sorted(set(times)), "in the order in which they were captured, over all boots"
    assert min(times) > now_ns - 8 * 86_400 * SECOND
    assert max(times) <= now_ns + 2 * SECOND
    for boot in boots:
        lasted_s = boot[-1][0].at_s - boot[0][0].at_s
        assert (boot[-1][1] - boot[0][1]) / SECOND == pytest.approx(lasted_s, abs=0.001)


def check_the_order(arrived: list[Header], started: int, backlog: Mapping[Lane, int]) -> None:
    """In each lane what had waited comes in the order of its sealing, and what is sealed meanwhile in its own."""
    for lane, waited_to in backlog.items():
        batches = [(one.epoch, one.batch) for one in arrived if one.lane == lane]
        waited = [one for one in batches if one <= (started, waited_to)]
        live = [one for one in batches if one > (started, waited_to)]
        assert waited == sorted(waited)
        assert live == sorted(live)
        assert live, "live data goes on"
        assert waited


def deliver(last: Start, site: Site, onlooker: Onlooker) -> None:
    """Reach the collector, and go on capturing until it has everything that waited."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(LIVE_S):
            last.capture()
            last.seal()

    watching = threading.Thread(target=go_on)
    last.connect(BrokerSettings(url=site.broker_url, retry_s_max=0.5))
    wait_for(lambda: onlooker.seen, "the first of it")
    watching.start()
    try:
        wait_for(lambda: last.outbox.waiting().batches < 5 and onlooker.seen, "the backlog to be gone", 600)
    finally:
        stop.set()
        watching.join()
    assert last.end(drain_s=60), "everything is confirmed"


def test_a_week_that_never_knew_the_time_is_delivered_in_order_and_placed(
    site_with: Callable[[str], Site], mosquitto: Any, tmp_path: Path
) -> None:
    sizes: list[float] = []

    def on_frame(start: Start) -> None:
        if len(start.given) % 100 == 50:
            sizes.append(rss_mb())

    began = time.monotonic()
    last, given = in_the_field(tmp_path, days=7, every_s=60 * MINUTES, cuts_at=CUTS_AT, on_frame=on_frame)
    sealed_s = time.monotonic() - began
    waiting, started = last.outbox.waiting(), last.outbox.started.epoch
    backlog = {held.lane: held.last for held in last.outbox.held() or () if held.epoch == started}
    assert waiting.batches >= 2 * (len(given) - 3), "nothing was sent, everything waits"
    assert waiting.bytes < 30_000_000
    assert max(sizes) - min(sizes) < 40, "memory does not grow with the backlog"

    mosquitto.start()
    site = site_with(mosquitto.url)
    site.collector().start()
    wait_for(site.ready, "the collector")
    onlooker = Onlooker(mosquitto.url)
    began = time.monotonic()
    deliver(last, site, onlooker)
    delivered_s = time.monotonic() - began
    onlooker.stop()
    given += last.given
    now_ns = time.time_ns()

    ledger = site.ledger()
    assert (ledger["missing"], ledger["captured"]) == (0, len(given))
    assert ledger["fates"]["unsealed"] == len(CUTS_AT), "one frame each was not sealed when the power failed"
    assert ledger["fates"]["stored"] == len(given) - len(CUTS_AT)
    assert [(one["epoch"], one["tail_lost"]) for one in ledger["epochs"]] == [(1, 1), (2, 1), (3, 1), (4, 0)]

    found = site.predictions()
    unsealed = {(boot[-1].nonce, boot[-1].frame) for boot in _boots(given)[:-1]}
    names = [(row["nonce"], row["frame"]) for row in found]
    assert len(names) == len(set(names)), "nothing twice"
    assert set(names) == {(frame.nonce, frame.frame) for frame in given} - unsealed, "nothing missing"

    stored = {
        (nonce, frame): at_ns
        for nonce, frame, at_ns in rows(
            tmp_path,
            "SELECT e.nonce, o.frame, o.captured_at_ns FROM observations o JOIN epochs e ON e.id = o.epoch",
        )
    }
    check_the_times(given, stored, now_ns)
    for table in ("events", "vitals"):
        query = f"SELECT min(at_ns), max(at_ns) FROM {table}"  # noqa: S608  # a name from the line above
        ((first_ns, last_ns),) = rows(tmp_path, query)
        assert now_ns - 8 * 86_400 * SECOND < first_ns <= last_ns <= now_ns + 2 * SECOND
    assert set(
        rows(tmp_path, "SELECT DISTINCT e.epoch, b.time_quality FROM batches b JOIN epochs e ON e.id = b.epoch")
    ) == {
        (1, "estimated"),
        (2, "estimated"),
        (3, "estimated"),
        (4, "collector"),
    }
    check_the_order(onlooker.first_times(), started, backlog)
    memory = f"{min(sizes):.0f} to {max(sizes):.0f} MB resident"
    print(  # noqa: T201  # for whoever runs the whole week
        f"{len(given)} frames in 7 days: sealed in {sealed_s:.1f} s, {memory}; {waiting.batches} batches in "
        f"{waiting.bytes / 1e6:.1f} MB delivered in {delivered_s:.1f} s"
    )


def _boots(given: list[Given]) -> list[list[Given]]:
    return [list(boot) for _, boot in itertools.groupby(given, lambda frame: frame.nonce)]
