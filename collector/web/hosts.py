"""Under which names the collector answers while only this machine may look.

A page from elsewhere may point a name of its own at 127.0.0.1 (DNS rebinding); the browser then lets it read what is
answered under that name. Until there is a sign-in, loopback's own names are the only ones that are answered.
"""

import re
from http import HTTPStatus

from flask import Flask, request

from collector.web.problems import Problem

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?", re.IGNORECASE)


def register(app: Flask) -> None:
    """Refuse requests under any other name."""
    app.before_request(_check)


def _check() -> None:
    if not _LOOPBACK.fullmatch(request.environ.get("HTTP_HOST", "")):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "strange-host",
            "This collector answers under 127.0.0.1 and localhost only: without a sign-in, another name could be a "
            "stranger's page. `web.public: true` lets everybody in.",
        )
