"""A killed agent's windows are told by its next start, and by nobody else."""

from pathlib import Path

import pytest

from agent.openwindows import Open, OpenWindows, left_by
from shared.records import Maker, Window

MAKER = Maker("ripeness", "1.0.0", "a" * 64, "b" * 12, 0.25, 0.45)
NONCE = "0123456789abcdef"
SECOND = 1_000_000_000


def a_window(frames: int) -> Window:
    return Window("cam0", MAKER, 60, 0, 0, 1, frames, {"ok": frames}, 0, {}, ())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "windows"


def keep(path: Path, *frames: int, nonce: str = NONCE) -> None:
    kept = OpenWindows(path, nonce, "boot")
    for number in frames:
        kept.keep([Open(5 * SECOND, 25 * SECOND, a_window(number))])
    kept.close()


def test_the_next_start_finds_what_stood_last(path: Path) -> None:
    keep(path, 1_000_000, 7)
    ((start, window),) = left_by(path, NONCE, "boot")
    assert start == 5 * SECOND
    assert (window.last, window.outcomes) == (7, {"ok": 7})
    assert window.duration == 20 * SECOND // 10_000, "until it was written last"


def test_another_start_or_boot_finds_nothing(path: Path) -> None:
    keep(path, 7)
    assert left_by(path, "f" * 16, "boot") == []
    assert left_by(path, NONCE, "another boot") == []


@pytest.mark.parametrize("damage", [b"", b"x", b"00000000{}", b"not hex!{}", b"\xff" * 100])
def test_a_damaged_file_says_nothing(path: Path, damage: bytes) -> None:
    keep(path, 7)
    path.write_bytes(damage)
    assert left_by(path, NONCE, "boot") == []


def test_a_missing_file_says_nothing(path: Path) -> None:
    assert left_by(path, NONCE, "boot") == []


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    keep(tmp_path / "no" / "windows", 7)
    assert not (tmp_path / "no").exists()
