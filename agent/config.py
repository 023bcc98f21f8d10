"""The agent's configuration: YAML into typed settings. `configs/agent.yaml` equals the defaults, by test."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from agent import providers, sources, timetable
from agent.decoders import DECODERS, Thresholds
from agent.providers import Optimisation
from agent.sun import Place
from agent.timetable import Timetable
from shared import configdoc, configfile, mqtt
from shared.configfile import ConfigError
from shared.mqtt import BrokerSettings
from shared.redact import redact
from shared.topics import SLUG_RULE, is_slug

Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(gt=0, le=1000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Side = Annotated[int, Meta(ge=1, le=8192)]
Point = tuple[Share, Share]
MASK_POINTS_MAX = 1000
"""Of all masks of a stream together: the capture process is told of them in one message."""

Numbers = float | list[float]
"""One for all channels, or one for each."""


class PreparationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How a picture becomes the model's input, where that differs from what file and family say.

    Attributes:
        fit: `letterbox_center`, `letterbox_corner` (padding right and below), `stretch` or `crop_center`.
        pad: Grey value of the padding, 0 to 255.
        colour: Order of the channels, `rgb` or `bgr`.
        mean: Subtracted, in grey values 0 to 255: one number, or a list with one for each channel in that order.
        scale: Then multiplied with: one number, or a list with one for each channel.
        resize_to: Shorter side in pixels before the crop, for `crop_center`.
        smooth: Average over the pixels that shrinking merges, instead of sampling between four.
    """

    fit: Literal["letterbox_center", "letterbox_corner", "stretch", "crop_center"] | None = None
    pad: Annotated[int, Meta(ge=0, le=255)] | None = None
    colour: Literal["rgb", "bgr"] | None = None
    mean: Numbers | None = None
    scale: Numbers | None = None
    resize_to: Side | None = None
    smooth: bool | None = None


class GateSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """When the model need not look.

    Attributes:
        change: Share of the picture that must have changed for a frame to be looked at, such as 0.01; None to look at
            every frame.
        every_s: A frame is looked at after so many seconds anyway.
    """

    change: Share | None = None
    every_s: Seconds = 10.0


class StreamSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One camera with one model.

    Attributes:
        name: Slug, unique within the agent.
        source: One key names the kind of source and its target, the others are its options.
        model: Path of the ONNX file, relative to the configuration file.
        fps: Frames a second to capture at most; None for as many as come.
        every: The same as time between frames, for slow plans: seconds, or text such as `10 min`; up to `1 d`.
        between: When to capture, as local times: `["06:00-20:30"]`, `["sunrise-30min-sunset"]`, over midnight too;
            empty for always.
        score: Detections below this score do not count.
        scores: The same for single classes, by name or id: `{person: 0.6, dog: 0.4}`.
        iou: IoU threshold of the non-maximum suppression, for models that do not end in their own.
        most: Detections kept per frame at most; classes kept, for a classifier.
        decoder: Model family; None to find it out from the ONNX file.
        names: Class names by class id, for an ONNX file that has none.
        model_version: Version of the model, for an ONNX file that says none.
        size: Width and height in pixels of the model's input, for an ONNX file that leaves them open: `[640, 480]`.
        preparation: How a picture becomes the model's input, where that differs from what file and family say.
        region: What of the picture the model sees: left, top, right, bottom in shares of the picture, such as
            `[0, 0.5, 1, 1]` for its lower half; None for all.
        masks: What nobody sees: a list of polygons, each a list of corners `[x, y]` in shares of the picture, painted
            over in grey before a frame leaves its capture process.
        gate: When the model need not look: on a scene that has not changed since it last did.
        deadline_s: Silence in seconds after which the source is reopened.
        retry_s_max: Longest wait in seconds between two attempts to open the source.
        frozen_s: Seconds of the same live picture after which it counts as frozen and the source is reopened; 0 for
            never.
        blank_s: Seconds of nothing but black, or white, after which a live picture is called so; 0 for never.
        snapshot_s: Seconds between pictures for the dashboard; 0 for none.
        snapshot_width: Of those pictures, in pixels at most.
    """

    name: str
    source: dict[str, object]
    model: str
    fps: Rate | None = None
    every: float | str | None = None
    between: list[str] = []  # msgspec copies it
    score: Share = 0.25
    scores: dict[str, Share] = {}  # msgspec copies it
    iou: Share = 0.45
    most: Annotated[int, Meta(ge=1, le=1000)] = 300
    decoder: str | None = None
    names: list[str] | None = None
    model_version: str | None = None
    size: tuple[Side, Side] | None = None
    preparation: PreparationSettings = PreparationSettings()
    region: tuple[Share, Share, Share, Share] | None = None
    masks: list[list[Point]] = []  # msgspec copies it
    gate: GateSettings = GateSettings()
    deadline_s: Seconds = 10.0
    retry_s_max: Seconds = 60.0
    frozen_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    blank_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    snapshot_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    snapshot_width: Annotated[int, Meta(ge=64, le=4096)] = 640


class LocationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the device stands.

    Attributes:
        latitude: In degrees, north is positive.
        longitude: In degrees, east is positive.
    """

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class OutboxSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What may wait on disk.

    Attributes:
        quota_mb: Size of the batches at most; beyond it, detail batches are thinned.
        keep_acked_h: Hours that confirmed batches stay, where the quota allows. A collector that lost its store
            could ask for them again; this release's does not yet.
        snapshots_mb: Size of the waiting pictures at most; beyond it the oldest go.
    """

    quota_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 512
    keep_acked_h: Annotated[float, Meta(ge=0, le=24 * 365)] = 24.0
    snapshots_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 64


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        site: Slug of the site.
        device: Slug of the device, unique within its site.
        streams: One camera with one model each; at least one.
        broker: How to reach it.
        location: Where the device stands, for plans by the sun: `{latitude: 52.5, longitude: 13.4}`. It is told to
            nobody.
        time_zone: Of the plans' times, such as Europe/Berlin; empty for the device's own.
        state_dir: Where outbox and pictures wait, relative to the configuration file.
        providers: ONNX Runtime execution providers, best first: `[tensorrt, cuda]`. Empty for what `tune` found,
            else the CPU.
        provider_options: Options of providers, by their names: `{openvino: {device_type: GPU}}`.
        require_provider: Refuse to start where another provider than the first would run a model.
        threads: Threads of one inference; 0 for as many as the device has cores. None for what `tune` found, else 1.
        spinning: Threads wait for work by burning their core. None for what `tune` found, else false.
        optimisation: How much the model's graph is rewritten when it is loaded: `all`, `extended`, `basic` or `none`.
            None for what `tune` found, else `all`.
        looks: Frames that a model looks at at the same time, of all its streams together; 0 for as many as the cores
            carry with these threads, at most 4. More than one does more frames a second and takes more memory.
        seal_s: Seconds of frames in a batch: what a power cut can cost.
        window_s: Length of the summaries in seconds.
        vitals_s: Seconds between readings of the device's own health.
        capture_mb: Memory in MB that each capture process may have to itself before it is ended and begun again; 0 for
            as much as it wants. Never more than half of the device's.
        agent_mb: Memory in MB that the agent's own process may have to itself before it is started anew; 0 for as much
            as it wants. None for three quarters of the device's, or of what its service may have (`MemoryMax=`).
        thread_deadline_s: Seconds without progress after which a thread of the agent's own counts as hung.
        infer_deadline_s: Seconds after which a look of the model that gave no answer counts as hung; at least five
            times what loading the model took. 0 for never.
        restarts_a_day: Times in 24 hours that the agent may end to be started anew for what a restart may mend: no
            capture process can be begun, a model hangs, memory grows; 0 for never.
        safe_mode_after: Starts in a row that may end within a minute before the agent starts without cameras and
            models, to be reached and to say why; 0 for any number.
        drain_s: Seconds to wait at the end for the collector to confirm the last batches.
        backlog_rate: Batches a second at most of those that an outage left; live ones go at once, beside them. At 20,
            with a batch a second, the frames of a day arrive in 72 minutes.
        outbox: What may wait on disk.
    """

    site: str = "my-site"
    device: str = "my-device"
    streams: list[StreamSettings] = []  # msgspec copies it
    broker: BrokerSettings = BrokerSettings()
    location: LocationSettings | None = None
    time_zone: str = ""
    state_dir: str = "vigie-state"
    providers: list[str] = []  # msgspec copies it
    provider_options: dict[str, dict[str, str | int]] = {}  # msgspec copies it
    require_provider: bool = False
    threads: Annotated[int, Meta(ge=0, le=256)] | None = None
    spinning: bool | None = None
    optimisation: Optimisation | None = None
    looks: Annotated[int, Meta(ge=0, le=64)] = 0
    seal_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    window_s: Annotated[int, Meta(ge=1, le=1800)] = 60
    vitals_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    capture_mb: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    agent_mb: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    thread_deadline_s: Annotated[float, Meta(ge=5, le=3600)] = 120.0
    infer_deadline_s: Annotated[float, Meta(ge=0, le=86_400)] = 120.0
    restarts_a_day: Annotated[int, Meta(ge=0, le=1000)] = 3
    safe_mode_after: Annotated[int, Meta(ge=0, le=1000)] = 5
    drain_s: Annotated[float, Meta(ge=0, le=600)] = 5.0
    backlog_rate: Annotated[float, Meta(ge=2, le=10_000)] = 20.0
    outbox: OutboxSettings = OutboxSettings()


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises:
        ConfigError: Naming file, key, rule, value and what to do.
    """
    return checked(configfile.load(path, Settings), path)


def checked(settings: Settings, path: Path) -> Settings:
    """Check what types cannot say.

    Raises:
        ConfigError: Naming file, key, rule, value and what to do.
    """
    for key, value in (("site", settings.site), ("device", settings.device)):
        _check_slug(path, key, value)
    try:
        mqtt.endpoint(settings.broker)
    except ValueError as error:
        where = str(error).replace("'", "'broker.", 1)
        raise ConfigError(f"{path}: {where}") from error
    try:
        timetable.zone(settings.time_zone)
    except ValueError as error:
        raise ConfigError(f"{path}: 'time_zone' {error}") from error
    if not settings.streams:
        raise ConfigError(f"{path}: 'streams' must name at least one stream: {{name: cam0, source: …, model: …}}")
    for index, stream in enumerate(settings.streams):
        _check_stream(path, f"streams[{index}]", stream)
        _check_plan(path, f"streams[{index}]", settings, stream)
    for key, given in (("providers", settings.providers), ("provider_options", list(settings.provider_options))):
        _check_providers(path, key, given)
    if settings.require_provider and not settings.providers:
        raise ConfigError(f"{path}: 'require_provider' needs 'providers', which names the one that is required")
    names = [stream.name for stream in settings.streams]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: 'streams': two streams are called '{name}'; give each its own name")
    return settings


def _check_slug(path: Path, key: str, value: str) -> None:
    if not is_slug(value):
        raise ConfigError(f"{path}: '{key}' must be {SLUG_RULE}, got '{value}'")


def _check_providers(path: Path, key: str, names: list[str]) -> None:
    try:
        for name in names:
            providers.full(name)
    except ValueError as error:
        raise ConfigError(f"{path}: '{key}': {error}") from error


def _check_stream(path: Path, key: str, stream: StreamSettings) -> None:
    _check_slug(path, f"{key}.name", stream.name)
    try:
        sources.resolve(stream.source, path.parent)
    except ValueError as error:
        raise ConfigError(f"{path}: '{key}.source': {error}") from error
    if stream.decoder is not None and stream.decoder not in DECODERS:
        raise ConfigError(f"{path}: '{key}.decoder' must be one of {', '.join(DECODERS)}, got '{stream.decoder}'")
    _check_shapes(path, key, stream)


def _check_plan(path: Path, key: str, settings: Settings, stream: StreamSettings) -> None:
    """When to capture must be said once, and in a way that can be followed."""
    if stream.fps is not None and stream.every is not None:
        raise ConfigError(
            f"{path}: '{key}': 'fps' and 'every' say the same in two ways, got {stream.fps:g} and {stream.every!r}; "
            "leave one out"
        )
    try:
        period_s(stream)
    except ValueError as error:
        raise ConfigError(f"{path}: '{key}.every' {error}") from error
    for index, text in enumerate(stream.between):
        _check_range(path, f"{key}.between[{index}]", settings, text)


def _check_range(path: Path, key: str, settings: Settings, text: str) -> None:
    try:
        _timetable(settings, [text])
    except ValueError as error:
        raise ConfigError(f"{path}: '{key}' {error}") from error


def _check_shapes(path: Path, key: str, stream: StreamSettings) -> None:
    """Region and masks must enclose something."""
    if stream.region is not None:
        left, top, right, bottom = stream.region
        if left >= right or top >= bottom:
            raise ConfigError(
                f"{path}: '{key}.region' must be left, top, right, bottom with left < right and top < bottom, got "
                f"{list(stream.region)}"
            )
    for index, polygon in enumerate(stream.masks):
        if len(set(polygon)) < 3:  # noqa: PLR2004  # a triangle
            raise ConfigError(
                f"{path}: '{key}.masks[{index}]' must have 3 corners or more, got {[list(point) for point in polygon]}"
            )
    if (points := sum(map(len, stream.masks))) > MASK_POINTS_MAX:
        raise ConfigError(f"{path}: '{key}.masks' must have {MASK_POINTS_MAX} corners at most, got {points}")


_EXAMPLE = StreamSettings(
    name="cam0", source={"v4l2": "/dev/v4l/by-id/usb-camera-video-index0"}, model="stages.onnx", fps=10.0
)


def defaults() -> str:
    """The defaults as commented YAML, with an example of a stream: what `configs/agent.yaml` holds."""
    return configdoc.render(Settings()).replace("streams: []\n", f"streams: []\n{configdoc.example(_EXAMPLE)}")


def located(settings: Settings, path: Path) -> Settings:
    """The settings with the broker's files found: they are relative to the configuration file."""
    return msgspec.structs.replace(settings, broker=mqtt.located(settings.broker, path.parent))


