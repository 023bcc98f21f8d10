"""A device's clock jumps to 2036, to 1973 and back while it works, whatever its kernel says of it."""

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import greymodel
import listed
import movedclock
import pytest
from smallsite import Site, wait_for

pytestmark = pytest.mark.journey

YEAR_S = 365 * 86_400
JUMPS_S = (10 * YEAR_S, -53 * YEAR_S, 0)
"""To 2036, to 1973, and back."""


def rows(site: Site, query: str) -> list[Any]:
    """What the store holds."""
    store = sqlite3.connect(f"file:{site.folder / 'vigie.db'}?mode=ro", uri=True)
    try:
        return store.execute(query).fetchall()
    finally:
        store.close()


@pytest.mark.parametrize(
    ("device_kept", "collector_kept"),
    [("yes", "yes"), ("yes", "no"), ("no", "yes")],
    ids=["both", "device", "collector"],
)
def test_no_jump_of_a_devices_clock_dates_loses_or_doubles_anything(
    site_with: Callable[[str], Site], mosquitto: Any, tmp_path: Path, device_kept: str, collector_kept: str
) -> None:
    mosquitto.start()
    site = site_with(mosquitto.url)
    greymodel.save(tmp_path / "grey.onnx")
    (tmp_path / movedclock.KEPT).write_text(device_kept)
    movedclock.move(tmp_path, 0)
    source = "{'listed:Listed': given.txt, progress: pi-roof-state/progress, pace_s: 0.02}"
    collector = site.collector()
    collector._command = [sys.executable, "-m", "keptclock", collector_kept, *collector._command[1:]]
    agent = site.agent(
        f"  - {{name: cam0, source: {source}, model: grey.onnx}}\n", command=[sys.executable, "-m", "movedclock"]
    )
    began_ns = time.time_ns()
    collector.start()
    wait_for(site.ready, "the collector")
    agent.start()

    def stored() -> int:
        fates: dict[str, int] = site.ledger()["fates"]
        return fates.get("stored", 0)

    wait_for(lambda: stored() > 10, "frames before any jump")
    for ahead_s in JUMPS_S:
        movedclock.move(tmp_path, ahead_s)
        before = stored()
        wait_for(lambda before=before: stored() > before + 25, f"frames {ahead_s} s away")  # type: ignore[misc]  # mypy cannot infer a lambda's default
    assert agent.stop() == 0, "it waits until everything is confirmed"
    now_ns = time.time_ns()

    ledger = site.ledger()
    assert ledger["missing"] == ledger["fates"]["quarantined"] == ledger["fates"]["expired"] == 0
    given = set(listed.given(tmp_path / "given.txt"))
    names = [(row["nonce"], row["frame"]) for row in site.predictions()]
    assert len(names) == len(set(names)), "nothing twice"
    assert len(given - set(names)) == ledger["outcomes"]["skipped"], "nothing missing but what was read ahead"
    for table, column in (("observations", "captured_at_ns"), ("events", "at_ns"), ("windows", "started_at_ns")):
        query = f"SELECT min({column}), max({column}) FROM {table}"  # noqa: S608  # names from the line above
        ((first_ns, last_ns),) = rows(site, query)
        assert began_ns - 3 * 10**9 < first_ns <= last_ns < now_ns + 3 * 10**9, f"no {table} in 1973 or 2036"
    told = {name for (name,) in rows(site, "SELECT DISTINCT name FROM events")}
    assert ("clock_disagrees" in told) is (device_kept == "yes"), "told where a kept clock was wrong"
