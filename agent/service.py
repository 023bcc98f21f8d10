"""The agent at work: a capture process and a loop for each stream, one sealer, one uplink.

It ends in the order that loses nothing: cameras, loops, the last seal, then the uplink, which gets `drain_s` seconds
for the collector to confirm.
"""

import hashlib
import logging
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from agent import answers, config, loop, sources
from agent.books import RUNS_IN_A_BATCH_MAX, Book, Look
from agent.capture import Backoff, Capture, Frame
from agent.clock import Clock
from agent.config import Settings, StreamSettings
from agent.gate import Gate
from agent.glance import Glancer
from agent.model import Model
from agent.openwindows import OpenWindows, left_by
from agent.outbox import Ended, Outbox, Start
from agent.progress import Captured, Progress
from agent.quality import Limits
from agent.restarts import Restarts
from agent.seal import Journal, Sealer
from agent.snapshots import Snapshots
from agent.turns import Turns
from agent.uplink import Uplink
from agent.vitals import VitalsReader, hardware
from shared import __version__, failpoints
from shared.records import WIRE_VERSION, Maker, ModelInfo, Previous, Status, StreamStatus, Tail, TimeQuality, Vitals
from shared.redact import redact

log = logging.getLogger(__name__)

AGAIN = 75
"""Exit code that asks for being started anew: EX_TEMPFAIL of sysexits.h."""

_TURN_S = 0.5


@dataclass(frozen=True)
class Stream:
    """One camera with one model, not yet at work.

    Attributes:
        settings: Its part of the configuration.
        source: Where its frames come from.
        model: Perhaps shared with other streams.
        maker: What its records are made with.
        turns: Of the model.
        hands: Frames of this stream that are looked at at the same time.
        stale: What changed since its model was tuned; nothing when nothing did.
    """

    settings: StreamSettings
    source: sources.Resolved
    model: Model
    maker: Maker
    turns: Turns
    hands: int = 1
    stale: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.settings.name


@dataclass(frozen=True)
class _Parts:
    """What streams share while they are at work."""

    snapshots: Snapshots
    sealer: Sealer
    uplink: Uplink
    restarts: Restarts


