"""What is the matter with a stream, and the one sentence about all of them."""

from pathlib import Path

import pytest

import agent.service
from collector.web import views
from collector.web.states import ASKED_TO, SOURCES_ENDED, judge
from collector.web.times import parse_time
from shared.schema import EVENTS

NOW = "2026-05-01T06:00:00.000Z"
NOW_NS = parse_time(NOW, 0)


def _device(**changes):
    return {
        "site": "greenhouse",
        "device": "pi-roof",
        "name": "pi-roof",
        "online": True,
        "state": "online",
        "maintenance": False,
        "last_seen": NOW,
        "since": "2026-05-01T03:00:00.000Z",
        "ledger": {"captured": 10, "sealed": 10, "missing": 0, "waiting": 0},
        "vitals": None,
        "events": [],
    } | changes


def _stream(**changes):
    return {
        "stream": "cam0",
        "error": None,
        "source": "v4l2: /dev/video0",
        "fps": None,
        "asleep": False,
        "plan_at": None,
        "plan_detail": "",
        "frames_per_s": 9.8,
        "frames": 100,
        "last_sealed": NOW,
        "error_rate": 0.0,
        "requested_provider": "CPUExecutionProvider",
        "provider": "CPUExecutionProvider",
        "response_ms": {"p95": 41.2},
        "without_detection": {"share": 0.123},
        "snapshot": None,
    } | changes


def _event(name, at="2026-05-01T05:58:00.000Z", stream="cam0", detail=""):
    return {"name": name, "at": at, "stream": stream, "detail": detail}


STOP_ASKED = _event("agent_stopped", stream=None, detail="asked to")
STOP_ENDED = _event("agent_stopped", stream=None, detail="every source has ended")
SILENT = {"online": False, "last_seen": "2026-05-01T05:56:00.000Z"}
NONE = {"frames_per_s": None, "last_sealed": None}
ASLEEP = {"asleep": True, "plan_at": "2026-05-01T05:00:00.000Z", "plan_detail": "until 2026-05-01 08:00 CEST"}
SLOW = {"fps": 1 / 600}
NONE_LATELY = {"frames_per_s": None, "last_sealed": "2026-05-01T05:51:00.000Z"}

