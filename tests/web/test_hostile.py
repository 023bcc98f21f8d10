"""Names come from devices: whatever they are called, they stay text."""

import pytest

from collector.web import views
from tests.web.seed import Camera

NASTY = "<script>alert(1)</script>"
QUOTES = "\"onload='x' {{7*7}} %s &amp; </textarea>"


@pytest.fixture
def hostile(world):
    """A camera whose class names, picture and error are hostile."""
    world.add(Camera(names=(NASTY, QUOTES, "\u202egnirts\x00")), error=f"cannot load {NASTY}")
    return world


def test_a_hostile_name_is_text_in_the_pages(hostile):
    for path in ("/", "/streams/greenhouse/pi-roof/cam0"):
        page = hostile.client.get(path)
        assert page.status_code == 200
        assert NASTY not in page.text
        assert "cannot load &lt;script&gt;" in page.text
        assert "49" not in page.text.partition("cannot load")[2].partition("</p>")[0]


def test_a_hostile_name_is_json_in_the_api(hostile):
    answer = hostile.client.get("/api/v1/summary")
    assert answer.content_type == "application/json"
    assert {one["class"] for one in answer.json["rows"][0]["classes"]} >= {NASTY, QUOTES}
    found = hostile.client.get("/api/v1/predictions", query_string={"class": NASTY, "limit": 3}).json["predictions"]
    assert len(found) == 3


@pytest.mark.parametrize("name", [NASTY, "..", "%2e%2e", "a" * 300, "x\x00y", "CON", "-rf", "ärger"])
def test_a_hostile_path_finds_nothing_and_breaks_nothing(hostile, name):
    for path in (
        f"/streams/greenhouse/{name}/cam0",
        f"/view/streams/{name}/pi-roof/cam0",
        f"/api/v1/devices/{name}/pi-roof/ledger",
        f"/api/v1/devices/greenhouse/{name}/streams/cam0/snapshot",
        f"/api/v1/devices/greenhouse/pi-roof/streams/{name}/snapshot",
        f"/static/{name}",
        f"/api/v1/models/{name}",
    ):
        answer = hostile.client.get(path)
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json"), path


def test_the_template_shows_hostile_cards_as_text(hostile):
    glances = hostile.client.get("/api/v1/fleet").json
    glances["devices"][0] |= {"device": NASTY, "site": QUOTES, "name": NASTY}
    glances["devices"][0]["streams"][0]["stream"] = '"><img src=x onerror=alert(1)>'
    with hostile.app.test_request_context():
        from flask import render_template  # noqa: PLC0415  # only inside the request

        page = render_template(
            "fleet.html", view=views.fleet(glances, {}, hostile.now_ns), blank=views.BLANK, now="", version="0"
        )
    assert NASTY not in page
    assert "<img src=x" not in page
    assert 'href="/streams/%22onload' in page
