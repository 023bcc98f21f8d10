"""Whatever comes, the decoders answer with a message or one of their own two errors; what is admitted can be stored.

`python -m tests.collector.test_fuzz SECONDS [SEED]` goes on for so long.
"""

import itertools
import json
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.admit import Admitted, GoodBatch, Ignored, Message, Newer, admit
from collector.queries import Queries
from collector.series import Series, SeriesLimits
from collector.state.quarantine import Bad
from collector.stores import Rejected
from collector.stores.answers import ReceivedStatus
from collector.stores.sqlite import SQLite
from shared import topics, wire
from shared.records import Ack, Batch, Status
from tests.collector import mutations
from tests.collector.making import SECOND, T0

DAY = 86_400 * SECOND
TOPICS = {"batch": topics.batch("greenhouse", "pi-roof"), "status": topics.status("greenhouse", "pi-roof")}
HERE = topics.parse(TOPICS["batch"])


def decoded(kind: str, payload: bytes) -> str:
    """What a decoder makes of it; anything but its own errors goes through to the test."""
    message: Batch | Status | Ack
    try:
        if kind == "batch":
            message = wire.decode_batch(payload, HERE)
            packed = wire.pack(message.body)
        elif kind == "status":
            message = wire.decode_status(payload)
            assert wire.decode_status(wire.encode(message)) == message
        else:
            message = wire.decode_ack(payload)
            assert wire.decode_ack(wire.encode(message)) == message
    except wire.Unreadable as error:
        return "unreadable" if error.reason else "unexplained"
    except wire.TooNew as error:
        return f"too new: {error.version > 1}"
    if isinstance(message, Batch):
        assert wire.inflate(packed)
    return "read"


def admitted(kind: str, payload: bytes) -> Admitted:
    answer = admit(Message(TOPICS[kind], payload, retained=False, received_at_ns=T0 + SECOND), DAY)
    assert isinstance(answer, GoodBatch | ReceivedStatus | Bad | Newer | Ignored)
    if isinstance(answer, Bad):
        assert answer.reason
        assert answer.payload == payload
    return answer


def stored(store: SQLite, series: Series, payload: bytes, one: Admitted) -> str:
    """Put what is good into a real store: it takes it, or says why not."""
    message = Message(TOPICS["batch"], payload, retained=False, received_at_ns=T0 + SECOND)
    one = series.judged(message, one)
    try:
        if isinstance(one, GoodBatch):
            store.write([one.received])
        elif isinstance(one, ReceivedStatus):
            store.write_statuses([one])
        else:
            return type(one).__name__
    except Rejected:
        return "rejected"
    return "stored"


def readable(store: SQLite) -> None:
    """Everything that is asked of a store has an answer that is JSON as others read it."""
    queries = Queries(store)
    for answer in (
        queries.devices(),
        queries.ledger("greenhouse", "pi-roof"),
        queries.predictions(limit=1000),
        queries.summary(),
        queries.events(),
        queries.vitals(),
    ):
        json.dumps(answer, allow_nan=False)


seeds = st.integers(0, 2**64 - 1)


@settings(max_examples=400, deadline=None)
@given(seeds, st.sampled_from(list(mutations.KINDS)))
def test_a_decoder_reads_or_says_why_not(seed: int, kind: str) -> None:
    payload = mutations.made(kind, seed)
    assert decoded(kind, payload) in {"read", "unreadable", "too new: True"}
    if kind != "ack":
        admitted(kind, payload)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bytes_of_any_kind_are_answered(data: st.DataObject) -> None:
    payload = data.draw(st.binary(max_size=500))
    for kind in mutations.KINDS:
        decoded(kind, payload)


def test_what_is_admitted_can_be_stored_and_asked_for(tmp_path: Path) -> None:
    """Or the store says why not, and nothing else."""
    met = Counter[str]()
    series = Series(SeriesLimits())
    with SQLite(tmp_path / "vigie.db") as store:
        for turn in range(600):
            kind = "status" if turn % 5 == 0 else "batch"
            payload = mutations.made(kind, turn)
            met[stored(store, series, payload, admitted(kind, payload))] += 1
        readable(store)
    assert {"stored", "rejected", "Bad", "Newer"} <= set(met), met


def main(seconds: float, seed: int) -> None:
    """All of the above for so long; what ends it is a finding, told with the seed that makes it again."""
    met, turns, deadline = Counter[str](), itertools.count(seed), time.monotonic() + seconds
    while time.monotonic() < deadline:
        with TemporaryDirectory() as folder, SQLite(Path(folder) / "vigie.db") as store:
            series = Series(SeriesLimits())
            for turn in itertools.islice(turns, 20_000):
                kind = ("batch", "batch", "batch", "status", "ack")[turn % 5]
                payload = mutations.made(kind, turn)
                try:
                    met[f"{kind} {decoded(kind, payload)}"] += 1
                    if kind != "ack":
                        met[f"{kind} {stored(store, series, payload, admitted(kind, payload))}"] += 1
                except BaseException:
                    sys.stdout.write(f"{kind} of seed {turn}: {payload!r}\n")
                    raise
            readable(store)
    sys.stdout.write(f"{next(turns) - seed} messages\n")
    for name, count in sorted(met.items()):
        sys.stdout.write(f"{count:>9} {name}\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 1)
