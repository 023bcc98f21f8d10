"""A batch as bytes: a header line in plain JSON, a newline, a zlib-compressed JSON body.

The header can always be read, whatever happened to the body, so that every frame stays accounted for.
The body's bytes never change once sealed: its sha256 stands in the header. Sizes are limited before
anything is parsed or inflated.
"""

import hashlib
import zlib
from typing import TypeVar

import msgspec

from shared.records import WIRE_VERSION, Ack, Batch, Detail, Header, Status, StreamRuns, Summary
from shared.topics import Address

HEADER_BYTES_MAX = 256 * 1024
PAYLOAD_BYTES_MAX = 4 * 1024 * 1024
BODY_BYTES_MAX = 16 * 1024 * 1024
STATUS_BYTES_MAX = 1024 * 1024
SNAPSHOT_BYTES_MAX = 2 * 1024 * 1024

_COMPRESSION = 6  # zlib's default: 9 costs a Pi twice the time for 1 % of the bytes

T = TypeVar("T")


class Unreadable(ValueError):
    """Raised for bytes that are no valid message.

    Attributes:
        reason: What is wrong, in one sentence.
        header: The header, where that much could be read.
    """

    def __init__(self, reason: str, header: Header | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.header = header


class TooNew(ValueError):
    """Raised for a message of a wire version that this release does not know.

    Attributes:
        version: The version that it names.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"wire version {version} is newer than {WIRE_VERSION}: upgrade the collector")
        self.version = version


class _Version(msgspec.Struct):
    v: int


def pack(body: Detail | Summary) -> bytes:
    """The body as it is stored, hashed and sent."""
    # Numbers that hardly repeat are smaller as single characters than as short repetitions: 3 to 8 % of a detail batch.
    strategy = zlib.Z_FILTERED if isinstance(body, Detail) else zlib.Z_DEFAULT_STRATEGY
    zipping = zlib.compressobj(_COMPRESSION, strategy=strategy)
    return zipping.compress(msgspec.json.encode(body)) + zipping.flush()


def digest(body: bytes) -> str:
    """The sha256 of a packed body, in hex."""
    return hashlib.sha256(body).hexdigest()


def join(header: Header, body: bytes) -> bytes:
    """The message: header line, newline, packed body."""
    return msgspec.json.encode(header) + b"\n" + body


def decode_batch(payload: bytes, address: Address) -> Batch:
    """Read a batch that came in on the topic of `address`.

    Raises:
        Unreadable: It breaks the format or a limit, or its header names another device than its topic.
        TooNew: Its wire version is newer than this release.
    """
    header, body = split(payload)
    if (header.site, header.device) != (address.site, address.device):
        named = f"{header.site}/{header.device}"
        raise Unreadable(f"the header names {named}, the topic {address.site}/{address.device}", header)
    if digest(body) != header.sha256:
        raise Unreadable("the body's sha256 is not the one in the header", header)
    for stream, runs in header.streams.items():
        _check_runs(stream, runs, header)
    kind: type[Detail | Summary] = Detail if header.lane == "detail" else Summary
    try:
        batch = Batch(header, _json(inflate(body), kind, "the body"))
    except Unreadable as error:
        raise Unreadable(error.reason, header) from error
    _check_observations(batch)
    return batch


def split(payload: bytes) -> tuple[Header, bytes]:
    """Header and packed body of a message; the body is not looked at.

    Raises:
        Unreadable: Too large, no header line, or the header breaks the format.
        TooNew: Its wire version is newer than this release.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Unreadable(f"the message has {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")
    end = payload.find(b"\n", 0, HEADER_BYTES_MAX)
    if end < 0:
        raise Unreadable(f"there is no header line within the first {HEADER_BYTES_MAX} bytes")
    line = payload[:end]
    version = _json(line, _Version, "the header").v
    if version > WIRE_VERSION:
        raise TooNew(version)
    return _json(line, Header, "the header"), payload[end + 1 :]


def inflate(body: bytes) -> bytes:
    """Decompress a packed body.

    Raises:
        Unreadable: No zlib data, damaged, cut short, followed by something, or larger than allowed.
    """
    unzip = zlib.decompressobj()
    try:
        raw = unzip.decompress(body, BODY_BYTES_MAX)
    except zlib.error as error:
        raise Unreadable(f"the body cannot be decompressed: {error}") from error
    if unzip.unconsumed_tail:
        raise Unreadable(f"the body inflates to more than {BODY_BYTES_MAX} bytes")
    if not unzip.eof or unzip.unused_data:
        raise Unreadable("the body is cut short, or followed by something else")
    return raw


def decode_status(payload: bytes) -> Status:
    """Read a birth or last will.

    Raises:
        Unreadable: It breaks the format or a limit.
        TooNew: Its wire version is newer than this release.
    """
    if len(payload) > STATUS_BYTES_MAX:
        raise Unreadable(f"the status has {len(payload)} bytes, at most {STATUS_BYTES_MAX} are allowed")
    version = _json(payload, _Version, "the status").v
    if version > WIRE_VERSION:
        raise TooNew(version)
    return _json(payload, Status, "the status")


def decode_ack(payload: bytes) -> Ack:
    """Read an ack.

    Raises:
        Unreadable: It breaks the format or a limit.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Unreadable(f"the ack has {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")
    return _json(payload, Ack, "the ack")


def encode(message: Status | Ack) -> bytes:
    """A status or an ack as JSON."""
    return msgspec.json.encode(message)


def _json(data: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"{what} is not valid: {error}") from error


def _check_runs(stream: str, runs: StreamRuns, header: Header) -> None:
    expected = runs.first
    for run in runs.outcomes:
        if run.first != expected or run.last < run.first:
            raise Unreadable(
                f"stream {stream!r}: the outcomes of frames {runs.first} to {runs.last} leave a gap or overlap "
                f"at frame {expected}",
                header,
            )
        expected = run.last + 1
    if expected != runs.last + 1:
        raise Unreadable(f"stream {stream!r}: the outcomes end before its last frame {runs.last}", header)


def _check_observations(batch: Batch) -> None:
    """Every observation lies in a run of its outcome, and every such run is fully observed."""
    if not isinstance(batch.body, Detail):
        return
    header = batch.header
    seen: dict[str, list[tuple[int, str]]] = {stream: [] for stream in header.streams}
    for block in batch.body.blocks:
        if block.stream not in seen:
            raise Unreadable(f"the body has observations of stream {block.stream!r}, the header has not", header)
        seen[block.stream] += [(o.frame, "failed" if o.error else "ok") for o in block.observations]
    for stream, observed in seen.items():
        looked_at = [run for run in header.streams[stream].outcomes if run.outcome in {"ok", "failed"}]
        if sum(run.last - run.first + 1 for run in looked_at) != len(observed):
            raise Unreadable(f"stream {stream!r}: not as many observations as the header says", header)
        told = ((frame, run.outcome) for run in looked_at for frame in range(run.first, run.last + 1))
        if any(a != b for a, b in zip(observed, told, strict=True)):
            raise Unreadable(f"stream {stream!r}: the observations are not those that the header names", header)
