"""Observations as the API tells them: names for classes, pixels for shares of the picture's sides."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec

from collector.books import FOREVER_NS
from collector.queries.asking import BadQuery, Json
from collector.stores.answers import ModelFacts, Place, Seen
from collector.timestamps import rfc3339
from shared.records import SCALE, TICKS_PER_MS, Detection, Guess, Maker

_Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=FOREVER_NS)]
_places = msgspec.json.Decoder(tuple[_Integer, str, str, str, _Integer, str, _Integer])
"""Decodes a `Place` with integers that a store can compare with."""
_DIGITS_MAX = 10


@dataclass(frozen=True, slots=True)
class Names:
    """Class names by model."""

    models: dict[str, ModelFacts]

    def name(self, maker: Maker, class_id: int) -> str:
        """The name that a model gives a class."""
        known = self.models.get(maker.sha256)
        return known.names[class_id] if known and class_id < len(known.names) else f"class_{class_id}"

    def ids(self, wanted: str) -> frozenset[tuple[str | None, int]]:
        """The (model sha256, class id) that a class's name or id may mean."""
        found: set[tuple[str | None, int]] = {
            (sha256, class_id)
            for sha256, model in self.models.items()
            for class_id, name in enumerate(model.names)
            if name == wanted
        }
        digits = wanted.removeprefix("class_")
        if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX:
            found.add((None, int(digits)))
        return frozenset(found)


def prediction(seen: Seen, names: Names) -> Json:
    """An observation as the API tells it."""
    outcome = "failed" if seen.error else "ok"
    told: Json = {
        "site": seen.site,
        "device": seen.device,
        "stream": seen.stream,
        "epoch": seen.epoch,
        "nonce": seen.nonce,
        "frame": seen.frame,
        "captured_at": rfc3339(seen.captured_at_ns),
        "captured_at_ns": seen.captured_at_ns,
        "model": seen.maker.model,
        "model_version": seen.maker.version,
        "model_sha256": seen.maker.sha256,
        "width": seen.width,
        "height": seen.height,
        "outcome": outcome,
        "timings_ms": _timings(seen),
        "detections": [_detection(found, seen, names) for found in seen.detections],
    }
    if seen.classes:
        told["classes"] = [_guess(found, seen.maker, names) for found in seen.classes]
    if seen.error:
        told["error"] = seen.error
    return told


def _timings(seen: Seen) -> dict[str, float]:
    ticks = {name: getattr(seen, name) for name in ("capture", "wait", "prepare", "infer", "decode")}
    ticks["response"] = seen.wait + seen.prepare + seen.infer + seen.decode
    return {name: value / TICKS_PER_MS for name, value in ticks.items()}


def _detection(found: Detection, seen: Seen, names: Names) -> Json:
    corners = zip(
        (found.x1, found.y1, found.x2, found.y2), (seen.width, seen.height, seen.width, seen.height), strict=True
    )
    return _guess(found, seen.maker, names) | {"box": [round(part * side / SCALE, 2) for part, side in corners]}


def _guess(found: Detection | Guess, maker: Maker, names: Names) -> Json:
    return {"class": names.name(maker, found.class_id), "class_id": found.class_id, "score": found.score / SCALE}


def cursor_of(place: Place) -> str:
    """Where an answer ended, as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def place_of(cursor: str) -> Place:
    """Where to go on; raises BadQuery for what `cursor_of` did not make."""
    try:
        raw = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        return _places.decode(raw)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadQuery("cursor", "'cursor' must be a 'next_cursor' of an earlier answer") from error
