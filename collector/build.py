"""The one place that makes objects out of configuration, and runs them: `vigie-collector run`."""

import errno
import logging
import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from waitress import wasyncore
from waitress.server import create_server

from collector import acks, stores
from collector.broker import CannotListen, EmbeddedBroker
from collector.clock import OwnClock
from collector.config import Settings, WebSettings
from collector.gaps import Gaps
from collector.ingest import Ingest
from collector.metrics import Metrics
from collector.queries import Queries
from collector.receive import Inbox, Receiver
from collector.series import SeriesLimits
from collector.state.asked import Asked
from collector.state.database import Database
from collector.state.events import Events
from collector.state.pictures import Pictures
from collector.state.quarantine import Quarantine
from collector.stores import Store, Unavailable
from collector.watchdog import Watchdog

EXPIRE_EVERY_S = 3600.0
EXPIRE_FIRST_S = 60.0
RETRY_S = 1.0
DAY_NS = 86_400 * 10**9
AGAIN = 75
"""Exit code that asks for being started anew: EX_TEMPFAIL of sysexits.h."""
CONNECTIONS_MAX = 1000
CHANNEL_S = 20
_TICK_S = 0.25

_log = logging.getLogger(__name__)


def store(settings: Settings) -> Store:
    """The store of a configuration, not yet open."""
    kept = settings.store
    return stores.create(
        kept.kind,
        path=Path(kept.path),
        detail_days=kept.detail_days,
        minutes_days=kept.minutes_days,
        hours_days=kept.hours_days,
    )


def database(settings: Settings) -> Database:
    """The state database of a configuration, not yet open."""
    return Database(Path(settings.state_dir) / "state.db")


def quarantine(settings: Settings, kept: Database | None = None) -> Quarantine:
    """The quarantine of a configuration, not yet open, in a database of its own or in the one that others use."""
    return Quarantine(kept or database(settings), mb_max=settings.limits.quarantine_mb)


def pictures(settings: Settings) -> Pictures:
    """The pictures of a configuration."""
    limits = settings.limits
    return Pictures(
        Path(settings.state_dir) / "pictures", per_stream=limits.snapshots_per_stream, days=limits.snapshots_days
    )


