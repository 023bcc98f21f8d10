"""What is the matter with a stream, in a word: judged once, for the pages, the API's readers and the verdict.

The worst that is true wins. A state says what a person would do something about; what is only worth knowing
stands in its reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from collector.web.times import SECOND_NS, duration_words, parse_time

Level = Literal["bad", "warn", "idle", "ok"]
LEVELS: tuple[Level, ...] = ("bad", "warn", "idle", "ok")
"""Worst first: the order of the fleet's page."""

ERROR_SHARE_MAX = 0.05
BACKLOG_S_MAX = 60
STARTING_NS = 20 * SECOND_NS
"""How long a device may be online before a camera without frames is a problem."""

SLOW_FPS = 1 / 15
"""Below this rate, a minute without a frame says nothing."""

SENT = ("push: ", "folder: ")
"""Sources whose pictures somebody sends, as a device tells them: none for hours is no problem."""

LATE_NS = 60 * SECOND_NS
"""A frame that was due so long ago is missing."""

SETTLE_NS = 5 * SECOND_NS
"""A batch that was under way when a camera went may be sealed so much later: that is no recovery."""

_CAMERA = {"camera_lost", "camera_stalled", "camera_back", "stream_ended", "stream_awake"}

_PICTURE: dict[str, tuple[Level, str, str]] = {
    "picture_frozen": ("bad", "frozen", "The camera gives the same picture again and again, also when opened anew."),
    "picture_black": ("warn", "black", "The picture is black: is it dark there, or the lens covered?"),
    "picture_white": ("warn", "white", "The picture is white: does the sun, or a lamp, shine into the lens?"),
}
"""What a device may find wrong with a picture, until it tells `picture_well` or starts anew."""

_ENDED = "The recording came to its end."

ASKED_TO = "asked to"
"""Detail of the event `agent_stopped` when somebody stopped the agent."""

SOURCES_ENDED = "every source has ended"
"""The same when there was nothing left to watch."""

Glance = dict[str, Any]
"""A device or a stream, as `Queries.fleet` tells."""


@dataclass(frozen=True, slots=True)
class State:
    """How a stream is.

    Attributes:
        level: How bad that is.
        word: The state, as large as it gets.
        clause: The same after a name, in a sentence: "silent for 4 min".
        since: Since when, RFC 3339, or None.
        since_word: What to say before that time.
        reason: Why, and what is worth knowing; may be empty.
    """

    level: Level
    word: str
    clause: str
    since: str | None = None
    since_word: str = "since"
    reason: str = ""


def judge(device: Glance, stream: Glance, now_ns: int) -> State:
    """Say how a stream is."""
    for rule in _RULES:
        state = rule(device, stream, now_ns)
        if state is not None:
            return state
    return State("ok", "OK", "well", device["since"], "online since", _notes(device, stream))


def _silent(device: Glance, stream: Glance, now_ns: int) -> State | None:
    if device["online"]:
        return None
    if device["state"] == "stopped":
        return _stopped(device, stream)
    last = device["last_seen"]
    if last is None:
        return State("bad", "Never heard", "never heard", reason="This device has not spoken to this collector yet.")
    silence_s = (now_ns - parse_time(last, now_ns)) / 1e9
    return State(
        "bad",
        "Device silent",
        f"silent for {duration_words(silence_s)}",
        last,
        reason="Nothing comes from this device: look at its power and its network.",
    )


def _stopped(device: Glance, stream: Glance) -> State:
    """The agent ended in good order: by itself, because there was nothing left to watch, or because it was asked to."""
    told = _last_run(device)
    stop = next((event for event in told if event["name"] == "agent_stopped"), None)
    own = next((event for event in told if event["name"] in _CAMERA and event["stream"] == stream["stream"]), None)
    anew = next((event for event in told if event["name"] == "agent_restarting"), None)
    if anew is not None:
        return State("bad", "Restarting", "restarting", anew["at"], reason=f"The agent did not work: {anew['detail']}.")
    if own is not None and own["name"] == "stream_ended":
        return State("idle", "Ended", "ended", own["at"], reason=_ENDED)
    if stop is not None and stop["detail"] == SOURCES_ENDED:
        return State("idle", "Ended", "ended", stop["at"], reason=_ENDED)
    asked = stop is not None and stop["detail"] == ASKED_TO
    reason = "The agent was stopped, as it was asked to." if asked else "The agent ended in good order."
    return State("idle", "Stopped", "stopped", device["since"], reason=reason)


def _last_run(device: Glance) -> list[Glance]:
    """The events since the agent's last start, newest first."""
    return list(takewhile(lambda event: event["name"] != "agent_started", device["events"]))


def _model_failed(_: Glance, stream: Glance, __: int) -> State | None:
    if not stream["error"]:
        return None
    return State("bad", "Not running", "not running", reason=stream["error"])


def _asleep(_: Glance, stream: Glance, __: int) -> State | None:
    if not stream["asleep"]:
        return None
    reason = f"As planned, {stream['plan_detail']}." if stream["plan_detail"] else "As planned."
    return State("idle", "Asleep", "asleep", stream["plan_at"], reason=reason)


