"""What may be stored, and hostile payloads: each answered with a reason, none with an exception."""

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.admit import Admitted, GoodBatch, GoodSnapshot, Ignored, Message, Newer, admit, cut
from collector.state.quarantine import Bad
from collector.stores.answers import ReceivedStatus
from shared import topics, wire
from shared.records import Detail, Event, HistogramData, Tombstone, Vitals
from tests.collector.field import jpeg
from tests.collector.making import (
    NONCE,
    SECOND,
    T0,
    detail,
    encoded,
    model,
    observation,
    runs,
    status,
    summary,
    window,
)

BATCH = topics.batch("greenhouse", "pi-roof")
STATUS = topics.status("greenhouse", "pi-roof")
SNAPSHOT = topics.snapshot("greenhouse", "pi-roof", "cam0", T0)
DAY = 86_400 * SECOND


def judged(payload: bytes, topic: str = BATCH) -> Admitted:
    return admit(Message(topic, payload, retained=False, received_at_ns=T0 + SECOND), DAY)


def header(**changes: Any) -> bytes:
    """A good batch with changes in its header."""
    line, _, body = detail(1, 1).partition(b"\n")
    return msgspec.json.encode(json.loads(line) | changes) + b"\n" + body


def body(raw: bytes, streams: Any = None) -> bytes:
    """A batch whose header is right, with this body."""
    line, _, _ = (detail(1, 1) if streams is None else summary(1)).partition(b"\n")
    packed = zlib.compress(raw)
    return msgspec.json.encode(json.loads(line) | {"sha256": wire.digest(packed)}) + b"\n" + packed


def observed(*changes: tuple[int, Any]) -> bytes:
    """A detail body whose first observation has other values at some places."""
    raw = json.loads(zlib.decompress(detail(1, 1).partition(b"\n")[2]))
    for place, value in changes:
        raw["blocks"][0][4][0][place] = value
    return body(json.dumps(raw).encode())


def windowed(**changes: Any) -> bytes:
    raw = msgspec.to_builtins(window(SECOND, {"ok": 1}, histograms={"score": [1]}, classes=[(0, 1, 1, 1)])) | changes
    return body(json.dumps({"records": [{"kind": "window"} | raw]}).encode(), streams={})


def nested(depth: int) -> bytes:
    return body(b'{"blocks":' + b"[" * depth + b"]" * depth + b"}")


def long_header(length: int) -> bytes:
    """A good batch whose header line is so long."""
    line, _, rest = detail(1, 1).partition(b"\n")
    return b"{" + b" " * (length - len(line)) + line[1:] + b"\n" + rest


@pytest.mark.parametrize("payload", [detail(1, 1) + bytes(wire.PAYLOAD_BYTES_MAX), long_header(5 * 2**19) * 2])
def test_of_a_message_that_is_too_large_the_header_is_kept_and_its_device_known(payload: bytes) -> None:
    small = cut(Message(BATCH, payload, retained=False, received_at_ns=T0))
    assert small.payload == payload[: payload.index(b"\n") + 1]
    answer = admit(small, DAY)
    assert isinstance(answer, Bad)
    assert answer.header == wire.split(detail(1, 1))[0]
    assert (answer.cause, answer.payload) == ("too_large", small.payload)
    assert answer.reason == (
        f"the message has {len(payload)} bytes, at most 4194304 are allowed; kept of it: the first "
        f"{len(small.payload)}; its sha256: {hashlib.sha256(payload).hexdigest()}"
    )


@pytest.mark.parametrize("topic", [BATCH, STATUS, SNAPSHOT])
@pytest.mark.parametrize("payload", [b"x" * 5_000_000, b"x\n" * 2_500_000, long_header(5_000_000)])
def test_of_a_message_without_a_readable_header_the_first_bytes_are_kept(topic: str, payload: bytes) -> None:
    small = cut(Message(topic, payload, retained=False, received_at_ns=T0))
    assert len(small.payload) <= 65_536
    assert payload.startswith(small.payload)
    answer = admit(small, DAY)
    assert isinstance(answer, Bad)
    assert (answer.header, answer.cause) == (None, "too_large")


def test_a_large_message_of_a_newer_version_stays_with_its_device() -> None:
    for payload in (detail(1, 1) + bytes(wire.PAYLOAD_BYTES_MAX), long_header(300_000)):
        newer = payload.replace(b'"v":1', b'"v":2', 1)
        assert isinstance(admit(cut(Message(BATCH, newer, retained=False, received_at_ns=T0)), DAY), Newer)


