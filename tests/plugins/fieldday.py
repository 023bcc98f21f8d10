"""An agent's own parts on a clock that a test moves: weeks in the field within seconds, power cuts included.

Book, journal, sealer, outbox and uplink are the agent's; what is made up is time, and what the model saw.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.books import Book, Look
from agent.clock import Clock
from agent.config import OutboxSettings
from agent.decoders import Found
from agent.openwindows import OpenWindows
from agent.outbox import Outbox
from agent.progress import Counter, Progress
from agent.seal import Journal, Sealer
from agent.snapshots import Snapshots
from agent.telling import previous
from agent.uplink import Uplink
from agent.vitals import VitalsReader
from shared.mqtt import BrokerSettings
from shared.records import WIRE_VERSION, Maker, Status

SECOND = 1_000_000_000
SITE, DEVICE, STREAM = "greenhouse", "pi-roof", "cam0"
MAKER = Maker("grey", "1", "0" * 64, "0" * 12, 0.25)


class BatteryLessClock(Clock):
    """A device without a clock battery that no time service ever reaches: the kernel counts from 1970.

    Its boot time is what the test says, and goes on by itself once it `flows`.
    """

    def __init__(self, boot: str) -> None:
        super().__init__()
        self.boot = boot
        self.at_ns = 20 * SECOND
        self._since_ns: int | None = None

    def flow(self) -> None:
        """From now on time passes as it really does."""
        self._since_ns = super().boot_ns()

    def boot_ns(self) -> int:
        return self.at_ns + (0 if self._since_ns is None else super().boot_ns() - self._since_ns)

    def monotonic(self) -> float:
        return self.boot_ns() / SECOND

    def wall_ns(self) -> int:
        return self.boot_ns()

    def kernel_synchronised(self) -> bool:
        return False

    def boot_id(self) -> str:
        return self.boot


class Given(NamedTuple):
    """A frame that was captured; `at_s` counts from the beginning of the test's time, power off included."""

    nonce: str
    frame: int
    at_s: float


class Start:
    """One start of the agent in a state folder."""

    def __init__(self, folder: Path, boot: str, began_s: float) -> None:
        self.folder = folder
        self.clock = BatteryLessClock(boot)
        self.given: list[Given] = []
        self.uplink: Uplink | None = None
        self._offset_s = began_s - self.clock.monotonic()
        self.journal = Journal(self.clock)
        self.outbox = Outbox(folder / "outbox.db", self.clock, OutboxSettings(), SITE, DEVICE, self.journal.event)
        self.outbox.__enter__()
        captured = Progress.read(folder / "progress")
        start = self.outbox.begin(after=captured.epoch if captured else 0)
        progress = Progress.create(folder / "progress", start.epoch, start.nonce, [STREAM], boot_id=boot)
        self._counter = Counter(progress.fd, 0)
        self.journal.tell(previous(start.previous, captured, boot))
        self.journal.event("agent_started")
        self._book = Book(STREAM, MAKER, "detect", 60, self.clock.boot_ns())
        self._vitals = VitalsReader(self.clock, folder)
        self.sealer = Sealer(
            self.outbox,
            [self._book],
            self.journal,
            self.clock,
            seal_s=1,
            on_sealed=self._cue,
            kept=OpenWindows(folder / "windows", start.nonce, boot),
        )
        self.sealer.seal()

    @property
    def now_s(self) -> float:
        """Time since the beginning of the test's time."""
        return self.clock.monotonic() + self._offset_s

    def pass_by(self, seconds: float) -> None:
        """Let time pass, in no time."""
        self.clock.at_ns += int(seconds * SECOND)

    def capture(self) -> None:
        """A frame that the model looks at, not sealed yet."""
        number = self._counter.next()
        captured_ns = self.clock.boot_ns() // 10_000 * 10_000
        self.given.append(Given(self.outbox.nonce, number, captured_ns / SECOND + self._offset_s))
        box = np.array([[10, 20, 300, 400]], np.float32)
        found = Found(np.array([number % 3]), np.array([0.5], np.float32), box)
        self._book.look(Look(number, captured_ns, 640, 480, 100, 200, 300, 400, 500, found))

    def seal(self) -> None:
        """As the sealer's thread does it."""
        self.sealer.seal()

    def tell_vitals(self) -> None:
        """As the service does it now and then."""
        waiting = self.outbox.waiting()
        self.journal.tell(
            self._vitals.read((waiting.batches, waiting.bytes, waiting.oldest_s), held=self.outbox.held())
        )

    def cut(self, to: Path) -> None:
        """The power fails: what is on the disk at this moment goes into the folder `to`, and nothing else."""
        shutil.copytree(self.folder, to)
        self.outbox.__exit__(None, None, None)

    def connect(self, broker: BrokerSettings, backlog_rate: float = 10_000.0) -> Uplink:
        """At last there is a network; from now on time flows."""
        self.clock.flow()
        self._snapshots = Snapshots(self.folder / "snapshots", self.outbox, 10)
        self.uplink = Uplink(
            broker,
            SITE,
            DEVICE,
            self.outbox,
            self._snapshots,
            self.clock,
            self._birth,
            backlog_rate=backlog_rate,
            on_backlog=self.tell_vitals,
        )
        self.uplink.start()
        return self.uplink

    def end(self, drain_s: float) -> bool:
        """Stop in good order; whether everything was confirmed."""
        self.sealer.seal(end=True)
        self.outbox.end_clean()
        confirmed = self.uplink is not None and self.uplink.stop(drain_s)
        self.outbox.__exit__(None, None, None)
        return confirmed

    def _cue(self) -> None:
        if self.uplink is not None:
            self.uplink.cue()

    def _birth(self) -> Status:
        started = self.outbox.started
        return Status(v=WIRE_VERSION, state="online", epoch=started.epoch, nonce=started.nonce)


def in_the_field(
    folder: Path, *, days: float, every_s: float, cuts_at: tuple[float, ...], on_frame: Callable[[Start], None]
) -> tuple[Start, list[Given]]:
    """Capture and seal without network and time for `days`, through power cuts of an hour each.

    Args:
        folder: For the state folders, one for each boot.
        days: In all.
        every_s: Between two frames.
        cuts_at: When the power fails, as shares of `days`; a frame captured right before is not sealed yet.
        on_frame: Called after each frame that was sealed.

    Returns:
        The start that is still up, and every frame that was captured.
    """
    end_s, given = days * 86_400, []
    ends = [share * end_s for share in cuts_at] + [end_s]
    state, began_s = folder / "boot-1", 0.0
    state.mkdir()
    for boot, until_s in enumerate(ends, 1):
        start = Start(state, f"boot-{boot}", began_s)
        while start.now_s + every_s < until_s:
            start.pass_by(every_s - 0.5)
            start.capture()
            start.pass_by(0.5)
            start.tell_vitals()
            start.seal()
            on_frame(start)
        given += start.given
        if boot < len(ends):
            start.pass_by(0.2)
            start.capture()
            given.append(start.given[-1])
            state = folder / f"boot-{boot + 1}"
            began_s = start.now_s + 3600
            start.cut(state)
    start.given.clear()
    return start, given
