"""Credentials out of URLs and pipelines, before anything is logged or sent.

Camera URLs carry passwords, and the libraries that open them quote the URL in what they print.
"""

import re

STARS = "***"

_SECRETS = (
    "access[_-]?key",
    "access[_-]?token",
    "api[_-]?key",
    "apikey",
    "auth",
    "authorization",
    "credentials?",
    "key",
    "loginpas",
    "pass",
    "passwd",
    "password",
    "passphrase",
    "pwd",
    "pw",
    "secret",
    "sig",
    "signature",
    "streamkey",
    "token",
    "usr",
    "user",
    "username",
    "loginuse",
)
"""Names of query parameters that cameras, media servers and clouds put credentials in."""

# A password may hold `@`, `/`, `?` and quotes although the standard wants them encoded: everything up to the last `@`
# before white space is taken. That can take too much of a text without spaces, and never too little.
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*:/{2,})\S*@", re.IGNORECASE)
_ENCODED_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*%3a(?:%2f){2,})\S*%40", re.IGNORECASE)
_QUERY = re.compile(rf"(?P<name>(?:[?&;]|%3f|%26)(?:{'|'.join(_SECRETS)})(?:=|%3d))[^\s\"'<>&;#]*", re.IGNORECASE)
# GStreamer's properties, as `rtspsrc user-id=admin user-pw="s3 cret"`; a quote that is never closed hides all after it.
_PROPERTY = re.compile(
    r"(?P<name>(?<![\w?&;-])(?:user-pw|proxy-pw|passphrase|password|secret-access-key|session-token) ?= ?)"
    r"(?P<value>\"(?:\\.|[^\"\\])*(?:\"|\\?$)|'[^']*(?:'|$)|[^\s\"',;]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Replace credentials by `***`: in every URL before the host and in the query, and in GStreamer's properties."""
    text = _PROPERTY.sub(rf"\g<name>{STARS}", text)
    text = _USERINFO.sub(rf"\g<scheme>{STARS}@", text)
    text = _ENCODED_USERINFO.sub(rf"\g<scheme>{STARS}%40", text)
    return _QUERY.sub(rf"\g<name>{STARS}", text)
