"""A store that was restored from a backup, or lost, asks the devices for what it lacks, and refills itself."""

import contextlib
import shutil
import sqlite3
import subprocess
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import greymodel
import listed
import pytest
from smallsite import Site, program, wait_for

pytestmark = pytest.mark.journey

QUICK = "gaps: {after_s: 1, tries: 30}\n"
VITALS = "drain_s: 20\nvitals_s: 2"


def streams(folder: Path) -> str:
    if not (folder / "grey.onnx").exists():
        greymodel.save(folder / "grey.onnx")
    source = "{'listed:Listed': given.txt, progress: pi-roof-state/progress, pace_s: 0.05}"
    return f"  - {{name: cam0, source: {source}, model: grey.onnx, snapshot_s: 0}}\n"


def starts(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.ledger()["epochs"]
    return found


def at_rest(site: Site) -> bool:
    """Whether every frame that was numbered is accounted for, and no batch is missing or waits."""
    try:
        ledger = site.ledger()
    except urllib.error.URLError:
        return False
    lanes = [lane for epoch in ledger["epochs"] for lane in epoch["batches"].values()]
    whole = ledger["captured"] > 0 and not ledger["missing"] and not ledger["waiting"]
    return whole and not any(lane["missing"] or lane["waiting"] for lane in lanes)


def stored(site: Site) -> set[tuple[str, int]]:
    rows = site.predictions()
    found = {(row["nonce"], row["frame"]) for row in rows}
    assert len(found) == len(rows), "nothing twice"
    return found


def live_for(site: Site, agent: Any, frames: int) -> None:
    """Let the agent's next start deliver some frames, and stop it in good order."""
    before = len(starts(site))
    agent.start()
    wait_for(lambda: len(starts(site)) > before and starts(site)[-1]["last"] >= frames, "frames of this start")
    assert agent.stop() == 0, "it waits until everything is confirmed"


def backup(path: Path, to: Path) -> None:
    """As an administrator makes one of a running store."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(to)) as copy:
        source.backup(copy)


def put_back(folder: Path, copy: Path | None) -> None:
    """Replace the store by a copy, or by nothing."""
    for name in ("vigie.db", "vigie.db-wal", "vigie.db-shm"):
        (folder / name).unlink(missing_ok=True)
    if copy is not None:
        shutil.copy(copy, folder / "vigie.db")


@pytest.mark.parametrize("kept", [True, False], ids=["an old backup", "an empty store"])
def test_a_restored_store_refills_itself(site_with: Callable[[str], Site], mosquitto: Any, *, kept: bool) -> None:
    """The agent was restarted twice in between: the old store knows neither of the two starts."""
    mosquitto.start()
    site = site_with(mosquitto.url)
    collector, agent = site.collector(QUICK), site.agent(streams(site.folder), extra=VITALS)
    collector.start()
    wait_for(site.ready, "the collector")
    live_for(site, agent, 20)
    copy = site.folder / "yesterday.db"
    backup(site.folder / "vigie.db", copy)
    live_for(site, agent, 20)
    live_for(site, agent, 20)
    agent.start()
    wait_for(lambda: len(starts(site)) == 4 and starts(site)[-1]["last"] >= 20, "the start that goes on")
    before = stored(site)
    assert len({nonce for nonce, _ in before}) == 4
    collector.stop()
    put_back(site.folder, copy if kept else None)
    collector.start()
    wait_for(site.ready, "the collector")
    wait_for(lambda: len(starts(site)) == 4 and stored(site) >= before and at_rest(site), "what it lacked", 120)
    assert agent.stop() == 0
    wait_for(lambda: at_rest(site), "the end")
    given = listed.given(site.folder / "given.txt")
    found, ledger = stored(site), site.ledger()
    assert before <= found <= set(given)
    assert len(set(given) - found) == ledger["outcomes"]["skipped"], "read ahead when the agent was asked to stop"
    assert (ledger["captured"], ledger["sealed"]) == (sum(ledger["outcomes"].values()), sum(ledger["fates"].values()))
    assert "greenhouse/pi-roof is asked to send again detail batches" in collector.said()
    audit = [program("vigie-collector"), "audit", "greenhouse/pi-roof", "--config", str(site.folder / "collector.yaml")]
    done = subprocess.run(audit, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    events = {event["name"] for event in site.get("/api/v1/events?from=-1h")["events"]}
    assert "gap_remains" not in events
