"""What the pages show, in words: the server says them once, for the first paint and for every poll."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from collector import ranges
from collector.web.states import LEVELS, Level, State, judge
from collector.web.times import duration_words, parse_time
from shared.schema import EVENTS

NONE = "–"  # noqa: RUF001  # the sign for "no value" in tables
NAMED_MAX = 2
STARTS_SHOWN = 10
"""Of a device, the newest first; the API has all."""

View = dict[str, Any]
Path = tuple[str, str, str]
"""Site, device, stream."""

EVENT_WORDS = {
    "agent_started": "The agent started",
    "agent_stopped": "The agent stopped",
    "agent_restarting": "The agent ended, to be started anew",
    "safe_mode": "The agent works without cameras and models, because its starts ended too soon",
    "maintenance_began": "Somebody began to work at the device",
    "maintenance_ended": "The work at the device is over",
    "restart_refused": "A new start of the agent might help, but it had enough of them today",
    "camera_lost": "The camera was lost",
    "camera_stalled": "The camera gave no more frames and was opened again",
    "camera_back": "The camera gives frames again",
    "picture_frozen": "The camera gives the same picture again and again",
    "picture_black": "The picture is black",
    "picture_white": "The picture is white",
    "picture_well": "The picture is well again",
    "stream_changed": "The pictures have another size than before",
    "stream_ended": "The recording came to its end",
    "stream_asleep": "The camera went to sleep, as planned",
    "stream_awake": "The camera woke up, as planned",
    "inference_failed": "The model failed on a frame",
    "provider_fallback": "Another processor than asked for runs the model",
    "tuning_stale": "The model was tuned for something else",
    "outbox_reset": "The outbox was unreadable; a new one was begun",
    "outbox_thinned": "The device ran short of room and thinned its detail",
    "outbox_unwritable": "The outbox could not be written",
    "device_twice": "Two devices use this name",
    "client_id_taken": "Another client uses this device's name at the broker",
    "gap_remains": "Batches are missing, and the device does not have them any more",
    "gap_filled": "Missing batches came after all",
    "time_known": "The device learnt the time",
    "clock_disagrees": "The clocks of device and collector differ",
}
"""Events in plain words; a test holds it to `shared.schema.EVENTS`."""

OUTCOME_WORDS = {
    "ok": "looked at",
    "skipped": "skipped for a newer one",
    "gated": "still scene",
    "unreadable": "unreadable",
    "failed": "model failed",
    "unknown": "unknown (power cut)",
}
FATE_WORDS = {
    "stored": "stored",
    "thinned": "thinned by the device's quota",
    "unsealed": "lost in a power cut",
    "quarantined": "in quarantine",
    "expired": "older than the store keeps",
}


def fleet(
    glances: View, paces: dict[Path, list[float | None]], now_ns: int, reasons: Mapping[str, str] | None = None
) -> View:
    """The fleet's page: what keeps the collector from its work, a verdict, and a card per stream, problems first."""
    cards = []
    for device in glances["devices"]:
        for stream in device["streams"]:
            state = judge(device, stream, now_ns)
            path = (device["site"], device["device"], stream["stream"])
            cards.append((state, path, card(device, stream, state, paces.get(path, []))))
    cards.sort(key=lambda one: (LEVELS.index(one[0].level), one[1]))
    return {
        "verdict": verdict([(state, path) for state, path, _ in cards]),
        "cards": [shown for _, _, shown in cards],
        "trouble": list((reasons or {}).values()),
    }


def verdict(streams: Sequence[tuple[State, Path]]) -> View:
    """One sentence about all of them."""
    if not streams:
        return _said("idle", "No cameras yet")
    troubled = [(state, path) for state, path in streams if state.level in {"bad", "warn"}]
    resting = Counter(state.clause for state, _ in streams if state.level == "idle")
    cameras = _cameras(len(streams))
    if troubled:
        named = ", ".join(f"{device}/{stream} {state.clause}" for state, (_, device, stream) in troubled[:NAMED_MAX])
        more = f" and {len(troubled) - NAMED_MAX} more" if len(troubled) > NAMED_MAX else ""
        who = f"{len(troubled)} of {cameras}" if len(streams) > 1 else "The camera"
        has = "has" if len(troubled) == 1 else "have"
        return _said(troubled[0][0].level, f"{who} {has} a problem:", f"{named}{more}")
    well = len(streams) - resting.total()
    if not well and len(resting) == 1:
        return _said("idle", f"{cameras}, {'all ' if len(streams) > 1 else ''}{next(iter(resting))}")
    if resting:
        counted = ", ".join(f"{count} {clause}" for clause, count in sorted(resting.items()))
        return _said("ok", f"{cameras}, {well} well, {counted}") if well else _said("idle", f"{cameras}, {counted}")
    return _said("ok", f"{cameras}, all well" if len(streams) > 1 else "1 camera, and it is well")