def test_a_header_that_is_too_long_is_refused_to_its_device() -> None:
    answer = judged(long_header(300_000))
    assert isinstance(answer, Bad)
    assert answer.reason == "there is no header line within the first 262144 bytes"
    assert answer.header == wire.split(detail(1, 1))[0]
    assert isinstance(judged(long_header(200_000)), GoodBatch)


HUGE = 2**62
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "no header line"),
    "zeros": (lambda: bytes(1000), "no header line"),
    "no newline": (lambda: detail(1, 1).replace(b"\n", b" ", 1)[:200], "no header line"),
    "too large": (lambda: detail(1, 1) + bytes(wire.PAYLOAD_BYTES_MAX), "at most 4194304 are allowed"),
    "header too long": (lambda: b'{"v":1,"x":"' + b"x" * 300_000 + b'"}\n', "no header line within the first"),
    "header no JSON": (lambda: b"hello\nworld", "the header is not valid"),
    "header a list": (lambda: b"[1]\nx", "the header is not valid"),
    "header no UTF-8": (lambda: b'{"v":1,"site":"\xff\xfe"}\nx', "the header is not valid"),
    "header deep": (lambda: b'{"v":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\nx", "the header is not valid"),
    "header empty": (lambda: b"{}\nx", "the header is not valid"),
    "version as text": (lambda: header(v="1"), "the header is not valid"),
    "version zero": (lambda: header(v=0), "the header is not valid"),
    "epoch zero": (lambda: header(epoch=0), "the header is not valid"),
    "epoch beyond": (lambda: header(epoch=2**60), "the header is not valid"),
    "epoch a fraction": (lambda: header(epoch=1.5), "the header is not valid"),
    "batch negative": (lambda: header(batch=-1), "the header is not valid"),
    "batch true": (lambda: header(batch=True), "the header is not valid"),
    "nonce short": (lambda: header(nonce="ff"), "the header is not valid"),
    "nonce in capitals": (lambda: header(nonce="F" * 16), "the header is not valid"),
    "unknown lane": (lambda: header(lane="express"), "the header is not valid"),
    "site with markup": (lambda: header(site="<script>"), "the header is not valid"),
    "site with a way out": (lambda: header(site="../../etc"), "the header is not valid"),
    "site with newline": (lambda: header(site="greenhouse\n"), "the header"),
    "another site": (lambda: header(site="elsewhere"), "the header names elsewhere/pi-roof"),
    "another device": (lambda: header(device="pi-door"), "the header names greenhouse/pi-door"),
    "time zero": (lambda: header(sealed_at_ns=0), "the header is not valid"),
    "time beyond": (lambda: header(sealed_at_ns=2**63), "the header is not valid"),
    "1970": (lambda: detail(1, 1, sealed_at_ns=10 * SECOND), "from before 2020"),
    "the future": (lambda: detail(1, 1, sealed_at_ns=T0 + 3 * DAY), "sealed in the future"),
    "stream with newline": (
        lambda: header(streams={"cam0\n": {"first": 1, "last": 1, "outcomes": [["ok", 1, 1]]}}),
        "the header",
    ),
    "nonce with newline": (lambda: header(nonce=NONCE + "\n"), "the header"),
    "streams as a list": (lambda: header(streams=[]), "the header is not valid"),
    "stream with a bad name": (lambda: header(streams={"A": {}}), "the header is not valid"),
    "too many streams": (
        lambda: header(streams={f"s{i:03}": {"first": 1, "last": 1, "outcomes": [["ok", 1, 1]]} for i in range(300)}),
        "the header is not valid",
    ),
    "runs with a gap": (
        lambda: header(streams={"cam0": {"first": 1, "last": 5, "outcomes": [["ok", 1, 2], ["ok", 4, 5]]}}),
        "leave a gap or overlap",
    ),
    "runs backwards": (
        lambda: header(streams={"cam0": {"first": 5, "last": 1, "outcomes": [["ok", 5, 1]]}}),
        "leave a gap or overlap",
    ),
    "more frames than observations": (
        lambda: header(streams={"cam0": {"first": 1, "last": 9, "outcomes": [["ok", 1, 9]]}}),
        "not as many observations",
    ),
    "observations of an unknown stream": (lambda: header(streams={}), "the header has not"),
    "a run without end": (
        lambda: encoded(Detail(()), {"cam0": runs(("skipped", 1, 2**53))}, batch=1, sealed_at_ns=T0),
        "it covers 9007199254740992 frames of stream 'cam0', more than 10000000",
    ),
    "tombstone of a run without end": (
        lambda: summary(1, Tombstone(0, 1, NONCE, 1, "0" * 64, {"cam0": runs(("skipped", 1, 2**53))}), sealed_at_ns=T0),
        "it covers 9007199254740992 frames",
    ),
    "unknown outcome": (
        lambda: header(streams={"cam0": {"first": 1, "last": 5, "outcomes": [["lost", 1, 5]]}}),
        "the header is not valid",
    ),
    "wrong sha256": (lambda: header(sha256="0" * 64), "the body's sha256 is not the one"),
    "body cut short": (lambda: detail(1, 1)[:-5], "the body's sha256 is not the one"),
    "body not compressed": (
        lambda: header(sha256=wire.digest(b"{}")).partition(b"\n")[0] + b"\n{}",
        "cannot be decompressed",
    ),
    "zip bomb": (lambda: body(b" " * (wire.BODY_BYTES_MAX + 1)), "inflates to more than"),
    "body no JSON": (lambda: body(b"not json"), "the body is not valid"),
    "body null": (lambda: body(b"null"), "the body is not valid"),
    "body deep": (lambda: nested(100_000), "the body is not valid"),
    "body of the other lane": (lambda: header(lane="summary"), "the body is not valid"),
    "NaN": (lambda: body(b'{"blocks":[NaN]}'), "the body is not valid"),
    "Infinity": (lambda: body(b'{"blocks":[Infinity]}'), "the body is not valid"),
    "half a surrogate": (lambda: body(b'{"blocks":[["\\ud800"]]}'), "the body is not valid"),
    "frame zero": (lambda: observed((0, 0)), "the body is not valid"),
    "another frame": (lambda: observed((0, 7)), "are not those that the header names"),
    "age negative": (lambda: observed((1, -1)), "the body is not valid"),
    "age of centuries": (lambda: observed((1, 2**52)), "from before 2020"),
    "score above one": (lambda: observed((7, [[0, 10_001, 0, 0, 1, 1]])), "the body is not valid"),
    "box outside": (lambda: observed((7, [[0, 1, 0, 0, 1, 20_000]])), "the body is not valid"),
    "too many boxes": (lambda: observed((7, [[0, 1, 0, 0, 1, 1]] * 1001)), "the body is not valid"),
    "class as text": (lambda: observed((7, [["ripe", 1, 0, 0, 1, 1]])), "the body is not valid"),
    "error without end": (lambda: observed((9, "x" * 2000)), "the body is not valid"),
    "summary with frames": (
        lambda: encoded(zlib_summary(), {"cam0": runs(("ok", 1, 1))}, batch=1, sealed_at_ns=T0),
        "a summary batch covers no frames",
    ),
    "window count negative": (lambda: windowed(none=-1), "the body is not valid"),
    "window count without end": (lambda: windowed(none=2**50), "holds a number beyond"),
    "window sum without end": (
        lambda: windowed(histograms={"score": [1, 2**52, [[0, 1]]]}),
        "holds a number beyond",
    ),
    "histogram that does not add up": (
        lambda: windowed(histograms={"score": msgspec.to_builtins(HistogramData(5, 5, ((0, 1),)))}),
        "the bins hold 1 values, n says 5",
    ),
    "histogram with a bin twice": (
        lambda: windowed(histograms={"score": [2, 2, [[0, 1], [0, 1]]]}),
        "bin 0 does not exist or comes twice",
    ),
    "histogram beyond its bins": (lambda: windowed(histograms={"score": [1, 1, [[31, 1]]]}), "bin 31 does not exist"),
    "class twice": (lambda: windowed(classes=[[0, 1, 1, 1], [0, 1, 1, 1]]), "counts a class twice"),
    "tombstone with a gap": (
        lambda: summary(
            1,
            Tombstone(0, 1, NONCE, 1, "0" * 64, {"cam0": runs(("ok", 1, 2), ("ok", 5, 6))}),
            sealed_at_ns=T0,
        ),
        "thinned batch leave a gap",
    ),
    "unknown kind of record": (lambda: body(b'{"records":[{"kind":"order","age":0}]}', streams={}), "not valid"),
}


