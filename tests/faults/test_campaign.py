"""A short campaign leaves nothing unexplained, and its judge finds builds that are broken."""

import shutil
from pathlib import Path

import pytest
from brokers import missing

from tests.faults.builds import GOOD
from tests.faults.campaign import Campaign, Result, report
from tests.faults.site import Site

KINDS_ENOUGH = 25


@pytest.fixture(autouse=True)
def _installed() -> None:
    for program in ("mosquitto", "strace"):
        if shutil.which(program) is None:
            missing(program, f"apt-get install {program}")


def campaign(folder: Path, seed: int, faults: int, build: str = GOOD, kinds: tuple[str, ...] = ()) -> Result:
    site = Site(folder, build)
    try:
        return Campaign(site, seed, faults, kinds, drain_s=90 if build == GOOD else 20).run()
    finally:
        site.close()


@pytest.mark.timeout(400)
def test_whatever_breaks_no_frame_is_unaccounted_for(tmp_path: Path):
    result = campaign(tmp_path, 2, 30)
    assert result.good, report(result)
    assert len(result.tallies) >= KINDS_ENOUGH
    assert not {name: one.impossible for name, one in result.tallies.items() if one.impossible}
    assert result.verdict.figures["ok"] == result.verdict.figures["observations"] > 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        ("ack-before-write", ("collector_killed_at_failpoint",)),
        ("no-resend", ("batches_dropped", "collector_away", "broker_killed")),
        ("clock-key", ("acks_dropped", "link_cut")),
    ],
)
def test_a_broken_build_is_found_out(tmp_path: Path, build: str, kinds: tuple[str, ...]):
    assert campaign(tmp_path, 3, 8, build, kinds).verdict.wrong