def _camera(device: Glance, stream: Glance, now_ns: int) -> State | None:
    event = _last_camera_event(device, stream)
    if event is None or event["name"] in {"camera_back", "stream_awake"} or _sealed_after(stream, event["at"], now_ns):
        return None
    if event["name"] == "stream_ended":
        return State("idle", "Ended", "ended", event["at"], reason=_ENDED)
    return State("bad", "Camera lost", "camera lost", event["at"], reason=event["detail"])


def _last_camera_event(device: Glance, stream: Glance) -> Glance | None:
    told = (event for event in device["events"] if event["name"] in _CAMERA and event["stream"] == stream["stream"])
    return next(told, None)


def _sealed_after(stream: Glance, at: str, now_ns: int) -> bool:
    last = stream["last_sealed"]
    return last is not None and parse_time(last, now_ns) > parse_time(at, now_ns) + SETTLE_NS


def _no_frames(device: Glance, stream: Glance, now_ns: int) -> State | None:
    if stream["frames_per_s"] or _is_sent(stream) or _not_yet_due(stream, now_ns):
        return None
    if stream["plan_at"] is not None and now_ns - parse_time(stream["plan_at"], now_ns) < STARTING_NS:
        return State("idle", "Waking", "waking up", stream["plan_at"])
    if device["since"] is not None and now_ns - parse_time(device["since"], now_ns) < STARTING_NS:
        return State("idle", "Starting", "starting", device["since"], "online since")
    return State(
        "bad",
        "No frames",
        "without frames",
        reason="The device is online, but no frames of this camera arrived in the last minute.",
    )


def _is_sent(stream: Glance) -> bool:
    return (stream["source"] or "").startswith(SENT)


def _waiting(_: Glance, stream: Glance, __: int) -> State | None:
    if stream["frames_per_s"] or not _is_sent(stream):
        return None
    reason = "Nobody sent a picture in the last minute; that is no fault."
    return State("idle", "Waiting", "waiting for pictures", stream["last_sealed"], "last picture", reason)


def _not_yet_due(stream: Glance, now_ns: int) -> bool:
    """Whether a slow plan is the reason that no frame came lately."""
    last, fps = stream["last_sealed"], stream["fps"]
    if last is None or not fps or fps >= SLOW_FPS:
        return False
    due_ns = parse_time(last, now_ns) + round(SECOND_NS / fps)
    return bool(now_ns < due_ns + LATE_NS)


def _picture(device: Glance, stream: Glance, __: int) -> State | None:
    told = (event for event in _last_run(device) if event["stream"] == stream["stream"])
    last = next((event for event in told if event["name"] in {*_PICTURE, "picture_well"}), None)
    if last is None or last["name"] == "picture_well":
        return None
    level, how, reason = _PICTURE[last["name"]]
    return State(level, f"Picture {how}", f"picture {how}", last["at"], reason=reason)


def _failing(_: Glance, stream: Glance, __: int) -> State | None:
    share = stream["error_rate"]
    if share is None or share <= ERROR_SHARE_MAX:
        return None
    return State(
        "warn",
        "Frames fail",
        "frames fail",
        reason=f"{share * 100:.0f} % of the frames of the last minutes were unreadable, or the model failed on them.",
    )


def _backlog(device: Glance, _: Glance, __: int) -> State | None:
    oldest_s = (device["vitals"] or {}).get("outbox_oldest_s")
    if oldest_s is None or oldest_s <= BACKLOG_S_MAX:
        return None
    age = duration_words(oldest_s)
    return State(
        "warn",
        "Behind",
        f"{age} behind",
        reason=f"Records wait there, the oldest for {age}. Nothing is lost: it catches up, or the link is slow.",
    )


def _fallback(_: Glance, stream: Glance, __: int) -> State | None:
    wanted, got = stream["requested_provider"], stream["provider"]
    if not wanted or not got or wanted == got:
        return None
    return State(
        "warn", "Wrong processor", "on the wrong processor", reason=f"{got} runs the model, {wanted} was asked for."
    )


def _notes(device: Glance, stream: Glance) -> str:
    """What is worth knowing of a stream that is well."""
    vitals = device["vitals"] or {}
    missing, waiting = device["ledger"]["missing"], device["ledger"]["waiting"]
    notes = []
    if missing:
        notes.append(f"{missing:,} {'frame is' if missing == 1 else 'frames are'} missing from this device's ledger.")
    if waiting:
        notes.append(f"{waiting:,} {'frame waits' if waiting == 1 else 'frames wait'} on the device.")
    if vitals.get("under_voltage"):
        notes.append("The supply voltage is too low.")
    elif vitals.get("throttled"):
        notes.append("The board runs slower than it could, for heat or power.")
    if not stream["frames"] and not notes:
        notes.append("The first figures come with the first full window.")
    return " ".join(notes)


def _maintained(device: Glance, _: Glance, __: int) -> State | None:
    if not device["maintenance"]:
        return None
    told = next((event for event in device["events"] if event["name"] == "maintenance_began"), None)
    reason = "Somebody works at this device. What its cameras record meanwhile is kept."
    return State("idle", "Maintenance", "in maintenance", told["at"] if told else None, reason=reason)


_RULES: tuple[Callable[[Glance, Glance, int], State | None], ...] = (
    _maintained,
    _silent,
    _model_failed,
    _asleep,
    _camera,
    _no_frames,
    _picture,
    _failing,
    _backlog,
    _fallback,
    _waiting,
)
"""In order of precedence: who works at a device knows what it does; a silent device's camera may be lost too, but
nobody knows."""
