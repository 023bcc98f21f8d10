"""Real messages, changed as somebody hostile or a bug would: in their bytes, or in the values that they hold.

A change of a value keeps what is around it valid (the body compressed, its sha256 right), so that it reaches the checks
behind. `random.Random` decides everything: the same seed makes the same message.
"""

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from shared import wire
from tests.collector.making import NONCE, T0, detail, model, summary, window

_GOLDEN = Path(__file__).resolve().parents[1] / "shared" / "golden"


def _golden(name: str) -> bytes:
    return base64.b64decode((_GOLDEN / f"{name}.b64").read_text())


BATCHES = (
    _golden("v1-detail"),
    _golden("v1-summary"),
    detail(1, 1),
    summary(1, model(), window(0, {"ok": 1}, histograms={"score": [1]}, classes=[(0, 1, 1, 1)])),
)
STATUSES = (_golden("v1-status"),)
ACKS = (_golden("v1-ack"),)

Mark = str
RAW: dict[Mark, str] = {
    "nan": "NaN",
    "infinity": "-Infinity",
    "huge exponent": "1e999",
    "tiny exponent": "1e-999",
    "wide": "9" * 400,
    "half a surrogate": '"\\ud800"',
    "other half": '"\\udc00x"',
    "no escape": '"\\x"',
    "control": '"\x01"',
    "minus zero": "-0",
    "leading zero": "01",
    "nested": "[" * 3000 + "]" * 3000,
    "repeated key": '{"v":1,"v":2}',
}
"""What `json.dumps` would not write, by the mark that stands for it until the text is made."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**64), 10**30),
    *(0.5, -0.0, 1e308, 5e-324, "", "0", "x" * 200, "x" * 5000, "\0", "\n", "é", "\U0001f34a", "../..", "<script>"),
    *("greenhouse", "pi-door", NONCE, "0" * 64, "ok", "window", T0, T0 + 10**18, 10**18),
    *([], {}, [[]], [None], [0] * 2000, {"": 0}, {"x": {}}, [[["ok", 1, 2**53]]]),
    *(f"\0{mark}\0" for mark in RAW),
)


def text(value: Any) -> bytes:
    """A value as JSON, with its marks replaced."""
    made = json.dumps(value)
    for mark, raw in RAW.items():
        made = made.replace(json.dumps(f"\0{mark}\0"), raw)
    return made.encode()


def mutated(random: Random, value: Any) -> Any:
    """A JSON value with one place in it changed: replaced, repeated, taken away, renamed or moved."""
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        copy: Any = value.copy()
        keys = list(copy) if isinstance(copy, dict) else range(len(copy))
        key: Any = random.choice(keys)
        how = random.randrange(10)
        if how == 0:
            del copy[key]
        elif how == 1 and isinstance(copy, dict):
            copy[random.choice(("v", "kind", "cam0", "x" * 99, "", "é", str(key) + "\n"))] = copy.pop(key)
        elif how == 1:
            copy.insert(key, copy[random.choice(keys)])
        elif how == 2 and isinstance(copy, list):
            copy += copy * random.choice((1, 5))
        else:
            copy[key] = mutated(random, copy[key])
        return copy
    if isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.5:
        return value + random.choice((-1, 1, -value, value, 2**31, 2**53, -(2**53)))
    alike = [one for one in VALUES if type(one) is type(value)]
    return random.choice(alike if alike and random.random() < 0.5 else VALUES)


def batch(random: Random) -> bytes:
    """A batch with changed values, or changed bytes."""
    payload = random.choice(BATCHES)
    line, _, packed = payload.partition(b"\n")
    if random.random() < 0.2:
        return torn(random, payload)
    header, body = json.loads(line), json.loads(zlib.decompress(packed))
    header["epoch"] = random.randrange(1, 3000)  # else the store would have almost all of them already
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        if random.random() < 0.5:
            header = mutated(random, header)
        else:
            body = mutated(random, body)
    packed = _packed(random, text(body))
    if isinstance(header, dict) and "sha256" in header and random.random() < 0.95:
        header["sha256"] = wire.digest(packed)
    return text(header) + b"\n" + packed


def _packed(random: Random, raw: bytes) -> bytes:
    how = random.randrange(20)
    if how == 0:
        return torn(random, zlib.compress(raw))
    if how == 1:
        return zlib.compress(torn(random, raw))
    return zlib.compress(raw, random.choice((0, 1, 9)))


def status(random: Random) -> bytes:
    """A birth with changed values, or changed bytes."""
    return _changed(random, random.choice(STATUSES))


def ack(random: Random) -> bytes:
    """An ack with changed values, or changed bytes."""
    return _changed(random, random.choice(ACKS))


def _changed(random: Random, payload: bytes) -> bytes:
    if random.random() < 0.2:
        return torn(random, payload)
    value = json.loads(payload)
    for _ in range(random.choice((1, 1, 2, 5))):
        value = mutated(random, value)
    return text(value)


def torn(random: Random, payload: bytes) -> bytes:
    """Bytes cut out, put in, changed, doubled, or cut short."""
    data = bytearray(payload)
    for _ in range(random.randrange(1, 5)):
        at = random.randrange(len(data) + 1)
        length = random.choice((0, 1, 1, 8, 100))
        data[at : at + length] = random.randbytes(random.choice((0, 1, 1, 8)))
    if random.random() < 0.1:
        del data[random.randrange(len(data) + 1) :]
    return bytes(data)


KINDS: dict[str, Callable[[Random], bytes]] = {"batch": batch, "status": status, "ack": ack}


def made(kind: str, seed: int) -> bytes:
    """The message of a kind that a seed makes."""
    return KINDS[kind](Random(seed))  # noqa: S311  # nothing secret hangs on it
