"""The preview's page, and what it asks for; nothing without the token."""

import hmac
import logging
import threading
import time
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from waitress import wasyncore
from waitress.server import create_server

from agent.preview.watching import Watching

_PAGE = Path(__file__).with_name("page.html")
_THREADS = 8
_STATE_S = 1.0
"""A page that asks for news waits for so long."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src 'self' blob: data:; frame-ancestors 'none'",
}


class PageServer:
    """Serves from its making until `close`.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        watching: What to show.
        token: That every request must bring as `t`.

    Raises:
        OSError: Somebody else listens there.
    """

    def __init__(self, host: str, port: int, watching: Watching, token: str) -> None:
        self._sockets: dict[int, Any] = {}  # waitress's own map of what it listens to
        self._stopping = threading.Event()
        logging.getLogger("waitress").setLevel(logging.ERROR)
        create_server(
            _application(watching, token),
            map=self._sockets,
            host=host,
            port=port,
            threads=_THREADS,
            ident="vigie",
        )
        self._thread = threading.Thread(target=self._run, name="preview", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=0.1, use_poll=True, map=self._sockets, count=1)

    def close(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(1.0)
        wasyncore.close_all(self._sockets, ignore_all=True)


def _application(watching: Watching, token: str) -> Flask:
    app = Flask(__name__, static_folder=None)
    page = _PAGE.read_text(encoding="utf-8")

    @app.before_request
    def guard() -> None:
        if not hmac.compare_digest(request.args.get("t", "").encode(), token.encode()):
            time.sleep(0.2)  # guessing is no way in
            abort(Response("Open the address that vigie-agent preview printed, with all of its letters.\n", 403))

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.get("/")
    def show() -> Response:
        return Response(page, mimetype="text/html")

    @app.get("/state")
    def state() -> Response:
        return jsonify(watching.state(request.args.get("after", 0, type=int), _STATE_S))

    @app.get("/picture")
    def picture() -> Response:
        jpeg = watching.picture()
        return Response(jpeg, mimetype="image/jpeg") if jpeg else Response("no picture yet\n", 404)

    return app
