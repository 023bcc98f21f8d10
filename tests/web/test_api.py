"""REST v1 over a real store: shapes, figures, and every error in RFC 9457 form."""

import gzip
import json

import pytest
from prometheus_client import CollectorRegistry

from collector.queries import Queries
from collector.web import create_app
from collector.web.api import PARAMETERS
from tests.web.seed import SHA, Camera, batches, status

DEVICE = "/api/v1/devices/greenhouse/pi-roof"
SNAPSHOT = f"{DEVICE}/streams/cam0/snapshot"


def test_devices_tells_every_device_with_its_streams(greenhouse):
    body = greenhouse.client.get("/api/v1/devices").json
    assert [(one["site"], one["device"], one["online"]) for one in body["devices"]] == [
        ("greenhouse", "pi-door", True),
        ("greenhouse", "pi-roof", True),
    ]
    roof = body["devices"][1]
    assert (roof["name"], roof["epoch"], roof["agent_version"]) == ("pi-roof", 1, "0.1.0")
    assert roof["last_seen"].endswith("Z")
    stream = roof["streams"][0]
    assert {key: stream[key] for key in ("stream", "model", "model_version", "model_sha256", "provider", "fps")} == {
        "stream": "cam0",
        "model": "ripeness",
        "model_version": "1.2.0",
        "model_sha256": SHA,
        "provider": "CPUExecutionProvider",
        "fps": 2.0,
    }


def test_the_ledger_accounts_for_every_frame(greenhouse):
    body = greenhouse.client.get(f"{DEVICE}/ledger").json
    assert (body["captured"], body["sealed"], body["missing"]) == (1200, 1200, 0)
    assert body["outcomes"]["ok"] == body["fates"]["stored"] == 1200
    assert [epoch["epoch"] for epoch in body["epochs"]] == [1]
    # Batches are sealed every 10 s with 20 frames each.
    assert greenhouse.client.get(f"{DEVICE}/ledger?from=-95s").json["captured"] == 180


def test_a_batch_that_never_came_is_missing_everywhere(world):
    sent = batches(Camera(), world.now_ns)
    lost = next(one for one in sent if one.batch.header.lane == "detail" and one.batch.header.batch == 7)
    world.store.write([one for one in sent if one is not lost])
    world.store.write_statuses([status(Camera(), world.now_ns)])
    body = world.client.get(f"{DEVICE}/ledger").json
    assert (body["captured"], body["sealed"], body["missing"]) == (1200, 1180, 20)
    view = world.client.get("/view/streams/greenhouse/pi-roof/cam0").json
    assert view["ledger_line"] == "20 of 1,200 frames missing"
    assert ["Start 1", "1,200 frames; detail batches 7 missing"] in view["ledger"]["rows"]
    assert view["ledger"]["state"] == "bad"
    card = world.client.get("/view/fleet").json["cards"][0]
    assert (card["word"], card["reason"]) == ("OK", "20 frames are missing from this device's ledger.")


def test_predictions_come_newest_first_and_page_to_the_end(greenhouse):
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"device": "pi-roof", "limit": 500} | ({"cursor": cursor} if cursor else {})
        body = greenhouse.client.get("/api/v1/predictions", query_string=query).json
        seen += [one["frame"] for one in body["predictions"]]
        cursor = body["next_cursor"]
    assert seen == list(range(1200, 0, -1))


def test_a_prediction_says_what_was_seen_and_what_it_cost(greenhouse):
    one = greenhouse.client.get("/api/v1/predictions?device=pi-roof&limit=1&min_score=0.3&class=ripe").json[
        "predictions"
    ][0]
    assert (one["site"], one["device"], one["stream"], one["outcome"]) == ("greenhouse", "pi-roof", "cam0", "ok")
    assert set(one["timings_ms"]) >= {"capture", "wait", "prepare", "infer", "decode"}
    best = [seen for seen in one["detections"] if seen["class"] == "ripe"]
    assert best[0]["score"] >= 0.3
    x1, y1, x2, y2 = best[0]["box"]
    assert 0 <= x1 < x2 <= 640
    assert 0 <= y1 < y2 <= 480


