"""A frame's whole way: agent process, real broker, collector process, SQLite, REST; nothing missing, nothing twice."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import listed
import pytest
from greysite import check_against_the_list, streams
from smallsite import Site, program, wait_for

pytestmark = pytest.mark.journey

FRAMES = 250
SCORE_STEP = 0.000051
BOX_ROUNDING_PX = 0.006
"""Stored are whole 1/10000 of scores and of the picture's sides; REST and `predict` round what they print, too."""


def summed_frames(site: Site) -> int:
    rows = site.get("/api/v1/summary?from=-1h")["rows"]
    return sum(row["frames"] for row in rows)


def stored_frames(site: Site) -> int:
    fates: dict[str, int] = site.ledger()["fates"]
    return fates.get("stored", 0)


def test_every_frame_arrives_once_as_itself(site_with: Callable[[str], Site], broker: Any) -> None:
    broker.start()
    site = site_with(broker.url)
    collector, agent = site.collector(), site.agent(streams(site.folder, count=FRAMES))
    collector.start()
    wait_for(site.ready, "the collector")
    agent.start()
    assert wait_for(lambda: agent.code is not None, "the source to end")
    assert agent.code == 0
    wait_for(lambda: stored_frames(site) == FRAMES, "every frame in the store")
    rows = check_against_the_list(site)
    assert [row["frame"] for row in rows] == list(range(1, FRAMES + 1))
    (device,) = site.get("/api/v1/devices")["devices"]
    assert (device["site"], device["device"], device["epoch"]) == ("greenhouse", "pi-roof", 1)
    assert device["streams"][0]["model_version"] == "2.1"


def test_summaries_agree_with_what_is_stored(site_with: Callable[[str], Site], mosquitto: Any) -> None:
    mosquitto.start()
    site = site_with(mosquitto.url)
    collector, agent = site.collector(), site.agent(streams(site.folder, count=FRAMES))
    collector.start()
    agent.start()
    assert wait_for(lambda: agent.code is not None, "the source to end")
    wait_for(lambda: stored_frames(site) == FRAMES, "every frame in the store")

    def row() -> dict[str, Any] | None:
        rows = site.get("/api/v1/summary?by=site,device,stream,model,version&from=-1h")["rows"]
        return next((r for r in rows if r["frames"] == FRAMES), None)

    summary = wait_for(row, "the windows")
    assert summary["outcomes"]["ok"] == FRAMES
    assert summary["requests"] == FRAMES
    assert summary["error_rate"] == 0
    assert summary["without_detection"]["share"] == 0
    (grey,) = summary["classes"]
    assert (grey["class"], grey["frames"], grey["detections"], grey["share"]) == ("grey", FRAMES, FRAMES, 1)


def test_a_live_source_skips_and_says_so(site_with: Callable[[str], Site], mosquitto: Any) -> None:
    """Frames come faster than they are looked at: each is looked at or booked as skipped."""
    mosquitto.start()
    site = site_with(mosquitto.url)
    collector, agent = site.collector(), site.agent(streams(site.folder, count=3000, live=True, pace_s=0.0002))
    collector.start()
    wait_for(site.ready, "the collector")
    agent.start()
    assert wait_for(lambda: agent.code is not None, "the source to end")
    assert agent.code == 0
    ledger = wait_for(lambda: (got := site.ledger())["captured"] == 3000 and got, "every frame accounted for")
    assert ledger["outcomes"]["ok"] + ledger["outcomes"]["skipped"] == 3000
    assert ledger["outcomes"]["skipped"] > 0
    assert ledger["outcomes"]["ok"] == len(site.predictions())
    assert ledger["missing"] == 0


def test_an_agent_killed_again_and_again_loses_only_what_was_not_sealed(
    site_with: Callable[[str], Site], mosquitto: Any
) -> None:
    mosquitto.start()
    site = site_with(mosquitto.url)
    collector, agent = site.collector(), site.agent(streams(site.folder, pace_s=0.02))
    collector.start()
    wait_for(site.ready, "the collector")
    for run in range(1, 4):
        agent.start()
        wait_for(lambda run=run: len(site.ledger()["epochs"]) == run, f"start {run}")  # type: ignore[misc]  # mypy cannot infer a lambda's default
        before = stored_frames(site)
        wait_for(lambda before=before: stored_frames(site) > before + 30, "frames of this start")  # type: ignore[misc]  # as above
        agent.kill()
    agent.start()
    wait_for(lambda: len(site.ledger()["epochs"]) == 4, "the last start")
    wait_for(lambda: site.ledger()["epochs"][-1]["last"] > 0, "its frames")
    assert agent.stop() == 0, "it waits until everything is confirmed"
    rows = check_against_the_list(site, lost_allowed=3 * 100)
    ledger = site.ledger()
    killed = ledger["epochs"][:3]
    assert all(epoch["tail_lost"] <= 100 for epoch in killed), "at 50 frames a second: a second, and a busy machine's"
    windows = wait_for(
        lambda: summed_frames(site) == ledger["outcomes"]["ok"] + ledger["outcomes"]["skipped"], "windows"
    )
    assert windows, "what a killed agent had in the making is told by its next start"
    assert ledger["fates"]["unsealed"] == sum(epoch["tail_lost"] for epoch in killed) > 0
    assert ledger["epochs"][3]["tail_lost"] == 0
    given = listed.given(site.folder / "given.txt")
    # A kill can fall between the source's note and the frame's number: then the list has one more.
    accounted = len(rows) + ledger["fates"]["unsealed"] + ledger["outcomes"]["skipped"]
    assert len(given) - 3 <= accounted <= len(given)


