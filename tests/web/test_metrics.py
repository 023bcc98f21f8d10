"""/metrics, /healthz, /readyz and the request log."""

import json
import logging

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from collector.queries import Queries
from collector.web import create_app, requestlog
from collector.web.metrics import GAUGES
from tests.web.seed import Camera


def _samples(world):
    answer = world.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_every_device_has_its_gauges(greenhouse):
    greenhouse.add(Camera(device="pi-far", silent_s=300))
    found = _samples(greenhouse)
    roof = (("device", "pi-roof"), ("site", "greenhouse"))
    far = (("device", "pi-far"), ("site", "greenhouse"))
    stream = (*roof, ("stream", "cam0"))
    assert found["vigie_store_up", ()] == 1
    assert (found["vigie_device_online", roof], found["vigie_device_online", far]) == (1, 0)
    assert found["vigie_device_last_seen_age_seconds", far] == pytest.approx(299.9)
    assert found["vigie_device_ledger_captured_frames", roof] == 1200
    assert found["vigie_device_ledger_missing_frames", roof] == 0
    assert found["vigie_stream_frames_per_second", stream] == 2
    assert found["vigie_stream_without_detection_ratio", stream] == 0.2
    assert found["vigie_stream_error_ratio", stream] == 0
    told = greenhouse.client.get("/api/v1/fleet").json["devices"][2]["streams"][0]
    assert found["vigie_stream_response_p95_seconds", stream] == told["response_ms"]["p95"] / 1000
    assert {name for name, _ in found} >= set(GAUGES)


def test_requests_are_counted_by_endpoint_never_by_path(greenhouse):
    greenhouse.client.get("/api/v1/devices/greenhouse/pi-roof/ledger")
    greenhouse.client.get("/wp-login.php")
    greenhouse.client.open("/", method="BREW")
    found = _samples(greenhouse)
    assert (
        found[
            "vigie_http_requests_total",
            (("endpoint", "/api/v1/devices/<site>/<device>/ledger"), ("method", "GET"), ("status", "200")),
        ]
        == 1
    )
    assert found["vigie_http_requests_total", (("endpoint", "(none)"), ("method", "GET"), ("status", "404"))] == 1
    assert found["vigie_http_requests_total", (("endpoint", "(none)"), ("method", "(other)"), ("status", "405"))] == 1
    assert found["vigie_http_request_duration_seconds_count", (("endpoint", "(none)"),)] == 2


def test_a_scrape_without_a_store_says_so_and_keeps_the_rest(greenhouse):
    greenhouse.client.get("/api/v1/devices")
    greenhouse.store.close()
    found = _samples(greenhouse)
    assert found["vigie_store_up", ()] == 0
    assert any(name == "vigie_http_requests_total" for name, _ in found)


def test_alive_and_ready_are_two_things(greenhouse):
    assert greenhouse.client.get("/healthz").json["status"] == "ok"
    assert greenhouse.client.get("/readyz").json == {"status": "ready", "reasons": {}}
    greenhouse.reasons["broker"] = "refused the password: check broker.password_file"
    greenhouse.store.close()
    assert greenhouse.client.get("/healthz").status_code == 200
    answer = greenhouse.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {
        "status": "not ready",
        "reasons": {"broker": "refused the password: check broker.password_file"},
    }


@pytest.fixture
def lines(greenhouse, tmp_path):
    """Reads the request log."""
    path = tmp_path / "requests.log"
    queries = Queries(greenhouse.store, greenhouse.pictures, lambda: greenhouse.now_ns)
    greenhouse.app = create_app(
        queries, CollectorRegistry(), lambda: greenhouse.reasons, greenhouse.pictures, request_log=path
    )
    yield lambda: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for handler in list(requestlog.LOG.handlers):
        requestlog.LOG.removeHandler(handler)
        handler.close()
    requestlog.LOG.setLevel(logging.NOTSET)
    requestlog.LOG.propagate = True


def test_the_log_can_go_to_standard_output_and_moves_there_whole(lines, greenhouse, capsys):
    requestlog.attach(requestlog.STDOUT)
    greenhouse.client.get("/healthz")
    assert json.loads(capsys.readouterr().out)["path"] == "/healthz"
    assert lines() == []


def test_a_log_that_is_rotated_away_is_begun_anew(lines, greenhouse, tmp_path):
    greenhouse.client.get("/healthz")
    (tmp_path / "requests.log").rename(tmp_path / "requests.log.1")
    greenhouse.client.get("/readyz")
    assert [line["path"] for line in lines()] == ["/readyz"]


def test_a_request_is_one_line(greenhouse, lines):
    answer = greenhouse.client.get(
        "/api/v1/predictions?limit=5&device=pi-roof", headers={"X-Request-Id": "from-proxy.1"}
    )
    (line,) = lines()
    assert answer.headers["X-Request-Id"] == line["id"] == "from-proxy.1"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/predictions", 200)
    assert line["ms"] > 0
    assert line["time"].endswith("Z")
    assert line["model"] == "ripeness 1.2.0"
    assert set(line["classes"]) <= {"unripe", "turning", "ripe"}
    assert "error" not in line


def test_an_error_is_in_its_line_and_no_secret_is(greenhouse, lines):
    greenhouse.client.get("/api/v1/devices?token=hunter2", headers={"X-Request-Id": "bad id\twith tab"})
    greenhouse.client.get("/a%0Ab")
    first, second = lines()
    assert (first["status"], first["error"]) == (400, "'token' is not a parameter here. This address takes none.")
    assert "hunter2" not in json.dumps(first)
    assert len(first["id"]) == 32
    assert second["path"] == "/a\nb"  # one line all the same