def test_predictions_keep_to_their_range(greenhouse):
    body = greenhouse.client.get("/api/v1/predictions?device=pi-roof&from=-60s&to=-30s&limit=1000").json
    assert 50 <= len(body["predictions"]) <= 60
    assert greenhouse.client.get("/api/v1/predictions?to=-20m").json == {"predictions": [], "next_cursor": None}


def test_the_summary_adds_up(greenhouse):
    row = greenhouse.client.get("/api/v1/summary?from=-1h").json["rows"][0]
    assert (row["frames"], row["outcomes"]["ok"], row["requests"]) == (2400, 2400, 2400)
    assert row["without_detection"] == {"frames": 480, "share": 0.2}
    assert row["error_rate"] == 0
    assert row["fps"] == 4.0
    assert 30 < row["response_ms"]["p50"] < row["response_ms"]["p95"] <= row["response_ms"]["p99"] < 80
    assert {one["class"] for one in row["classes"]} == {"unripe", "turning", "ripe"}
    assert "histograms" not in row


def test_the_summary_splits_by_what_is_asked_and_by_time(greenhouse):
    client = greenhouse.client
    by_device = client.get("/api/v1/summary?by=device,version&from=-1h").json["rows"]
    assert [(row["device"], row["version"], row["frames"]) for row in by_device] == [
        ("pi-door", "1.2.0", 1200),
        ("pi-roof", "1.2.0", 1200),
    ]
    by_time = client.get("/api/v1/summary?device=pi-roof&from=-1h&every=5m").json
    assert by_time["every_s"] == 300
    assert sum(row["frames"] for row in by_time["rows"]) == 1200
    assert all(row["time"].endswith("Z") for row in by_time["rows"])
    assert client.get("/api/v1/summary?model=other&from=-1h").json["rows"] == []


def test_the_summary_gives_histograms_on_request(greenhouse):
    row = greenhouse.client.get("/api/v1/summary?histograms=true&device=pi-roof").json["rows"][0]
    score = row["histograms"]["score"]
    assert len(score["edges"]) == len(score["counts"]) + 1
    assert sum(score["counts"]) == score["n"] == sum(one["detections"] for one in row["classes"])


def test_events_are_told_newest_first(world):
    world.add(Camera(lost=True))
    body = world.client.get("/api/v1/events?device=pi-roof").json
    assert [one["name"] for one in body["events"]] == ["camera_lost", "agent_started"]
    assert body["events"][0]["detail"] == "no such device: /dev/video0"


def test_vitals_can_be_thinned_to_one_reading_a_step(greenhouse):
    client = greenhouse.client
    assert len(client.get("/api/v1/vitals?site=greenhouse&device=pi-roof").json["vitals"]) == 10
    thin = client.get("/api/v1/vitals?site=greenhouse&device=pi-roof&from=-10m&every=5m").json["vitals"]
    assert len(thin) in {2, 3}
    assert thin[0]["memory_percent"] == 41.5
    assert [one["at"] for one in thin] == sorted((one["at"] for one in thin), reverse=True)


def test_a_model_tells_its_classes(greenhouse):
    body = greenhouse.client.get(f"/api/v1/models/{SHA}").json
    assert (body["model"], body["version"], body["classes"]) == ("ripeness", "1.2.0", ["unripe", "turning", "ripe"])


