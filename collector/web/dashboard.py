"""The pages: the fleet at a glance, and one page per stream.

Both are whole when they arrive and are then kept in step by small scripts, which ask `/view/…` for the same
words in JSON. A picture of the data is made at most once a second, however many browsers are open.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from flask import Blueprint, Flask, Response, render_template, request, url_for

from collector.queries import Filter, Json, Queries
from collector.timestamps import SECOND_NS, rfc3339
from collector.web import assets, views
from collector.web.api import answer
from collector.web.briefly import Briefly
from collector.web.health import Health
from collector.web.parameters import Parameters
from collector.web.problems import not_found, wrong_parameter
from collector.web.states import judge
from collector.web.times import UNITS_S
from shared import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

FRESH_S = 1.0
SPARK_STEP_S = 60
SPARK_STEPS = 60
EVENTS_SHOWN = 30
MATCH_NS = 1_000_000
"""A picture's frame is the one captured within a millisecond: no stream has two so close together."""


@dataclass(frozen=True, slots=True)
class Period:
    """A choice on a stream's page; `every` is the step of its charts."""

    name: str
    label: str
    words: str
    every: str
    vitals_every: str

    @property
    def seconds(self) -> int:
        """Its length."""
        return int(self.name[:-1]) * UNITS_S[self.name[-1]]


PERIODS = {
    period.name: period
    for period in (
        Period("1h", "1 h", "hour", "1m", "1m"),
        Period("6h", "6 h", "6 hours", "5m", "3m"),
        Period("24h", "24 h", "24 hours", "20m", "10m"),
        Period("7d", "7 d", "7 days", "2h", "1h"),
        Period("30d", "30 d", "30 days", "12h", "4h"),
    )
}

STRIP = (
    ("period_frames", "frames", ""),
    ("period_fps", "frames/s", ""),
    ("coverage", "of the plan", "%"),
    ("p50", "response median", "ms"),
    ("period_p95", "response p95", "ms"),
    ("p99", "response p99", "ms"),
    ("infer", "model, mean", "ms"),
    ("period_none", "no detection", "%"),
    ("errors", "errors", "%"),
)

CHARTS = (
    {"name": "outcomes", "title": "Frames per second", "meaning": "by what became of them", "wide": True},
    {"name": "response", "title": "Response time", "meaning": "from capture to result"},
    {"name": "none", "title": "No detection", "meaning": "share of the frames looked at"},
    {"name": "classes", "title": "Classes over time", "meaning": "detections per step"},
    {"name": "class-totals", "title": "Classes in total", "meaning": "detections in this period"},
    {"name": "scores", "title": "Scores", "meaning": "how sure the model was"},
    {"name": "vitals", "title": "The device", "meaning": "processor, memory, heat"},
)


