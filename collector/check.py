"""`vigie-collector check`: whether this machine can collect, and what to do where it cannot.

It creates nothing: a mistyped path is shown, not made.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from collector import build, config
from collector.broker import CannotListen, EmbeddedBroker
from collector.config import Settings
from collector.stores import Unavailable
from shared import kernelclock, mqtt
from shared.commands import Finding
from shared.configfile import ConfigError

BROKER_S = 10.0
FREE_MB_MIN = 500
_MB = 1_000_000
_BUILT_S = 1_767_225_600
"""2026-01-01: a clock before it was never set."""


def look(path: Path) -> Iterator[Finding]:
    """Everything that `check` looks at, in order."""
    try:
        settings = config.load(path)
    except ConfigError as error:
        yield Finding("config", ok=False, detail=str(error))
        return
    yield Finding("config", ok=True, detail=f"{path} is valid")
    yield _store(settings)
    yield _state(settings)
    yield _broker(settings)
    yield _port(settings)
    yield _disk(settings)
    yield _clock()


def _store(settings: Settings) -> Finding:
    if (absent := _absent("store", Path(settings.store.path), "store.path")) is not None:
        return absent
    kept = build.store(settings)
    try:
        kept.open()
        kept.probe()
    except Unavailable as error:
        return Finding("store", ok=False, detail=error.reason)
    finally:
        kept.close()
    return Finding("store", ok=True, detail=f"{settings.store.kind}: {settings.store.path} can be written")


def _state(settings: Settings) -> Finding:
    kept = build.quarantine(settings)
    if (absent := _absent("state", kept.path, "state_dir")) is not None:
        return absent
    try:
        kept.open()
        kept.probe()
    except Unavailable as error:
        return Finding("state", ok=False, detail=error.reason)
    finally:
        kept.close()
    return Finding("state", ok=True, detail=f"{settings.state_dir} can be written")


def _absent(name: str, file: Path, key: str) -> Finding | None:
    """What `run` would do where `file` is not there yet; None where it is."""
    if _exists(file):
        return None
    folder = _standing(file)
    if not folder.is_dir():
        return Finding(name, ok=False, detail=f"{file} cannot be created, {folder} is not a folder: change {key}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            name, ok=False, detail=f"{file} cannot be created, {folder} cannot be written: set its rights, or {key}"
        )
    if folder == file.parent:
        return Finding(name, ok=True, detail=f"{file.name} does not exist yet, will be created in {folder}")
    return Finding(name, ok=True, detail=f"folder {file.parent} does not exist yet, will be created for {file.name}")


def _standing(path: Path) -> Path:
    """The nearest thing above `path` that exists."""
    return next(parent for parent in path.parents if _exists(parent))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # nobody may look into the folder
        return False


def _broker(settings: Settings) -> Finding:
    embedded = settings.embedded_broker
    if embedded is None:
        problem = mqtt.probe(settings.broker, "vigie-collector-check", BROKER_S)
        return Finding("broker", ok=problem is None, detail=problem or f"{settings.broker.url} lets us in")
    try:
        with _quiet("collector.broker"), EmbeddedBroker(embedded.host, embedded.port):
            return Finding("embedded broker", ok=True, detail=f"can listen on {embedded.host} port {embedded.port}")
    except CannotListen as error:
        if mqtt.probe(settings.effective_broker, "vigie-collector-check", 2.0) is not None:
            return Finding("embedded broker", ok=False, detail=str(error))
        return Finding("embedded broker", ok=True, detail=f"one already answers on {settings.effective_broker.url}")


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """What is found is said in the table, not between its lines."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _port(settings: Settings) -> Finding:
    web = settings.web
    try:
        build.listener(web).close()
    except CannotListen as error:
        return Finding("web port", ok=False, detail=str(error))
    return Finding("web port", ok=True, detail=f"can listen on {web.host} port {web.port}")


def _disk(settings: Settings) -> Finding:
    folder = _standing(Path(settings.store.path).resolve())
    try:
        free_mb = shutil.disk_usage(folder).free // _MB
    except OSError as error:
        return Finding("disk", ok=False, detail=f"{folder}: {error.strerror}: create it, or change store.path")
    detail = f"{folder}: {free_mb} MB free"
    if free_mb < FREE_MB_MIN:
        return Finding("disk", ok=False, detail=f"{detail}, fewer than {FREE_MB_MIN}: free some")
    return Finding("disk", ok=True, detail=detail)


def _clock() -> Finding:
    now_s = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < _BUILT_S:
        return Finding("clock", ok=False, detail=f"it is {shown}? set the clock: devices without one take ours")
    if kernelclock.synchronised():
        return Finding("clock", ok=True, detail=f"{shown}, synchronised")
    kept = "not synchronised, as far as we may ask: devices take their time from it, so see that it is kept by NTP"
    return Finding("clock", ok=True, detail=f"{shown}, {kept}")
