"""The collector's configuration: YAML into typed settings. `configs/collector.yaml` is `defaults()`, by test."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

from collector.stores import STORES
from shared import configdoc, configfile, mqtt
from shared.configfile import ConfigError
from shared.mqtt import BrokerSettings
from shared.topics import SLUG_RULE, is_slug

Days = Annotated[float, Meta(gt=0, le=36_500)]
Port = Annotated[int, Meta(ge=1, le=65_535)]

_GROUP = re.compile("[A-Za-z0-9_-]{1,64}")


class EmbeddedBrokerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """A broker inside the collector, for one site; it asks nobody who they are.

    Attributes:
        host: Address that it listens on; devices elsewhere need one that they can reach.
        port: Port that it listens on.
    """

    host: str = "127.0.0.1"
    port: Port = 1883


class StoreSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where observations and windows are kept, and for how long.

    Attributes:
        kind: Kind of store; `sqlite` is the embedded one.
        path: Its file, relative to this one.
        detail_days: Days that observations and the ledger's single entries are kept.
        minutes_days: Days that windows of a minute, vitals and events are kept.
        hours_days: Days that windows of an hour are kept.
    """

    kind: str = "sqlite"
    path: str = "vigie.db"
    detail_days: Days = 30.0
    minutes_days: Days = 90.0
    hours_days: Days = 1095.0


class WebSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the dashboard and the REST API listen.

    Attributes:
        host: Address that they listen on. Nobody has to sign in yet, so another than this machine's own needs `public`.
        port: Port that they listen on.
        public: True to let everybody who reaches the address see everything.
        threads: Requests that are answered at the same time.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    public: bool = False
    threads: Annotated[int, Meta(ge=1, le=256)] = 8


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What may wait or be kept at most. What a limit drops is counted, and the devices still have it.

    Attributes:
        queue_messages: Messages that wait for the store.
        queue_mb: Size of the messages that wait for the store, in MB.
        write_messages: Messages that one write takes.
        write_wait_ms: Milliseconds to gather messages for one write.
        clock_ahead_s: Seconds that a device's clock may be ahead of ours before its batches are quarantined.
        quarantine_mb: Size of the quarantine; beyond it the oldest go.
        snapshots_per_stream: Newest pictures that are kept of each stream.
        snapshots_days: Days that a picture is kept.
        sites: Sites that devices may name. A device for which there is no room keeps its data; the log says so.
        devices_per_site: Devices that a site may have, over all time.
        streams_per_device: Streams that a device may have, over all time; beyond it what names another is quarantined.
        makers_per_day: New models, versions, thresholds and configurations that a device may name in a day.
        starts_per_day: Starts that a device may tell of in a day.
        classes_per_model: Classes that a model may have.
        online_s: Silence in seconds after which a device no longer counts as online.
    """

    queue_messages: Annotated[int, Meta(ge=10, le=1_000_000)] = 20_000
    queue_mb: Annotated[int, Meta(ge=8, le=65_536)] = 64
    write_messages: Annotated[int, Meta(ge=1, le=10_000)] = 500
    write_wait_ms: Annotated[int, Meta(ge=0, le=10_000)] = 50
    clock_ahead_s: Annotated[float, Meta(ge=60, le=31_536_000)] = 86_400.0
    quarantine_mb: Annotated[int, Meta(ge=1, le=100_000)] = 100
    snapshots_per_stream: Annotated[int, Meta(ge=1, le=100_000)] = 100
    snapshots_days: Days = 7.0
    sites: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    devices_per_site: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    streams_per_device: Annotated[int, Meta(ge=1, le=100_000)] = 256
    makers_per_day: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    starts_per_day: Annotated[int, Meta(ge=1, le=1_000_000)] = 5000
    classes_per_model: Annotated[int, Meta(ge=1, le=2**31)] = 100_000
    online_s: Annotated[float, Meta(ge=5, le=86_400)] = 90.0


class GapSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """When a device is asked again for batches that did not come.

    Attributes:
        after_s: Seconds that a batch may be missing before its device is asked for it; the pause doubles each time.
        tries: Times that it is asked before the event `gap_remains` is told.
    """

    after_s: Annotated[float, Meta(ge=1, le=86_400)] = 120.0
    tries: Annotated[int, Meta(ge=1, le=100)] = 5


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        broker: How to reach the broker; where `embedded_broker` is set, that one is used instead.
        embedded_broker: To run a broker inside the collector: {host: 127.0.0.1, port: 1883}; null to use another one.
        shared_group: Name of a group of collectors that divide the batches among themselves by a shared
            subscription ($share); null for one collector that takes them all. The embedded broker knows none.
        store: Where observations and windows are kept, and for how long.
        state_dir: Folder of quarantine and pictures, relative to this file.
        web: Where the dashboard and the REST API listen.
        limits: What may wait or be kept at most.
        gaps: When a device is asked again for batches that did not come.
        time_zones: Of the sites, whose days and weeks follow it: {greenhouse: Europe/Paris}; UTC for the others.
    """

    broker: BrokerSettings = BrokerSettings()
    embedded_broker: EmbeddedBrokerSettings | None = None
    shared_group: str | None = None
    store: StoreSettings = StoreSettings()
    state_dir: str = "vigie-collector-state"
    web: WebSettings = WebSettings()
    limits: LimitSettings = LimitSettings()
    gaps: GapSettings = GapSettings()
    time_zones: dict[str, str] = {}

    @property
    def effective_broker(self) -> BrokerSettings:
        """The broker that is really used."""
        if self.embedded_broker is None:
            return self.broker
        host = f"[{self.embedded_broker.host}]" if ":" in self.embedded_broker.host else self.embedded_broker.host
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  # an address to compare with
        return BrokerSettings(url=f"mqtt://{host}:{self.embedded_broker.port}", retry_s_max=2.0)


