"""The agent at work: a capture process and a loop for each stream, one sealer, one uplink.

It ends in the order that loses nothing: cameras, loops, the last seal, then the uplink, which gets `drain_s` seconds
for the collector to confirm. Each step is bounded: what hangs is left behind.
"""

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agent import answers, config, loop, sources
from agent.books import RUNS_IN_A_BATCH_MAX, Book, Look
from agent.capture import Backoff, Capture, Frame
from agent.clock import Clock
from agent.config import Settings, StreamSettings
from agent.gate import Gate
from agent.glance import Glancer
from agent.health import Health, Memory
from agent.maintenance import NAME, Maintenance, words
from agent.openwindows import OpenWindows, left_by
from agent.outbox import Outbox, Start
from agent.progress import Progress
from agent.quality import Limits
from agent.restarts import Restarts
from agent.seal import Journal, Sealer
from agent.snapshots import Snapshots
from agent.starts import PROVED_S, Safe, Starts
from agent.streams import Stream
from agent.telling import Births, TimeTeller, fps, how, model_info, previous
from agent.uplink import Uplink
from agent.vitals import VitalsReader
from agent.watchdog import Watchdog, leave
from shared import __version__, failpoints
from shared.records import Summary, Vitals
from shared.stamps import Stamp

log = logging.getLogger(__name__)

AGAIN = 75
"""Exit code that asks for being started anew: EX_TEMPFAIL of sysexits.h."""

END_S = 20.0
"""What the end takes at most, beside `drain_s`; mostly it is a second."""

_TURN_S = 0.5
_LOOPS_S = 5.0
_LEFT_S = 1.0
_SEAL_S = 10.0
_SAME_NS = 2_000_000_000
_HURRY_S = 5.0
_LOOK_LOADS = 5
"""A look that takes so many times as long as loading the model, with its first look, hangs."""


@dataclass(frozen=True)
class _Parts:
    """What streams share while they are at work."""

    snapshots: Snapshots
    sealer: Sealer
    uplink: Uplink
    health: Health
    vital: Sequence[Stamp]


@dataclass(frozen=True)
class _AtWork:
    """The streams at work, each by its name."""

    captures: dict[str, Capture] = field(default_factory=dict)
    loops: dict[str, loop.Loop] = field(default_factory=dict)
    threads: dict[str, threading.Thread] = field(default_factory=dict)

    @property
    def working(self) -> bool:
        """Whether any of them is."""
        return any(thread.is_alive() and not self.loops[name].lost for name, thread in self.threads.items())