def _said(level: Level, head: str, detail: str = "") -> View:
    return {"state": level, "text": f"{head} {detail}".strip(), "head": head, "detail": detail}


def _cameras(count: int) -> str:
    return f"{count} camera{'' if count == 1 else 's'}"


def card(device: View, stream: View, state: State, paces: Sequence[float | None]) -> View:
    """One stream on the fleet's page."""
    path = (device["site"], device["device"], stream["stream"])
    return {
        "key": "/".join(path),
        "href": stream_href(path),
        "state": state.level,
        "word": state.word,
        "since": state.since,
        "since_word": state.since_word,
        "reason": state.reason,
        "name": f"{device['name']}/{stream['stream']}",
        "where": device["site"],
        "fps": number(stream["frames_per_s"]),
        "p95": number(stream["response_ms"]["p95"]),
        "none": percent(stream["without_detection"]["share"]),
        "picture": picture(path, stream["snapshot"]),
        **_bars(paces),
    }


BLANK: View = {
    "key": "",
    "href": "/",
    "state": "idle",
    "word": "",
    "since": None,
    "since_word": "",
    "reason": "",
    "name": "",
    "where": "",
    "fps": NONE,
    "p95": NONE,
    "none": NONE,
    "picture": None,
    "spark": "",
    "bars": "",
}
"""A card without data, for the page's template."""


def number(value: float | None) -> str:
    """A figure as people read it: two digits that count."""
    if value is None:
        return NONE
    decimals = 0 if value == 0 or abs(round(value, 1)) >= 10 else 1  # noqa: PLR2004  # from here on they say nothing
    return f"{value:,.{decimals}f}"


def percent(share: float | None) -> str:
    """A share as a percentage, without the sign."""
    return NONE if share is None else number(share * 100)


def picture(path: Path, snapshot: View | None) -> View | None:
    """Where a snapshot is, by the time it was captured: an address that never shows another picture."""
    if snapshot is None:
        return None
    site, device, stream = (quote(part, safe="") for part in path)
    seconds = snapshot["captured_at"].partition(".")[0]
    at = f"{seconds}.{snapshot['captured_at_ns'] % 1_000_000_000:09d}Z"
    query = urlencode({"at": at})
    return {
        "src": f"/api/v1/devices/{site}/{device}/streams/{stream}/snapshot?{query}",
        "at": snapshot["captured_at"],
    }


def stream_href(path: Path) -> str:
    """The page of a stream."""
    return "/streams/" + "/".join(quote(part, safe="") for part in path)


def _bars(paces: Sequence[float | None]) -> View:
    drawn = spark(paces)
    # Of a fresh camera there is no bar yet, and of a silent one none any more.
    words = "frames/s over the last hour" if drawn else "frames/s: no full minute in the last hour"
    return {"spark": drawn, "bars": words}


def spark(values: Sequence[float | None]) -> str:
    """Frames per second as bars, one SVG path in a field of 100 by 24; a gap in the data is a gap between bars."""
    top = max((value for value in values if value is not None), default=0) or 1
    step = 100 / max(1, len(values))
    return "".join(
        f"M{index * step:.2f} 24v{-20 * value / top:.1f}h{step * 0.7:.2f}V24z"
        for index, value in enumerate(values)
        if value
    )


def event(told: View) -> View:
    """An event in plain words."""
    words = EVENT_WORDS.get(told["name"]) or EVENTS.get(told["name"]) or told["name"].replace("_", " ").capitalize()
    about = f"{told['stream']}: " if told["stream"] else ""
    return {"at": told["at"], "text": f"{about}{words}{': ' + told['detail'] if told['detail'] else ''}."}