class Dashboard:
    """The pages and their views."""

    def __init__(self, queries: Queries, health: Health) -> None:
        self._queries = queries
        self._health = health
        self._kept = Briefly()

    def fleet_page(self) -> str:
        """The fleet."""
        self._given(())
        return render_template("fleet.html", view=self._fleet(), blank=views.BLANK, **self._common())

    def fleet_view(self) -> Response:
        """What the fleet's page shows."""
        self._given(())
        return answer(self._fleet())

    def stream_page(self, site: str, device: str, stream: str) -> str:
        """One stream."""
        path, period = (site, device, stream), self._period()
        view = self._stream(path, period)
        return render_template(
            "stream.html",
            view=view,
            figures=view["figures"],
            site=site,
            device=device,
            stream=stream,
            period=period,
            periods=PERIODS.values(),
            strip=STRIP,
            charts=CHARTS,
            plotly_style_ids=assets.plotly_style_ids(),
            live_url=url_for(".stream_view", site=site, device=device, stream=stream, period=period.name),
            **self._common(),
        )

    def stream_view(self, site: str, device: str, stream: str) -> Response:
        """What the live part of a stream's page shows."""
        return answer(self._stream((site, device, stream), self._period()))

    def _given(self, known: tuple[str, ...]) -> Parameters:
        return Parameters(request.args, known, self._queries.clock())

    def _period(self) -> Period:
        self._given(("period",))
        name = request.args.get("period", "1h")
        if name not in PERIODS:
            raise wrong_parameter("period", f"'period' must be one of {', '.join(PERIODS)}, got {name!r}.")
        return PERIODS[name]

    def _common(self) -> Json:
        return {"now": rfc3339(self._queries.clock()), "version": __version__}

    def _glances(self) -> dict[str, Any]:
        return self._kept.get("fleet", FRESH_S, self._queries.fleet)

    def _fleet(self) -> Json:
        glances, now_ns = self._glances(), self._queries.clock()
        paces = self._kept.get("paces", SPARK_STEP_S / 6, lambda: self._paces(now_ns))
        reasons = self._kept.get("health", FRESH_S, lambda: dict(self._health()))
        return views.fleet(glances, paces, now_ns, reasons)

    def _paces(self, now_ns: int) -> dict[views.Path, list[float | None]]:
        """Frames per second of each stream, a minute a step, oldest first."""
        step_ns = SPARK_STEP_S * SECOND_NS
        # Whole minutes only: the one that runs has not all its windows yet.
        end_ns = now_ns // step_ns * step_ns
        first_ns = end_ns - SPARK_STEPS * step_ns
        found = self._queries.summary(("site", "device", "stream"), Filter(), first_ns, end_ns, step_ns)
        steps = {rfc3339(first_ns + index * step_ns): index for index in range(SPARK_STEPS)}
        paces: dict[views.Path, list[float | None]] = {}
        for row in cast("list[dict[str, Any]]", found["rows"]):
            values = paces.setdefault((row["site"], row["device"], row["stream"]), [None] * SPARK_STEPS)
            values[steps[row["time"]]] = row["fps"]
        return paces

    def _stream(self, path: views.Path, period: Period) -> Json:
        device, stream = self._find(path)
        now_ns = self._queries.clock()
        # A month's sums change slowly and cost more: they are kept for longer.
        kept_s = max(FRESH_S, period.seconds / 3600)
        whole = self._kept.get((path, period), kept_s, lambda: self._whole(path, period, now_ns))
        shown = views.card(device, stream, judge(device, stream, now_ns), ())
        prediction = self._pictured(path, stream["snapshot"])
        line, account = self._kept.get(("ledger", path), FRESH_S, lambda: self._ledger(path))
        return (
            shown
            | whole
            | {
                "boxes": views.boxes(prediction),
                "seen": views.seen_words(prediction, pictured=stream["snapshot"] is not None),
                "ledger_line": line,
                "ledger": account,
                "last_seen": views.ago(device["last_seen"], now_ns),
                "model": " ".join(part for part in (stream["model"], stream["model_version"]) if part) or views.NONE,
                "provider": (stream["provider"] or views.NONE).removesuffix("ExecutionProvider"),
                "agent": " on ".join(
                    part for part in (device["agent_version"], device["hardware"] or device["platform"]) if part
                ),
                "camera": stream["source"] or views.NONE,
            }
        )

    def _find(self, path: views.Path) -> tuple[dict[str, Any], dict[str, Any]]:
        for device in self._glances()["devices"]:
            for stream in device["streams"]:
                if (device["site"], device["device"], stream["stream"]) == path:
                    return device, stream
        raise not_found(f"There is no stream {'/'.join(path)}.")

    def _whole(self, path: views.Path, period: Period, now_ns: int) -> Json:
        """Figures and events of the whole period."""
        start_ns = now_ns - period.seconds * SECOND_NS
        where = Filter(*path)
        rows = cast("list[Json]", self._queries.summary((), where, start_ns, now_ns)["rows"])
        # Of the whole device: its start or a full disk is news of the stream too.
        told = self._queries.events(Filter(*path[:2]), start_ns, now_ns, 200)
        events = [one for one in cast("list[Json]", told["events"]) if one["stream"] in {None, path[2]}]
        return {
            "figures": views.figures(rows[0] if rows else None),
            "events": [views.event(one) for one in events[:EVENTS_SHOWN]],
        }

    def _ledger(self, path: views.Path) -> tuple[str, Json]:
        return views.ledger(self._queries.ledger(path[0], path[1]), path[1])

    def _pictured(self, path: views.Path, snapshot: Json | None) -> dict[str, Any] | None:
        """The prediction of a snapshot's frame."""
        if snapshot is None:
            return None
        at_ns = cast("int", snapshot["captured_at_ns"])
        where = Filter(*path, from_ns=at_ns - MATCH_NS, to_ns=at_ns + MATCH_NS)
        found = cast("list[dict[str, Any]]", self._queries.predictions(where, None, 3)["predictions"])
        return min(found, key=lambda one: abs(one["captured_at_ns"] - at_ns), default=None)


def register(app: Flask, queries: Queries, health: Health) -> None:
    """Serve the pages."""
    pages = Dashboard(queries, health)
    blueprint = Blueprint("dashboard", __name__)
    stream = "<site>/<device>/<stream>"
    routes: dict[str, Callable[..., Response | str]] = {
        "/": pages.fleet_page,
        f"/streams/{stream}": pages.stream_page,
        "/view/fleet": pages.fleet_view,
        f"/view/streams/{stream}": pages.stream_view,
    }
    for rule, view in routes.items():
        blueprint.add_url_rule(rule, view.__name__, view, methods=["GET"])
    app.register_blueprint(blueprint)
    app.jinja_env.filters["utc"] = utc


def utc(at: str | None, style: str) -> str:
    """A time for whoever has no JavaScript; with it, the browser's own zone replaces this."""
    if not at:
        return ""
    moment = datetime.fromisoformat(at.replace("Z", "+00:00"))
    if style == "full":
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return f"{moment:%H:%M} UTC" if style == "since" else f"{moment:%H:%M:%S} UTC"
