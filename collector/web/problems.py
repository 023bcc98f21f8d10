"""Every error as RFC 9457 problem details: what broke which rule, with which value, and what to do.

A person in a browser gets the same words as a page; everything else gets `application/problem+json`.
"""

import logging
from http import HTTPStatus
from typing import cast

import msgspec
from flask import Flask, Response, g, render_template, request
from werkzeug.exceptions import HTTPException

from collector.queries import BadQuery, NotFound
from collector.stores import Unavailable

LOG = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_ADVICE = {
    HTTPStatus.NOT_FOUND: "There is nothing at {path}. The API is under /api/v1 (docs/api.md).",
    HTTPStatus.METHOD_NOT_ALLOWED: "{method} is not possible on {path}. Use one of: {allowed}.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "No request here needs a body: send the parameters in the URL's query.",
}


class Problem(Exception):
    """Raised to answer a request with problem details.

    Attributes:
        status: HTTP status.
        name: Last part of the problem's `type`, stable for programs.
        detail: Rule, value and way out, in one or two sentences.
        parameter: The parameter that is wrong, where one is.
    """

    def __init__(self, status: int, name: str, detail: str, parameter: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.parameter = parameter


def wrong_parameter(parameter: str, detail: str) -> Problem:
    """A 400 for one parameter of the request."""
    return Problem(HTTPStatus.BAD_REQUEST, "wrong-parameter", detail, parameter)


def not_found(detail: str) -> Problem:
    """A 404 for something that a path names."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", detail)


def register(app: Flask) -> None:
    """Answer every error of `app` in this form."""
    app.register_error_handler(Problem, _answer)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(BadQuery, _bad_query)
    app.register_error_handler(NotFound, _unheard_of)
    app.register_error_handler(Unavailable, _store_away)
    app.register_error_handler(Exception, _unexpected)


def _http_error(error: HTTPException) -> Response:
    if error.response is not None or error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return cast("Response", Response.force_type(error.get_response(), request.environ))  # a redirect is no error
    status = HTTPStatus(error.code)
    allowed = sorted(getattr(error, "valid_methods", None) or ())
    advice = _ADVICE.get(status, error.description or "")
    detail = advice.format(path=request.path, method=request.method, allowed=", ".join(allowed))
    response = _answer(Problem(status, status.phrase.lower().replace(" ", "-"), detail))
    if allowed:
        response.headers["Allow"] = ", ".join(allowed)
    return response


def _bad_query(error: BadQuery) -> Response:
    return _answer(wrong_parameter(error.parameter, f"{error}."))


def _unheard_of(error: NotFound) -> Response:
    words = str(error)
    return _answer(not_found(f"{words[:1].upper()}{words[1:]}. /api/v1/devices lists what there is."))


def _store_away(error: Unavailable) -> Response:
    """The store is away: say so, and that it passes."""
    return _answer(
        Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "store-unavailable",
            f"The store does not answer: {error}. Devices keep their records until it is back; /readyz says more.",
        )
    )


def _unexpected(error: Exception) -> Response:
    """A fault of ours: the log has it all, the answer only the id to find it by."""
    LOG.error("request %s: %s %s failed", g.request_id, request.method, request.path, exc_info=error)
    return _answer(
        Problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal-error",
            f"The collector failed on this request. Its log has the reason under the id {g.request_id}.",
        )
    )


def _answer(problem: Problem) -> Response:
    status = HTTPStatus(problem.status)
    body = {
        "type": f"urn:vigie:problem:{problem.name}",
        "title": status.phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.path,
    }
    if problem.parameter is not None:
        body["parameter"] = problem.parameter
    g.error = problem.detail
    if _wants_page():
        return Response(render_template("problem.html", problem=body), status, mimetype="text/html")
    return Response(msgspec.json.encode(body), status, content_type=MEDIA_TYPE)


def _wants_page() -> bool:
    """Whether a person's browser asks for a page: it names HTML, which programs do not."""
    machine = request.path.startswith(("/api/", "/view/", "/static/", "/metrics", "/healthz", "/readyz"))
    return not machine and "text/html" in request.headers.get("Accept", "")
