"""One model on one source: the contenders, in alternated rounds."""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent import sources
from agent.benching import figures
from agent.benching.bare import Bare, Setting, prepared
from agent.benching.child import Facts
from agent.benching.whole import Broken, Whole
from agent.capture import Capture
from agent.check import load_model
from agent.clock import Clock
from agent.config import Settings
from agent.model import Model
from agent.progress import Progress
from agent.sources import Pixels
from shared.mqtt import BrokerSettings

Contender = Callable[[float], float]
"""Works for so many seconds, and says how many frames a second that were."""

FRAMES = 24
"""Frames of the source that the bare loop runs, again and again."""

_FRAMES_IN_WINDOW = 12
_CAMERA_S = 15.0


@dataclass(frozen=True)
class Wanted:
    """What is to be measured.

    Attributes:
        settings: With one stream, whose paths are absolute.
        pairs: Alternated rounds.
        seconds: Of each contender in each round; longer where a model would do too few frames.
        broker: To be used; None for one of our own, where there is one.
    """

    settings: Settings
    pairs: int
    seconds: float
    broker: BrokerSettings | None = None


@dataclass
class Result:
    """What was measured.

    Attributes:
        model: Loaded.
        facts: How the agent ran it.
        bare: The best setting of the bare loop.
        tried: Frames a second of every setting that was tried, shortly.
        fps: Frames a second in each round, by contender: `bare`, `pipeline`, and whoever else took part.
        stages_ms: Percentiles by stage.
        cpu_ms: Processor time for one frame, by process.
        memory_mb: By process.
        arrived: Frames that came out of the uplink.
        has_broker: Whether the uplink took part.
    """

    model: Model
    facts: Facts
    bare: Setting
    tried: Mapping[Setting, float]
    fps: dict[str, list[float]] = field(default_factory=dict)
    stages_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    cpu_ms: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, dict[str, float]] = field(default_factory=dict)
    arrived: int = 0
    has_broker: bool = False

    def ratio(self, above: str = "pipeline", below: str = "bare") -> tuple[float, tuple[float, float]]:
        """How many times the frames of `below` does `above` do: the median over rounds, and its 95 % interval."""
        ratios = [a / b for a, b in zip(self.fps[above], self.fps[below], strict=True)]
        return statistics.median(ratios), figures.interval(ratios)


def run(wanted: Wanted, others: Callable[[Sequence[Pixels]], Mapping[str, Contender]] = lambda _: {}) -> Result:
    """Measure.

    Args:
        wanted: What.
        others: Makes further contenders, given some frames of the source.

    Raises:
        ModelError: The model cannot be used.
        Broken: The source gives no frame, or something does not start.
    """
    stream = wanted.settings.streams[0]
    model = load_model(wanted.settings, stream, Path())
    frames = list(first_frames(wanted.settings))
    bare = Bare(model, prepared(model, frames))
    with tempfile.TemporaryDirectory(prefix="vigie-bench-") as folder, contextlib.ExitStack() as stack:
        whole = stack.enter_context(Whole(wanted.settings, Path(folder), wanted.broker))
        contenders: dict[str, Contender] = {"bare": bare.fps, "pipeline": whole.fps, **others(frames)}
        result = Result(model, whole.facts, bare.setting, bare.tried, has_broker=whole.has_broker)
        seconds = max(wanted.seconds, _FRAMES_IN_WINDOW / max(bare.tried.values()))
        for contender in contenders.values():
            contender(seconds / 2)  # warm
        result.fps = rounds(contenders, wanted.pairs, seconds)
        result.stages_ms = whole.stages()
        result.arrived = whole.arrived
        result.cpu_ms = whole.cpu_ms()
        result.memory_mb = whole.memory_mb()
    return result


def rounds(contenders: Mapping[str, Contender], pairs: int, seconds: float) -> dict[str, list[float]]:
    """Let everybody work in turn, `pairs` times; who begins changes."""
    fps: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(pairs):
        for name in order:
            fps[name].append(contenders[name](seconds))
        order = [*order[1:], order[0]]
    return fps


def first_frames(settings: Settings, count: int = FRAMES) -> Iterator[Pixels]:
    """Copies of the first frames of the stream's source.

    Raises:
        Broken: It gives none.
    """
    stream = settings.streams[0]
    problems: list[str] = []

    def give_up(event: str, detail: str) -> None:
        if event in {"camera_lost", "camera_stalled"}:
            problems.append(detail)
            capture.stop()

    capture = Capture(
        stream.name,
        sources.resolve(stream.source, Path()),
        stream.fps,
        Progress.in_memory([stream.name]),
        Clock(),
        deadline_s=_CAMERA_S,
        open_deadline_s=_CAMERA_S,
        on_event=give_up,
    )
    given = 0
    with capture:
        for frame in capture.frames():
            yield frame.pixels.copy()
            given += 1
            if given == count:
                break
    if not given:
        raise Broken(f"the source gives no frame: {problems[0] if problems else 'it ended'}")


def absolute(settings: Settings, folder: Path) -> Settings:
    """The settings with the paths of their streams made absolute: the bench's own file lies elsewhere."""
    return msgspec.structs.replace(
        settings,
        streams=[
            msgspec.structs.replace(
                stream,
                model=str((folder / Path(stream.model).expanduser()).resolve()),
                source=_absolute_source(stream.source, folder),
            )
            for stream in settings.streams
        ],
    )


def _absolute_source(source: dict[str, object], folder: Path) -> dict[str, object]:
    resolved = sources.resolve(source, folder.resolve())
    options: dict[str, object] = msgspec.to_builtins(resolved.options)
    return {resolved.kind: resolved.target, **options}
