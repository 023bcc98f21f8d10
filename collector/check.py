"""`vigie-collector check`: whether this machine can collect, and what to do where it cannot."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from collector import build, config
from collector.broker import CannotListen, EmbeddedBroker
from collector.config import Settings
from collector.stores import Unavailable
from shared import mqtt
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
    try:
        kept.open()
        kept.probe()
    except Unavailable as error:
        return Finding("state", ok=False, detail=error.reason)
    finally:
        kept.close()
    return Finding("state", ok=True, detail=f"{settings.state_dir} can be written")


def _broker(settings: Settings) -> Finding:
    embedded = settings.embedded_broker
    if embedded is None:
        problem = mqtt.probe(settings.broker, "vigie-collector-check", BROKER_S)
        return Finding("broker", ok=problem is None, detail=problem or f"{settings.broker.url} lets us in")
    if mqtt.probe(settings.effective_broker, "vigie-collector-check", 2.0) is None:
        return Finding("embedded broker", ok=True, detail=f"one already answers on {settings.effective_broker.url}")
    try:
        with EmbeddedBroker(embedded.host, embedded.port):
            return Finding("embedded broker", ok=True, detail=f"can listen on {embedded.host} port {embedded.port}")
    except CannotListen as error:
        return Finding("embedded broker", ok=False, detail=str(error))


def _port(settings: Settings) -> Finding:
    web = settings.web
    try:
        build.listener(web).close()
    except CannotListen as error:
        return Finding("web port", ok=False, detail=str(error))
    return Finding("web port", ok=True, detail=f"can listen on {web.host} port {web.port}")


def _disk(settings: Settings) -> Finding:
    folder = Path(settings.store.path).resolve().parent
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
    return Finding("clock", ok=True, detail=shown)