class Agent:
    """Everything that runs between the start of the agent and its end.

    Args:
        settings: Of the whole agent.
        streams: With their models.
        state_dir: Where the progress file lies.
        clock: The agent's.
        outbox: Open when `run` is called.
        journal: Gets every event.
    """

    def __init__(
        self,
        settings: Settings,
        streams: Sequence[Stream],
        state_dir: Path,
        clock: Clock,
        outbox: Outbox,
        journal: Journal,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._state_dir = state_dir
        self._clock = clock
        self._outbox = outbox
        self._journal = journal
        self._failed = False
        self._anew = ""
        self._refused = False
        self._backlog = threading.Event()
        self._time_known: TimeQuality | None = None
        self._disagrees = False
        self._disagreed_at: float | None = None
        self._started_boot_ns = clock.boot_ns()
        self._config_sha256 = hashlib.sha256(msgspec.json.encode(config.redacted(settings))).hexdigest()

    def run(self, stop: threading.Event) -> int:
        """Work until `stop` is set or every source has ended; exit code."""
        start, progress = self._begin()
        books = [
            Book(
                s.name,
                s.maker,
                s.model.task,
                self._settings.window_s,
                self._clock.boot_ns(),
                RUNS_IN_A_BATCH_MAX // len(self._streams),
                s.model.scores,
                period_s=None if s.source.sent else config.period_s(s.settings),
            )
            for s in self._streams
        ]
        with Snapshots(self._state_dir / "snapshots", self._outbox, self._settings.outbox.snapshots_mb) as snapshots:
            uplink = Uplink(
                self._settings.broker,
                self._settings.site,
                self._settings.device,
                self._outbox,
                snapshots,
                self._clock,
                partial(self._birth, start),
                on_backlog=self._backlog.set,
            )
            sealer = Sealer(
                self._outbox,
                books,
                self._journal,
                self._clock,
                seal_s=self._settings.seal_s,
                on_sealed=uplink.cue,
                kept=OpenWindows(self._state_dir / "windows", start.nonce, self._clock.boot_id()),
            )
            sealer.seal()  # how the epoch before ended comes first
            failpoints.reached("first_sealed")
            sealer.start()
            uplink.start()
            restarts = Restarts(self._state_dir / "restarts", self._settings.restarts_a_day, self._clock)
            self._watch(books, progress, _Parts(snapshots, sealer, uplink, restarts), stop)
            restarts.close()
            if self._anew:
                log.error("the agent ends with code %d, to be started anew: %s", AGAIN, self._anew)
                self._journal.event("agent_restarting", self._anew)
            else:
                self._journal.event("agent_stopped", "asked to" if stop.is_set() else "every source has ended")
            sealed = _seal_last(sealer)
            if sealed and not self._failed:
                self._outbox.end_clean()
            _tell_end(self._outbox, confirmed=uplink.stop(self._settings.drain_s))
        if self._anew:
            return AGAIN
        return 0 if sealed else 1

    def _begin(self) -> tuple[Start, Progress]:
        """Begin an epoch; how the one before ended is the first record of this one."""
        path = self._state_dir / "progress"
        captured = Progress.read(path)
        start = self._outbox.begin(after=captured.epoch if captured else 0)
        failpoints.reached("epoch_begun")
        names = [stream.name for stream in self._streams]
        try:
            progress = Progress.create(path, start.epoch, start.nonce, names)
        except OSError as error:
            log.error("%s cannot be written (%s): a crash will leave the number of lost frames unknown", path, error)  # noqa: TRY400  # the reason is the message
            progress = Progress.in_memory(names)
        failpoints.reached("progress_begun")
        told = previous(start.previous, captured, self._clock.boot_id())
        self._journal.tell(told)
        for start_boot_ns, window in left_by(self._state_dir / "windows", told.nonce, self._clock.boot_id()):
            self._journal.tell(window, start_boot_ns)
        ended = _how(told) if told.epoch else "for the first time"
        self._journal.event("agent_started", f"{__version__}, {ended}")
        for stream in self._streams:
            self._journal.tell(_model_info(stream))
            if stream.model.provider != stream.model.requested_provider:
                detail = f"{stream.model.requested_provider} was asked for, {stream.model.provider} runs the model"
                self._journal.event("provider_fallback", detail, stream.name)
            if stream.stale:
                self._journal.event("tuning_stale", stream.stale, stream.name)
        log.info("vigie-agent %s: epoch %d, %s", __version__, start.epoch, ended)
        for stream in self._streams:
            log.info(
                "stream %s: %s; %s %s (%s) on %s",
                stream.name,
                sources.describe(stream.source),
                stream.model.name,
                stream.model.version,
                stream.model.family,
                stream.model.provider,
            )
        return start, progress

    def _watch(self, books: Sequence[Book], progress: Progress, parts: _Parts, stop: threading.Event) -> None:
        """Run every stream's loop, and read the vitals meanwhile."""
        glancer = Glancer(parts.snapshots, self._clock)
        with ExitStack() as stack:
            threads = []
            captures = {}
            for stream, book in zip(self._streams, books, strict=True):
                gate = _gate(stream.settings)
                capture = stack.enter_context(self._capture(stream, book, progress, gate))
                work = partial(self._loop, stream, capture, book, glancer, gate, stop)
                threads.append(threading.Thread(target=work, name=f"loop-{stream.name}", daemon=True))
                captures[stream.name] = capture
            glancer.start()
            for thread in threads:
                thread.start()
            self._tend(threads, captures, parts, stop)
            for capture in captures.values():
                capture.stop()
            for thread in threads:
                thread.join()
        glancer.stop()

    def _tend(
        self,
        threads: Sequence[threading.Thread],
        captures: Mapping[str, Capture],
        parts: _Parts,
        stop: threading.Event,
    ) -> None:
        """Tell the vitals, and where the time is from, until it is time to end, or to be started anew."""
        vitals = VitalsReader(self._clock, self._state_dir)
        due = self._clock.monotonic()
        working = True
        while working and not stop.wait(_TURN_S):
            working = any(thread.is_alive() for thread in threads)
            if reason := self._why_anew(captures, parts, last=not working):
                self._anew = self._anew or reason
                stop.set()  # nothing waits for room in a book that nobody empties
                break
            self._tell_time()
            if self._clock.monotonic() >= due or self._backlog.is_set():
                self._backlog.clear()
                due = self._clock.monotonic() + self._settings.vitals_s
                self._journal.tell(self._read(vitals, parts))

    def _read(self, vitals: VitalsReader, parts: _Parts) -> Vitals:
        waiting = (parts.snapshots.waiting, parts.snapshots.dropped)
        held, sealed = self._outbox.held(), self._outbox.sealed("detail")
        return vitals.read(self._outbox.waiting(), waiting, parts.uplink.reconnects, held, sealed)

    def _why_anew(self, captures: Mapping[str, Capture], parts: _Parts, *, last: bool) -> str:
        """Why the agent had better be started anew; nothing while its own machinery works.

        Without sealer or uplink it is of no use. That it cannot begin capture processes is a guess at what is wrong,
        and other streams may work: that takes a restart from the budget, unless nothing else is left to do.
        """
        for name, alive in (("sealing", parts.sealer.alive), ("sending", parts.uplink.alive)):
            if not alive:
                return f"the thread for {name} ended"
        suspects = [f"{name}: {capture.suspect}" for name, capture in captures.items() if capture.suspect]
        if not suspects:
            self._refused = False
            return ""
        if last or (not self._refused and parts.restarts.take()):
            return suspects[0]
        if not self._refused:
            self._refused = True
            log.error("a restart of the agent might help, but it had its %d of today", self._settings.restarts_a_day)
            self._journal.event("restart_refused", suspects[0])
        return ""

    def _capture(self, stream: Stream, book: Book, progress: Progress, gate: Gate | None) -> Capture:
        def tell(name: str, detail: str) -> None:
            if name == "stream_ended":  # what else happens to a camera, the capture logs
                log.info("stream %s: ended %s", stream.name, detail)
            self._journal.event(name, detail, stream.name)
            if gate is not None:  # after whatever happened to a camera, the model looks
                gate.forget()

        return Capture(
            stream.name,
            stream.source,
            _fps(stream),
            progress,
            self._clock,
            timetable=config.timetable_of(self._settings, stream.settings),
            deadline_s=stream.settings.deadline_s,
            hands=stream.hands,
            backoff=Backoff(min(1.0, stream.settings.retry_s_max), stream.settings.retry_s_max),
            most_mb=_most_mb(self._settings.capture_mb),
            limits=Limits(frozen_s=stream.settings.frozen_s, blank_s=stream.settings.blank_s),
            masks=stream.settings.masks,
            on_event=tell,
            on_settled=book.settle,
            on_switch=book.switch,
            on_requests=book.requests,
        )

    def _loop(  # what one stream is made of
        self,
        stream: Stream,
        capture: Capture,
        book: Book,
        glancer: Glancer,
        gate: Gate | None,
        stop: threading.Event,
    ) -> None:
        settings = stream.settings

        def glance(frame: Frame) -> None:
            glancer.look(stream.name, frame, settings.snapshot_s, settings.snapshot_width)

        def tell(look: Look) -> bytes:
            known = self._clock.offset()
            return answers.of_look(stream.name, stream.model, look, known[0] if known else None)

        try:
            work = loop.Work(capture, book, self._journal, self._clock, glance, stream.turns, gate, tell)
            loop.run(work, [stream.model.looker(settings.region) for _ in range(stream.hands)], stop)
        except Exception as error:
            # Systemd starts the agent again; going on without this stream would look like health.
            log.exception("stream %s: the loop ended", stream.name)
            self._failed = True
            self._anew = f"{stream.name}: the loop ended with {type(error).__name__}: {error}"
            stop.set()

    def _tell_time(self) -> None:
        """Tell once from where the time is known, and whenever the collector's begins to differ."""
        if self._time_known is None and (known := self._clock.offset()):
            self._time_known = known[1]
            whose = (
                ", whose clock no time service keeps"
                if known[1] == "collector" and not self._clock.heard_synced
                else ""
            )
            self._journal.event("time_known", f"from {_TIME_FROM[known[1]]}{whose}")
        ahead_ns = self._clock.disagreement_ns()
        if ahead_ns is not None and not self._disagrees:
            detail = _disagreement(ahead_ns, self._clock.offset())
            log.warning("%s", detail)
            now = self._clock.monotonic()
            if self._disagreed_at is None or now - self._disagreed_at >= _DISAGREES_S:
                self._disagreed_at = now
                self._journal.event("clock_disagrees", detail)
        elif ahead_ns is None and self._disagrees:
            log.info("the clocks of device and collector agree again")
        self._disagrees = ahead_ns is not None

    def _birth(self, start: Start) -> Status:
        known = self._clock.offset()
        return Status(
            v=WIRE_VERSION,
            state="online",
            epoch=start.epoch,
            nonce=start.nonce,
            agent_version=__version__,
            python=platform.python_version(),
            platform=platform.platform()[:128],
            hardware=hardware()[:128],
            config_sha256=self._config_sha256,
            started_at_ns=self._started_boot_ns + known[0] if known else None,
            streams={stream.name: self._stream_status(stream) for stream in self._streams},
        )

    def _stream_status(self, stream: Stream) -> StreamStatus:
        return StreamStatus(
            source=redact(f"{stream.source.kind}: {stream.source.target}")[:1024],
            fps=_fps(stream),
            window_s=self._settings.window_s,
            model=stream.model.name,
            version=stream.model.version,
            sha256=stream.model.sha256,
            config=stream.maker.config,
            task=stream.model.task,
            family=stream.model.family,
            provider=stream.model.provider,
            requested_provider=stream.model.requested_provider,
            plan=config.plan_words(self._settings, stream.settings)[:1024],
        )


def _fps(stream: Stream) -> float | None:
    """Frames a second that its plan wants at most."""
    period_s = config.period_s(stream.settings)
    return None if period_s is None else 1 / period_s


_DISAGREES_S = 3600.0
"""How often a clock that differs now and then is told."""

_TIME_FROM = {"synced": "the kernel's clock", "collector": "the collector", "estimated": "an estimate"}


def _disagreement(ahead_ns: int, known: tuple[int, TimeQuality] | None) -> str:
    """By how much the device's synchronised clock and the collector's differ, and which of them counts."""
    counts = "the device's" if known is not None and known[1] == "synced" else "the collector's"
    way = "ahead of" if ahead_ns > 0 else "behind"
    return f"the device's clock is {abs(ahead_ns) / 1e9:.0f} s {way} the collector's; {counts} counts"


def _most_mb(configured: int) -> int:
    """Half of the device's memory at most, or one camera that leaks takes the agent with it."""
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2_000_000
    return min(configured, half)


def _seal_last(sealer: Sealer) -> bool:
    """Seal what is left, as far as that can be done; whether all of it is in the outbox."""
    try:
        return sealer.stop()
    except Exception:
        log.exception("the last seal failed: what was not sealed is lost, and will be booked as such")
        return False


def previous(ended: Ended, captured: Captured | None, boot_id: str) -> Previous:
    """How the epoch before ended: what its outbox holds, against what its streams captured.

    An outbox that was lost knows of no epoch; then the progress file tells of the last one, and all of its frames that
    the collector does not have are lost.
    """
    if not ended.epoch and captured is not None:
        ended = Ended(captured.epoch, captured.nonce, {"summary": 0, "detail": 0}, clean=False, streams={})
    told = captured if captured is not None and captured.nonce == ended.nonce else None
    numbers = told.streams if told else {}
    tails = {
        stream: Tail(ended.streams.get(stream, 0), max(numbers.get(stream, 0), ended.streams.get(stream, 0)))
        for stream in sorted(ended.streams.keys() | numbers.keys())
    }
    return Previous(
        age=0,
        epoch=ended.epoch,
        nonce=ended.nonce,
        sealed=ended.sealed,
        clean=ended.clean,
        exact=ended.epoch == 0 or (told is not None and told.boot_id == boot_id),
        streams=tails,
    )


def _gate(settings: StreamSettings) -> Gate | None:
    """A stream's gate, if it has one."""
    if settings.gate.change is None:
        return None
    return Gate(settings.gate.change, settings.gate.every_s, settings.region)


def _how(told: Previous) -> str:
    return f"epoch {told.epoch} ended {'cleanly' if told.clean else 'without warning'}"


def _tell_end(outbox: Outbox, *, confirmed: bool) -> None:
    if confirmed:
        log.info("stopped; everything is confirmed")
    else:
        log.info("stopped; %d batch(es) wait on disk for the next start", outbox.waiting().batches)


def _model_info(stream: Stream) -> ModelInfo:
    model = stream.model
    return ModelInfo(
        age=0,
        stream=stream.name,
        maker=stream.maker,
        task=model.task,
        family=model.family,
        names=tuple(model.names),
        provider=model.provider,
        requested_provider=model.requested_provider,
        input_size=model.input_size,
    )
