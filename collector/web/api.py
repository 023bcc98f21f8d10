"""REST v1: the named questions of `collector.queries`, over HTTP; `docs/api.md` describes it, held to it by a test."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import cast

import msgspec
from flask import Blueprint, Flask, Response, request

from collector.queries import DIMENSIONS, LIMIT_MAX, Filter, Json, Queries
from collector.state.pictures import Pictures
from collector.timestamps import MS_NS, SECOND_NS
from collector.web.parameters import Parameters
from collector.web.problems import not_found, wrong_parameter
from collector.web.requestlog import note
from shared.topics import is_slug

PREFIX = "/api/v1"

DAY_S = 86_400
STEPS_MAX = 500
_NAMED_MAX = 20
_KEPT = "private, max-age=86400, immutable"

_PERIOD = ("from", "to")
_STREAM = ("site", "device", "stream")

PARAMETERS: dict[str, Collection[str]] = {
    "devices": (),
    "fleet": (),
    "ledger": (*_PERIOD, "digests"),
    "predictions": (*_STREAM, "model", "version", "class", "min_score", *_PERIOD, "cursor", "limit"),
    "summary": ("by", *_STREAM, "model", "version", *_PERIOD, "every", "histograms"),
    "events": (*_STREAM, *_PERIOD, "limit"),
    "vitals": ("site", "device", *_PERIOD, "every", "limit"),
    "model": (),
    "snapshot": ("at",),
}
"""Every parameter of every endpoint: whatever else comes in a URL is refused."""


class Api:
    """The endpoints; each reads its parameters, asks one question and answers in JSON."""

    def __init__(self, queries: Queries, pictures: Pictures) -> None:
        self._queries = queries
        self._pictures = pictures

    def devices(self) -> Response:
        """Every device with its streams."""
        self._given("devices")
        return answer(self._queries.devices())

    def fleet(self) -> Response:
        """Every device at a glance."""
        self._given("fleet")
        fleet = self._queries.fleet()
        # The time of the question would make every answer another one, and no poll would ever be a 304.
        return answer({key: value for key, value in fleet.items() if key != "now"})

    def ledger(self, site: str, device: str) -> Response:
        """What became of every frame of a device."""
        given = self._given("ledger")
        start, end = given.time("from"), given.time("to")
        if start is not None or end is not None:
            start, end = given.period(None)
        digests = given.choices("digests", ("true", "false")) == ("true",)
        return answer(self._queries.ledger(site, device, start, end, digests=digests))

    def predictions(self) -> Response:
        """What the models saw, newest first."""
        given = self._given("predictions")
        start, end = given.period(None)
        where = replace(
            _where(given),
            class_=given.text("class"),
            min_score=given.number("min_score", 0, 1),
            from_ns=start,
            to_ns=None if given.time("to") is None else end,
        )
        found = self._queries.predictions(where, request.args.get("cursor"), given.count("limit", 100, LIMIT_MAX))
        _note_predictions(cast("list[Json]", found["predictions"]))
        return answer(found)

    def summary(self) -> Response:
        """Figures, split by time and by what they are of."""
        given = self._given("summary")
        start, end = given.period(DAY_S)
        found = self._queries.summary(
            given.choices("by", DIMENSIONS),
            _where(given),
            start,
            end,
            given.duration("every"),
            histograms=given.choices("histograms", ("true", "false")) == ("true",),
        )
        if model := given.text("model"):
            note(model=model)
        return answer(found)

    def events(self) -> Response:
        """What the devices told, newest first."""
        given = self._given("events")
        start, end = given.period(DAY_S)
        where = Filter(given.slug("site"), given.slug("device"), given.slug("stream"))
        return answer(self._queries.events(where, start, end, given.count("limit", 100, LIMIT_MAX)))

    def vitals(self) -> Response:
        """How the devices were, newest first."""
        given = self._given("vitals")
        start, end = given.period(DAY_S)
        where = Filter(given.slug("site"), given.slug("device"))
        every_ns = given.duration("every")
        if every_ns is None:
            return answer(self._queries.vitals(where, start, end, given.count("limit", 100, LIMIT_MAX)))
        if where.site is None or where.device is None:
            raise wrong_parameter(
                "every", "'every' takes the last reading of each step of one device: name 'site' and 'device'."
            )
        if "limit" in request.args:
            raise wrong_parameter("limit", "'limit' and 'every' exclude each other: 'every' gives one reading a step.")
        return answer(self._thinned(where, start or 0, end, every_ns))

    def model(self, sha256: str) -> Response:
        """A model's name, version and classes."""
        self._given("model")
        return answer(self._queries.classes(sha256))

    def snapshot(self, site: str, device: str, stream: str) -> Response:
        """A picture of a stream: the latest, or the one captured at a time."""
        at_ns = self._given("snapshot").time("at")
        picture = self._picture((site, device, stream), at_ns) if all(map(is_slug, (site, device, stream))) else None
        if picture is None:
            which = "no picture" if at_ns is None else "no picture captured at that time"
            raise not_found(f"There is {which} of {site}/{device}/{stream}. Its agent sends one now and then.")
        response = Response(picture, content_type="image/jpeg")
        if at_ns is not None:
            response.headers["Cache-Control"] = _KEPT  # a picture of one moment never changes
        return response

    def _picture(self, path: tuple[str, str, str], at_ns: int | None) -> bytes | None:
        if at_ns is None:
            at_ns = self._pictures.latest(*path)
        elif at_ns % MS_NS == 0:
            # Answers name times to the millisecond, pictures have them to the nanosecond.
            at_ns = next((time for time in self._pictures.times(*path) if time // MS_NS == at_ns // MS_NS), None)
        return None if at_ns is None else self._pictures.read(*path, at_ns)

    def _given(self, endpoint: str) -> Parameters:
        return Parameters(request.args, PARAMETERS[endpoint], self._queries.clock())

    def _thinned(self, where: Filter, start: int, end: int, every_ns: int) -> Json:
        """The last reading in each step, newest first."""
        steps = -(-(end - start) // every_ns)
        if steps > STEPS_MAX:
            raise wrong_parameter(
                "every",
                f"'every' may cut the range into at most {STEPS_MAX} steps, got {steps}; "
                "take longer steps or a shorter range.",
            )
        first = start // every_ns * every_ns
        readings: list[object] = []
        for step in reversed(range(first, end, every_ns)):
            found = self._queries.vitals(where, max(step, start), min(step + every_ns, end), 1)
            readings += cast("list[object]", found["vitals"])
        return {"every_s": every_ns / SECOND_NS, "vitals": readings}


def register(app: Flask, queries: Queries, pictures: Pictures) -> None:
    """Serve the API."""
    api = Api(queries, pictures)
    device = "/devices/<site>/<device>"
    routes: dict[str, Callable[..., Response]] = {
        "/devices": api.devices,
        "/fleet": api.fleet,
        f"{device}/ledger": api.ledger,
        f"{device}/streams/<stream>/snapshot": api.snapshot,
        "/predictions": api.predictions,
        "/summary": api.summary,
        "/events": api.events,
        "/vitals": api.vitals,
        "/models/<sha256>": api.model,
    }
    blueprint = Blueprint("api", __name__, url_prefix=PREFIX)
    for rule, view in routes.items():
        blueprint.add_url_rule(rule, view.__name__, view, methods=["GET"])
    app.register_blueprint(blueprint)


def answer(body: Json) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(body), content_type="application/json")


def _where(given: Parameters) -> Filter:
    """Which streams and models are meant."""
    return Filter(
        given.slug("site"), given.slug("device"), given.slug("stream"), given.text("model"), given.text("version")
    )


def _note_predictions(found: list[Json]) -> None:
    """Tell the request log which models and classes the answer is about."""
    models = sorted({f"{one['model']} {one['model_version']}" for one in found})
    classes = {
        str(seen["class"])
        for one in found
        for seen in (*cast("list[Json]", one["detections"]), *cast("list[Json]", one.get("classes", [])))
    }
    if models:
        note(model=", ".join(models[:_NAMED_MAX]), classes=sorted(classes)[:_NAMED_MAX])
