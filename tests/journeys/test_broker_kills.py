"""A broker that is killed again and again, with the settings that Debian ships: what it forgets, it may forget.

`VIGIE_BROKER_KILL_MINUTES=20` kills it every 30 s for as long; without it, a few times in a row.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import listed
import pytest
from greysite import check_against_the_list, streams
from smallsite import Site, wait_for

pytestmark = pytest.mark.journey

MINUTES = float(os.environ.get("VIGIE_BROKER_KILL_MINUTES", "0"))
KILLS, EVERY_S = (int(MINUTES * 2), 30.0) if MINUTES else (4, 2.0)


def debian(broker: Any) -> None:
    """As /etc/mosquitto/mosquitto.conf of Debian: persistence on, everything else as built; only the paths differ."""
    broker.extra = [
        f"pid_file {broker.folder}/mosquitto.pid",
        "persistence true",
        f"persistence_location {broker.folder}/",
        f"log_dest file {broker.folder}/mosquitto.log",
    ]


@pytest.mark.timeout(max(300, MINUTES * 60 + 600))
def test_a_broker_killed_again_and_again_costs_nothing(site_with: Callable[[str], Site], mosquitto: Any) -> None:
    debian(mosquitto)
    mosquitto.start()
    site = site_with(mosquitto.url)
    collector, agent = site.collector(), site.agent(streams(site.folder, pace_s=0.1 if MINUTES else 0.02))
    collector.start()
    wait_for(site.ready, "the collector")
    agent.start()
    wait_for(lambda: site.ledger()["fates"].get("stored", 0) > 10, "the first frames")
    for _ in range(KILLS):
        time.sleep(EVERY_S)  # what is tested is a life as short as this one
        mosquitto.kill()
        mosquitto.start()
    given = len(listed.given(site.folder / "given.txt"))
    assert given > KILLS * EVERY_S * 2, "the camera was never stopped by it"
    wait_for(lambda: site.ledger()["fates"].get("stored", 0) >= given, "what the kills delayed", 120)
    assert agent.stop() == 0
    rows = check_against_the_list(site, lost_allowed=0)
    print(f"{KILLS} kills, {len(rows)} frames stored, {given} given before the end: missing 0, twice 0")  # noqa: T201  # figures of the long run, with -s
