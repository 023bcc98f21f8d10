"""The preview's page in a real browser, as wide as a phone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import greymodel
import pytest
from selenium.webdriver.common.by import By
from smallsite import free_port, wait_for

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
CONFIG = """
site: greenhouse
device: pi-roof
streams:
  - {name: roof, source: {synthetic: a, live: true, fps: 10}, model: grey.onnx}
"""


@pytest.fixture
def url(tmp_path):
    greymodel.save(tmp_path / "grey.onnx")
    (tmp_path / "agent.yaml").write_text(CONFIG)
    with subprocess.Popen(
        [sys.executable, "-m", "agent", "preview", "--config", "agent.yaml", "--listen", f"127.0.0.1:{free_port()}"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_a_live_picture_on_a_phone(chrome, url, scheme):
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    chrome.get_log("browser")
    chrome.get(url)

    def text(name):
        return chrome.find_element(By.ID, name).text

    wait_for(lambda: chrome.execute_script("return document.getElementById('picture').naturalWidth") == 640, "it")
    first = chrome.find_element(By.ID, "picture").get_attribute("src")
    wait_for(lambda: chrome.find_element(By.ID, "picture").get_attribute("src") != first, "the next picture")
    assert float(text("focus")) > 0
    assert text("name") == "roof"
    assert text("seen") == "grey 0.90"
    assert text("size") == "640 × 480 pixels"  # noqa: RUF001  # as people write it
    wait_for(lambda: text("left").startswith("ends in 9:"), "the time that is left")
    assert not chrome.find_element(By.ID, "say").is_displayed()
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= 390
    if folder := os.environ.get("VIGIE_SCREENSHOTS"):
        chrome.save_screenshot(f"{folder}/preview-{scheme}.png")
    assert [line for line in chrome.get_log("browser") if line["level"] == "SEVERE"] == []
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
