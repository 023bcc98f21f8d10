"""The HTTP server of `agent.sources.push`: checks a request as far as that costs nothing, and hands the picture over.

Every answer is JSON, carries `X-Request-Id`, and is logged as one line: id, status, ms, what was seen; never a picture
and never a token. So are the refusals that waitress makes before a request reaches the application.
"""

import io
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Flask, Request, Response, g, request
from waitress import wasyncore
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.task import ErrorTask
from werkzeug.exceptions import HTTPException, NotFound

from agent.picture_header import FORMATS, declared_size, is_picture
from agent.pictures import HEAD_BYTES
from agent.sources.push import Desk, Reply, problem

_SPARE_THREADS = 2
"""Beside those that wait: they refuse, and answer `/healthz`."""
_CONNECTIONS_MAX = 100
_IDLE_S = 30
_FORM_BYTES = 65_536
"""What a form may have around its picture."""
_FLUSH_S = 0.5
_CLASSES_LOGGED = 5
_RETRY_AFTER_S = "1"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_HELP = "send it as the body with its Content-Type (image/jpeg, image/png, image/webp), or as the form field 'image'"

_log = logging.getLogger(__name__)


class PushServer:
    """Listens from its making until `close`.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        desk: Where pictures wait for their answers.
        waiting: How many may.
        bytes_max: Of a picture's file.
        pixels_max: Of a picture.
        allowed: Whether a token may come in; None to ask for none.

    Raises:
        OSError: Somebody else listens there.
    """

    def __init__(  # all but the first three are named
        self,
        host: str,
        port: int,
        desk: Desk,
        *,
        waiting: int,
        bytes_max: int,
        pixels_max: int,
        allowed: Callable[[bytes], bool] | None,
    ) -> None:
        self._sockets: dict[int, Any] = {}  # waitress's own map of what it listens to
        self._stopping = threading.Event()
        predict = _Predict(desk, bytes_max, pixels_max, allowed)
        logging.getLogger("waitress").setLevel(logging.ERROR)  # "task queue depth" is no news: requests do wait
        server: Any = create_server(  # a union, of which one address gives one half
            _application(predict),
            map=self._sockets,
            host=host,
            port=port,
            threads=waiting + _SPARE_THREADS,
            connection_limit=_CONNECTIONS_MAX,
            channel_timeout=_IDLE_S,
            cleanup_interval=_IDLE_S // 3,
            max_request_body_size=bytes_max + _FORM_BYTES,
            inbuf_overflow=bytes_max + _FORM_BYTES + 1,  # in memory, never in a file on the device's card
            ident="vigie",
        )
        own = {"error_task_class": _error_task(desk), "parser_class": _parser(predict.welcomes)}
        server.channel_class = type("Channel", (HTTPChannel,), own)
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=0.1, use_poll=True, map=self._sockets, count=1)

    def close(self) -> None:
        """Let the last answers get out, and end."""
        until = time.monotonic() + _FLUSH_S
        while time.monotonic() < until and any(c.requests or c.total_outbufs_len for c in self._channels()):
            time.sleep(0.005)
        self._stopping.set()
        self._thread.join(_FLUSH_S)
        wasyncore.close_all(self._sockets, ignore_all=True)

    def _channels(self) -> list[Any]:
        return [item for item in list(self._sockets.values()) if isinstance(item, HTTPChannel)]


