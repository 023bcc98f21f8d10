"""How answers travel: entity tags, compression, and headers that keep a page to itself."""

import gzip
import hashlib
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

BODY_BYTES_MAX = 64 * 1024
GZIP_FROM_BYTES = 1024

_COMPRESSIBLE = {
    "application/json",
    "application/problem+json",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
}

POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "img-src 'self' data:; object-src 'none'"
)


def register(app: Flask) -> None:
    """Refuse bodies that no request needs, and finish every answer of `app`."""
    app.before_request(_limit_body)
    app.after_request(_finish)


def _limit_body() -> None:
    """Before anything is read: no view here looks at a body, so nothing else would notice."""
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise RequestEntityTooLarge


def _finish(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("X-Frame-Options", "DENY")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-cache")
    if response.is_streamed or response.direct_passthrough:
        return response
    if response.status_code == HTTPStatus.OK and request.method in {"GET", "HEAD"}:
        _tag(response)
    _compress(response)
    return response


def _tag(response: Response) -> None:
    """Give the answer its entity tag, and answer 304 to whoever has it already."""
    if not response.get_etag()[0]:
        # Weak, because the same answer travels compressed and plain.
        response.set_etag(hashlib.blake2b(response.get_data(), digest_size=12).hexdigest(), weak=True)
    response.make_conditional(request)


def _compress(response: Response) -> None:
    if response.mimetype not in _COMPRESSIBLE or "Content-Encoding" in response.headers:
        return
    response.vary.add("Accept-Encoding")
    data = response.get_data()
    if len(data) > GZIP_FROM_BYTES and takes_gzip():
        response.set_data(gzip.compress(data, 5, mtime=0))
        response.headers["Content-Encoding"] = "gzip"


def takes_gzip() -> bool:
    """Whether the client understands gzip."""
    return request.accept_encodings.quality("gzip") > 0
