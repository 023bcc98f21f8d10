"""The embedded broker (amqtt) in a thread and an event loop of its own: for one site, the demo and tests.

It speaks MQTT 3.1.1, asks nobody who they are, keeps nothing on disk, and knows no shared subscriptions.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import threading
from typing import Self

from amqtt.broker import Broker
from amqtt.errors import AMQTTError

START_S = 10.0
STOP_S = 5.0

_log = logging.getLogger(__name__)


class CannotListen(OSError):
    """Raised when the broker cannot listen; the message says what to do."""


class EmbeddedBroker:
    """A broker; `with` starts and stops it.

    Attributes:
        host: Address that it listens on.
        port: Port that it listens on.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Listen; it takes connections when this returns.

        Raises:
            CannotListen: Another program has the port, or the address is not this machine's.
        """
        self._check_port()
        # amqtt logs each connection and each of its errors; ours tell what matters.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        if not self._started.wait(START_S):
            raise CannotListen(f"the embedded broker did not start within {START_S:g} s")
        if self._failure is not None:
            self._thread.join()
            raise CannotListen(f"the embedded broker cannot start: {self._failure}") from self._failure
        _log.info("the embedded broker listens on %s port %d", self.host, self.port)

    def stop(self) -> None:
        """End all connections and the thread."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(2 * STOP_S)
        self._thread = None

    def _check_port(self) -> None:
        """Ask for the port first: amqtt's own error would not say what to do."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise CannotListen(_explain(error, self.host, self.port)) from error

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            try:
                runner.run(self._serve())
            except (AMQTTError, OSError) as error:
                self._failure = error
        self._started.set()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        address = f"[{self.host}]" if ":" in self.host else self.host
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{address}:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
        self._started.set()
        await self._stopping.wait()
        with contextlib.suppress(TimeoutError, AMQTTError):
            await asyncio.wait_for(broker.shutdown(), STOP_S)


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: stop the other broker or set embedded_broker.port"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs more rights: set embedded_broker.port to one above 1023"
    return f"cannot listen on {host}: {error.strerror}: set embedded_broker.host to an address of this machine"
