"""A clock that shows what a test sets."""

from agent.clock import Clock
from shared.records import TimeQuality

SECOND = 1_000_000_000
NOW = 1_780_000_000 * SECOND
"""Some wall time."""


class SetClock(Clock):
    """A device that booted `boot_s` seconds ago, and does not know the time until `learn` is called."""

    def __init__(self, boot: str = "boot-1", boot_s: float = 100.0) -> None:
        super().__init__()
        self.boot = boot
        self.now_boot_ns = int(boot_s * SECOND)
        self.known: tuple[int, TimeQuality] | None = None

    def learn(self, wall_ns: int = NOW, quality: TimeQuality = "synced") -> None:
        """It is `wall_ns` now."""
        self.known = wall_ns - self.now_boot_ns, quality

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now_boot_ns += int(seconds * SECOND)

    def boot_ns(self) -> int:
        return self.now_boot_ns

    def monotonic(self) -> float:
        return self.now_boot_ns / SECOND

    def boot_id(self) -> str:
        return self.boot

    def hear(self, now_ns: int, *, synced: bool = False) -> None:  # noqa: ARG002  # as the clock's
        self.learn(now_ns, "collector")

    def disagreement_ns(self) -> int | None:
        return None

    def offset(self) -> tuple[int, TimeQuality] | None:
        return self.known
