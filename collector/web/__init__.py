"""Everything that the collector serves over HTTP.

============  ================================================================
api           REST under /api/v1
dashboard     the pages: the fleet, one stream
metrics       /metrics for Prometheus
health        /healthz and /readyz
views         what the pages show, in words, from what the queries answer
parameters    query parameters, read strictly; `times` are part of it
hosts         under which names it answers while only this machine may look
problems      every error as RFC 9457 problem details
transfer      entity tags, compression, security headers
assets        static files from memory
requestlog    one JSON line, one count and one id per request
============  ================================================================
"""

from pathlib import Path

from flask import Flask
from prometheus_client import CollectorRegistry

from collector.queries import Queries
from collector.state.pictures import Pictures
from collector.web import api, assets, dashboard, hosts, problems, requestlog, transfer
from collector.web import health as health_routes
from collector.web import metrics as metrics_routes


def create_app(
    queries: Queries,
    metrics: CollectorRegistry,
    health: health_routes.Health,
    pictures: Pictures,
    *,
    request_log: str | Path | None = None,
    anyone: bool = True,
) -> Flask:
    """The collector's web application, for any WSGI server.

    Args:
        queries: Answers every question about the data.
        metrics: What `/metrics` exposes; the counts of HTTP requests join it.
        health: Says what keeps the collector from its work; empty when nothing does.
        pictures: The latest snapshots.
        request_log: A file for the request log, `-` for standard output, None to leave the logger as it is.
        anyone: Whether requests may come under any name; else only under loopback's (`hosts`).
    """
    app = Flask(__name__, static_folder=None)
    # A path with `//` or `..` is wrong, not somewhere else.
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = transfer.BODY_BYTES_MAX
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    if request_log is not None:
        requestlog.attach(request_log)
    # Finished in reverse order: what is logged is what is sent.
    requestlog.RequestLog(metrics).register(app)
    transfer.register(app)
    problems.register(app)
    if not anyone:
        hosts.register(app)
    assets.register(app)
    api.register(app, queries, pictures)
    dashboard.register(app, queries, health)
    metrics_routes.register(app, queries, metrics)
    health_routes.register(app, health)
    return app
