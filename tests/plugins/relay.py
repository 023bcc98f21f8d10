"""A TCP relay between a client and a broker that can be slow, or fall silent without closing; needs no root."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

_PIECE = 512


class Relay:
    """Carries bytes between its own port and another one on loopback; counts them.

    Attributes:
        port: Where it listens.
        rate: Bytes a second for each direction; None for as fast as it goes.
        up: Bytes that clients sent.
        down: Bytes that the other side sent.
        accepted: Connections so far.
    """

    def __init__(self, to_port: int, rate: float | None = None) -> None:
        self._to_port = to_port
        self.rate = rate
        self.up = self.down = self.accepted = 0
        self._closing = threading.Event()
        self._frozen: set[int] = set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """From now on the connections that there are carry nothing, and stay open; new ones work."""
        self._frozen.update(range(self.accepted))

    def close(self) -> None:
        self._closing.set()
        for one in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to_port), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for one in (client, server):  # what a slow link holds is little
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            number = self.accepted
            self.accepted += 1
            for source, target, name in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._carry, args=(number, source, target, name), daemon=True).start()

    def _carry(self, number: int, source: socket.socket, target: socket.socket, name: str) -> None:
        free_at = time.monotonic()
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                setattr(self, name, getattr(self, name) + len(piece))
                if self.rate:
                    free_at = max(free_at, time.monotonic()) + len(piece) / self.rate
                    self._closing.wait(max(0.0, free_at - time.monotonic()))
                while number in self._frozen:
                    if self._closing.wait(0.05):
                        return
                target.sendall(piece)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relays() -> Iterator[list[Relay]]:
    """Append to it: they are closed at the end."""
    made: list[Relay] = []
    yield made
    for relay in made:
        relay.close()
