"""A batch survives the wire, and nothing else passes for one."""

import json
import zlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import wire
from shared.records import (
    Ack,
    Block,
    Detail,
    Detection,
    Event,
    Header,
    Maker,
    Observation,
    Run,
    Status,
    StreamRuns,
    Summary,
)
from shared.topics import Address
from shared.wire import TooNew, Unreadable

HERE = Address("greenhouse", "pi-roof", "batch")
MAKER = Maker("ripeness", "1.0.0", "a" * 64, "b" * 12, 0.25, 0.45)
SEALED_AT_NS = 1_795_456_729_596_490_000


def an_observation(frame: int, error: str = "") -> Observation:
    return Observation(frame, 5000, 300, 10, 90, 5200, 20, (Detection(2, 9000, 10, 20, 300, 400),), (), error)


def a_header(body: bytes, **changes: object) -> Header:
    header = Header(
        v=1,
        site="greenhouse",
        device="pi-roof",
        epoch=3,
        nonce="0123456789abcdef",
        lane="detail",
        batch=7,
        sealed_at_ns=SEALED_AT_NS,
        time_quality="synced",
        sha256=wire.digest(body),
        streams={"cam0": StreamRuns(10, 14, (Run("ok", 10, 11), Run("skipped", 12, 13), Run("failed", 14, 14)))},
    )
    return msgspec.structs.replace(header, **changes)


def a_detail() -> Detail:
    observations = (an_observation(10), an_observation(11), an_observation(14, error="ValueError: not finite"))
    return Detail((Block("cam0", MAKER, 640, 480, observations),))


def a_message(detail: Detail | None = None, **changes: object) -> bytes:
    body = wire.pack(detail or a_detail())
    return wire.join(a_header(body, **changes), body)


def test_a_batch_reads_back_as_it_was() -> None:
    batch = wire.decode_batch(a_message(), HERE)
    assert batch.body == a_detail()
    assert batch.header == a_header(wire.pack(a_detail()))


def test_a_summary_reads_back_as_it_was() -> None:
    body = wire.pack(Summary((Event(17, "camera_lost", "gone", "cam0"),)))
    message = wire.join(a_header(body, lane="summary", streams={}), body)
    assert wire.decode_batch(message, HERE).body == Summary((Event(17, "camera_lost", "gone", "cam0"),))


def test_the_header_is_plain_json_on_the_first_line() -> None:
    header = json.loads(a_message().split(b"\n")[0])
    assert header["streams"]["cam0"]["outcomes"] == [["ok", 10, 11], ["skipped", 12, 13], ["failed", 14, 14]]


def test_a_newer_version_is_neither_read_nor_called_broken() -> None:
    with pytest.raises(TooNew, match="wire version 2 is newer than 1: upgrade the collector"):
        wire.decode_batch(a_message(v=2), HERE)


def test_keys_that_a_later_minor_version_adds_are_ignored() -> None:
    header, _, body = a_message().partition(b"\n")
    later = json.dumps({**json.loads(header), "later": 1}).encode()
    assert wire.decode_batch(later + b"\n" + body, HERE).header.batch == 7


