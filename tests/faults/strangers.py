"""Messages of strangers, and of the past."""

import json
import random
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.faults.kinds import kind
from tests.faults.site import DEVICE, SITE, Site

_OURS = f"vigie/v1/{SITE}/{DEVICE}"
_OTHER = f"vigie/v1/{SITE}/stranger"
_NONCE = "f" * 16
_PATIENCE_S = 3.0


def _published(site: Site, messages: list[tuple[str, bytes, bool]]) -> Iterator[float]:
    """(topic, payload, retained) each, as fast as they go; a broker that is frozen does not hold the campaign up."""
    stranger = threading.Thread(target=_publish, args=(site, messages), name="stranger", daemon=True)
    stranger.start()
    for _ in range(int(_PATIENCE_S / 0.1)):
        yield 0.1
        if not stranger.is_alive():
            return
    site.notes.append("a stranger waits for the broker still")


def _publish(site: Site, messages: list[tuple[str, bytes, bool]]) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    try:
        client.connect("127.0.0.1", site.broker_port)
    except OSError:
        site.notes.append("a stranger found no broker")
        return
    client.loop_start()
    for published in [client.publish(topic, payload, 1, retained) for topic, payload, retained in messages]:
        with suppress(RuntimeError, ValueError):  # the broker ended the connection
            published.wait_for_publish(_PATIENCE_S / 2)
    client.disconnect()
    client.loop_stop()


def _batch(body: bytes, **changes: object) -> bytes:
    """A batch of another device."""
    header = {
        "v": 1, "site": SITE, "device": "stranger", "epoch": 1, "nonce": _NONCE, "lane": "detail", "batch": 1,
        "sealed_at_ns": 1_790_000_000_000_000_000, "time_quality": "synced", "sha256": "0" * 64,
        "streams": {"cam0": {"first": 1, "last": 5, "outcomes": [["ok", 1, 5]]}},
    } | changes  # fmt: skip
    return json.dumps(header).encode() + b"\n" + body


@kind(weight=1)
def hostile_bytes(site: Site, rng: random.Random) -> Iterator[float]:
    sizes = (0, 1, 100, 5000)
    return _published(site, [(f"{_OURS}/batch", rng.randbytes(rng.choice(sizes)), False) for _ in range(20)])


@kind(weight=1)
def hostile_bodies(site: Site, rng: random.Random) -> Iterator[float]:
    """Zip bombs, other schemas, cut streams, bodies that are none."""
    bodies = [
        zlib.compress(bytes(100_000_000), 9),
        zlib.compress(b"[" * 100_000),
        zlib.compress(b'{"records":[1e999]}'),
        zlib.compress(b"{}")[:-3],
        b"",
        rng.randbytes(1000),
    ]
    return _published(site, [(f"{_OTHER}/batch", _batch(body), False) for body in bodies])


@kind(weight=1)
def hostile_headers(site: Site, rng: random.Random) -> Iterator[float]:
    """Newer versions, other devices, absurd numbers, deep nesting."""
    body = zlib.compress(b"{}")
    payloads = [
        _batch(body, v=99),
        _batch(body, batch=-1),
        _batch(body, epoch=2**80),
        _batch(body, nonce="x" * 10_000),
        _batch(body, streams={f"s{n}": 1 for n in range(1000)}),
        b'{"a":' * 5000 + b"\n" + body,
        _batch(body, sealed_at_ns=float("nan")),
    ]
    rng.shuffle(payloads)
    return _published(site, [(f"{rng.choice((_OURS, _OTHER))}/batch", payload, False) for payload in payloads])


@kind(weight=1)
def hostile_large(site: Site, rng: random.Random) -> Iterator[float]:
    return _published(site, [(f"{_OTHER}/batch", rng.randbytes(5_000_000), False)])


@kind(weight=1)
def hostile_acks(site: Site, rng: random.Random) -> Iterator[float]:
    """Garbage, and the word of a collector of somebody else."""
    other = {"nonce": _NONCE, "epoch": 1, "lane": "detail", "now_ns": 1, "stored": [[1, 2**40]], "refused": []}
    payloads = [rng.randbytes(50), b"", b"[]", json.dumps(other).encode(), json.dumps(other | {"lane": "x"}).encode()]
    return _published(site, [(f"{_OURS}/ack", payload, rng.random() < 0.3) for payload in payloads])


@kind(weight=1)
def hostile_statuses(site: Site, rng: random.Random) -> Iterator[float]:
    payloads = [rng.randbytes(50), b"{}", b"", json.dumps({"v": 1, "state": "online", "epoch": "x"}).encode()]
    return _published(site, [(f"{_OTHER}/status", payload, True) for payload in payloads])


@kind(weight=1)
def hostile_topics(site: Site, rng: random.Random) -> Iterator[float]:
    topics = ["vigie/v1/x/y/z/batch", "vigie/v2/a/b/batch", "vigie/v1/../../batch", f"{_OURS}/snapshot/cam0/-1"]
    return _published(site, [(topic, rng.randbytes(20), False) for topic in topics])


@kind(weight=2)
def batches_replayed(site: Site, rng: random.Random) -> Iterator[float]:
    """Batches of the last minutes, once more, in any order."""
    old = list(site.agent_link.batches)
    rng.shuffle(old)
    return _published(site, [(f"{_OURS}/batch", payload, False) for payload in old])
