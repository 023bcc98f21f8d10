"""What a model saw, as plain data for people and programs: `predict --json` and `POST /predict` say it alike."""

from datetime import datetime, timezone
from typing import Any

import msgspec

from agent.books import Look
from agent.decoders import Found
from agent.model import Model
from shared.records import TICKS_PER_MS

Answer = dict[str, Any]

COORDINATE_DIGITS = 3
SCORE_DIGITS = 6
AREA_DIGITS = 1


def seen(model: Model, found: Found) -> Answer:
    """The detections (`box` in pixels: x1, y1, x2, y2, with mask area and keypoints), or the classes; best first."""
    guesses: list[Answer] = [
        {"class": model.class_name(class_id), "class_id": class_id, "score": round(score, SCORE_DIGITS)}
        for class_id, score in zip(found.class_ids.tolist(), found.scores.tolist(), strict=True)
    ]
    if model.task == "classify":
        return {"classes": guesses}
    for guess, box in zip(guesses, found.boxes.tolist(), strict=True):
        guess["box"] = [round(side, COORDINATE_DIGITS) for side in box]
    for guess, area in zip(guesses, () if found.areas is None else found.areas.tolist(), strict=False):
        guess["mask_area"] = round(area, AREA_DIGITS)
    for guess, points in zip(guesses, () if found.keypoints is None else found.keypoints, strict=False):
        guess["keypoints"] = [[round(value, COORDINATE_DIGITS) for value in point] for point in points.tolist()]
    return {"detections": guesses}


def of_look(stream: str, model: Model, look: Look, offset_ns: int | None) -> bytes:
    """A look as a JSON object, for who sent its picture.

    Args:
        stream: The stream's name.
        model: That looked.
        look: At the frame.
        offset_ns: From boot time to wall time; None while the device does not know the time.
    """
    answer: Answer = {
        "stream": stream,
        "frame": look.frame,
        "captured_at": None if offset_ns is None else _time(look.captured_boot_ns + offset_ns),
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "task": model.task,
        "width": look.width,
        "height": look.height,
    }
    if look.error:
        answer |= {"status": 500, "error": f"the model failed on this picture: {look.error}"}
    elif look.found is not None:
        answer |= seen(model, look.found)
    stages = ("capture", "wait", "prepare", "infer", "decode", "response")
    answer["timings_ms"] = {name: getattr(look, name) / TICKS_PER_MS for name in stages}
    return msgspec.json.encode(answer)


def _time(wall_ns: int) -> str:
    """RFC 3339 in UTC; milliseconds are cut, not rounded, as the collector writes it."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
