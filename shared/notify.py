"""What systemd is told: that a service is ready, works, drains and ends; and that it lives.

sd_notify(3) is one datagram to the socket that `NOTIFY_SOCKET` names. It is opened once, at the start: what is wrong
later may be that nothing can be opened any more. Without that variable nothing is told, and nothing fails.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

SOCKET = "NOTIFY_SOCKET"
WATCHDOG_US = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"

_STATUS_CHARS = 200


class Notifier:
    """Tells systemd. Safe for several threads; never blocks and never raises.

    Args:
        environment: Where systemd says how it wants to be told; the process's own by default.

    Attributes:
        watchdog_s: Seconds of silence after which systemd ends the service; 0 when it does not watch.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._socket = _connected(environment.get(SOCKET, ""))
        self._status = ""
        self.watchdog_s = _watchdog_s(environment) if self._socket else 0.0

    def ready(self) -> None:
        """The start is over."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Everything works."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """What goes on now, start or end, may take so much longer from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; the same text again is not sent."""
        line = " ".join(text.split())[:_STATUS_CHARS]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def close(self) -> None:
        """Tell no more."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, text: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # systemd is away or busy: it asks for no more than one in a while
                self._socket.send(text.encode())


def _connected(address: str) -> socket.socket | None:
    """A socket to where systemd listens: a path, or with @ a name in the abstract namespace."""
    if not address.startswith(("/", "@")):
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        made.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        made.close()
        return None
    return made


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """What WATCHDOG_USEC says, unless it is meant for another process."""
    if environment.get(WATCHDOG_PID, str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(0.0, int(environment.get(WATCHDOG_US, "0")) / 1e6)
    except ValueError:
        return 0.0
