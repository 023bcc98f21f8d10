"""A socket that systemd would listen to, for processes that tell it how they are."""

import os
import socket
import time
from pathlib import Path
from types import TracebackType


class Notified:
    """Hears what a service says; `variables` go into its environment."""

    def __init__(self, folder: Path, *, abstract: bool = False, watchdog_s: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = f"@vigie-test-{os.getpid()}-{folder.name}" if abstract else str(folder / "notify")
        self._socket.bind("\0" + address[1:] if abstract else address)
        self.variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(round(watchdog_s * 1e6))}
        self.lines: list[str] = []

    def __enter__(self) -> "Notified":  # noqa: PYI034  # Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def hear(self) -> list[str]:
        """Everything so far."""
        self._socket.setblocking(False)  # noqa: FBT003  # the socket's own word
        try:
            while True:
                self.lines.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return self.lines

    def silent_for(self, line: str, seconds: float) -> bool:
        """Whether `line` does not come for so long, counted from now; what came before does not count."""
        self.hear()
        before, until = self.lines.count(line), time.monotonic() + seconds
        while time.monotonic() < until:
            self._socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                self.lines.append(self._socket.recv(4096).decode())
            except TimeoutError:
                break
            if self.lines.count(line) > before:
                return False
        return True
