"""A picture that is pushed: its answer, `predict --json` and what the collector stores say the same."""

import http.client
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import greymodel
import numpy as np
import pytest
from smallsite import Site, free_port, program, wait_for

pytestmark = pytest.mark.journey

WIDTH, HEIGHT = 64, 48
BOX_ROUNDING_PX = 0.009
"""Stored are whole 1/10000 of the picture's sides; REST rounds what it prints, too."""


def pictures(folder: Path) -> list[Path]:
    paths = [folder / f"{grey}.png" for grey in range(10, 240, 10)]
    for path in paths:
        cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), int(path.stem), np.uint8))
    return paths


def push(port: int, body: bytes) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/predict", body, {"Content-Type": "image/png"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_the_answer_is_what_is_stored(site_with: Callable[[str], Site], mosquitto: Any) -> None:
    mosquitto.start()
    site, port = site_with(mosquitto.url), free_port()
    greymodel.save(site.folder / "grey.onnx")
    stream = f"  - {{name: cam0, source: {{push: {port}}}, model: grey.onnx, snapshot_s: 0}}\n"
    collector, agent = site.collector(), site.agent(stream)
    collector.start()
    agent.start()
    wait_for(lambda: healthy(port), "the server")
    paths = pictures(site.folder)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda path: push(port, path.read_bytes()), paths))
    assert {status for status, _ in answers} == {200}
    status, damaged = push(port, paths[0].read_bytes()[:60])
    assert status == 422
    assert push(port, b"hello")[0] == 415

    done = subprocess.run(
        [program("vigie-agent"), "predict", "grey.onnx", *map(str, paths), "--json"],
        cwd=site.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    for (_, answer), line in zip(answers, done.stdout.splitlines(), strict=True):
        predicted = json.loads(line)
        for key in ("task", "width", "height", "detections"):
            assert answer[key] == predicted[key]
        assert answer["model"]["name"] == predicted["model"]

    assert agent.stop() == 0
    wait_for(lambda: site.ready() and len(site.predictions()) == len(paths), "every frame in the store")
    rows = {row["frame"]: row for row in site.predictions()}
    assert set(rows) | {damaged["frame"]} == set(range(1, len(paths) + 2))
    for _, answer in answers:
        row = rows[answer["frame"]]
        (told,), (stored,) = answer["detections"], row["detections"]
        assert (stored["class"], stored["score"]) == (told["class"], told["score"])
        assert stored["box"] == pytest.approx(told["box"], abs=BOX_ROUNDING_PX)
        assert (row["width"], row["height"]) == (answer["width"], answer["height"])
    ledger = site.ledger()
    assert (ledger["outcomes"]["ok"], ledger["outcomes"]["unreadable"]) == (len(paths), 1)

    def counted() -> Any:
        return [row["http_requests"] for row in site.get("/api/v1/summary?from=-1h")["rows"]]

    wait_for(lambda: counted() == [{"200": len(paths), "415": 1, "422": 1}], f"the counts, not {counted()}")
