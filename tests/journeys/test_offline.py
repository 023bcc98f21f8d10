"""A day without network at ten frames a second; then it is delivered at a pace, and live frames do not wait for it.

The agent's parts are real, on a clock that the test moves while there is no network. Broker and collector are
processes.
`VIGIE_OFFLINE_HOURS=24` for the whole day; without it, a few minutes.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fieldday import DEVICE, SITE, Start
from smallsite import Site, wait_for

from shared import topics, wire
from shared.mqtt import BrokerSettings, Link

pytestmark = pytest.mark.journey

HOURS = float(os.environ.get("VIGIE_OFFLINE_HOURS", "0.05"))
FPS = 10
RATE = float(os.environ.get("VIGIE_OFFLINE_RATE", "80"))
"""Batches a second of the backlog: 80 times as fast as they were made."""


class Onlooker:
    """Notes when the broker first gave out each batch; knows no more of them than that."""

    def __init__(self, url: str) -> None:
        self.first: dict[tuple[str, int], float] = {}
        self.times = 0
        self._link = Link(
            BrokerSettings(url=url),
            client_id="onlooker",
            subscriptions=[(topics.batch(SITE, DEVICE), 1)],
            on_message=self._on_message,
        )
        self._link.start()
        wait_for(lambda: self._link.connected, "the onlooker")

    def _on_message(self, _topic: str, payload: bytes, _retained: bool) -> None:  # noqa: FBT001  # as Link calls it
        header = wire.split(payload)[0]
        self.times += 1
        self.first.setdefault((header.lane, header.batch), time.monotonic())

    def stop(self) -> None:
        self._link.stop(timeout_s=1)


class Live:
    """The camera goes on while the backlog is delivered: a second of frames each second, as `sealed` notes."""

    def __init__(self, start: Start) -> None:
        self.sealed: dict[tuple[str, int], float] = {}
        self.frames = 0
        self._start = start
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seconds = 0
        while not self._stop.is_set():
            for _ in range(FPS):
                self._stop.wait(1 / FPS)
                self._start.capture()
                self.frames += 1
            self._start.given.clear()
            seconds += 1
            if seconds % 30 == 0:
                self._start.tell_vitals()
            before, at = self._start.outbox.mark(), time.monotonic()
            self._start.seal()
            after = self._start.outbox.mark()
            self.sealed |= {("summary", n): at for n in range(before.summary + 1, after.summary + 1)}
            self.sealed |= {("detail", n): at for n in range(before.detail + 1, after.detail + 1)}


def offline(start: Start, hours: float) -> Iterator[int]:
    """Capture and seal for so long, in as little time as it takes; gives the seconds so far."""
    for second in range(1, int(hours * 3600) + 1):
        for _ in range(FPS):
            start.pass_by(1 / FPS)
            start.capture()
        start.given.clear()
        if second % 30 == 0:
            start.tell_vitals()
        start.seal()
        yield second


def resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


@pytest.mark.timeout(300 + HOURS * 300)
def test_a_day_offline_follows_at_a_pace_and_live_frames_do_not_wait(
    site_with: Callable[[str], Site], mosquitto: Any, tmp_path: Path
) -> None:
    began = time.monotonic()
    (tmp_path / "state").mkdir()
    start = Start(tmp_path / "state", "boot-1", 0.0)
    memory = [resident_mb() for second in offline(start, HOURS) if second % 300 == 0 or second == 60]
    sealed_s = time.monotonic() - began
    waiting, left = start.outbox.waiting(), start.outbox.mark()
    frames = int(HOURS * 3600) * FPS
    assert waiting.batches == left.summary + left.detail >= HOURS * 3600
    assert waiting.bytes < 2500 * HOURS * 3600 + 5e6
    assert max(memory) - memory[0] < 40, "memory does not grow with the outage"

    mosquitto.start()
    site = site_with(mosquitto.url)
    site.collector().start()
    wait_for(site.ready, "the collector")
    onlooker = Onlooker(mosquitto.url)
    began = time.monotonic()
    start.connect(BrokerSettings(url=site.broker_url, retry_s_max=0.5), RATE)
    live = Live(start)
    try:
        while any(one.first <= getattr(left, one.lane) for one in start.outbox.held() or ()):
            memory.append(resident_mb())
            time.sleep(0.5)
            assert time.monotonic() - began < 120 + 3 * waiting.batches / RATE, "the backlog does not come through"
        drained_s = time.monotonic() - began
    finally:
        live.stop()
    assert start.end(drain_s=60), "everything is confirmed"
    onlooker.stop()

    ledger = site.ledger()
    given = frames + live.frames
    assert (ledger["missing"], ledger["captured"], ledger["fates"]) == (0, given, {**ledger["fates"], "stored": given})
    assert drained_s >= 0.9 * waiting.batches / RATE - 2, "no faster than its pace"
    for lane, last in (("summary", left.summary), ("detail", left.detail)):
        numbers = [number for name, number in onlooker.first if name == lane]
        assert [n for n in numbers if n <= last] == list(range(1, last + 1)), "the oldest first, none left out"
        assert [n for n in numbers if n > last] == sorted(n for n in numbers if n > last)
    # Until the last of the backlog was seen: its ack comes later, and what is sealed meanwhile overtakes nothing.
    last_seen = onlooker.first["detail", left.detail]
    during = {key: at for key, at in live.sealed.items() if at < last_seen - 0.5}
    overtook = [key for key in during if onlooker.first[key] < last_seen]
    assert during
    assert len(overtook) > 0.8 * len(during), "live batches overtake the backlog"
    delays = sorted(onlooker.first[key] - at for key, at in during.items())
    assert max(memory) - memory[0] < 60
    print(  # noqa: T201  # for whoever runs the whole day
        f"{frames} frames in {HOURS:g} h offline: sealed in {sealed_s:.0f} s; {waiting.batches} batches, "
        f"{waiting.bytes / 1e6:.1f} MB on disk; delivered in {drained_s:.0f} s beside {len(during)} live batches, "
        f"late by {delays[len(delays) // 2]:.2f} s (median), {delays[-1]:.2f} s (most); "
        f"{onlooker.times - len(onlooker.first)} sent twice; {memory[0]:.0f} to {max(memory):.0f} MB resident; "
        "missing 0"
    )