def test_a_broker_away_for_a_minute_costs_nothing(site_with: Callable[[str], Site], mosquitto: Any) -> None:
    mosquitto.start()
    site = site_with(mosquitto.url)
    collector, agent = site.collector(), site.agent(streams(site.folder, pace_s=0.05))
    collector.start()
    wait_for(site.ready, "the collector")
    agent.start()
    wait_for(lambda: stored_frames(site) > 20, "the first frames")
    mosquitto.stop()
    at_stop = len(listed.given(site.folder / "given.txt"))
    wait_for(lambda: len(listed.given(site.folder / "given.txt")) >= at_stop + 60 / 0.05, "a minute", 120)
    assert stored_frames(site) <= at_stop
    assert "connection refused: is the broker running there?" in agent.said()
    mosquitto.start()
    given = len(listed.given(site.folder / "given.txt"))
    wait_for(lambda: stored_frames(site) >= given, "what waited on the device", 120)
    assert agent.stop() == 0
    check_against_the_list(site, lost_allowed=0)


def test_a_collector_killed_and_restarted_costs_nothing(site_with: Callable[[str], Site], mosquitto: Any) -> None:
    mosquitto.start()
    site = site_with(mosquitto.url)
    collector, agent = site.collector(), site.agent(streams(site.folder, pace_s=0.02))
    collector.start()
    wait_for(site.ready, "the collector")
    agent.start()
    for _ in range(3):
        before = stored_frames(site)
        wait_for(lambda before=before: stored_frames(site) > before + 30, "frames")  # type: ignore[misc]  # a lambda's default
        collector.kill()
        given = len(listed.given(site.folder / "given.txt"))
        wait_for(lambda given=given: len(listed.given(site.folder / "given.txt")) > given + 50, "frames meanwhile")  # type: ignore[misc]  # as above
        collector.start()
        wait_for(site.ready, "the collector")
    assert agent.stop() == 0
    total = len(listed.given(site.folder / "given.txt"))
    wait_for(lambda: stored_frames(site) >= total - 1, "every frame")
    check_against_the_list(site, lost_allowed=0)


def test_an_agent_without_a_collector_says_so(site_with: Callable[[str], Site], mosquitto: Any) -> None:
    mosquitto.start()
    site = site_with(mosquitto.url)
    agent = site.agent(streams(site.folder, pace_s=0.05))
    agent.start()
    wait_for(lambda: "no collector" in agent.said(), "the agent to say that nobody confirms")
    collector = site.collector()
    collector.start()
    wait_for(site.ready, "the collector")
    given = len(listed.given(site.folder / "given.txt"))
    wait_for(lambda: stored_frames(site) >= given, "what waited on the device")
    assert agent.stop() == 0


@pytest.mark.assets
@pytest.mark.timeout(600)
def test_what_is_stored_is_what_predict_says(site_with: Callable[[str], Site], mosquitto: Any, assets: Path) -> None:
    """A real detector on a real clip: `run` and `predict` agree on every frame, to the stored precision."""
    model, clip = assets / "models/yolox_nano_416_kazuhito.onnx", assets / "videos/intel_bottle-detection.mp4"
    told = subprocess.run(
        [program("vigie-agent"), "predict", model, clip, "--json", "--score", "0.3", "--iou", "0.5"],
        capture_output=True, text=True, check=True, cwd=site_with("mqtt://127.0.0.1:1").folder,
    ).stdout.splitlines()  # fmt: skip
    predicted = [json.loads(line) for line in told]

    mosquitto.start()
    site = site_with(mosquitto.url)
    stream = f"  - {{name: cam0, source: {{files: {clip}}}, model: {model}, score: 0.3, iou: 0.5, snapshot_s: 0}}\n"
    collector, agent = site.collector(), site.agent(stream)
    collector.start()
    wait_for(site.ready, "the collector")
    agent.start()
    wait_for(lambda: stored_frames(site) == len(predicted), "every frame in the store", 400)
    rows = site.predictions()
    assert [row["frame"] for row in rows] == [line["frame"] for line in predicted] == list(range(1, 1190))
    for row, line in zip(rows, predicted, strict=True):
        assert len(row["detections"]) == len(line["detections"])
        for stored, direct in zip(row["detections"], line["detections"], strict=True):
            assert (stored["class"], stored["class_id"]) == (direct["class"], direct["class_id"])
            assert abs(stored["score"] - direct["score"]) <= SCORE_STEP
            sides = (line["width"], line["height"]) * 2
            assert all(
                abs(a - b) <= side * 0.00005 + BOX_ROUNDING_PX
                for a, b, side in zip(stored["box"], direct["box"], sides, strict=True)
            )
    assert sum(len(line["detections"]) for line in predicted) > 300, "the clip shows bottles"
