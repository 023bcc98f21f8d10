"""The pages in a real browser: on a desk and on a phone, by day and by night, with and without a collector."""

import re
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import collector.web
from collector.web import views
from tests.web.seed import Camera

STREAM = "/streams/greenhouse/pi-roof/cam0"
VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"), (360, "light")]
PATIENCE_S = 20


@pytest.fixture
def page(chrome, greenhouse, serve):
    """The greenhouse in the browser."""
    url, stop = serve(greenhouse.app)
    chrome.get_log("browser")  # what earlier tests left
    _look(chrome, 1280, "light")
    chrome.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Paris"})
    page = Page(chrome, url, stop)
    yield page
    chrome.get("about:blank")


class Page:
    """What a person does with a page."""

    def __init__(self, chrome: webdriver.Chrome, url: str, stop) -> None:
        self.chrome = chrome
        self.url = url
        self.stop = stop

    def open(self, path: str) -> None:
        self.chrome.get(self.url + path)

    def text(self, selector: str) -> str:
        return self.chrome.find_element(By.CSS_SELECTOR, selector).text

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.chrome.find_elements(By.CSS_SELECTOR, selector)]

    def until(self, condition, what: str) -> None:
        WebDriverWait(self.chrome, PATIENCE_S, poll_frequency=0.1).until(lambda _: condition(), f"waited for {what}")

    def until_drawn(self) -> None:
        self.until(lambda: self.run("return document.getElementById('stream').dataset.drawn"), "the charts")

    def run(self, script: str):
        return self.chrome.execute_script(script)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.chrome.get_log("browser")]


