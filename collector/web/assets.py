"""Static files: read and compressed once, served from memory, under addresses that change with their content.

plotly's JavaScript comes from its installed wheel; nothing is fetched from elsewhere.
"""

import gzip
import hashlib
import importlib.util
import mimetypes
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Flask, Response, request, url_for

from collector.web.problems import not_found
from collector.web.transfer import takes_gzip

PLOTLY = "plotly.min.js"

_FOLDER = Path(__file__).parent / "static"
_STYLE_ID = re.compile(r'getElementById\("([0-9a-f]{64})"\)')
_FOR_EVER = "public, max-age=31536000, immutable"

blueprint = Blueprint("assets", __name__)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is sent."""

    plain: bytes
    packed: bytes
    media_type: str
    version: str


@cache
def load(name: str) -> Asset:
    """Read a static file and compress it, once.

    Raises:
        FileNotFoundError: There is no such file.
    """
    plain = _path(name).read_bytes()
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    version = hashlib.blake2b(plain, digest_size=6).hexdigest()
    return Asset(plain, gzip.compress(plain, 6, mtime=0), media_type, version)


def _path(name: str) -> Path:
    if name == PLOTLY:
        found = importlib.util.find_spec("plotly")  # found, not imported: its Python side is not needed
        if found is None or not found.submodule_search_locations:
            raise FileNotFoundError(name)
        return Path(found.submodule_search_locations[0]) / "package_data" / PLOTLY
    # Only names that the folder lists: no path from a URL ever reaches the file system.
    if name not in {path.name for path in _FOLDER.iterdir()}:
        raise FileNotFoundError(name)
    return _FOLDER / name


@cache
def plotly_style_ids() -> tuple[str, ...]:
    """Ids under which plotly looks for style sheets that its parts bring along, before it would write them inline.

    Our content policy allows no inline styles; the parts are for maps, which no page here draws.
    """
    return tuple(dict.fromkeys(_STYLE_ID.findall(load(PLOTLY).plain.decode(errors="replace"))))


def address(name: str) -> str:
    """The address of a static file; it changes with the file, so that browsers may keep it for ever."""
    return url_for("assets.static_file", name=name, v=load(name).version)


@blueprint.get("/static/<name>")
def static_file(name: str) -> Response:
    """One static file."""
    try:
        asset = load(name)
    except FileNotFoundError:
        raise not_found(f"There is no static file {name!r}.") from None
    packed = takes_gzip()
    response = Response(asset.packed if packed else asset.plain, content_type=_with_charset(asset.media_type))
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    response.set_etag(asset.version, weak=True)
    if request.args.get("v") == asset.version:
        response.headers["Cache-Control"] = _FOR_EVER
    return response


def _with_charset(media_type: str) -> str:
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def register(app: Flask) -> None:
    """Serve the files, and give templates `asset(name)`."""
    app.register_blueprint(blueprint)
    app.jinja_env.globals["asset"] = address
