"""The one wrapper around paho-mqtt, which contains its known faults."""

from typing import Annotated

from msgspec import Meta, Struct


class BrokerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach a broker.

    Attributes:
        url: `mqtt://host[:1883]` or `mqtts://host[:8883]` for TLS.
        username: None for a broker that asks for none.
        password_file: File with the password in its first line; else the environment's `VIGIE_BROKER_PASSWORD`.
        ca_file: Certificates to trust instead of the system's.
        cert_file: Client certificate, with `key_file`.
        key_file: Its private key.
        keepalive_s: Longest silence in seconds before a connection counts as dead.
    """

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