def test_a_snapshot_is_served_as_latest_and_by_its_time(greenhouse):
    latest = greenhouse.client.get(SNAPSHOT)
    assert latest.content_type == "image/jpeg"
    assert latest.headers["Cache-Control"] == "no-cache"
    told = greenhouse.client.get("/api/v1/fleet").json["devices"][1]["streams"][0]["snapshot"]
    by_time = greenhouse.client.get(SNAPSHOT, query_string={"at": told["captured_at"]})
    assert by_time.data == latest.data
    assert "immutable" in by_time.headers["Cache-Control"]
    again = greenhouse.client.get(SNAPSHOT, headers={"If-None-Match": latest.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status", "name", "parameter", "detail"),
    [
        (
            "/api/v1/devices?site=x",
            400,
            "wrong-parameter",
            "site",
            "'site' is not a parameter here. This address takes none.",
        ),
        (
            "/api/v1/predictions?limt=5",
            400,
            "wrong-parameter",
            "limt",
            (
                "'limt' is not a parameter here. Did you mean 'limit'? Known are site, device, stream, model, version, "
                "class, min_score, from, to, cursor, limit."
            ),
        ),
        (
            "/api/v1/predictions?limit=5000",
            400,
            "wrong-parameter",
            "limit",
            "'limit' must be a whole number from 1 to 1000, got '5000'.",
        ),
        (
            "/api/v1/predictions?cursor=%00nonsense",
            400,
            "wrong-parameter",
            "cursor",
            "'cursor' must be a 'next_cursor' of an earlier answer.",
        ),
        (
            "/api/v1/summary?by=shoe",
            400,
            "wrong-parameter",
            "by",
            (
                "'by' must be one or more of site, device, stream, model, version, each once, with commas between, "
                "got 'shoe'."
            ),
        ),
        (
            "/api/v1/summary?from=-400d&every=1s",
            400,
            "wrong-parameter",
            "every",
            "'every' must be at least a second and give at most 20000 steps; take longer ones.",
        ),
        (
            "/api/v1/vitals?every=5m",
            400,
            "wrong-parameter",
            "every",
            "'every' takes the last reading of each step of one device: name 'site' and 'device'.",
        ),
        (
            "/api/v1/vitals?site=greenhouse&device=pi-roof&every=1s",
            400,
            "wrong-parameter",
            "every",
            "'every' may cut the range into at most 500 steps, got 86400; take longer steps or a shorter range.",
        ),
        (
            "/api/v1/vitals?site=greenhouse&device=pi-roof&every=1h&limit=3",
            400,
            "wrong-parameter",
            "limit",
            "'limit' and 'every' exclude each other: 'every' gives one reading a step.",
        ),
        (
            "/api/v1/devices/greenhouse/nobody/ledger",
            404,
            "not-found",
            None,
            "There is no device greenhouse/nobody. /api/v1/devices lists what there is.",
        ),
        (
            "/api/v1/devices/greenhouse/pi-roof/streams/nobody/snapshot",
            404,
            "not-found",
            None,
            "There is no picture of greenhouse/pi-roof/nobody. Its agent sends one now and then.",
        ),
        (
            f"{SNAPSHOT}?at=2020-01-01T00:00:00Z",
            404,
            "not-found",
            None,
            "There is no picture captured at that time of greenhouse/pi-roof/cam0. Its agent sends one now and then.",
        ),
        (
            "/api/v1/devices/greenhouse/..%2F..%2Fetc/streams/passwd/snapshot",
            404,
            "not-found",
            None,
            (
                "There is nothing at /api/v1/devices/greenhouse/../../etc/streams/passwd/snapshot. "
                "The API is under /api/v1 (docs/api.md)."
            ),
        ),
        (
            "/api/v1/nothing",
            404,
            "not-found",
            None,
            "There is nothing at /api/v1/nothing. The API is under /api/v1 (docs/api.md).",
        ),
        ("/static/..%2f__init__.py", 404, "not-found", None, None),
        (f"/api/v1/models/{'0' * 64}", 404, "not-found", None, None),
        (
            "/?period=1h",
            400,
            "wrong-parameter",
            "period",
            "'period' is not a parameter here. This address takes none.",
        ),
        (
            "/view/streams/greenhouse/pi-roof/cam0?period=2h",
            400,
            "wrong-parameter",
            "period",
            "'period' must be one of 1h, 6h, 24h, 7d, 30d, got '2h'.",
        ),
    ],
)
def test_an_error_is_a_problem_that_says_what_to_do(greenhouse, path, status, name, parameter, detail):
    answer = greenhouse.client.get(path)
    problem = answer.get_json(force=True)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert (problem["type"], problem["status"], problem.get("parameter")) == (
        f"urn:vigie:problem:{name}",
        status,
        parameter,
    )
    assert problem["instance"]
    assert problem["title"]
    assert detail is None or problem["detail"] == detail


def test_a_wrong_method_names_the_right_ones(greenhouse):
    answer = greenhouse.client.post("/api/v1/devices")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert answer.get_json(force=True)["detail"] == (
        "POST is not possible on /api/v1/devices. Use one of: GET, HEAD, OPTIONS."
    )


def test_a_large_body_is_refused(greenhouse):
    answer = greenhouse.client.get("/api/v1/devices", data=b"x" * 70_000)
    assert answer.status_code == 413
    assert answer.content_type == "application/problem+json"


def test_a_store_that_is_away_is_said_so_and_passes(greenhouse):
    greenhouse.store.close()
    answer = greenhouse.client.get("/api/v1/devices")
    problem = answer.get_json(force=True)
    assert (answer.status_code, problem["type"]) == (503, "urn:vigie:problem:store-unavailable")
    greenhouse.store.open()
    assert greenhouse.client.get("/api/v1/devices").status_code == 200


def test_a_fault_of_ours_is_a_500_with_an_id_and_no_secrets(greenhouse, monkeypatch, caplog):
    def fail():
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(greenhouse.store, "devices", fail)
    answer = greenhouse.client.get("/api/v1/devices", headers={"X-Request-Id": "abc-1"})
    problem = answer.get_json(force=True)
    assert (answer.status_code, problem["type"]) == (500, "urn:vigie:problem:internal-error")
    assert "abc-1" in problem["detail"]
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


def test_a_person_in_a_browser_gets_the_problem_as_a_page(greenhouse):
    answer = greenhouse.client.get("/streams/a/b/<script>", headers={"Accept": "text/html,*/*"})
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "&lt;script&gt;" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/", "/view/fleet", "/api/v1/devices", "/api/v1/fleet", "/api/v1/predictions", f"{DEVICE}/ledger", SNAPSHOT],
)
def test_what_is_polled_is_not_sent_twice(greenhouse, path):
    first = greenhouse.client.get(path)
    again = greenhouse.client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]


