"""Asleep at night and awake in the morning: the real agent, whose clock goes through two days in a minute."""

import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import greymodel
import movedclock
import psutil
import pytest
from smallsite import Process, Site, wait_for

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

MORNING_S = 30.0
"""The longest wait for the first frame after waking: the camera's own deadline for opening."""

NIGHT, DAY, NEXT_NIGHT, NEXT_DAY = -3600, -2700, -1800, 0
"""How far the device's clock is ahead of ours. Behind, that is: a collector refuses what was sealed in the future."""


def at(now_s: float, moved_s: int) -> str:
    return f"{datetime.fromtimestamp(now_s + moved_s, timezone.utc):%H:%M}"


def planned_agent(site: Site) -> Process:
    """An agent with a camera that is planned to be awake around `DAY` and `NEXT_DAY`."""
    greymodel.save(site.folder / "grey.onnx")
    now_s = time.time()
    days = [f"{at(now_s, moved_s - 400)}-{at(now_s, moved_s + 460)}" for moved_s in (DAY, NEXT_DAY)]
    source = "{synthetic: any, width: 64, height: 64, live: true, fps: 20}"
    process = site.agent(
        f"  - {{name: cam0, source: {source}, model: grey.onnx, every: 0.25, between: {days}, snapshot_s: 0}}\n",
        extra="drain_s: 20\ntime_zone: UTC",
    )
    process._command = [sys.executable, "-m", "movedclock", "run", "--config", str(site.folder / "pi-roof.yaml")]
    return process


def card(site: Site) -> dict[str, Any]:
    """What the fleet's page shows of the one camera."""
    cards = site.get("/view/fleet")["cards"]
    return cards[0] if cards else {"word": ""}


def cameras(process: Process) -> int:
    """How many processes the agent has beside its own."""
    assert process._process is not None
    return len(psutil.Process(process._process.pid).children())


def captured(site: Site) -> int:
    return int(site.ledger()["captured"])


def test_asleep_at_night_and_awake_in_the_morning(site_with: Callable[[str], Site], mosquitto: Any) -> None:
    mosquitto.start()
    site = site_with(mosquitto.url)
    collector, agent = site.collector(), planned_agent(site)
    collector.start()
    wait_for(site.ready, "the collector")

    movedclock.move(site.folder, NIGHT)
    agent.start()
    wait_for(lambda: card(site)["word"] == "Asleep", "the night, on the page")
    assert (captured(site), cameras(agent)) == (0, 0), "no frame number, and nobody holds the camera"
    assert site.get("/view/fleet")["verdict"]["state"] == "idle", "no problem"

    movedclock.move(site.folder, DAY)
    woken = time.monotonic()
    wait_for(lambda: captured(site) > 0, "the first frame of the day")
    assert time.monotonic() - woken < MORNING_S
    wait_for(lambda: captured(site) > 40, "more of them")

    movedclock.move(site.folder, NEXT_NIGHT)
    wait_for(lambda: card(site)["word"] == "Asleep", "the next night")
    wait_for(lambda: cameras(agent) == 0, "the end of the capture process")
    by_day = captured(site)

    movedclock.move(site.folder, NEXT_DAY)
    wait_for(lambda: card(site)["word"] == "OK", "that all is well in the morning", MORNING_S)
    wait_for(lambda: captured(site) > by_day + 40, "the frames of the next day")
    wait_for(lambda: (kept := summary(site)["coverage"]) and kept > 0.9, "nearly all of the plan")
    assert agent.stop() == 0

    ledger = wait_for(lambda: (got := site.ledger())["sealed"] == got["captured"] and got, "every frame")
    assert ledger["captured"] == sum(ledger["outcomes"].values()) == sum(ledger["fates"].values())
    assert (ledger["missing"], ledger["outcomes"]["unreadable"], ledger["outcomes"]["unknown"]) == (0, 0, 0)
    stream = ledger["epochs"][0]["streams"]["cam0"]
    # More than planned was seen once (1.077): frames that come while a night begins, probably.
    assert 0.85 < stream["coverage"] <= 1.2
    assert stream["asleep_s"] > 0
    told = [event["name"] for event in site.get("/api/v1/events?from=-2h")["events"] if event["stream"] == "cam0"]
    assert told == ["stream_awake", "stream_asleep", "stream_awake", "stream_asleep"], "newest first, and no trouble"


def summary(site: Site) -> dict[str, Any]:
    rows: list[dict[str, Any]] = site.get("/api/v1/summary?from=-2h")["rows"]
    return rows[0] if rows else {"coverage": None}