def _look(chrome: webdriver.Chrome, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_pages_fit_and_nothing_complains(page, width, scheme):
    _look(page.chrome, width, scheme)
    for path in ("/", f"{STREAM}?period=1h"):
        page.open(path)
        page.until(lambda: page.text("#contact").startswith("Live"), "the first poll")
        if path != "/":
            page.until_drawn()
        assert page.run("return document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        dark = page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 18)"
        assert dark == (scheme == "dark")
        assert page.complaints() == []


@pytest.mark.browser
def test_the_fleet_shows_what_the_api_says(page, greenhouse):
    page.open("/")
    assert page.text("#verdict") == "2 cameras, all well"
    assert page.texts(".card .name") == ["pi-door/cam0 greenhouse", "pi-roof/cam0 greenhouse"]
    told = greenhouse.client.get("/api/v1/fleet").json["devices"][1]["streams"][0]
    figures = page.texts(".card:nth-child(2) .figure dd")
    assert figures == [
        views.number(told["frames_per_s"]),
        f"{views.number(told['response_ms']['p95'])} ms",
        f"{views.percent(told['without_detection']['share'])} %",
    ]
    assert figures[0] == "2.0"
    assert figures[2] == "20 %"
    page.until(lambda: "Europe/Paris" in page.text("#zone"), "the zone's name")
    since = page.chrome.find_element(By.CSS_SELECTOR, ".card:nth-child(2) .since time")
    assert re.fullmatch(r"(\w+ \w+, )?\d\d:\d\d", since.text)
    page.until(
        lambda: page.run("return [...document.querySelectorAll('.picture img')].every((i) => i.naturalWidth === 640)"),
        "the pictures",
    )


@pytest.mark.browser
def test_the_stream_shows_what_the_api_says(page, greenhouse):
    page.open(f"{STREAM}?period=1h")
    page.until_drawn()
    row = greenhouse.client.get("/api/v1/summary?from=-1h&device=pi-roof").json["rows"][0]
    shown = {
        name: page.text(f".strip [data-slot={name}]") for name in ("period_frames", "p50", "period_p95", "period_none")
    }
    assert shown == {
        "period_frames": "1,200",
        "p50": views.number(row["response_ms"]["p50"]),
        "period_p95": views.number(row["response_ms"]["p95"]),
        "period_none": "20",
    }
    assert page.text("#ledger summary") == "all 1,200 frames accounted for"
    page.chrome.find_element(By.CSS_SELECTOR, "#ledger summary").send_keys(Keys.ENTER)
    assert "stored\n1,200".replace("\n", " ") in page.text("#ledger table").replace("\n", " ")
    assert "Start 1 1,200 frames" in page.text("#ledger table").replace("\n", " ")
    account = page.chrome.find_element(By.CSS_SELECTOR, "#ledger a").get_attribute("href")
    assert account is not None
    assert account.endswith("/api/v1/devices/greenhouse/pi-roof/ledger?digests=true")
    assert page.texts("#events li span") == ["The agent started: the last run ended cleanly."]
    plots = "return [...document.querySelectorAll('.plot')].filter((p) => p.querySelector('.main-svg')).length"
    assert page.run(plots) == 7
    ok = page.run("return document.querySelector('[data-chart=outcomes]').data[0].y.filter((y) => y !== null)")
    assert all(0.3 <= rate <= 2.001 for rate in ok)
    assert max(ok) == pytest.approx(2)
    classes = page.run("const d = document.querySelector('[data-chart=class-totals]').data[0]; return [d.y, d.x]")
    assert dict(zip(*classes, strict=True)) == {one["class"]: one["detections"] for one in row["classes"]}


@pytest.mark.browser
def test_boxes_lie_on_the_picture_and_can_be_taken_away(page, greenhouse):
    page.open(STREAM)
    page.until(lambda: page.texts("#labels span"), "the boxes")
    at = greenhouse.client.get("/api/v1/fleet").json["devices"][1]["streams"][0]["snapshot"]["captured_at"]
    query = {"device": "pi-roof", "to": "now", "from": at, "limit": 10}
    seen = greenhouse.client.get("/api/v1/predictions", query_string=query).json["predictions"][-1]
    assert page.texts("#labels span") == [f"{one['class']} {one['score']:.2f}" for one in seen["detections"]]
    first = page.run("const b = document.querySelector('#boxes rect').attributes; return [b.x.value, b.width.value]")
    x1, _, x2, _ = seen["detections"][0]["box"]
    assert [float(part) * 640 for part in first] == pytest.approx([x1, x2 - x1], abs=0.1)
    page.chrome.find_element(By.ID, "toggle").send_keys(Keys.SPACE)
    assert not page.chrome.find_element(By.ID, "boxes").is_displayed()
    assert page.complaints() == []


def test_a_missing_page_names_the_fleet_once(greenhouse):
    for path in ("/streams/greenhouse/pi-rof/cam0", "/nothing"):
        page = greenhouse.client.get(path, headers={"Accept": "text/html"})
        main = page.text.partition("<main")[2].partition("</main>")[0]
        assert page.status_code == 404
        assert main.count("leet") == 1, main  # the link
        assert ">To the fleet</a>" in main


@pytest.mark.browser
def test_the_fleet_says_what_keeps_the_collector_from_its_work(page, world):
    world.reasons["broker"] = "mqtt://127.0.0.1:1883: connection refused: is the <broker> running there?"
    page.open("/")
    assert page.texts("#reasons li") == [world.reasons["broker"]]
    page.until(lambda: page.text("#contact").startswith("Live"), "the first poll")
    assert page.text("#trouble h2") == "The collector cannot do all its work"
    world.reasons.clear()
    page.until(lambda: not page.chrome.find_element(By.ID, "trouble").is_displayed(), "the end of it")
    world.reasons["store"] = "the disk is full"
    page.until(lambda: page.texts("#reasons li") == ["the disk is full"], "the next reason")
    assert page.complaints() == []


def test_an_empty_fleet_says_so_too(world):
    world.reasons["broker"] = "mqtt://127.0.0.1:1883: connection refused: is the broker running there?"
    page = world.client.get("/").text
    assert "No cameras yet" in page
    assert f"<li>{world.reasons['broker']}</li>" in page


@pytest.mark.browser
def test_the_foot_names_the_zone_once(page):
    page.chrome.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
    page.open("/")
    page.until(lambda: page.text("#contact").startswith("Live"), "the first poll")
    assert page.text("#zone") == "Times are UTC"


@pytest.mark.browser
def test_a_slow_models_figures_stay_in_their_column(page):
    _look(page.chrome, 390, "light")
    page.open("/")
    page.until(lambda: page.text("#contact").startswith("Live"), "the first poll")
    lefts = page.run(
        "const card = document.querySelector('.card');"
        "card.querySelector('[data-slot=p95]').textContent = '12,346';"
        "return [...card.querySelectorAll('.figure dt')].map((label) => label.getBoundingClientRect().left)"
    )
    assert len(set(lefts)) == 1, lefts
    tops = page.run(
        "return [...document.querySelectorAll('.card:first-child .figure')].map((figure) => Math.abs("
        "figure.querySelector('dt').getBoundingClientRect().bottom"
        " - figure.querySelector('dd').getBoundingClientRect().bottom))"
    )
    assert max(tops) < 8, "a label stands beside its number"


@pytest.mark.browser
def test_charts_are_as_wide_as_their_place_whatever_the_window_does(page):
    page.open(f"{STREAM}?period=1h")
    page.until_drawn()
    beyond = (
        "return Math.max(...[...document.querySelectorAll('.plot')].map((plot) => Math.abs("
        "plot.querySelector('.main-svg').getBoundingClientRect().width - plot.clientWidth)))"
    )
    for width in (1000, 700, 1280):
        _look(page.chrome, width, "light")
        page.until(lambda: page.run(beyond) < 1, f"the charts at {width}")
    page.run("document.querySelector('main').style.paddingRight = '200px'")  # as a scrollbar does, no window resized
    page.until(lambda: page.run(beyond) < 1, "the charts in less room")
    assert page.complaints() == []


@pytest.mark.browser
def test_a_change_appears_without_a_reload(page, greenhouse):
    page.open("/")
    page.run("window.kept = true")
    greenhouse.now_ns += 240 * 10**9
    greenhouse.add(Camera(device="pi-late", seconds=60))
    page.until(lambda: len(page.texts(".card")) == 3, "the new camera")
    page.until(
        lambda: (
            page.text("#verdict")
            == "2 of 3 cameras have a problem: pi-door/cam0 silent for 3 min, pi-roof/cam0 silent for 3 min"
        ),
        "the verdict",
    )
    assert page.texts(".card .state [data-slot=word]") == ["Device silent", "Device silent", "OK"]
    assert page.chrome.title.startswith("2 of 3 cameras have a problem")
    assert page.run("return window.kept") is True
    assert page.complaints() == []


@pytest.mark.browser
def test_the_page_says_when_it_lost_the_collector_and_when_it_is_back(page, greenhouse, serve):
    page.open("/")
    page.until(lambda: page.text("#contact").startswith("Live"), "the first poll")
    page.stop()
    page.until(lambda: page.chrome.find_element(By.ID, "lost").is_displayed(), "the word that contact is lost")
    assert re.fullmatch(
        r"No contact with the collector since \d\d:\d\d:\d\d\. What you see is from then\.", page.text("#lost")
    )
    serve(greenhouse.app, int(page.url.rpartition(":")[2]))
    page.until(lambda: not page.chrome.find_element(By.ID, "lost").is_displayed(), "contact again")


@pytest.mark.browser
def test_the_pages_work_by_keyboard(page):
    page.open("/")
    seen = []
    for _ in range(4):
        page.chrome.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(page.chrome.switch_to.active_element.get_attribute("href").removeprefix(page.url))
    assert seen == ["/#main", "/", "/streams/greenhouse/pi-door/cam0", "/streams/greenhouse/pi-roof/cam0"]
    page.chrome.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: page.chrome.current_url.endswith("/pi-roof/cam0"), "the stream's page")
    page.chrome.find_element(By.LINK_TEXT, "6 h").send_keys(Keys.ENTER)
    page.until(lambda: page.text("#period-title") == "The last 6 hours", "the other period")
    assert page.text(".periods [aria-current]") == "6 h"


@pytest.mark.browser
def test_without_javascript_the_pages_still_tell(page):
    page.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open("/")
        assert page.text("#verdict") == "2 cameras, all well"
        assert page.text("noscript").startswith("JavaScript is off")
        assert page.text(".card .since").endswith("UTC")
        page.open(STREAM)
        assert page.text(".strip [data-slot=period_frames]") == "1,200"
    finally:
        page.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.browser
def test_a_hostile_name_stays_text_after_polling_too(chrome, world, serve):
    nasty = "<img src=x onerror=document.title='owned'>"
    world.add(Camera(names=(nasty, "<b>bold</b>", "ripe")), error=nasty)
    url, _ = serve(world.app)
    chrome.get_log("browser")
    _look(chrome, 1280, "light")
    page = Page(chrome, url, None)
    page.open(STREAM)
    page.until_drawn()
    assert page.text(".lede") == nasty
    assert nasty in page.run("return document.querySelector('[data-chart=class-totals]').textContent")
    assert page.run("return document.querySelectorAll('img[src=x], .plot b').length") == 0
    assert "owned" not in page.chrome.title
    assert page.complaints() == []
    chrome.get("about:blank")


def _tokens() -> tuple[dict[str, str], dict[str, str]]:
    sheet = (Path(collector.web.__file__).parent / "static" / "vigie.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\n *\}", sheet, re.DOTALL)
    )
    return light, light | dark


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_aa_asks_for(scheme):
    tokens = _tokens()[scheme]
    pairs = [(ink, ground) for ink in ("ink", "soft") for ground in ("paper", "sheet", "sunk", "warn-wash", "bad-wash")]
    pairs += [("ok", "ok-wash"), ("warn", "warn-wash"), ("bad", "bad-wash"), ("idle", "sheet"), ("sheet", "bad")]
    for ink, ground in pairs:
        light, dark = sorted((_luminance(tokens[ink]), _luminance(tokens[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {ground}"