def test_what_the_page_shows_stays_the_same_while_nothing_happens(greenhouse):
    first = greenhouse.client.get("/view/fleet")
    greenhouse.now_ns += 10**9
    again = greenhouse.client.get("/view/fleet", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def test_large_answers_travel_compressed_where_the_client_can(greenhouse):
    plain = greenhouse.client.get("/api/v1/predictions")
    packed = greenhouse.client.get("/api/v1/predictions", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 4
    assert packed.headers["Vary"] == "Accept-Encoding"
    small = greenhouse.client.get("/healthz", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers


def test_static_files_are_kept_for_ever_under_their_version(greenhouse):
    page = greenhouse.client.get("/").text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    answer = greenhouse.client.get(address, headers={"Accept-Encoding": "gzip"})
    assert "immutable" in answer.headers["Cache-Control"]
    assert gzip.decompress(answer.data).startswith(b"/* One sheet")
    assert greenhouse.client.get("/static/vigie.css").headers["Cache-Control"] == "no-cache"
    plotly = greenhouse.client.get("/static/plotly.min.js", headers={"Accept-Encoding": "gzip"})
    assert plotly.headers["Content-Encoding"] == "gzip"
    assert plotly.mimetype == "text/javascript"


@pytest.mark.parametrize("path", ["/", "/api/v1/devices", "/nothing", "/static/vigie.css", "/metrics"])
def test_every_answer_keeps_to_itself(greenhouse, path):
    headers = greenhouse.client.get(path).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["X-Request-Id"]


def test_every_endpoint_of_the_api_says_which_parameters_it_has(greenhouse):
    endpoints = {
        rule.endpoint.removeprefix("api.")
        for rule in greenhouse.app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
    }
    assert endpoints == set(PARAMETERS)


def test_another_name_for_this_machine_is_refused(world) -> None:
    """DNS rebinding: a stranger's page that points its own name at loopback must not read along."""
    app = create_app(Queries(world.store, world.pictures), CollectorRegistry(), dict, world.pictures, anyone=False)
    client = app.test_client()
    for host in ("127.0.0.1:8080", "localhost:8080", "[::1]:8080"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200
    refused = client.get("/healthz", headers={"Host": "evil.example"})
    assert refused.status_code == 400
    told = json.loads(refused.data)
    assert told["type"].endswith("strange-host")
    assert "web.public: true" in told["detail"]


def test_a_path_that_leads_upwards_leads_nowhere(world) -> None:
    for path in (
        "/api/v1/devices/..%2f/x/streams/y/snapshot",
        "//api/v1/devices",
        "/static/../api",
        "/static/%2e%2e/x",
    ):
        answer = world.client.get(path)
        assert answer.status_code == 404, path
        assert answer.content_type == "application/problem+json"
