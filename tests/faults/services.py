"""Processes that come back, as systemd brings them back; and how long that takes."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LOOK_S = 0.02
_END_S = 30.0


@dataclass
class Service:
    """A process that is started again whenever it ends.

    Args:
        name: Its log is `<name>.log`.
        folder: Where it works.
        command: Its command line.
        ready: Whether it does its work, asked after a start until it does. It may take a second to answer.
        starting: Called before each start.

    Attributes:
        backs_s: Seconds from each end, or from the moment that it was let come back, to its being ready.
        starts: How often it was started.
    """

    name: str
    folder: Path
    command: list[str]
    ready: Callable[[], bool]
    starting: Callable[[], None] = lambda: None
    backs_s: list[float] = field(default_factory=list)
    starts: int = 0

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._held_until = 0.0
        self._wanted = False
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._waiting_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"keep-{self.name}", daemon=True)

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        with self._lock:
            return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def up(self) -> bool:
        """Whether it runs and is ready."""
        return self.pid is not None and self._waiting_since is None

    @property
    def code(self) -> int | None:
        """How the last process ended; None while it runs."""
        with self._lock:
            return self._process.poll() if self._process else None

    def start(self) -> None:
        """Begin to keep it going."""
        self._wanted = True
        self._waiting_since = time.monotonic()
        self._thread.start()

    def signal(self, number: int) -> bool:
        """Send a signal; False when there is no process."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
            self._process.send_signal(number)
            return True

    def hold(self, seconds: float) -> None:
        """Keep it down for so long after its next end, or from now on if it is down."""
        self._held_until = time.monotonic() + seconds

    def let_end(self) -> None:
        """Do not start it again."""
        self._wanted = False

    def revive(self) -> None:
        """Start it again after `let_end`."""
        self._waiting_since = time.monotonic()
        self._wanted = True

    def wait_down(self, timeout_s: float = _END_S) -> bool:
        """Wait until there is no process."""
        until = time.monotonic() + timeout_s
        while self.pid is not None:
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_S)
        return True

    def close(self) -> None:
        """End it for good."""
        self._wanted = False
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait(_END_S)

    def _run(self) -> None:
        while not self._closing.wait(_LOOK_S):
            if self.pid is None:
                self._bring_back()
            elif self._waiting_since is not None and self._is_ready():
                if self.starts > 1:
                    self.backs_s.append(time.monotonic() - self._waiting_since)
                self._waiting_since = None

    def _is_ready(self) -> bool:
        try:
            return self.ready()
        except OSError:
            return False

    def _bring_back(self) -> None:
        if not self._wanted:
            return
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()
        if time.monotonic() < self._held_until:
            self._waiting_since = self._held_until
            return
        self.starting()
        paths = [str(ROOT), str(ROOT / "tests/plugins")]
        with self._lock, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
            self.starts += 1

    def freeze(self) -> Callable[[], None]:
        """Stop its clock; gives what ends that for this very process."""
        with self._lock:
            process = self._process
        if process is None or process.poll() is not None:
            return lambda: None
        process.send_signal(signal.SIGSTOP)

        def thaw() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)

        return thaw