def load(path: Path) -> Settings:
    """Read and check a configuration file; its paths come back relative to the file's folder.

    Raises:
        ConfigError: Naming file, key, rule, value and what to do.
    """
    settings = checked(configfile.load(path, Settings), path)
    folder = path.parent
    return msgspec.structs.replace(
        settings,
        state_dir=str(folder / settings.state_dir),
        store=msgspec.structs.replace(settings.store, path=str(folder / settings.store.path)),
        broker=_in_folder(settings.broker, folder),
    )


def checked(settings: Settings, path: Path) -> Settings:
    """Check what types cannot say.

    Raises:
        ConfigError: Naming file, key, rule, value and what to do.
    """
    try:
        mqtt.endpoint(settings.broker)
    except ValueError as error:
        raise ConfigError(f"{path}: 'broker': {error}") from error
    _check_group(settings, path)
    if settings.store.kind not in STORES:
        raise ConfigError(f"{path}: 'store.kind' must be one of {', '.join(STORES)}, got '{settings.store.kind}'")
    if not settings.web.public and not _is_loopback(settings.web.host):
        raise ConfigError(
            f"{path}: 'web.host' must be an address of this machine alone, such as 127.0.0.1, because nobody has to "
            f"sign in, got '{settings.web.host}'; set 'web.public: true' to let everybody who reaches it see everything"
        )
    for site, zone in settings.time_zones.items():
        _check_time_zone(site, zone, path)
    return settings


def defaults() -> str:
    """The defaults as commented YAML: what `configs/collector.yaml` holds."""
    return configdoc.render(Settings())


def _check_group(settings: Settings, path: Path) -> None:
    if settings.shared_group is None:
        return
    if _GROUP.fullmatch(settings.shared_group) is None:
        raise ConfigError(
            f"{path}: 'shared_group' must be 1 to 64 letters, digits, '_' and '-', got '{settings.shared_group}'"
        )
    if settings.embedded_broker is not None:
        raise ConfigError(
            f"{path}: 'shared_group' needs a broker with shared subscriptions, which the embedded one has not; "
            "remove 'shared_group' or 'embedded_broker'"
        )


def _check_time_zone(site: str, zone: str, path: Path) -> None:
    if not is_slug(site):
        raise ConfigError(f"{path}: 'time_zones': a site's name must be {SLUG_RULE}, got '{site}'")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"{path}: 'time_zones.{site}' must be a time zone such as Europe/Paris, got '{zone}'"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _in_folder(broker: BrokerSettings, folder: Path) -> BrokerSettings:
    keys = ("password_file", "ca_file", "cert_file", "key_file")
    given = {key: str(folder / value) for key in keys if (value := getattr(broker, key)) is not None}
    return msgspec.structs.replace(broker, **given)
