"""`/healthz`: the process answers. `/readyz`: it can do its work, or the reasons why it can't."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec
from flask import Blueprint, Flask, Response

from shared import __version__

Health = Callable[[], Mapping[str, str]]
"""What keeps the collector from its work: name of the part -> what is wrong and what to do. Empty when it is ready."""


def register(app: Flask, health: Health) -> None:
    """Serve both."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def alive() -> Response:
        """Whether the process answers; it looks at nothing else, so that a slow store restarts nobody."""
        return _json({"status": "ok", "version": __version__}, HTTPStatus.OK)

    @blueprint.get("/readyz")
    def ready() -> Response:
        """Whether the collector can do its work now."""
        reasons = dict(health())
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return _json({"status": "not ready" if reasons else "ready", "reasons": reasons}, status)

    app.register_blueprint(blueprint)


def _json(body: object, status: HTTPStatus) -> Response:
    response = Response(msgspec.json.encode(body), status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