def thresholds(stream: StreamSettings) -> Thresholds:
    """What counts, on this stream."""
    return Thresholds(score=stream.score, iou=stream.iou, most=stream.most)


def preparation(settings: PreparationSettings) -> dict[str, Any]:
    """What is to be prepared otherwise, as `Model.load` takes it."""
    return {key: value for key, value in msgspec.structs.asdict(settings).items() if value is not None}


def period_s(stream: StreamSettings) -> float | None:
    """Seconds between the frames of a stream; None for as many as come.

    Raises:
        ValueError: `every` is none.
    """
    if stream.every is not None:
        return timetable.period_s(stream.every)
    return None if stream.fps is None else 1 / stream.fps


def timetable_of(settings: Settings, stream: StreamSettings) -> Timetable | None:
    """When a stream captures; None for always."""
    return _timetable(settings, stream.between) if stream.between else None


def _timetable(settings: Settings, between: list[str]) -> Timetable:
    place = None if settings.location is None else Place(settings.location.latitude, settings.location.longitude)
    return Timetable(between, timetable.zone(settings.time_zone), place)


def plan_words(settings: Settings, stream: StreamSettings) -> str:
    """When a stream captures, for people; nothing where it does so all the time, as fast as it can."""
    rate = f"every {stream.every:g} s" if isinstance(stream.every, float | int) else f"every {stream.every}"
    parts = [rate] if stream.every is not None else []
    if stream.fps is not None:
        parts.append(f"{stream.fps:g} frames/s")
    if stream.between:
        parts.append(f"{' and '.join(stream.between)} ({timetable.zone(settings.time_zone)})")
    return ", ".join(parts)


def redacted(settings: Settings) -> dict[str, object]:
    """The settings as plain data without credentials; passwords stand in files of their own."""
    data: dict[str, object] = _redacted(msgspec.to_builtins(settings))
    return data


def _redacted(value: Any) -> Any:  # noqa: ANN401  # plain data of any depth
    """Each text by itself: what looks like credentials in one must not reach into the next."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, list) else value


def stream_hash(settings: Settings, stream: StreamSettings) -> str:
    """What names the configuration that a stream's records were made with: 12 hex digits.

    Args:
        settings: As `agent.tuned.settled` gives them, so that a tuning is part of it.
        stream: Of the settings.
    """
    relevant = {
        "stream": _redacted(msgspec.to_builtins(stream)),
        "providers": settings.providers,
        "provider_options": settings.provider_options,
        "threads": settings.threads,
        "spinning": settings.spinning,
        "optimisation": settings.optimisation,
    }
    return hashlib.sha256(msgspec.json.encode(relevant)).hexdigest()[:12]
