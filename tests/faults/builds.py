"""Builds that are broken in one place: the oracle of a campaign must find each of them.

`ack-before-write`: the collector acks a batch, then writes it.
`no-resend`: the agent sends a batch once; what gets lost on the way stays so until the next start.
`clock-key`: a batch is numbered by the clock when it is sent, instead of when it is sealed.
"""

import itertools
import time
from collections.abc import Callable

GOOD = "good"
_BETWEEN_S = 0.05


def _ack_before_write() -> None:
    from collector.ingest import Ingest, _to  # noqa: PLC0415  # only the collector has it

    take = Ingest._take_batches

    def broken(self, batches):
        for one in batches:
            header = one.received.batch.header
            self._acks.stored(_to(header), header.batch)
        self._send_acks(last=True)
        time.sleep(_BETWEEN_S)
        return take(self, batches)

    Ingest._take_batches = broken  # type: ignore[method-assign]  # broken on purpose


def _no_resend() -> None:
    from agent.outbox import Outbox  # noqa: PLC0415  # only the agent has it

    due = Outbox.due

    def broken(self, *args, **options):
        messages = due(self, *args, **options)
        for message in messages:
            key = message.key
            self.acked(key.epoch, key.nonce, key.lane, [(key.batch, key.batch)])
        return messages

    Outbox.due = broken  # type: ignore[method-assign]  # broken on purpose


def _clock_key() -> None:
    import msgspec  # noqa: PLC0415  # with the agent

    from agent.outbox import Message, Outbox  # noqa: PLC0415  # only the agent has it
    from shared import wire  # noqa: PLC0415  # as above

    message, decode_ack = Outbox._message, wire.decode_ack
    numbers = itertools.count(time.time_ns() // 1_000_000)
    sent: dict[int, int] = {}

    def broken(self, epoch, key, row):
        number = next(numbers)
        sent[number] = key.batch
        head, _, body = message(self, epoch, key, row).payload.partition(b"\n")
        header = {**msgspec.json.decode(head), "batch": number}
        return Message(key, msgspec.json.encode(header) + b"\n" + body)

    def translated(payload):
        ack = decode_ack(payload)
        asked = [sent[n] for first, last in ack.stored for n in range(first, last + 1) if n in sent]
        refused = tuple((sent.get(number, number), reason) for number, reason in ack.refused)
        return msgspec.structs.replace(ack, stored=tuple((n, n) for n in asked), refused=refused)

    Outbox._message = broken  # type: ignore[method-assign]  # broken on purpose
    wire.decode_ack = translated


BROKEN: dict[str, tuple[str, Callable[[], None]]] = {
    "ack-before-write": ("collector", _ack_before_write),
    "no-resend": ("agent", _no_resend),
    "clock-key": ("agent", _clock_key),
}
"""By name: which process is broken, and how."""


def apply(build: str, what: str) -> None:
    """Break this process, if the build is one in which it is broken."""
    if build == GOOD:
        return
    broken, how = BROKEN[build]
    if broken == what:
        how()
