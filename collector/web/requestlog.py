"""One JSON line per request on the logger `vigie.requests`.

Fields: `id`, `time` (RFC 3339 UTC, when it came in), `method`, `path` (without the query, which could hold
a secret), `status`, `ms`, and where they apply `model`, `classes` (those that the answer is about) and `error`.
"""

import logging
import re
import sys
import time
import uuid
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram

from collector.timestamps import rfc3339

LOG = logging.getLogger("vigie.requests")

STDOUT = "-"

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}


def attach(target: str | Path) -> logging.Handler:
    """Send the request log to a file, or to standard output for `-`; replaces where it went before.

    Raises:
        OSError: The file cannot be written.
    """
    handler: logging.Handler
    if str(target) == STDOUT:
        handler = logging.StreamHandler(sys.stdout)
    else:
        handler = WatchedFileHandler(target, encoding="utf-8")  # follows a log that is rotated away
    handler.setFormatter(logging.Formatter("%(message)s"))
    for old in list(LOG.handlers):
        LOG.removeHandler(old)
        old.close()
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    return handler


def note(**fields: object) -> None:
    """Add fields to the line of the request being answered."""
    g.noted.update(fields)


class RequestLog:
    """Gives every request its id, counts it, and writes its line."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "vigie_http_requests",
            "HTTP requests answered by the collector",
            ["endpoint", "method", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "vigie_http_request_duration_seconds",
            "Time from a request's arrival to its answer",
            ["endpoint"],
            registry=registry,
        )

    def register(self, app: Flask) -> None:
        """Follow every request of `app`."""
        app.before_request(self._begin)
        app.after_request(self._end)

    def _begin(self) -> None:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        g.began_ns = time.time_ns()
        g.began = time.perf_counter()
        g.noted = {}
        g.error = None

    def _end(self, response: Response) -> Response:
        seconds = time.perf_counter() - g.began
        # The rule, never the path: a scanner must not be able to grow the metrics.
        endpoint = request.url_rule.rule if request.url_rule else "(none)"
        method = request.method if request.method in _METHODS else "(other)"
        self._requests.labels(endpoint, method, str(response.status_code)).inc()
        self._seconds.labels(endpoint).observe(seconds)
        response.headers["X-Request-Id"] = g.request_id
        if LOG.isEnabledFor(logging.INFO):
            LOG.info("%s", msgspec.json.encode(_line(response, seconds)).decode())
        return response


def _line(response: Response, seconds: float) -> dict[str, Any]:
    line = {
        "id": g.request_id,
        "time": rfc3339(g.began_ns),
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "ms": round(seconds * 1000, 2),
        **g.noted,
    }
    if g.error:
        line["error"] = g.error
    return line
