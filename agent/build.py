"""The one place that makes objects out of configuration.

Only a wrong configuration refuses to start. A missing camera, broker or collector does not: the agent starts, says
so, and goes on trying.
"""

import faulthandler
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent import check, config, heap, sources, tuned
from agent.clock import Clock
from agent.config import Settings, StreamSettings
from agent.model import Model, ModelError, ProviderError
from agent.outbox import Outbox, OutboxInUse
from agent.seal import Journal
from agent.service import END_S, Agent
from agent.signals import Signals
from agent.starts import Starts
from agent.streams import Stream
from agent.turns import Turns, at_once
from agent.watchdog import Watchdog, leave
from shared.configfile import ConfigError
from shared.notify import Notifier
from shared.records import Maker

log = logging.getLogger(__name__)


LOAD_S = 3600.0
"""A model that takes longer to load (TensorRT builds engines) hangs."""

_GIVE_UP_LOADING_S = 5.0

Load = Callable[[Starts], Sequence[Stream]]


def run(settings: Settings, path: Path) -> int:
    """Watch until SIGTERM, SIGINT or the end of every source; exit code.

    Raises:
        ConfigError: A model or the state folder that the file names cannot be used.
    """
    return work(settings, path, lambda starts: streams(settings, path, starts))


def work(settings: Settings, path: Path, load: Load) -> int:
    """As `run`, with the streams as `load` makes them.

    Raises:
        ConfigError: A model or the state folder cannot be used.
    """
    with suppress(OSError, ValueError, RuntimeError):  # standard error is closed, or none
        faulthandler.enable()  # a crash in a library leaves at least where it was
    state_dir = _state_dir(settings, path)
    clock = Clock()
    journal = Journal(clock)
    watchdog = Watchdog(clock, Notifier(), settings.thread_deadline_s)
    outbox = Outbox(state_dir / "outbox.db", clock, settings.outbox, settings.site, settings.device, journal.event)
    watchdog.start()
    try:
        code = _begun(config.located(settings, path), state_dir, _Begun(clock, journal, outbox, watchdog), load)
    except OutboxInUse as error:
        raise ConfigError(f"{path}: 'state_dir': {error}") from error
    finally:
        watchdog.stop()
    if any(thread.name.startswith(("loop-", "sealer", "glance", "capture-")) for thread in threading.enumerate()):
        leave(code)  # what was left behind would hang, or crash, the interpreter's own end
    return code


@dataclass(frozen=True)
class _Begun:
    """What is there before any stream is."""

    clock: Clock
    journal: Journal
    outbox: Outbox
    watchdog: Watchdog


def _begun(settings: Settings, state_dir: Path, parts: _Begun, load: Load) -> int:
    """Load the models and work, or work without them; exit code.

    Raises:
        ConfigError: A model cannot be used.
        OutboxInUse: Another agent is at work here.
    """
    stop = threading.Event()
    working: list[Agent] = []
    starts = Starts(state_dir / "starts", settings.safe_mode_after)

    def end() -> None:
        stop.set()
        if working:
            parts.watchdog.ending(settings.drain_s + END_S, 1)
        else:  # nothing was begun that could be lost
            starts.stopped()
            parts.watchdog.ending(_GIVE_UP_LOADING_S, 0)

    def hurry() -> None:
        for agent in working:
            agent.hurry()

    with Signals(end, hurry), parts.outbox:
        safe = starts.begin()
        made: Sequence[Stream] = []
        if safe is None:
            parts.watchdog.starting(LOAD_S)
            parts.watchdog.status("loading the models")
            try:
                made = load(starts)
            except ConfigError as error:
                starts.failed(str(error), told=False)
                raise
            starts.doing("watching")
        agent = Agent(
            settings, made, state_dir, parts.clock, parts.outbox, parts.journal,
            watchdog=parts.watchdog, starts=starts, safe=safe,
        )  # fmt: skip  # one argument a line would take nine
        working.append(agent)
        return agent.run(stop)


def streams(settings: Settings, path: Path, starts: Starts | None = None) -> list[Stream]:
    """Every stream with its model; streams that load the same model in the same way share its session.

    Args:
        settings: Of the whole agent.
        path: The configuration file.
        starts: Learns which model is loaded, should it crash.

    Raises:
        ConfigError: A model that the file names cannot be used.
    """
    heap.share()
    loaded: dict[bytes, tuple[Model, Turns, float]] = {}
    made = []
    for index, stream in enumerate(settings.streams):
        wanted = _how_to_load(stream)
        settled = tuned.settled(settings, stream, path)
        try:
            if wanted not in loaded:
                if starts is not None:
                    starts.doing(f"loading the model of {stream.name} ({stream.model})")
                began = time.monotonic()
                model = check.load_model(settled.settings, stream, path)
                turns = Turns(at_once(model.provider, model.threads, settings.looks))
                loaded[wanted] = model, turns, time.monotonic() - began
        except ProviderError as error:
            raise ConfigError(f"{path}: 'require_provider': {error}") from error
        except ModelError as error:
            raise ConfigError(f"{path}: 'streams[{index}].model': {error}") from error
        model, turns, load_s = loaded[wanted]
        for warning in model.warnings:
            log.warning("stream %s: %s", stream.name, warning)
        if settled.tuned:
            log.info("stream %s: %s", stream.name, settled.tuned)
        if settled.stale:
            log.warning("stream %s: %s", stream.name, settled.stale)
        source = sources.resolve(stream.source, path.parent)
        hands = -(-turns.at_once // len(settings.streams))  # with several streams, each has its part of the cores
        maker = _maker(settled.settings, stream, model)
        made.append(Stream(stream, source, model, maker, turns, hands, settled.stale, load_s))
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