def boxes(prediction: View | None) -> list[View]:
    """What was seen in a picture, as shares of its sides."""
    if prediction is None:
        return []
    width, height = prediction["width"], prediction["height"]
    return [
        {
            "x": round(seen["box"][0] / width, 4),
            "y": round(seen["box"][1] / height, 4),
            "width": round((seen["box"][2] - seen["box"][0]) / width, 4),
            "height": round((seen["box"][3] - seen["box"][1]) / height, 4),
            "label": f"{seen['class']} {seen['score']:.2f}",
        }
        for seen in prediction["detections"]
    ]


def seen_words(prediction: View | None, *, pictured: bool) -> str:
    """What was seen in a picture, as text."""
    if not pictured:
        return ""
    if prediction is None:
        return "Picture"
    if prediction.get("error"):
        return f"The model failed: {prediction['error']}"
    found = prediction["detections"] or prediction.get("classes", [])[:3]
    words = ", ".join(f"{one['class']} {one['score']:.2f}" for one in found[:6])
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""  # noqa: PLR2004  # a line of a phone
    return f"{words}{more}" if found else "Nothing detected"


def ledger(account: View, device: str) -> tuple[str, View]:
    """The ledger of a device as one figure, and the account with the story of its last starts below it."""
    captured, waiting, missing = account["captured"], account["waiting"], account["missing"]
    if missing:
        line = f"{missing:,} of {captured:,} frames missing"
    elif waiting:
        line = f"{captured - waiting:,} frames accounted for, {waiting:,} wait on the device"
    else:
        line = f"all {captured:,} frames accounted for"
    rows = [
        (f"Captured by {device}", f"{captured:,}"),
        *_counted(account["outcomes"], OUTCOME_WORDS),
        ("Sealed", f"{account['sealed']:,}"),
        *_counted(account["fates"], FATE_WORDS),
        ("Wait on the device", f"{waiting:,}"),
        ("Missing", f"{missing:,}"),
        ("Starts of the agent", f"{len(account['epochs']):,}"),
        *(_start(epoch) for epoch in account["epochs"][: -STARTS_SHOWN - 1 : -1]),
    ]
    return line, {"state": "bad" if missing else "ok", "rows": rows}


def _start(epoch: View) -> tuple[str, str]:
    """One start of an agent: its frames, what was lost at its end, and which batches did not come."""
    captured = sum(stream["captured"] for stream in epoch["streams"].values())
    parts = [f"{captured:,} frames"]
    if epoch["tail_lost"]:
        parts.append(f"{epoch['tail_lost']:,} lost at its end")
    for lane, batches in epoch["batches"].items():
        kinds = (kind for kind in ("waiting", "missing") if batches[kind])
        parts += [f"{lane} batches {ranges.words(batches[kind], 3)} {kind}" for kind in kinds]
        if asked := batches["asked"]:
            vain = ", in vain" if asked["in_vain"] else ""
            parts.append(f"asked for again since {asked['since'].replace('T', ' ')[:16]} UTC{vain}")
    return f"Start {epoch['epoch']}", "; ".join(parts)


def _counted(counts: dict[str, int], words: dict[str, str]) -> list[tuple[str, str]]:
    return [(words.get(name, name), f"{count:,}") for name, count in counts.items() if count]


def figures(row: View | None) -> dict[str, str]:
    """The figures of a period."""
    if row is None:
        return dict.fromkeys(
            ("period_frames", "period_fps", "coverage", "p50", "period_p95", "p99", "infer", "period_none", "errors"),
            NONE,
        )
    return {
        "period_frames": f"{row['frames']:,}",
        "period_fps": number(row["fps"]),
        "coverage": percent(row["coverage"]),
        "p50": number(row["response_ms"]["p50"]),
        "period_p95": number(row["response_ms"]["p95"]),
        "p99": number(row["response_ms"]["p99"]),
        "infer": number(row["infer_ms"]["mean"]),
        "period_none": percent(row["without_detection"]["share"]),
        "errors": percent(row["error_rate"]),
    }


def ago(at: str | None, now_ns: int) -> str:
    """How long ago something was; what is fresh is not counted in seconds, or the page would never be still."""
    if at is None:
        return "never"
    seconds = (now_ns - parse_time(at, now_ns)) / 1e9
    return "just now" if seconds < 15 else f"{duration_words(seconds)} ago"  # noqa: PLR2004  # a few polls