def zlib_summary() -> Any:
    from shared.records import Summary  # noqa: PLC0415  # only here

    return Summary(())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_batch_is_refused_with_a_reason(name: str) -> None:
    make, reason = HOSTILE[name]
    answer = judged(make())
    assert isinstance(answer, Bad), answer
    assert reason in answer.reason
    assert answer.cause == "bad_batch"


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[]", "the status is not valid"),
        (b'{"v":1,"state":"asleep","epoch":1,"nonce":"0123456789abcdef"}', "the status is not valid"),
        (wire.encode(status()).replace(b'"cam0"', b'"../x"'), "the status is not valid"),
        (b" " * (wire.STATUS_BYTES_MAX + 1), "at most 1048576 are allowed"),
    ],
)
def test_a_hostile_status_is_refused_with_a_reason(payload: bytes, reason: str) -> None:
    answer = judged(payload, STATUS)
    assert isinstance(answer, Bad)
    assert reason in answer.reason
    assert answer.header is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"GIF89a" + bytes(200),
        b"\xff\xd8\xff" + bytes(200),
        jpeg()[:-2],
        jpeg(0, 0),
        b"\xff\xd8" + b"\xff\xe0\x00\x00" * 50 + b"\xff\xd9",
        b"\xff\xd8\xff\xe0" + struct.pack(">H", 65535) + bytes(200) + b"\xff\xd9",
        jpeg() + bytes(wire.SNAPSHOT_BYTES_MAX),
    ],
)
def test_what_is_no_jpeg_is_refused(payload: bytes) -> None:
    assert isinstance(judged(payload, SNAPSHOT), Bad)


