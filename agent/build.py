"""The one place that makes objects out of configuration.

Only a wrong configuration refuses to start. A missing camera, broker or collector does not: the agent starts, says
so, and goes on trying.
"""

import logging
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent import check, config, heap, sources, tuned
from agent.clock import Clock
from agent.config import Settings, StreamSettings
from agent.model import Model, ModelError, ProviderError
from agent.outbox import Outbox, OutboxInUse
from agent.seal import Journal
from agent.service import Agent, Stream
from agent.turns import Turns, at_once
from shared.configfile import ConfigError
from shared.records import Maker

log = logging.getLogger(__name__)


def run(settings: Settings, path: Path) -> int:
    """Watch until SIGTERM, SIGINT or the end of every source; exit code.

    Raises:
        ConfigError: A model or the state folder that the file names cannot be used.
    """
    return work(settings, path, streams(settings, path))


def work(settings: Settings, path: Path, streams: Sequence[Stream]) -> int:
    """As `run`, with the streams made already.

    Raises:
        ConfigError: The state folder cannot be used.
    """
    state_dir = _state_dir(settings, path)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # a closed terminal is no reason to lose a second
        signal.signal(number, lambda *_: stop.set())
    clock = Clock()
    journal = Journal(clock)
    outbox = Outbox(state_dir / "outbox.db", clock, settings.outbox, settings.site, settings.device, journal.event)
    agent = Agent(config.located(settings, path), streams, state_dir, clock, outbox, journal)
    try:
        with outbox:
            return agent.run(stop)
    except OutboxInUse as error:
        raise ConfigError(f"{path}: 'state_dir': {error}") from error


def streams(settings: Settings, path: Path) -> list[Stream]:
    """Every stream with its model; streams that load the same model in the same way share its session.

    Raises:
        ConfigError: A model that the file names cannot be used.
    """
    heap.share()
    loaded: dict[bytes, tuple[Model, Turns]] = {}
    made = []
    for index, stream in enumerate(settings.streams):
        wanted = _how_to_load(stream)
        settled = tuned.settled(settings, stream, path)
        try:
            if wanted not in loaded:
                model = check.load_model(settled.settings, stream, path)
                loaded[wanted] = model, Turns(at_once(model.provider, model.threads, settings.looks))
        except ProviderError as error:
            raise ConfigError(f"{path}: 'require_provider': {error}") from error
        except ModelError as error:
            raise ConfigError(f"{path}: 'streams[{index}].model': {error}") from error
        model, turns = loaded[wanted]
        for warning in model.warnings:
            log.warning("stream %s: %s", stream.name, warning)
        if settled.tuned:
            log.info("stream %s: %s", stream.name, settled.tuned)
        if settled.stale:
            log.warning("stream %s: %s", stream.name, settled.stale)
        source = sources.resolve(stream.source, path.parent)
        hands = -(-turns.at_once // len(settings.streams))  # with several streams, each has its part of the cores
        made.append(Stream(stream, source, model, _maker(settled.settings, stream, model), turns, hands, settled.stale))
    return made


def _how_to_load(stream: StreamSettings) -> bytes:
    thresholds = (stream.score, stream.scores, stream.iou, stream.most)
    picture = (stream.size, stream.preparation)
    return msgspec.json.encode((stream.model, stream.decoder, stream.names, stream.model_version, thresholds, picture))


def _maker(settings: Settings, stream: StreamSettings, model: Model) -> Maker:
    return Maker(
        model=model.name,
        version=model.version,
        sha256=model.sha256,
        config=config.stream_hash(settings, stream),
        score=stream.score,
        iou=model.iou,
    )


def _state_dir(settings: Settings, path: Path) -> Path:
    folder = path.parent / Path(settings.state_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # Like any other disk that fails: the agent works, with what little memory holds.
        log.error("%s: 'state_dir': %s: %s; make it writable for this user", path, folder, error.strerror)  # noqa: TRY400  # the reason is the message
    return folder
