"""A power cut takes nothing that was promised: a short run of `python -m tests.faults.powercuts`."""

import random
import shutil
from pathlib import Path

import pytest
from brokers import missing

from tests.faults.powercuts.campaign import cut, recorded
from tests.faults.powercuts.commits import CARELESS
from tests.faults.powercuts.disk import Disk
from tests.faults.powercuts.recording import Create, MakeFolder, Rename, Sync, Write

HOME = "/home"


@pytest.fixture(autouse=True)
def _strace() -> None:
    if shutil.which("strace") is None:
        missing("strace", "apt-get install strace")


@pytest.mark.parametrize(("name", "cuts"), [("device", 250), ("collector", 100)])
def test_no_power_cut_takes_what_was_committed(name: str, cuts: int):
    outcome = cut(recorded(name, 1), cuts, 1)
    assert not outcome.problems
    assert (outcome.cuts, outcome.unsure > cuts // 2) == (cuts, True)


@pytest.mark.parametrize("name", ["device", "collector"])
def test_the_model_finds_what_is_not_synced(name: str):
    """Commits that are not synced are lost, and it is seen: else the other test would say nothing."""
    assert cut(recorded(name, 1, CARELESS), 60, 1).problems


def left(disk: Disk, folder: Path, seed: int) -> dict[str, bytes]:
    disk.cut(random.Random(seed), HOME, folder)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in found:
        (folder / name).unlink()
    return found


def test_what_is_synced_is_never_lost_and_what_is_not_may_be_anything(tmp_path: Path):
    disk = Disk()
    before, after = b"a" * 2000, b"b" * 2000
    for op in (Create(f"{HOME}/f"), Write(f"{HOME}/f", 0, before), Sync(f"{HOME}/f"), Sync(HOME)):
        disk.do(op)
    assert {left(disk, tmp_path, seed)["f"] for seed in range(50)} == {before}
    disk.do(Write(f"{HOME}/f", 600, after))
    seen = [left(disk, tmp_path, seed)["f"] for seed in range(300)]
    assert all(one[:512] == before[:512] for one in seen)
    assert {before, before[:600] + after} < set(seen)
    assert any(len(one) == 2600 and one[:600] != before[:600] for one in seen)
    assert any(one[1536:2048] == after[:512] and one[1024:1536] == before[:512] for one in seen)


def test_a_new_name_is_sure_only_with_its_folder(tmp_path: Path):
    disk = Disk()
    for op in (
        MakeFolder(f"{HOME}/d"),
        Create(f"{HOME}/d/new"),
        Write(f"{HOME}/d/new", 0, b"x"),
        Sync(f"{HOME}/d/new"),
    ):
        disk.do(op)
    assert {tuple(left(disk, tmp_path, seed).items()) for seed in range(50)} == {(), (("d/new", b"x"),)}
    disk.do(Sync(f"{HOME}/d"))
    disk.do(Rename(f"{HOME}/d/new", f"{HOME}/d/old"))
    assert {name for seed in range(50) for name in left(disk, tmp_path, seed)} == {"d/new", "d/old"}
