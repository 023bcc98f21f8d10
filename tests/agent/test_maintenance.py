"""Maintenance ends when it is to, whatever clocks and boots do."""

from pathlib import Path

from agent.clock import Clock
from agent.maintenance import Maintenance
from shared.records import TimeQuality

NS = 1_000_000_000
HOUR_S = 3600.0


class At(Clock):
    """A clock that stands where it is put; `offset_s` None: the time is not known."""

    def __init__(self, boot_s: float, offset_s: float | None, boot: str = "one") -> None:
        super().__init__()
        self.boot_s, self.offset_s, self._boot = boot_s, offset_s, boot

    def boot_ns(self) -> int:
        return round(self.boot_s * NS)

    def boot_id(self) -> str:
        return self._boot

    def offset(self) -> tuple[int, TimeQuality] | None:
        return None if self.offset_s is None else (round(self.offset_s * NS), "synced")


def left_s(path: Path, clock: Clock) -> float:
    return Maintenance(path, clock).left_s()


def test_no_clock_jump_moves_its_end(tmp_path: Path) -> None:
    path = tmp_path / "maintenance"
    assert left_s(path, At(100, 1e9)) == 0
    Maintenance(path, At(100, 1e9)).begin(2 * HOUR_S)
    for offset_s in (1e9, 2e9, 0.0, None):
        assert left_s(path, At(100 + HOUR_S, offset_s)) == HOUR_S
        assert left_s(path, At(101 + 2 * HOUR_S, offset_s)) == 0


def test_after_a_reboot_it_goes_on_by_wall_time_and_without_that_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "maintenance"
    Maintenance(path, At(100, None)).begin(2 * HOUR_S)
    assert left_s(path, At(5, 1e9, "two")) == 0, "nobody knew the time when it began"
    assert left_s(path, At(160, 1e9)) == 2 * HOUR_S - 60, "now the agent knows it"
    assert left_s(path, At(5, None, "two")) == 0
    assert left_s(path, At(5, 1e9 + 160 + 60 - 5, "two")) == 2 * HOUR_S - 120


def test_off_ends_it_and_a_torn_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "maintenance"
    kept = Maintenance(path, At(100, 1e9))
    kept.begin(HOUR_S)
    kept.end()
    kept.end()
    assert kept.left_s() == 0
    path.write_bytes(b'{"boot_id":"one","unt')
    assert kept.left_s() == 0
