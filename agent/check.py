"""`vigie-agent check`: whether this device can work, and what to do where it cannot."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agent import config, providers, sources, tuned
from agent.capture import Capture, Progress
from agent.clock import EARLIEST_NS, Clock
from agent.config import Settings, StreamSettings
from agent.model import Model, ModelError
from agent.providers import CPU
from agent.session import nodes_by_provider
from shared import mqtt
from shared.commands import Finding
from shared.configfile import ConfigError

CAMERA_S = 15.0
BROKER_S = 10.0
_MB = 1024 * 1024
_UNTUNED = "nothing was tuned, or the configuration says everything; vigie-agent tune measures what is fastest here"


def look(path: Path) -> Iterator[Finding]:
    """Everything that `check` looks at, in order."""
    try:
        settings = config.load(path)
    except ConfigError as error:
        yield Finding("config", ok=False, detail=str(error))
        return
    yield Finding("config", ok=True, detail=f"{path}: {len(settings.streams)} stream(s)")
    for stream in settings.streams:
        yield from _models(settings, stream, path)
    for stream in settings.streams:
        yield camera(stream, path)
    yield _broker(settings)
    yield _clock()
    yield _disk(settings, path)


def load_model(settings: Settings, stream: StreamSettings, path: Path) -> Model:
    """The model of a stream, as `run` and `check` load it.

    Args:
        settings: As `agent.tuned.settled` gives them; open keys are as without a tuning.
        stream: Of the settings.
        path: The configuration file.

    Raises:
        ModelError: It can't be read, run or decoded.
    """
    return Model.load(
        path.parent / Path(stream.model).expanduser(),
        decoder=stream.decoder,
        names=stream.names,
        version=stream.model_version,
        runtime=tuned.runtime(settings, path),
        thresholds=config.thresholds(stream),
        size=stream.size,
        preparation=config.preparation(stream.preparation),
        scores=stream.scores,
    )


def _models(settings: Settings, stream: StreamSettings, path: Path) -> Iterator[Finding]:
    settled = tuned.settled(settings, stream, path)
    try:
        model = load_model(settled.settings, stream, path)
    except ModelError as error:
        yield Finding(f"model {stream.name}", ok=False, detail=str(error))
        return
    about = f"{model.name} {model.version}: {model.family} ({model.why}), {len(model.names)} classes"
    yield Finding(f"model {stream.name}", ok=True, detail="; ".join([about, *model.warnings]))
    asked, got = model.requested_provider, model.provider
    detail = got if asked == got else f"{asked} was asked for, but {got} runs the model: {providers.way_to(asked)}"
    if got != CPU:
        detail = f"{detail}; {nodes(settled.settings, model, path)}"
    yield Finding(f"provider {stream.name}", ok=asked == got, detail=detail)
    # Neither stops the agent from working.
    yield Finding(f"tuning {stream.name}", ok=True, detail=settled.stale or settled.tuned or _UNTUNED)


def nodes(settings: Settings, model: Model, path: Path) -> str:
    """Which provider runs how much of the model: what a provider cannot run stays on the CPU."""
    feeds = {port.name: np.zeros(port.shape, port.dtype) for port in model.graph.inputs}
    try:
        counts = nodes_by_provider(model.path, tuned.runtime(settings, path), feeds)
    except ValueError as error:
        return f"which nodes it runs cannot be told: {error}"
    return ", ".join(f"{count} node(s) on {name}" for name, count in counts.items())


def camera(stream: StreamSettings, path: Path) -> Finding:
    """Whether a stream's source gives a picture; one that waits for pictures is only asked whether it could."""
    name = f"camera {stream.name}"
    problems: list[str] = []
    source = sources.resolve(stream.source, path.parent).build()
    if isinstance(source, sources.Patient | sources.Answering):
        try:
            return Finding(name, ok=True, detail=source.probe())
        except sources.Lost as error:
            return Finding(name, ok=False, detail=str(error))

    def give_up(event: str, detail: str) -> None:
        if event in {"camera_lost", "camera_stalled"}:
            problems.append(detail)
            capture.stop()

    capture = Capture(
        stream.name,
        sources.resolve(stream.source, path.parent),
        stream.fps,
        Progress.in_memory([stream.name]),
        Clock(),
        deadline_s=CAMERA_S,
        open_deadline_s=CAMERA_S,
        masks=stream.masks,
        on_event=give_up,
    )
    began = time.monotonic()
    with capture:
        for frame in capture.frames():
            height, width = frame.pixels.shape[:2]
            return Finding(name, ok=True, detail=f"{width}x{height} after {time.monotonic() - began:.1f} s")
    return Finding(name, ok=False, detail=problems[0] if problems else "it gave no frame")


def _broker(settings: Settings) -> Finding:
    problem = mqtt.probe(settings.broker, f"vigie-check-{settings.site}-{settings.device}", BROKER_S)
    return Finding("broker", ok=problem is None, detail=problem or f"{settings.broker.url} lets us in")


def _clock() -> Finding:
    clock = Clock()
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(clock.wall_ns() / 1e9))
    synchronised = clock.kernel_synchronised()
    if synchronised and clock.wall_ns() < EARLIEST_NS:
        way_out = "no such time is believed, and the collector's will be used; look at the time service"
        return Finding("clock", ok=False, detail=f"{now}, synchronised, but Vigie is younger: {way_out}")
    if synchronised:
        return Finding("clock", ok=True, detail=f"{now}, synchronised")
    if synchronised is None:
        return Finding(
            "clock",
            ok=True,
            detail=f"{now}, and the kernel does not let us ask whether it is synchronised "
            "(adjtimex): the collector's time will be used",
        )
    return Finding("clock", ok=True, detail=f"{now}, not synchronised: the collector's time will be used")


def _disk(settings: Settings, path: Path) -> Finding:
    folder = path.parent / Path(settings.state_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
            probe.flush()
        free_mb = shutil.disk_usage(folder).free // _MB
    except OSError as error:
        way_out = "make it writable for this user, or set 'state_dir' to another folder"
        return Finding("disk", ok=False, detail=f"{folder}: {error.strerror}; {way_out}")
    needed_mb = settings.outbox.quota_mb + settings.outbox.snapshots_mb
    detail = f"{folder}: {free_mb} MB free, {needed_mb} MB may be used"
    if free_mb < needed_mb:
        return Finding("disk", ok=False, detail=f"{detail}: free some, or lower 'outbox.quota_mb'")
    return Finding("disk", ok=True, detail=detail)