@pytest.mark.parametrize("captured_at_ns", [1, T0 + 3 * DAY, 9_999_999_999_999_999_999])
def test_a_picture_of_an_impossible_time_is_refused(captured_at_ns: int) -> None:
    answer = judged(jpeg(), topics.snapshot("greenhouse", "pi-roof", "cam0", captured_at_ns))
    assert isinstance(answer, Bad)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "vigie/v1/greenhouse/pi-roof",
        "vigie/v2/greenhouse/pi-roof/batch",
        "vigie/v1/Greenhouse/pi-roof/batch",
        "vigie/v1/greenhouse/../batch",
        "vigie/v1/greenhouse/pi-roof/batch/",
        "vigie/v1/greenhouse/pi-roof/batch\n",
        "vigie/v1/greenhouse/pi-roof/snapshot/cam0/12ab",
        "$SYS/broker/uptime",
    ],
)
def test_a_topic_that_is_not_ours_is_ignored(topic: str) -> None:
    assert judged(detail(1, 1), topic) == Ignored("foreign_topic")


def test_what_is_good_is_admitted() -> None:
    assert isinstance(judged(detail(1, 1)), GoodBatch)
    assert isinstance(judged(summary(1, model(), Event(0, "x"), Vitals(0, 1.0), window(0, {"ok": 1}))), GoodBatch)
    assert isinstance(judged(wire.encode(status()), STATUS), ReceivedStatus)
    assert isinstance(judged(jpeg(), SNAPSHOT), GoodSnapshot)
    assert isinstance(judged(header(v=2)), Newer)
    assert isinstance(judged(wire.encode(status()).replace(b'"v":1', b'"v":9'), STATUS), Newer)


def test_keys_of_a_newer_minor_version_are_ignored() -> None:
    assert isinstance(judged(header(mood="good")), GoodBatch)
    assert isinstance(judged(windowed(mood="good", histograms={"mood": [1, 1, [[0, 1]]]})), GoodBatch)


def test_a_bad_body_keeps_its_header_for_the_account() -> None:
    answer = judged(body(b"null"))
    assert isinstance(answer, Bad)
    assert answer.header is not None
    assert (answer.header.batch, answer.header.streams["cam0"].last) == (1, 5)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_mutation_of_a_batch_raises(data: st.DataObject) -> None:
    """Bytes cut out, put in, or changed anywhere: always an answer."""
    payload = bytearray(detail(1, 1))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(payload) - 1)))
        payload[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    assert isinstance(judged(bytes(payload)), GoodBatch | Bad | Newer)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_body_raises(value: Any) -> None:
    raw = json.dumps(value).encode()
    for payload in (body(raw), body(raw, streams={})):
        assert isinstance(judged(payload), GoodBatch | Bad)
    assert isinstance(judged(raw, STATUS), Bad | Newer | ReceivedStatus)


def test_an_empty_detail_batch_is_good() -> None:
    assert isinstance(judged(encoded(Detail(()), {}, batch=1, sealed_at_ns=T0)), GoodBatch)
    skipped = encoded(Detail(()), {"cam0": runs(("skipped", 1, 100))}, batch=1, sealed_at_ns=T0)
    assert isinstance(judged(skipped), GoodBatch)
    assert observation(1).error == ""