def without_body(message: bytes) -> bytes:
    return message.partition(b"\n")[0] + b"\n"


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "there is no header line"),
    "no newline": (lambda: a_message().replace(b"\n", b""), "there is no header line"),
    "too large": (lambda: b"x" * (wire.PAYLOAD_BYTES_MAX + 1), "at most 4194304 are allowed"),
    "no json": (lambda: b"hello\nworld", "the header is not valid"),
    "not utf-8": (lambda: b'{"v":"\xff\xfe"}\nx', "the header is not valid"),
    "nan": (lambda: b'{"v":NaN}\nx', "the header is not valid"),
    "deep": (lambda: b'{"v":1,"x":' + b"[" * 50_000 + b"\nx", "the header is not valid"),
    "version 0": (lambda: a_message(v=0), "the header is not valid"),
    "another device": (lambda: a_message(device="pi-other"), "the header names greenhouse/pi-other"),
    "another site": (lambda: a_message(site="elsewhere"), "the header names elsewhere/pi-roof"),
    "epoch 0": (lambda: a_message(epoch=0), "epoch"),
    "a nonce in capitals": (lambda: a_message(nonce="0123456789ABCDEF"), "nonce"),
    "an unknown lane": (lambda: a_message(lane="fast"), "lane"),
    "sealed in 1970": (lambda: a_message(sealed_at_ns=0), "sealed_at_ns"),
    "another sha256": (lambda: a_message(sha256="0" * 64), "sha256 is not the one in the header"),
    "a body cut short": (lambda: a_message()[:-3], "sha256 is not the one in the header"),
    "no body": (lambda: without_body(a_message()), "sha256 is not the one in the header"),
    "a stream called <script>": (
        lambda: a_message(streams={"<script>": StreamRuns(1, 1, (Run("ok", 1, 1),))}),
        "the header is not valid",
    ),
    "a gap between outcomes": (
        lambda: a_message(streams={"cam0": StreamRuns(10, 14, (Run("ok", 10, 11), Run("ok", 13, 14)))}),
        "leave a gap or overlap at frame 12",
    ),
    "outcomes that overlap": (
        lambda: a_message(streams={"cam0": StreamRuns(10, 14, (Run("ok", 10, 12), Run("ok", 12, 14)))}),
        "leave a gap or overlap at frame 13",
    ),
    "outcomes that end early": (
        lambda: a_message(streams={"cam0": StreamRuns(10, 14, (Run("ok", 10, 11),))}),
        "the outcomes end before its last frame 14",
    ),
    "an observation too few": (
        lambda: a_message(streams={"cam0": StreamRuns(10, 14, (Run("ok", 10, 14),))}),
        "not as many observations as the header says",
    ),
    "an observation of another frame": (
        lambda: a_message(streams={"cam0": StreamRuns(11, 13, (Run("ok", 11, 13),))}),
        "the observations are not those that the header names",
    ),
    "observations of a stream that the header lacks": (
        lambda: a_message(streams={"cam1": StreamRuns(1, 1, (Run("skipped", 1, 1),))}),
        "the body has observations of stream 'cam0'",
    ),
    "a body of the other lane": (lambda: a_message(lane="summary"), "the body is not valid"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_breaks_the_format_is_refused_with_the_reason(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(Unreadable, match=reason):
        wire.decode_batch(make(), HERE)


def refused_body(body: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        wire.decode_batch(wire.join(a_header(body), body), HERE)
    assert caught.value.header is not None, "the header can be read, so that its frames stay accounted for"
    return caught.value.reason


def test_a_zip_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(b" " * (wire.BODY_BYTES_MAX + 1))
    assert len(bomb) < 100_000
    assert "inflates to more than" in refused_body(bomb)


def test_a_body_that_is_no_zlib_data_is_refused() -> None:
    assert "cannot be decompressed" in refused_body(b"hello")


def test_what_follows_a_body_is_refused() -> None:
    assert "followed by something else" in refused_body(wire.pack(a_detail()) + b"more")


@pytest.mark.parametrize("field", ["score", "x1"])
def test_values_beyond_their_limits_are_refused(field: str) -> None:
    detection = msgspec.structs.replace(an_observation(10).detections[0], **{field: 10_001})
    observation = msgspec.structs.replace(an_observation(10), detections=(detection,))
    body = wire.pack(Detail((Block("cam0", MAKER, 640, 480, (observation,)),)))
    assert "<= 10000" in refused_body(body)


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_decoder(noise: bytes) -> None:
    with pytest.raises((Unreadable, TooNew)):
        wire.decode_batch(noise, HERE)


@given(st.integers(0, 900), st.binary(min_size=1, max_size=8))
def test_no_damage_crashes_the_decoder(at: int, noise: bytes) -> None:
    message = bytearray(a_message())
    message[at : at + len(noise)] = noise
    if bytes(message) == a_message():
        return
    try:
        batch = wire.decode_batch(bytes(message), HERE)
    except (Unreadable, TooNew):
        return
    assert batch.body == a_detail(), "the sha256 in the header guards the body"


def test_status_and_ack_read_back() -> None:
    status = Status(v=1, state="online", epoch=1, nonce="0" * 16, agent_version="0.1.0")
    assert wire.decode_status(wire.encode(status)) == status
    ack = Ack("0" * 16, 1, "snapshot/cam0", SEALED_AT_NS, ((5, 9),), ((11, "why"),), ((12, 12),), synced=True)
    assert wire.decode_ack(wire.encode(ack)) == ack


def test_a_status_of_a_newer_version_says_so() -> None:
    with pytest.raises(TooNew):
        wire.decode_status(b'{"v":9,"state":"dancing"}')