CASES = [
    ({}, {}, "ok", "OK", "well"),
    (SILENT, {}, "bad", "Device silent", "silent for 4 min"),
    (SILENT | {"maintenance": True}, NONE, "idle", "Maintenance", "in maintenance"),
    (SILENT | {"state": "offline"}, NONE, "bad", "Device silent", "silent for 4 min"),
    ({}, NONE | ASLEEP, "idle", "Asleep", "asleep"),
    ({"events": [_event("camera_lost")]}, NONE | ASLEEP, "idle", "Asleep", "asleep"),
    (SILENT, NONE | ASLEEP, "bad", "Device silent", "silent for 4 min"),
    ({}, NONE | {"plan_at": "2026-05-01T05:59:50.000Z"}, "idle", "Waking", "waking up"),
    ({}, NONE | {"plan_at": "2026-05-01T05:59:30.000Z"}, "bad", "No frames", "without frames"),
    ({"events": [_event("stream_awake"), _event("camera_lost")]}, NONE_LATELY | SLOW, "ok", "OK", "well"),
    ({}, NONE_LATELY | SLOW, "ok", "OK", "well"),
    ({}, NONE_LATELY | {"source": "push: 8080"}, "idle", "Waiting", "waiting for pictures"),
    ({}, NONE | {"source": "folder: incoming"}, "idle", "Waiting", "waiting for pictures"),
    ({}, {"source": "push: 8080"}, "ok", "OK", "well"),
    ({"events": [_event("camera_lost")]}, NONE | {"source": "push: 8080"}, "bad", "Camera lost", "camera lost"),
    ({}, NONE | {"source": "push: 8080", "error_rate": 0.5}, "warn", "Frames fail", "frames fail"),
    ({}, NONE_LATELY | {"fps": 1 / 60}, "bad", "No frames", "without frames"),
    ({}, NONE | SLOW, "bad", "No frames", "without frames"),
    (SILENT | {"state": "stopped"}, NONE, "idle", "Stopped", "stopped"),
    (SILENT | {"state": "stopped", "events": [STOP_ASKED]}, NONE, "idle", "Stopped", "stopped"),
    (SILENT | {"state": "stopped", "events": [STOP_ENDED]}, NONE, "idle", "Ended", "ended"),
    (SILENT | {"state": "stopped", "events": [STOP_ASKED, _event("stream_ended")]}, NONE, "idle", "Ended", "ended"),
    (
        SILENT | {"state": "stopped", "events": [STOP_ASKED, _event("stream_ended", stream="cam1")]},
        NONE,
        "idle",
        "Stopped",
        "stopped",
    ),
    (
        SILENT | {"state": "stopped", "events": [_event("agent_restarting", stream=None), _event("stream_ended")]},
        NONE,
        "bad",
        "Restarting",
        "restarting",
    ),
    (  # the run before ended by itself; of this one nothing was told yet
        SILENT | {"state": "stopped", "events": [_event("agent_started", stream=None), STOP_ENDED]},
        NONE,
        "idle",
        "Stopped",
        "stopped",
    ),
    ({"online": False, "last_seen": None}, NONE, "bad", "Never heard", "never heard"),
    (SILENT | {"events": [_event("camera_lost")]}, NONE, "bad", "Device silent", "silent for 4 min"),
    ({}, {"error": "no such file: m.onnx"}, "bad", "Not running", "not running"),
    ({"events": [_event("camera_lost")]}, NONE, "bad", "Camera lost", "camera lost"),
    ({"events": [_event("camera_stalled")]}, NONE, "bad", "Camera lost", "camera lost"),
    ({"events": [_event("camera_back"), _event("camera_lost")]}, {}, "ok", "OK", "well"),
    ({"events": [_event("camera_lost", stream="cam1")]}, {}, "ok", "OK", "well"),
    ({"events": [_event("camera_lost")]}, {}, "ok", "OK", "well"),  # frames were sealed long after it
    ({"events": [_event("stream_ended")]}, NONE, "idle", "Ended", "ended"),
    ({}, NONE, "bad", "No frames", "without frames"),
    ({}, {"frames_per_s": 0.0}, "bad", "No frames", "without frames"),
    ({"since": "2026-05-01T05:59:50.000Z"}, NONE, "idle", "Starting", "starting"),
    ({"events": [_event("picture_frozen")]}, {}, "bad", "Picture frozen", "picture frozen"),
    ({"events": [_event("picture_black")]}, {"error_rate": 0.06}, "warn", "Picture black", "picture black"),
    ({"events": [_event("picture_white"), _event("picture_black")]}, {}, "warn", "Picture white", "picture white"),
    ({"events": [_event("picture_well"), _event("picture_black")]}, {}, "ok", "OK", "well"),
    ({"events": [_event("picture_black", stream="cam1")]}, {}, "ok", "OK", "well"),
    ({"events": [_event("agent_started", stream=None), _event("picture_black")]}, {}, "ok", "OK", "well"),
    ({"events": [_event("camera_lost"), _event("picture_black")]}, NONE, "bad", "Camera lost", "camera lost"),
    ({}, {"error_rate": 0.06}, "warn", "Frames fail", "frames fail"),
    ({}, {"error_rate": 0.05}, "ok", "OK", "well"),
    ({"vitals": {"outbox_oldest_s": 600.0}}, {}, "warn", "Behind", "10 min behind"),
    ({"vitals": {"outbox_oldest_s": None}}, {}, "ok", "OK", "well"),
    (
        {},
        {"requested_provider": "CUDAExecutionProvider"},
        "warn",
        "Wrong processor",
        "on the wrong processor",
    ),
]


@pytest.mark.parametrize(("device", "stream", "level", "word", "clause"), CASES)
def test_the_worst_that_is_true_is_the_state(device, stream, level, word, clause):
    state = judge(_device(**device), _stream(**stream), NOW_NS)
    assert (state.level, state.word, state.clause) == (level, word, clause)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], "The agent ended in good order."),
        ([STOP_ASKED], "The agent was stopped, as it was asked to."),
        ([STOP_ENDED], "The recording came to its end."),
    ],
)
def test_nobody_is_said_to_have_stopped_an_agent_that_ended_by_itself(events, reason):
    assert judge(_device(**SILENT, state="stopped", events=events), _stream(**NONE), NOW_NS).reason == reason


def test_the_agent_says_why_it_stopped_in_the_words_that_are_looked_for():
    source = Path(agent.service.__file__).read_text(encoding="utf-8")
    assert f'"agent_stopped", "{ASKED_TO}" if self._asked else "{SOURCES_ENDED}"' in source


def test_what_is_worth_knowing_does_not_change_the_state():
    device = _device(ledger={"captured": 11, "sealed": 8, "missing": 2, "waiting": 1}, vitals={"under_voltage": True})
    state = judge(device, _stream(), NOW_NS)
    assert state.word == "OK"
    assert (
        state.reason
        == "2 frames are missing from this device's ledger. 1 frame waits on the device. The supply voltage is too low."
    )


def _fleet(*streams):
    return {"devices": [_device(device=name, **device) | {"streams": [stream]} for name, device, stream in streams]}


WELL: tuple[dict[str, object], dict[str, object]] = ({}, _stream())
LOST = ({"events": [_event("camera_lost")]}, _stream(**NONE))
BEHIND = ({"vitals": {"outbox_oldest_s": 600.0}}, _stream())
ENDED = ({"events": [_event("stream_ended")]}, _stream(**NONE))
STOPPED = ({"online": False, "state": "stopped"}, _stream(**NONE))


