"""A real store with known data, the application over it, and a browser to look at it."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from waitress import wasyncore
from waitress.server import create_server

from collector.queries import Queries
from collector.state.pictures import Pictures
from collector.stores.sqlite import SQLite
from collector.web import create_app
from shared.records import TICK_NS
from tests.web import seed
from tests.web.seed import Camera

SECOND_NS = 10**9


@dataclass
class World:
    """A collector's data and its application, at a time that a test moves.

    Attributes:
        store: The store, open.
        pictures: Its pictures.
        app: The application.
        now_ns: What the collector's clock says.
        reasons: What `/readyz` shall complain of.
    """

    store: SQLite
    pictures: Pictures
    now_ns: int
    reasons: dict[str, str]
    app: Flask = None  # type: ignore[assignment]  # made from the rest

    def add(self, camera: Camera, *, error: str = "", picture: bool = True) -> None:
        """Let a camera have run until now."""
        sent = seed.batches(camera, self.now_ns)
        self.store.write(sent)
        self.store.write_statuses([seed.status(camera, self.now_ns, error=error)])
        if picture:
            header, body = sent[-2].batch.header, sent[-2].batch.body
            seen = body.blocks[0].observations[-2]  # type: ignore[union-attr]  # a detail batch
            self.pictures.add(
                camera.site, camera.device, camera.stream, header.sealed_at_ns - seen.age * TICK_NS, jpeg(camera.device)
            )

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()


def jpeg(word: str) -> bytes:
    """A small picture."""
    image = np.full((480, 640, 3), 90, np.uint8)
    image[:, :, 1] = np.linspace(60, 160, 640, dtype=np.uint8)
    cv2.putText(image, word, (40, 260), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 3)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty collector."""
    with SQLite(tmp_path / "store.db") as store:
        # Now, so that a browser's own clock fits; in the middle of a minute, so that sums are the same each time.
        now_ns = time.time_ns() // (60 * SECOND_NS) * 60 * SECOND_NS + 30 * SECOND_NS
        made = World(store, Pictures(tmp_path / "pictures"), now_ns, {})
        queries = Queries(store, made.pictures, lambda: made.now_ns)
        made.app = create_app(queries, CollectorRegistry(), lambda: made.reasons, made.pictures)
        yield made


@pytest.fixture
def greenhouse(world: World) -> World:
    """Two cameras that are well: 10 minutes at 2 frames/s, every fifth without a detection."""
    world.add(Camera())
    world.add(Camera(device="pi-door"))
    return world


@pytest.fixture
def serve() -> Iterator[object]:
    """Serve an application on a free port, as the collector does."""
    running = []

    def start(app: Flask, port: int = 0) -> tuple[str, object]:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        sockets: dict[int, Any] = {}
        server = create_server(app, sockets=[listening], map=sockets, threads=4)
        stopping = threading.Event()

        def run() -> None:
            while not stopping.is_set():
                wasyncore.loop(timeout=0.05, use_poll=True, map=sockets, count=1)

        thread = threading.Thread(target=run)
        thread.start()

        def stop() -> None:
            stopping.set()
            thread.join()
            server.task_dispatcher.shutdown()
            wasyncore.close_all(sockets, ignore_all=True)

        running.append(stop)
        return f"http://127.0.0.1:{listening.getsockname()[1]}", stop

    yield start
    for stop in running:
        stop()


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A real browser, or a skip that says how to get one."""
    driver, browser = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not browser:
        reason = "needs chromium and chromedriver: on Debian, apt-get install chromium chromium-driver"
        if os.environ.get("VIGIE_REQUIRE") == "all":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()
