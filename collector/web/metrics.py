"""`/metrics` for Prometheus: what the collector counts, and how each device is, asked at the moment of the scrape.

Names follow Prometheus' conventions: base units (seconds, ratios of 1), `_total` for counters.
"""

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from collector.queries import Queries
from collector.stores import Unavailable
from collector.web.times import parse_time

DEVICE = ("site", "device")
STREAM = (*DEVICE, "stream")

GAUGES = {
    "vigie_device_online": ("Whether the device was heard of lately and says that it runs", DEVICE),
    "vigie_device_last_seen_age_seconds": ("Time since a sign of life of the device was received", DEVICE),
    "vigie_device_ledger_captured_frames": ("Frames that the device captured, as far as the ledger knows", DEVICE),
    "vigie_device_ledger_waiting_frames": ("Frames that did not arrive and that the device still has", DEVICE),
    "vigie_device_ledger_missing_frames": ("Frames that must exist but are known to nobody; should be 0", DEVICE),
    "vigie_stream_frames_per_second": ("Frames captured per second in the last minute", STREAM),
    "vigie_stream_asleep": ("Whether its plan wants no frames now", STREAM),
    "vigie_stream_response_p95_seconds": ("Capture to decoded result, 95th percentile of the last minutes", STREAM),
    "vigie_stream_without_detection_ratio": ("Share of the frames looked at without a detection", STREAM),
    "vigie_stream_error_ratio": ("Share of the captured frames that were unreadable or failed", STREAM),
}
"""Every gauge made at scrape time: help and labels."""

STORE_UP = "vigie_store_up"

Sample = tuple[str, tuple[str, ...], float | None]


class Fleet:
    """Makes the gauges of all devices when Prometheus asks."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def describe(self) -> list[Metric]:
        """Nothing: a registry that asks for names must not read the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges now; without a store only the word that there is none."""
        up = GaugeMetricFamily(STORE_UP, "Whether the store answered this scrape")
        families = {name: GaugeMetricFamily(name, told, labels=labels) for name, (told, labels) in GAUGES.items()}
        try:
            fleet: dict[str, Any] = self._queries.fleet()
        except Unavailable:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        now_ns = self._queries.clock()
        for device in fleet["devices"]:
            for name, labels, value in (*_of_device(device, now_ns), *_of_streams(device)):
                if value is not None:
                    families[name].add_metric(labels, value)
        yield up
        yield from families.values()


def _of_device(device: dict[str, Any], now_ns: int) -> Iterator[Sample]:
    labels = (device["site"], device["device"])
    seen = device["last_seen"]
    yield "vigie_device_online", labels, float(device["online"])
    age_s = None if seen is None else max(0.0, (now_ns - parse_time(seen, now_ns)) / 1e9)
    yield "vigie_device_last_seen_age_seconds", labels, age_s
    yield "vigie_device_ledger_captured_frames", labels, device["ledger"]["captured"]
    yield "vigie_device_ledger_waiting_frames", labels, device["ledger"]["waiting"]
    yield "vigie_device_ledger_missing_frames", labels, device["ledger"]["missing"]


def _of_streams(device: dict[str, Any]) -> Iterator[Sample]:
    for stream in device["streams"]:
        labels = (device["site"], device["device"], stream["stream"])
        p95_ms = stream["response_ms"]["p95"]
        # A silent stream makes no frames: absent would look like a stream that never was.
        yield "vigie_stream_frames_per_second", labels, stream["frames_per_s"] or 0.0
        yield "vigie_stream_asleep", labels, float(stream["asleep"])
        yield "vigie_stream_response_p95_seconds", labels, None if p95_ms is None else p95_ms / 1000
        yield "vigie_stream_without_detection_ratio", labels, stream["without_detection"]["share"]
        yield "vigie_stream_error_ratio", labels, stream["error_rate"]


def register(app: Flask, queries: Queries, registry: CollectorRegistry) -> None:
    """Serve the registry, with the devices' gauges in it."""
    registry.register(Fleet(queries))
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def scrape() -> Response:
        """Everything, in Prometheus' text format."""
        response = Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
        response.headers["Cache-Control"] = "no-store"
        return response

    app.register_blueprint(blueprint)