@pytest.mark.parametrize(
    ("streams", "level", "text"),
    [
        ([], "idle", "No cameras yet"),
        ([WELL], "ok", "1 camera, and it is well"),
        ([WELL, WELL, WELL], "ok", "3 cameras, all well"),
        ([LOST], "bad", "The camera has a problem: d0/cam0 camera lost"),
        ([WELL, LOST, WELL], "bad", "1 of 3 cameras has a problem: d1/cam0 camera lost"),
        ([BEHIND, LOST], "bad", "2 of 2 cameras have a problem: d1/cam0 camera lost, d0/cam0 10 min behind"),
        (
            [LOST, LOST, BEHIND, WELL],
            "bad",
            "3 of 4 cameras have a problem: d0/cam0 camera lost, d1/cam0 camera lost and 1 more",
        ),
        ([BEHIND, WELL], "warn", "1 of 2 cameras has a problem: d0/cam0 10 min behind"),
        ([STOPPED, WELL], "ok", "2 cameras, 1 well, 1 stopped"),
        ([STOPPED, ENDED, WELL], "ok", "3 cameras, 1 well, 1 ended, 1 stopped"),
        ([STOPPED, STOPPED], "idle", "2 cameras, all stopped"),
        ([STOPPED, ENDED], "idle", "2 cameras, 1 ended, 1 stopped"),
        ([ENDED], "idle", "1 camera, ended"),
    ],
)
def test_one_sentence_says_how_the_fleet_is(streams, level, text):
    view = views.fleet(_fleet(*((f"d{i}", *one) for i, one in enumerate(streams))), {}, NOW_NS)
    assert (view["verdict"]["state"], view["verdict"]["text"]) == (level, text)


def test_no_frames_are_a_dash_on_every_card_as_they_are_null_in_the_api():
    view = views.fleet(_fleet(("a", *LOST), ("b", *STOPPED)), {}, NOW_NS)
    assert [card["fps"] for card in view["cards"]] == [views.NONE, views.NONE]


def test_bars_say_what_they_are_and_so_do_none():
    paces: list[dict[tuple[str, str, str], list[float | None]]] = [{("greenhouse", "a", "cam0"): [1.0]}, {}]
    drawn, fresh = (views.fleet(_fleet(("a", *WELL)), pace, NOW_NS)["cards"][0] for pace in paces)
    assert (drawn["bars"], bool(drawn["spark"])) == ("frames/s over the last hour", True)
    assert (fresh["bars"], bool(fresh["spark"])) == ("frames/s: no full minute in the last hour", False)


def test_problems_come_first():
    view = views.fleet(_fleet(("a", *WELL), ("b", *STOPPED), ("c", *BEHIND), ("d", *LOST), ("e", *LOST)), {}, NOW_NS)
    assert [card["key"] for card in view["cards"]] == [f"greenhouse/{name}/cam0" for name in "decba"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (0.04, "0.0"), (9.84, "9.8"), (9.96, "10"), (41.2, "41"), (12345.6, "12,346")],  # noqa: RUF001  # the sign for no value
)
def test_a_figure_has_the_digits_that_count(value, shown):
    assert views.number(value) == shown


def test_a_gap_in_the_data_is_a_gap_between_bars():
    assert views.spark([1.0, None, 0.0, 2.0]) == "M0.00 24v-10.0h17.50V24zM75.00 24v-20.0h17.50V24z"
    assert views.spark([]) == views.spark([None, None]) == views.spark([0.0]) == ""


def test_every_event_has_plain_words():
    assert set(views.EVENT_WORDS) == set(EVENTS)
    told = _event("camera_lost", detail="no such device")
    assert views.event(told)["text"] == "cam0: The camera was lost: no such device."
    assert views.event(_event("made_tomorrow", stream=None))["text"] == "Made tomorrow."


def test_names_are_quoted_in_addresses():
    path = ("a/b", "<script>", "c d?#")
    assert views.stream_href(path) == "/streams/a%2Fb/%3Cscript%3E/c%20d%3F%23"
    shot = views.picture(path, {"captured_at": "2026-05-01T06:00:00.123Z", "captured_at_ns": 1_777_615_200_123_456_789})
    assert shot is not None
    assert shot["src"] == (
        "/api/v1/devices/a%2Fb/%3Cscript%3E/streams/c%20d%3F%23/snapshot?at=2026-05-01T06%3A00%3A00.123456789Z"
    )


def test_a_camera_that_sleeps_is_no_problem_and_says_until_when() -> None:
    state = judge(_device(), _stream(**NONE, **ASLEEP), NOW_NS)
    assert (state.since, state.reason) == (ASLEEP["plan_at"], "As planned, until 2026-05-01 08:00 CEST.")
    said = views.verdict([(state, ("greenhouse", "pi-roof", "cam0"))])
    assert (said["state"], said["text"]) == ("idle", "1 camera, asleep")
