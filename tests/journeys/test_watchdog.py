"""What hangs does not stay unheard: real processes, a real broker, and a socket where systemd would listen."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import greymodel
import pytest
from notified import Notified
from smallsite import Process, Site, wait_for

from shared.failpoints import VARIABLE

pytestmark = pytest.mark.journey

ALIVE = "WATCHDOG=1"
HASTY = "drain_s: 2\nthread_deadline_s: 5\ninfer_deadline_s: 3\n"
STREAM = "  - {name: cam0, source: {synthetic: scene}, model: grey.onnx, fps: 20, snapshot_s: 0}\n"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Notified]:
    with Notified(tmp_path) as made:
        yield made


@pytest.fixture
def site(site_with: Callable[[str], Site], mosquitto: Any) -> Site:
    mosquitto.start()
    made = site_with(mosquitto.url)
    greymodel.save(made.folder / "grey.onnx")
    return made


def agent_of(site: Site, systemd: Notified, failpoint: str = "", extra: str = HASTY, **options: Any) -> Process:
    agent = site.agent(STREAM, extra=extra, **options)
    agent.variables = {**systemd.variables, VARIABLE: failpoint}
    agent.start()
    return agent


def collector_of(site: Site) -> None:
    site.collector().start()
    wait_for(site.ready, "the collector")


def code_of(agent: Process) -> int:
    """Of its end, which is waited for."""
    code: int = wait_for(lambda: agent.code, "the agent to end")
    return code


def events(site: Site) -> dict[str, str]:
    """The newest detail of each event."""
    told = site.get("/api/v1/events?limit=1000")["events"]
    return {event["name"]: event["detail"] for event in told[::-1]}


def test_systemd_hears_that_the_agent_is_ready_lives_and_ends(site: Site, systemd: Notified) -> None:
    collector_of(site)
    agent = agent_of(site, systemd)
    wait_for(lambda: systemd.hear().count(ALIVE) >= 2, "two signs of life")
    assert systemd.lines.index("READY=1") < systemd.lines.index(ALIVE)
    wait_for(lambda: any(line.startswith("STATUS=connected") for line in systemd.hear()), "what it does")
    agent.send(signal.SIGSTOP)
    systemd.hear()
    assert systemd.silent_for(ALIVE, 3.0), "who stands still says nothing, and systemd ends it"
    agent.send(signal.SIGCONT)
    wait_for(lambda: not systemd.silent_for(ALIVE, 0.1), "a sign of life from who goes on")
    assert agent.stop() == 0
    assert "STOPPING=1" in systemd.hear()
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in systemd.lines)


def test_a_model_that_hangs_costs_its_frame_and_a_start_and_nothing_else(site: Site, systemd: Notified) -> None:
    collector_of(site)
    agent = agent_of(site, systemd, "before_infer:hang:40")
    wait_for(lambda: ALIVE in systemd.hear(), "a sign of life")
    assert wait_for(lambda: agent.code, "the agent to end") == 75
    assert "the model hangs: no progress for" in agent.said()
    assert "in infer" in agent.said(), "the log says where"
    again = agent_of(site, systemd)
    wait_for(lambda: systemd.hear().count("READY=1") == 2, "the second start")
    before = site.ledger()["outcomes"].get("ok", 0)
    wait_for(lambda: site.ledger()["outcomes"].get("ok", 0) > before + 60, "frames of the second start")
    assert again.stop() == 0
    ledger = site.ledger()
    assert ledger["outcomes"]["failed"] == 1
    assert (ledger["missing"], ledger["fates"]["unsealed"]) == (0, 0)
    assert ledger["captured"] == sum(ledger["outcomes"].values())
    assert events(site)["agent_restarting"].startswith("cam0: the model: no progress for")


def test_a_sealer_that_hangs_ends_the_agent_and_the_next_start_tells_why(site: Site, systemd: Notified) -> None:
    collector_of(site)
    agent = agent_of(site, systemd, "before_put:hang:6")
    assert wait_for(lambda: agent.code, "the agent to end") == 75
    assert systemd.silent_for(ALIVE, 0.0)
    again = agent_of(site, systemd)
    wait_for(lambda: events(site).get("agent_restarting"), "the reason")
    assert events(site)["agent_restarting"].startswith("told late, by the start after: sealing: no progress for")
    wait_for(lambda: site.ledger()["outcomes"].get("ok", 0) > 20, "frames of the second start")
    assert again.stop() == 0
    ledger = site.ledger()
    assert ledger["missing"] == 0
    assert ledger["captured"] == sum(ledger["outcomes"].values())


def test_an_agent_that_is_asked_to_end_does_so_whatever_hangs(site: Site, systemd: Notified, mosquitto: Any) -> None:
    extra = "drain_s: 600\nthread_deadline_s: 3600\ninfer_deadline_s: 0\n"
    agent = agent_of(site, systemd, "before_infer:hang:20", extra=extra)
    wait_for(lambda: "connected to" in agent.said(), "the broker")
    wait_for(lambda: ALIVE in systemd.hear(), "a sign of life")
    mosquitto.freeze()  # takes everything, answers nothing
    wait_for(lambda: not systemd.silent_for(ALIVE, 2.0), "another one: a model that may take for ever is no fault")
    agent.send(signal.SIGTERM)
    wait_for(lambda: "is left behind" in agent.said(), "the model to be given up")
    assert not agent.ended, "it waits for the collector"
    agent.send(signal.SIGTERM)
    assert wait_for(lambda: agent.ended, "the agent to end", 30.0)
    assert "ending faster" in agent.said()


def test_starts_that_end_too_soon_lead_to_safe_mode_which_delivers_and_says_why(site: Site, systemd: Notified) -> None:
    collector_of(site)
    hasty = f"{HASTY}safe_mode_after: 3\n"
    crashing = (sys.executable, "-m", "sabotage", "crash")
    for _ in range(3):
        assert code_of(agent_of(site, systemd, extra=hasty, command=crashing)) == -signal.SIGSEGV
    safe = agent_of(site, systemd, extra=hasty, command=crashing)
    wait_for(lambda: events(site).get("safe_mode"), "safe mode to be told")
    assert "3 starts in a row ended within" in events(site)["safe_mode"]
    assert "while loading the model of cam0 (grey.onnx)" in events(site)["safe_mode"]
    (device,) = site.get("/api/v1/devices")["devices"]
    assert device["online"]
    assert device["streams"][0]["error"].startswith("safe mode: 3 starts")
    assert wait_for(lambda: safe.code, "its pause to be over") == 75
    trial = agent_of(site, systemd, extra=hasty, command=crashing)
    assert wait_for(lambda: trial.code, "a start as usual") == -signal.SIGSEGV
    again = agent_of(site, systemd, extra=hasty)
    wait_for(lambda: "safe mode for 120 s" in again.said(), "safe mode, for longer")
    assert again.stop() == 0
    mended = agent_of(site, systemd, extra=hasty)
    wait_for(lambda: site.ledger()["outcomes"].get("ok", 0) > 5, "frames, after a stop that somebody asked for")
    assert mended.stop() == 0


def test_a_hung_collector_is_not_called_alive_and_ends(site: Site, systemd: Notified) -> None:
    agent = site.agent(STREAM)
    agent.start()
    collector = site._process("collector", [sys.executable, "-m", "sabotage", "collector", "run", "--config", ""])
    site.collector()
    collector._command[-1] = str(site.folder / "collector.yaml")
    collector.variables = {**systemd.variables, VARIABLE: "before_write:hang:3"}
    collector.start()
    wait_for(lambda: ALIVE in systemd.hear(), "a sign of life")
    assert wait_for(lambda: collector.code, "the collector to end") != 0
    assert "ingest hangs: no progress for" in collector.said()
    collector_of(site)
    wait_for(lambda: site.ledger()["outcomes"].get("ok", 0) > 20, "what was not acked, from the device")
    assert agent.stop() == 0
    assert site.ledger()["missing"] == 0


def test_maintenance_is_told_shown_and_ended(site: Site, systemd: Notified) -> None:
    collector_of(site)
    agent = agent_of(site, systemd)
    config = str(site.folder / "pi-roof.yaml")

    def command(*words: str) -> str:
        called = site._process(
            "maintenance", [sys.executable, "-m", "agent", "maintenance", "--config", config, *words]
        )
        called.log.unlink(missing_ok=True)
        called.start()
        assert wait_for(lambda: called.ended, "the command")
        assert called.code == 0
        return called.said()

    assert "no maintenance" in command()
    assert "maintenance for 2:00:00 more" in command("2h")
    wait_for(lambda: "maintenance_began" in events(site), "its begin to be told")
    wait_for(lambda: site.get("/api/v1/devices")["devices"][0]["maintenance"], "the device to be in maintenance")
    assert "no maintenance" in command("off")
    wait_for(lambda: "maintenance_ended" in events(site), "its end to be told")
    wait_for(lambda: not site.get("/api/v1/devices")["devices"][0]["maintenance"], "the device to be at work")
    assert agent.stop() == 0
