"""The budget of restarts: a few a day, whatever happens between them."""

import os
import resource
from pathlib import Path

from agent.clock import Clock
from agent.restarts import Restarts

HOUR_NS = 3600 * 1_000_000_000


class At(Clock):
    """A clock that stands where it is put."""

    def __init__(self, hours: float = 0.0, boot: str = "boot-1") -> None:
        super().__init__()
        self.hours = hours
        self._boot = boot

    def boot_ns(self) -> int:
        return int(self.hours * HOUR_NS)

    def boot_id(self) -> str:
        return self._boot


def taken(path: Path, most: int, clock: Clock) -> bool:
    """As an agent does it that ends afterwards."""
    restarts = Restarts(path, most, clock)
    try:
        return restarts.take()
    finally:
        restarts.close()


def test_it_outlives_the_restarts_and_comes_back_after_a_day(tmp_path: Path) -> None:
    moments = [0, 1, 2, 3, 23.9, 24.1, 24.2, 25.1, 26.1, 26.2]
    given = [hours for hours in moments if taken(tmp_path / "restarts", 3, At(hours))]
    assert given == [0, 1, 2, 24.1, 25.1, 26.1]


def test_another_boot_begins_anew(tmp_path: Path) -> None:
    assert taken(tmp_path / "restarts", 1, At(5))
    assert not taken(tmp_path / "restarts", 1, At(6))
    assert taken(tmp_path / "restarts", 1, At(1, "boot-2"))
    assert not taken(tmp_path / "restarts", 1, At(2, "boot-2"))


def test_none_is_none(tmp_path: Path) -> None:
    assert not taken(tmp_path / "restarts", 0, At())


def test_what_cannot_be_counted_is_not_done(tmp_path: Path) -> None:
    assert not taken(tmp_path / "no such folder/restarts", 3, At())


def test_a_torn_file_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "restarts").write_bytes(b"boot-1 12\nboot-1\n\xff\xfe boot-1 x\n")
    assert taken(tmp_path / "restarts", 2, At(1))
    assert not taken(tmp_path / "restarts", 2, At(1))
    assert len((tmp_path / "restarts").read_text().splitlines()) == 2


def test_it_works_when_no_file_can_be_opened_any_more(tmp_path: Path) -> None:
    restarts = Restarts(tmp_path / "restarts", 1, At())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        given = restarts.take()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    restarts.close()
    assert given
    assert not taken(tmp_path / "restarts", 1, At())