class Agent:
    """Everything that runs between the start of the agent and its end.

    Args:
        settings: Of the whole agent.
        streams: With their models; none in safe mode.
        state_dir: Where the progress file lies.
        clock: The agent's.
        outbox: Open when `run` is called.
        journal: Gets every event.
        watchdog: Looks at all parts.
        starts: Counts this start.
        safe: Why there is safe mode, where there is.
    """

    def __init__(  # noqa: PLR0913  # the parts that are there before it, and after it
        self,
        settings: Settings,
        streams: Sequence[Stream],
        state_dir: Path,
        clock: Clock,
        outbox: Outbox,
        journal: Journal,
        *,
        watchdog: Watchdog,
        starts: Starts,
        safe: Safe | None = None,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._state_dir = state_dir
        self._clock = clock
        self._outbox = outbox
        self._journal = journal
        self._watchdog = watchdog
        self._starts = starts
        self._safe = safe
        self._births = Births(settings, streams, clock, f"safe mode: {safe.reason}" if safe else "")
        self._maintenance = Maintenance(state_dir / NAME, clock)
        self._failed = False
        self._faults: dict[str, str] = {}
        self._anew = ""
        self._asked = False
        self._uplink: Uplink | None = None
        self._hurried = False
        self._backlog = threading.Event()
        self._times = TimeTeller(clock, journal)
        self._began = clock.monotonic()

    def hurry(self) -> None:
        """End without waiting for the collector; any thread may call this."""
        self._hurried = True
        self._watchdog.resort.arm(_HURRY_S, 1)
        if self._uplink is not None:
            self._uplink.hurry()

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
            vital = [self._watchdog.stamp(name) for name in ("sealing", "sending", "the connection to the broker")]
            uplink = self._uplink = Uplink(
                self._settings.broker,
                self._settings.site,
                self._settings.device,
                self._outbox,
                snapshots,
                self._clock,
                partial(self._births.make, start),
                backlog_rate=self._settings.backlog_rate,
                on_backlog=self._backlog.set,
                tell=self._journal.event,
                beat=vital[1].beat,
                link_beat=vital[2].beat,
            )
            sealer = Sealer(
                self._outbox,
                books,
                self._journal,
                self._clock,
                seal_s=self._settings.seal_s,
                on_sealed=uplink.cue,
                kept=OpenWindows(self._state_dir / "windows", start.nonce, self._clock.boot_id()),
                beat=vital[0].beat,
            )
            self._watchdog.resort.seal = partial(sealer.seal, end=True)
            sealer.seal()  # what the start has to tell, before any frame
            failpoints.reached("first_sealed")
            sealer.start()
            uplink.start()
            self._watchdog.ready()
            restarts = Restarts(self._state_dir / "restarts", self._settings.restarts_a_day, self._clock)
            memory = Memory(self._settings.agent_mb)
            health = Health(self._clock, self._journal, self._watchdog, restarts, memory)
            self._watch(books, progress, _Parts(snapshots, sealer, uplink, health, vital), stop)
            memory.close()
            restarts.close()
            return self._end(sealer, uplink, vital)

    def _end(self, sealer: Sealer, uplink: Uplink, vital: Sequence[Stamp]) -> int:
        """Tell why, seal and send what is left; exit code."""
        for stamp in vital:  # from here on, the last resort watches
            self._watchdog.give_up(stamp)
        if self._anew:
            log.error("the agent ends with code %d, to be started anew: %s", AGAIN, self._anew)
            self._journal.event("agent_restarting", self._anew)
        else:
            self._journal.event("agent_stopped", "asked to" if self._asked else "every source has ended")
        sealed = _seal_last(sealer)
        if sealed and not self._failed:
            self._outbox.end_clean()
        if self._anew and self._safe is None:
            self._starts.failed(self._anew, told=sealed)
        elif not self._anew:
            self._starts.stopped()
        _tell_end(self._outbox, confirmed=uplink.stop(0.0 if self._hurried else self._settings.drain_s))
        code = AGAIN if self._anew else 0 if sealed else 1
        if sealer.alive:  # it holds the outbox, which so cannot be closed
            leave(code)
        return code

    def _begin(self) -> tuple[Start, Progress]:
        """Begin an epoch; how the one before ended is the first record of this one."""
        path = self._state_dir / "progress"
        captured = Progress.read(path)
        boot_id = self._clock.boot_id()
        start = self._outbox.begin(
            captured.epoch if captured else 0,
            lambda start: Summary((previous(start.previous, captured, boot_id),)),
        )
        failpoints.reached("epoch_begun")
        names = [stream.name for stream in self._streams]
        try:
            progress = Progress.create(path, start.epoch, start.nonce, names)
        except OSError as error:
            log.error("%s cannot be written (%s): a crash will leave the number of lost frames unknown", path, error)  # noqa: TRY400  # the reason is the message
            progress = Progress.in_memory(names)
        failpoints.reached("progress_begun")
        told = previous(start.previous, captured, boot_id)
        for start_boot_ns, window in left_by(self._state_dir / "windows", told.nonce, boot_id):
            self._journal.tell(window, start_boot_ns)
        ended = how(told) if told.epoch else "for the first time"
        self._journal.event("agent_started", f"{__version__}, {ended}")
        if self._starts.untold:
            self._journal.event("agent_restarting", f"told late, by the start after: {self._starts.untold}")
        if self._safe is not None:
            log.error("safe mode for %.0f s: %s", self._safe.pause_s, self._safe.reason)
            self._journal.event("safe_mode", self._safe.reason)
        for stream in self._streams:
            self._journal.tell(model_info(stream))
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
        """Run every stream's loop, and tend to the agent meanwhile."""
        glancer = Glancer(parts.snapshots, self._clock, self._watchdog.stamp("keeping pictures"))
        with ExitStack() as stack:
            at_work = _AtWork()
            for stream, book in zip(self._streams, books, strict=True):
                gate = _gate(stream.settings)
                capture = stack.enter_context(self._capture(stream, book, progress, gate))
                looking = self._loop(stream, capture, book, glancer, gate, stop)
                work = partial(self._work, stream, looking)
                at_work.captures[stream.name] = capture
                at_work.loops[stream.name] = looking
                at_work.threads[stream.name] = threading.Thread(target=work, name=f"loop-{stream.name}", daemon=True)
            glancer.start()
            for thread in at_work.threads.values():
                thread.start()
            self._tend(at_work, parts, stop)
            self._asked = stop.is_set()
            self._watchdog.ending(self._settings.drain_s + END_S, AGAIN if self._anew else 1)
            stop.set()  # nothing waits for room in a book that nobody empties
            for capture in at_work.captures.values():
                capture.stop()
            self._leave(at_work)
        glancer.stop()

    def _leave(self, at_work: _AtWork) -> None:
        """Wait for the loops; what a model does not give back in time has failed."""
        for until in (self._clock.monotonic() + _LOOPS_S, self._clock.monotonic() + _LOOPS_S + _LEFT_S):
            for name, thread in at_work.threads.items():
                if at_work.loops[name].lost:
                    continue
                thread.join(max(0.0, until - self._clock.monotonic()))
                if thread.is_alive() and at_work.loops[name].give_up_all("the agent ended before the model answered"):
                    log.error("stream %s: the model does not answer, and is left behind", name)

    def _tend(self, at_work: _AtWork, parts: _Parts, stop: threading.Event) -> None:
        """Tell the vitals, and where the time is from, until it is time to end, or to be started anew."""
        vitals = VitalsReader(self._clock, self._state_dir)
        stamp = self._watchdog.stamp("tending", on_hung=lambda _why: self._watchdog.resort.arm(_TURN_S, AGAIN))
        due = self._clock.monotonic()
        while not stop.wait(_TURN_S):
            stamp.beat()
            working = self._safe is not None or at_work.working
            if reason := self._why_anew(at_work, parts, last=not working):
                self._anew = reason
                break
            if not working:
                break
            self._times.tell()
            self._maintain(parts.uplink)
            if self._clock.monotonic() >= due or self._backlog.is_set():
                self._backlog.clear()
                due = self._clock.monotonic() + self._settings.vitals_s
                self._journal.tell(self._read(vitals, parts))
                self._watchdog.status(self._how_it_is(parts))
        stamp.done()

    def _why_anew(self, at_work: _AtWork, parts: _Parts, *, last: bool) -> str:
        """Why the agent is to end and be started anew now; nothing when it is not."""
        worked_s = self._clock.monotonic() - self._began
        if self._safe is None and worked_s >= PROVED_S:
            self._starts.proved()
        if self._safe is not None and worked_s >= self._safe.pause_s:
            self._starts.pause_over()
            return "the pause of safe mode is over: the next start is as usual"
        for name, looking in at_work.loops.items():
            if looking.lost and name not in self._births.errors:
                at_work.captures[name].stop()  # nobody looks at its frames any more
                self._fault(name, "the model hangs")
        suspects = {name: capture.suspect for name, capture in at_work.captures.items() if capture.suspect}
        needed = {"sealing": parts.sealer.alive, "sending": parts.uplink.alive}
        return parts.health.why_anew(needed, parts.vital, {**self._faults, **suspects}, last=last)

    def _fault(self, stream: str, why: str) -> None:
        """A stream is not at work any more; the others go on."""
        self._births.errors[stream] = why
        self._failed = True
        if self._uplink is not None:
            self._uplink.announce()

    def _maintain(self, uplink: Uplink) -> None:
        """Tell when maintenance begins and ends, or is to end at another time."""
        left_s, told = self._maintenance.left_s(), self._births.maintenance_until_boot_ns
        until = self._clock.boot_ns() + round(left_s * 1e9) if left_s else None
        if (until is None and told is None) or (
            until is not None and told is not None and abs(until - told) < _SAME_NS
        ):
            return
        self._births.maintenance_until_boot_ns = until
        if until is None:
            self._journal.event("maintenance_ended")
        elif told is None:
            self._journal.event("maintenance_began", words(left_s))
        log.info("%s", words(left_s))
        uplink.announce()

    def _how_it_is(self, parts: _Parts) -> str:
        """One line for `systemctl status`."""
        waiting = f"{self._outbox.waiting().batches} batch(es) wait"
        mode = f"safe mode ({self._safe.reason}); " if self._safe else ""
        maintained = "maintenance; " if self._births.maintenance_until_boot_ns is not None else ""
        return f"{mode}{maintained}{parts.uplink.state}; {waiting}"

    def _read(self, vitals: VitalsReader, parts: _Parts) -> Vitals:
        waiting = (parts.snapshots.waiting, parts.snapshots.dropped)
        held, sealed = self._outbox.held(), self._outbox.sealed("detail")
        return vitals.read(self._outbox.waiting(), waiting, parts.uplink.reconnects, held, sealed)

    def _capture(self, stream: Stream, book: Book, progress: Progress, gate: Gate | None) -> Capture:
        def tell(name: str, detail: str) -> None:
            if name == "stream_ended":  # what else happens to a camera, the capture logs
                log.info("stream %s: ended %s", stream.name, detail)
            if self._births.maintenance_until_boot_ns is not None:
                detail = f"during maintenance: {detail}"
            self._journal.event(name, detail, stream.name)
            if gate is not None:  # after whatever happened to a camera, the model looks
                gate.forget()

        return Capture(
            stream.name,
            stream.source,
            fps(stream.settings),
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
            stamp=self._watchdog.stamp(f"{stream.name}: the capture's keeper"),
        )

    def _loop(  # what one stream is made of
        self,
        stream: Stream,
        capture: Capture,
        book: Book,
        glancer: Glancer,
        gate: Gate | None,
        stop: threading.Event,
    ) -> loop.Loop:
        settings = stream.settings

        def glance(frame: Frame) -> None:
            glancer.look(stream.name, frame, settings.snapshot_s, settings.snapshot_width)

        def tell(look: Look) -> bytes:
            known = self._clock.offset()
            return answers.of_look(stream.name, stream.model, look, known[0] if known else None)

        work = loop.Work(capture, book, self._journal, self._clock, glance, stream.turns, gate, tell)
        made = loop.Loop(work, [stream.model.looker(settings.region) for _ in range(stream.hands)], stop)
        deadline_s = self._settings.infer_deadline_s and max(
            self._settings.infer_deadline_s, _LOOK_LOADS * stream.load_s
        )
        for hand in made.hands:
            hand.stamp = self._watchdog.stamp(_model_of(stream.name), deadline_s, partial(_give_up, made, hand))
        return made

    def _work(self, stream: Stream, looking: loop.Loop) -> None:
        """A stream's thread."""
        try:
            looking.run()
        except Exception as error:
            # Going on without this stream and without a word would look like health.
            log.exception("stream %s: the loop ended", stream.name)
            why = f"the loop ended with {type(error).__name__}: {error}"
            self._faults[_model_of(stream.name)] = why
            self._fault(stream.name, why)


def _model_of(stream: str) -> str:
    """What people call a stream's model where it is suspected."""
    return f"{stream}: the model"


def _give_up(looking: loop.Loop, hand: loop.Hand, why: str) -> None:
    looking.give_up(hand, f"the model hangs: {why}")


def _most_mb(configured: int) -> int:
    """Half of the device's memory at most, or one camera that leaks takes the agent with it."""
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2_000_000
    return min(configured, half)


def _seal_last(sealer: Sealer) -> bool:
    """Seal what is left, as far as that can be done; whether all of it is in the outbox."""
    try:
        return sealer.stop(_SEAL_S)
    except Exception:
        log.exception("the last seal failed: what was not sealed is lost, and will be booked as such")
        return False


def _gate(settings: StreamSettings) -> Gate | None:
    """A stream's gate, if it has one."""
    if settings.gate.change is None:
        return None
    return Gate(settings.gate.change, settings.gate.every_s, settings.region)


def _tell_end(outbox: Outbox, *, confirmed: bool) -> None:
    if confirmed:
        log.info("stopped; everything is confirmed")
    else:
        log.info("stopped; %d batch(es) wait on disk for the next start", outbox.waiting().batches)
