"""A link to the broker that fails in the ways a network does: a TCP proxy that knows where MQTT packets begin.

All of it happens in one thread of its own. Faults are attributes that any thread may set at any moment.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

UP, DOWN = "up", "down"
"""From the client to the broker, and back."""
BOTH = frozenset({UP, DOWN})

PUBLISH, PUBACK = 3, 4
_STEP_S = 0.02
_KEPT_MAX = 50
_SLICED_BYTES = 200
_HEAD_BYTES_MAX = 5
_CONTINUES = 0x80


class Packet(NamedTuple):
    """An MQTT control packet, whole.

    Attributes:
        kind: Its type.
        topic: Of a PUBLISH, else empty.
        data: All of its bytes.
    """

    kind: int
    topic: str
    data: bytes

    @property
    def payload(self) -> bytes:
        """Of a PUBLISH."""
        start, _ = _body(self.data) or (0, 0)
        (length,) = struct.unpack_from("!H", self.data, start)
        quality = self.data[0] >> 1 & 3
        return self.data[start + 2 + length + (2 if quality else 0) :]


def _body(data: bytes | bytearray) -> tuple[int, int] | None:
    """Where the body of the first packet begins and ends; None when that is not known yet."""
    length, shift = 0, 0
    for at in range(1, min(len(data), _HEAD_BYTES_MAX)):
        length |= (data[at] & ~_CONTINUES) << shift
        shift += 7
        if not data[at] & _CONTINUES:
            return at + 1, at + 1 + length
    return None


def packets(buffer: bytearray) -> Iterator[Packet]:
    """The whole packets at the beginning of `buffer`, taken out of it."""
    while (found := _body(buffer)) and len(buffer) >= found[1]:
        start, end = found
        data = bytes(buffer[:end])
        del buffer[:end]
        kind, topic = data[0] >> 4, ""
        if kind == PUBLISH:
            (length,) = struct.unpack_from("!H", data, start)
            topic = data[start + 2 : start + 2 + length].decode(errors="replace")
        yield Packet(kind, topic, data)


Rule = Callable[[Packet, str, dict[str, bytes]], list[bytes]]
"""What is sent instead of a packet in a direction; the dict is the connection's, to hold something back in."""


class Proxy:
    """Listens on a free port of loopback, as long as the process lives or until `close`.

    Args:
        port: Of the broker, on loopback.

    Attributes:
        port: Where it listens.
        delay_s: Before each packet.
        bits_per_s: Rate; 0 for as fast as it goes.
        sliced: Whether bytes come one by one.
        stalled: Directions in which nothing comes through, although connections stand.
        refusing: Whether new connections are ended at once.
        rules: By name; each changes what the one before left.
        batches: The last payloads on a batch topic, for who wants to replay them.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.delay_s = 0.0
        self.bits_per_s = 0
        self.sliced = False
        self.stalled: frozenset[str] = frozenset()
        self.refusing = False
        self.rules: dict[str, Rule] = {}
        self.batches: list[bytes] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, sock=self._listener))
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    def close(self) -> None:
        """End, and every connection."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def cut(self) -> None:
        """End every connection by a reset."""
        self._loop.call_soon_threadsafe(self._reset)

    def drop(self) -> None:
        """End every connection in good order of TCP, without a word of MQTT."""
        self._loop.call_soon_threadsafe(self._abort)

    def _reset(self) -> None:
        for writer in list(self._open):
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._abort()

    def _abort(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_broker}
        self._open |= ends
        pumps = [
            asyncio.ensure_future(self._pump(reader, to_broker, UP)),
            asyncio.ensure_future(self._pump(from_broker, writer, DOWN)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        buffer = bytearray()
        held: dict[str, bytes] = {}
        with suppress(OSError):
            while data := await reader.read(65_536):
                buffer += data
                for packet in packets(buffer):
                    for out in self._changed(packet, direction, held):
                        await self._send(writer, out, direction)

    def _changed(self, packet: Packet, direction: str, held: dict[str, bytes]) -> list[bytes]:
        if packet.topic.endswith("/batch") and direction == UP:
            self.batches = [*self.batches[-_KEPT_MAX:], packet.payload]
        outs = [packet.data]
        for rule in list(self.rules.values()):
            outs = [new for out in outs for new in rule(packet._replace(data=out), direction, held)]
        return outs

    async def _send(self, writer: asyncio.StreamWriter, data: bytes, direction: str) -> None:
        while direction in self.stalled:  # noqa: ASYNC110  # set from another thread, which has no event of this loop
            await asyncio.sleep(_STEP_S)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.sliced:
            for at in range(min(len(data), _SLICED_BYTES)):
                writer.write(data[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0)
            data = data[_SLICED_BYTES:]
        step = 1024 if self.bits_per_s else max(1, len(data))
        for at in range(0, len(data), step):
            part = data[at : at + step]
            writer.write(part)
            await writer.drain()
            if self.bits_per_s:
                await asyncio.sleep(len(part) * 8 / self.bits_per_s)