class _Predict:
    """What every request goes through.

    Args:
        desk: Where pictures wait for their answers.
        bytes_max: Of a picture's file.
        pixels_max: Of a picture.
        allowed: Whether a token may come in; None to ask for none.
    """

    def __init__(self, desk: Desk, bytes_max: int, pixels_max: int, allowed: Callable[[bytes], bool] | None) -> None:
        self.desk = desk
        self.bytes_max = bytes_max
        self._pixels_max = pixels_max
        self._allowed = allowed

    def __call__(self, asked: Request) -> Reply:
        """The answer to `POST /predict`."""
        if not self.welcomes(asked.headers.get("Authorization", "")):
            return problem(401, "send the token as the header 'Authorization: Bearer …'")
        return self._answer(asked)

    def welcomes(self, authorization: str) -> bool:
        """Whether a request with this header, as WSGI reads it, may ask."""
        scheme, _, token = authorization.partition(" ")
        return self._allowed is None or (
            scheme.lower() == "bearer" and self._allowed(token.strip().encode("latin-1", "replace"))
        )

    def _answer(self, asked: Request) -> Reply:
        data = _picture(asked)
        if data is None:
            return problem(415, f"this Content-Type holds no picture: {_HELP}")
        if not data:
            return problem(400, f"there is no picture in the request: {_HELP}")
        if len(data) > self.bytes_max:
            return problem(413, f"the picture has {len(data)} bytes, {self.bytes_max} are allowed: send a smaller one")
        return self._not_a_picture(data) or self.desk.put(data)

    def _not_a_picture(self, data: bytes) -> Reply | None:
        """Why the first bytes show that no decoder needs to try, if so."""
        if not is_picture(data[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0")):
            known = ", ".join(sorted(set(FORMATS.values())))
            return problem(415, f"this is no picture in a format that is read here ({known})")
        size = declared_size(data)
        if size is not None and size[0] * size[1] > self._pixels_max:
            allowed = f"{self._pixels_max / 1e6:g} million pixels are allowed"
            return problem(413, f"the picture claims to be {size[0]}x{size[1]} pixels, {allowed}: send a smaller one")
        return None


def _picture(asked: Request) -> bytes | None:
    """The bytes of the picture; None when the request says that it brings something else."""
    kind = asked.mimetype
    if kind == "multipart/form-data":
        file = asked.files.get("image")
        return file.read() if file is not None else b""
    if kind.startswith("image/") or kind in ("application/octet-stream", ""):
        return asked.get_data(cache=False)
    return None


class _InMemory(Request):
    """A request whose form lies in memory as its body does, not in a file on the device's card."""

    def _get_file_stream(self, *_: Any, **__: Any) -> io.BytesIO:  # noqa: ANN401  # what a form's part says of itself
        return io.BytesIO()


def _application(predict: _Predict) -> Flask:
    app = Flask(__name__, static_folder=None)
    app.request_class = _InMemory
    app.config["MAX_FORM_MEMORY_SIZE"] = predict.bytes_max + _FORM_BYTES
    app.config["MAX_FORM_PARTS"] = 10

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        g.id = _id_of(request.headers.get("X-Request-Id", ""))

    @app.post("/predict")
    def answer() -> Response:
        return _response(predict(request), predict.desk)

    @app.get("/healthz")
    def health() -> Response:
        return Response(b'{"status":"ok"}\n', mimetype="application/json")

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        code = error.code or 500
        told = "there is POST /predict and GET /healthz" if isinstance(error, NotFound) else error.description or ""
        response = _response(problem(code, told), predict.desk)
        for name in ("Allow", "Retry-After"):
            if value := dict(error.get_headers()).get(name):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def break_down(error: Exception) -> Response:
        _log.warning("request %s: %s: %s", g.id, type(error).__name__, error)
        return _response(problem(500, f"the server failed: {type(error).__name__}"), predict.desk)

    return app


def _id_of(given: str) -> str:
    """The caller's id when it is a plain word; otherwise one of ours."""
    return given if _ID.fullmatch(given) else secrets.token_hex(8)


def _response(reply: Reply, desk: Desk) -> Response:
    """A reply with the request's id; counted and logged."""
    took_ms = (time.perf_counter() - g.started) * 1000
    response = Response(_with_id(reply.body, g.id), reply.status, mimetype="application/json")
    response.headers["X-Request-Id"] = g.id
    if reply.status == 503:  # noqa: PLR2004  # HTTP's Service Unavailable
        response.headers["Retry-After"] = _RETRY_AFTER_S
    if reply.status == 401:  # noqa: PLR2004  # HTTP's Unauthorized
        response.headers["WWW-Authenticate"] = "Bearer"
    desk.count(reply.status)
    _tell(g.id, reply, took_ms)
    return response


def _with_id(body: bytes, id_: str) -> bytes:
    """A JSON object with the request's id before everything else."""
    return b'{"id":' + msgspec.json.encode(id_) + b"," + body[1:] + b"\n"


def _tell(id_: str, reply: Reply, took_ms: float) -> None:
    """One line for a request."""
    told = msgspec.json.decode(reply.body)
    where = "" if reply.frame is None else f", frame {reply.frame}"
    model = told.get("model", {}).get("name", "")
    seen = [guess["class"] for guess in told.get("detections", told.get("classes", []))]
    words = ", ".join(seen[:_CLASSES_LOGGED]) + (" …" if len(seen) > _CLASSES_LOGGED else "")
    what = told.get("error", f"{model}: {words or 'nothing'}")
    line = " ".join(f"request {id_}: {reply.status} in {took_ms:.1f} ms{where}: {what}".split())
    _log.info("%s", line[:500])


class _Nowhere(OverflowableBuffer):
    """Where the body of a request goes that nobody will read."""

    def append(self, _: bytes) -> None:
        """Let it go."""


def _parser(welcomes: Callable[[str], bool]) -> type[HTTPRequestParser]:
    """What reads requests, and keeps no body of one that may not ask: who has no token takes no memory."""

    class Parser(HTTPRequestParser):
        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            body: Any = self.body_rcv
            if body is not None and not welcomes(self.headers.get("AUTHORIZATION", "")):
                body.buf = _Nowhere(0)

    return Parser


def _error_task(desk: Desk) -> type[ErrorTask]:
    """What answers a request that is too large, or none at all, before the application sees it."""

    class Refusal(ErrorTask):
        def execute(self) -> None:
            refused: Any = self.request  # waitress's parser; its published types say less than it has
            error = refused.error
            way_out = ": send a smaller one" if error.code == 413 else ""  # noqa: PLR2004  # HTTP's Content Too Large
            reply = problem(error.code, f"{error.reason}: {error.body}{way_out}")
            id_ = _id_of(str(refused.headers.get("X_REQUEST_ID", "")))
            body = _with_id(reply.body, id_)
            self.status = f"{error.code} {error.reason}"
            self.response_headers = [("Content-Type", "application/json"), ("X-Request-Id", id_)]
            self.set_close_on_finish()
            self.content_length = len(body)
            desk.count(error.code)
            _tell(id_, reply, 0.0)
            self.write(body)

    return Refusal