class Collector:
    """All of a running collector; `with` opens and closes it, `run` serves until asked to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        limits = settings.limits
        self.metrics = Metrics()
        self.watchdog = Watchdog()
        self.store = store(settings)
        state = database(settings)
        self.quarantine = quarantine(settings, state)
        self.events = Events(state)
        asked = Asked(state)
        self.pictures = pictures(settings)
        self.queries = Queries(
            self.store,
            self.pictures,
            quarantine=self.quarantine,
            asked=asked,
            told=self.events,
            online_s=limits.online_s,
            minutes_days=settings.store.minutes_days,
        )
        self.clock = OwnClock()
        self.inbox = Inbox(limits.queue_messages, limits.queue_mb * 1_000_000, self.metrics)
        self.receiver = Receiver(
            settings.effective_broker,
            self.inbox,
            self.metrics,
            shared_group=settings.shared_group,
            clock=self.clock,
            beat=self.watchdog.stamp("the connection to the broker").beat,
        )
        self.ingest = Ingest(
            self.inbox,
            self.store,
            self.quarantine,
            self.pictures,
            self.metrics,
            self.receiver.publish,
            beat=self.watchdog.stamp("ingest").beat,
            write_messages=limits.write_messages,
            write_wait_s=limits.write_wait_ms / 1000,
            clock_ahead_s=limits.clock_ahead_s,
            series=SeriesLimits(
                limits.sites,
                limits.devices_per_site,
                limits.streams_per_device,
                limits.makers_per_day,
                limits.starts_per_day,
                limits.classes_per_model,
            ),
            ack_every_s=acks.EVERY_S,
            tell=self.events.tell,
            clock=self.clock,
            synced=lambda: self.clock.synced,
        )
        self.gaps = Gaps(
            self.store,
            self.quarantine,
            asked,
            self.metrics,
            self.receiver.publish,
            after_s=settings.gaps.after_s,
            tries=settings.gaps.tries,
            clock=self.clock,
            synced=lambda: self.clock.synced,
        )
        embedded = settings.embedded_broker
        self.broker = EmbeddedBroker(embedded.host, embedded.port) if embedded else None
        self._stopping = threading.Event()
        self._expiring: threading.Thread | None = None
        self._closing = ExitStack()
        self._problem: str | None = None

    def __enter__(self) -> Self:
        """Listen, then open what can be opened; what cannot is tried again.

        Raises:
            CannotListen: The embedded broker's port cannot be used.
        """
        with ExitStack() as opened:
            if self.broker is not None:
                opened.enter_context(self.broker)
            opened.callback(self.store.close)
            opened.callback(self.quarantine.close)
            opened.callback(self.ingest.stop)
            opened.callback(self.receiver.stop)
            opened.callback(self.gaps.stop)
            self._closing = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop receiving, finish the write under way and its acks, close."""
        self.watchdog.ending()
        self._stopping.set()
        self.inbox.close()
        self.ingest.stop()  # while its acks can still be sent
        if self._expiring is not None:
            self._expiring.join(10)
        self._closing.close()
        self.watchdog.ended()

    def start(self) -> None:
        """Open store and state, trying again until they can be, then take in what comes."""
        while not self._stopping.is_set():
            problem = self._open()
            if problem is None:
                break
            if problem != self._problem:
                _log.error("%s (trying again)", problem)
            self._problem = problem
            self._stopping.wait(RETRY_S)
        else:
            return
        self._problem = None
        self.ingest.start()
        self.receiver.start()
        self.gaps.start()
        self._expiring = threading.Thread(target=self._expire, name="expire", daemon=True)
        self._expiring.start()

    def ready(self) -> Mapping[str, str]:
        """What keeps the collector from its work: part -> what is wrong and what to do; empty when nothing does."""
        reasons: dict[str, str] = {}
        if self.broker is not None and not self.broker.alive:
            reasons["embedded_broker"] = "the embedded broker has ended: see the log, and restart the collector"
        if problem := self.receiver.problem:
            reasons["broker"] = problem
        if problem := self._problem or self.ingest.problem or self._probe():
            reasons["store"] = problem
        elif not self.ingest.alive:
            reasons["ingest"] = "the ingest thread does not run: see the log, and restart the collector"
        if problem := self._state_problem():
            reasons["state"] = problem
        if doubt := self.clock.doubt:
            reasons["clock"] = doubt
        if self.inbox.full:
            reasons["queue"] = "the queue is full: the store is slower than the devices"
        return reasons

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set or a part dies; exit code.

        Raises:
            CannotListen: The web port cannot be used.
        """
        with _Server(self, self._settings.web) as server:
            starting = threading.Thread(target=self.start, name="start", daemon=True)
            starting.start()
            self.watchdog.ready()
            while not stop.is_set():
                server.step()
                if not self.watchdog.well():
                    return AGAIN
                if self.ingest.crashed is not None:
                    return 1
            _log.info("stopping")
            self._stopping.set()
            starting.join(10)
        return 0

    def _open(self) -> str | None:
        try:
            self.store.open()
            self.quarantine.open()
            self.clock.not_before(max((one.heard_at_ns or 0 for one in self.store.devices()), default=0))
        except Unavailable as error:
            return error.reason
        return None

    def _probe(self) -> str | None:
        try:
            self.store.probe()
        except Unavailable as error:
            return error.reason
        return None

    def _state_problem(self) -> str | None:
        if self._problem or self.ingest.state_problem:
            return self.ingest.state_problem  # a state that is not open yet is told of as the store's problem
        try:
            self.quarantine.probe()
        except Unavailable as error:
            return error.reason
        return None

    def _expire(self) -> None:
        """Delete what is too old, once an hour."""
        pause_s = EXPIRE_FIRST_S
        while not self._stopping.wait(pause_s):
            pause_s = EXPIRE_EVERY_S
            now_ns = self.clock()  # in doubt it shows a time for which nothing is too old
            try:
                rows = self.store.expire(now_ns) + self.pictures.expire(now_ns)
                rows += self.events.expire(now_ns - int(self._settings.store.minutes_days * DAY_NS))
            except (Unavailable, OSError) as error:
                _log.warning("what is too old could not be deleted: %s", error)
                continue
            self.metrics.expired_rows.inc(rows)


class _Server:
    """waitress, driven step by step so that it ends when we want it to."""

    def __init__(self, collector: Collector, settings: WebSettings) -> None:
        self._collector = collector
        self._settings = settings
        self._sockets: dict[int, Any] = {}  # waitress's own map of what it listens to

    def __enter__(self) -> Self:
        # Flask is only needed by who serves: `check` and `quarantine` start without it.
        from collector import web  # noqa: PLC0415

        collector = self._collector
        app = web.create_app(
            collector.queries,
            collector.metrics.registry,
            collector.ready,
            collector.pictures,
            request_log="-",
            anyone=self._settings.public,
        )
        self._server = create_server(
            app,
            map=self._sockets,
            sockets=[listener(self._settings)],
            threads=self._settings.threads,
            ident="vigie",
            # Connections that say nothing must not keep others out for long.
            connection_limit=CONNECTIONS_MAX,
            channel_timeout=CHANNEL_S,
            cleanup_interval=CHANNEL_S // 2,
            clear_untrusted_proxy_headers=True,
        )
        _log.info("the dashboard is at http://%s:%d", self._settings.host, self._settings.port)
        return self

    def step(self) -> None:
        """Serve for a moment."""
        wasyncore.loop(timeout=_TICK_S, use_poll=True, map=self._sockets, count=1)

    def __exit__(self, *_: object) -> None:
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._sockets, ignore_all=True)


def listener(web: WebSettings) -> socket.socket:
    """A socket on the address that the dashboard is to have.

    Raises:
        CannotListen: Another program has the port, or the address is not this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(web.host.strip("[]"), web.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), int(address[1])), family=family)
    except OSError as error:
        raise CannotListen(_explain(error, web)) from error


def _explain(error: OSError, web: WebSettings) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {web.port} on {web.host} is in use: stop the other program or set web.port"
    if error.errno == errno.EACCES:
        return f"port {web.port} on {web.host} needs more rights: set web.port to one above 1023"
    return f"cannot listen on {web.host}: {error.strerror}: set web.host to an address of this machine"


def run(settings: Settings, stop: threading.Event) -> int:
    """Run a collector until `stop` is set; exit code.

    Raises:
        CannotListen: A port cannot be used.
    """
    with Collector(settings) as collector:
        return collector.run(stop)
