"""What the agent tells of itself at a start: its birth, its models, and how the epoch before ended."""

import hashlib
import logging
import platform
from collections.abc import Sequence

import msgspec

from agent import config
from agent.clock import Clock
from agent.config import Settings
from agent.outbox import Ended, Start
from agent.progress import Captured
from agent.seal import Journal
from agent.streams import Stream
from agent.vitals import hardware
from shared import __version__
from shared.records import WIRE_VERSION, ModelInfo, Previous, Status, StreamStatus, Tail, TimeQuality
from shared.redact import redact

log = logging.getLogger(__name__)

_DISAGREES_S = 3600.0
"""How often a clock that differs now and then is told."""

_TIME_FROM = {"synced": "the kernel's clock", "collector": "the collector", "estimated": "an estimate"}


class Births:
    """Makes the birth message: what this agent is, and how it is now.

    Args:
        settings: Of the whole agent.
        streams: With their models.
        clock: The agent's.
        error: Why no stream of the configuration is at work, in safe mode.

    Attributes:
        errors: Why a stream is not at work, by its name.
        maintenance_until_boot_ns: When maintenance ends, in boot time; None while there is none.
    """

    def __init__(self, settings: Settings, streams: Sequence[Stream], clock: Clock, error: str = "") -> None:
        self._settings = settings
        self._streams = {stream.name: stream for stream in streams}
        self._clock = clock
        self._started_boot_ns = clock.boot_ns()
        self._config_sha256 = hashlib.sha256(msgspec.json.encode(config.redacted(settings))).hexdigest()
        self.errors = {stream.name: error for stream in settings.streams} if error else {}
        self.maintenance_until_boot_ns: int | None = None

    def make(self, start: Start) -> Status:
        """The birth of this start, as things are now."""
        known = self._clock.offset()
        until = self.maintenance_until_boot_ns
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
            streams={stream.name: self._stream(stream) for stream in self._settings.streams},
            maintenance=until is not None,
            maintenance_until_ns=until + known[0] if until is not None and known else None,
        )

    def _stream(self, settings: config.StreamSettings) -> StreamStatus:
        told = StreamStatus(
            source=redact(" ".join(f"{kind}: {target}" for kind, target in list(settings.source.items())[:1]))[:1024],
            fps=fps(settings),
            window_s=self._settings.window_s,
            error=self.errors.get(settings.name, "")[:1024],
            plan=config.plan_words(self._settings, settings)[:1024],
        )
        stream = self._streams.get(settings.name)
        if stream is None:
            return told
        return msgspec.structs.replace(
            told,
            source=redact(f"{stream.source.kind}: {stream.source.target}")[:1024],
            model=stream.model.name,
            version=stream.model.version,
            sha256=stream.model.sha256,
            config=stream.maker.config,
            task=stream.model.task,
            family=stream.model.family,
            provider=stream.model.provider,
            requested_provider=stream.model.requested_provider,
        )


class TimeTeller:
    """Tells where the time is known from.

    Args:
        clock: The agent's.
        journal: Gets the events.
    """

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._time_known: TimeQuality | None = None
        self._disagrees = False
        self._disagreed_at: float | None = None

    def tell(self) -> None:
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


def _disagreement(ahead_ns: int, known: tuple[int, TimeQuality] | None) -> str:
    """By how much the device's synchronised clock and the collector's differ, and which of them counts."""
    counts = "the device's" if known is not None and known[1] == "synced" else "the collector's"
    way = "ahead of" if ahead_ns > 0 else "behind"
    return f"the device's clock is {abs(ahead_ns) / 1e9:.0f} s {way} the collector's; {counts} counts"


def fps(settings: config.StreamSettings) -> float | None:
    """Frames a second that a stream's plan wants at most."""
    period_s = config.period_s(settings)
    return None if period_s is None else 1 / period_s


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


def how(told: Previous) -> str:
    """How the epoch before ended, for people."""
    return f"epoch {told.epoch} ended {'cleanly' if told.clean else 'without warning'}"


def model_info(stream: Stream) -> ModelInfo:
    """The model that a stream runs."""
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
