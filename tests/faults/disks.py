"""Faults of disks and of files: full, read-only, failing to sync, locked, damaged.

A disk's errors come from strace, which answers the process's own system calls on the given files for some seconds.
"""

import json
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.outbox.file import Damaged
from agent.outbox.ranges import gaps
from agent.outbox.rows import Epoch, Rows
from tests.faults import camera
from tests.faults.kinds import Impossible, kind
from tests.faults.services import Service
from tests.faults.site import STREAMS, Site

WRITES = "write,pwrite64,ftruncate"
SYNCS = "fsync,fdatasync"
_ATTACH_S = 5.0
_OUTBOX = "agent-state/outbox.db"
_SUFFIXES = ("", "-wal", "-journal")


def _files(site: Site, name: str) -> list[Path]:
    return [site.folder / f"{name}{suffix}" for suffix in _SUFFIXES]


def _agent_files(site: Site) -> list[Path]:
    state = site.folder / "agent-state"
    return [*_files(site, _OUTBOX), state / "progress.new", state / "windows"]


def _collector_files(site: Site) -> list[Path]:
    return [*_files(site, "vigie.db"), *_files(site, "collector-state/state.db")]


def _failing(
    site: Site, service: Service, files: Sequence[Path], calls: str, error: str, seconds: float
) -> Iterator[float]:
    """Let system calls on files fail."""
    pid = service.pid
    if pid is None:
        site.notes.append(f"{service.name} was down: no {error} for it")
        return
    log = site.folder / "strace.log"
    paths = [word for file in files for word in ("-P", str(file))]
    command = ["strace", "-f", "-qq", "-p", str(pid), "-o", str(log), *paths]
    if shutil.which("strace") is None:
        raise Impossible("strace is missing: apt-get install strace")
    tracer = subprocess.Popen(
        [*command, "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield from _attached(tracer, service)
        yield seconds
    finally:
        tracer.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            tracer.wait(_ATTACH_S)
        tracer.kill()
        tracer.wait()
        if tracer.stderr is not None:
            tracer.stderr.close()
        found = log.read_text(errors="replace").count("INJECTED") if log.exists() else 0
        site.injected[error] = site.injected.get(error, 0) + found


def _attached(tracer: "subprocess.Popen[bytes]", service: Service) -> Iterator[float]:
    """Wait until the process is traced."""
    until = time.monotonic() + _ATTACH_S
    while time.monotonic() < until:
        pid = service.pid
        status = Path(f"/proc/{pid}/status").read_text() if pid and Path(f"/proc/{pid}/status").exists() else ""
        if f"TracerPid:\t{tracer.pid}" in status or pid is None:
            return
        if tracer.poll() is not None:
            said = tracer.stderr.read().decode(errors="replace") if tracer.stderr else ""
            if "ermitted" in said:
                raise Impossible(f"strace may not attach to a process here: {said.strip()[:200]}")
            return
        yield 0.02


@kind("ptrace")
def outbox_disk_full(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.agent, _agent_files(site), WRITES, "ENOSPC", rng.uniform(0.5, 4.0))


@kind("ptrace")
def outbox_disk_read_only(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.agent, _agent_files(site), WRITES, "EROFS", rng.uniform(0.5, 4.0))


@kind("ptrace")
def outbox_write_fails(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.agent, _agent_files(site), WRITES, "EIO", rng.uniform(0.5, 4.0))


@kind("ptrace")
def outbox_sync_fails(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.agent, _agent_files(site), SYNCS, "EIO", rng.uniform(0.5, 4.0))


@kind("ptrace")
def outbox_read_fails(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.agent, _files(site, _OUTBOX), "pread64", "EIO", rng.uniform(0.5, 3.0))


@kind("ptrace")
def store_disk_full(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.collector, _collector_files(site), WRITES, "ENOSPC", rng.uniform(0.5, 4.0))


@kind("ptrace")
def store_disk_read_only(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.collector, _collector_files(site), WRITES, "EROFS", rng.uniform(0.5, 4.0))


@kind("ptrace")
def store_sync_fails(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.collector, _collector_files(site), SYNCS, "EIO", rng.uniform(0.5, 4.0))


@kind("ptrace")
def store_read_fails(site: Site, rng: random.Random) -> Iterator[float]:
    return _failing(site, site.collector, _files(site, "vigie.db"), "pread64", "EIO", rng.uniform(0.5, 3.0))


@kind("file size")
def files_cannot_grow(site: Site, rng: random.Random) -> Iterator[float]:
    """As by a quota of the system: every file of the process, its log too, is limited to a size."""
    service = rng.choice((site.agent, site.collector))
    pid = service.pid
    if pid is None:
        site.notes.append(f"{service.name} was down: no limit for it")
        return
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (rng.choice((4096, 65_536)), hard))
    try:
        yield rng.uniform(0.5, 4.0)
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@kind("store lock")
def store_locked(site: Site, rng: random.Random) -> Iterator[float]:
    """Somebody else writes to the store, and takes his time."""
    other = sqlite3.connect(site.folder / "vigie.db", timeout=1, isolation_level=None)
    try:
        with suppress(sqlite3.OperationalError):  # somebody is quicker
            other.execute("BEGIN EXCLUSIVE")
        yield rng.uniform(0.5, 8.0)
    finally:
        other.close()


# Damage. The agent is dead meanwhile; what it had kept and the collector had not confirmed may be lost, and no more.


def _note_cost(site: Site) -> None:
    """What the outbox holds that the collector has not confirmed."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "outbox.db"
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                shutil.copy(f"{site.folder / _OUTBOX}{suffix}", f"{copy}{suffix}")
        rows = Rows(copy)
        try:
            rows.open()
            for epoch in rows.in_order():
                _note_epoch(site, rows, epoch)
        except (sqlite3.Error, OSError, msgspec.MsgspecError, Damaged):
            _note_everything(site)
        finally:
            rows.close()


def _note_everything(site: Site) -> None:
    """The file was damaged before, and what it holds cannot be known: it may have held whatever was given by now."""
    site.notes.append("an outbox was damaged twice: what it held cannot be known")
    for stream in STREAMS:
        site.may_cost += [(nonce, stream, 1, last) for nonce, last in camera.listed(site.folder, stream).last.items()]


def _note_epoch(site: Site, rows: Rows, epoch: Epoch) -> None:
    for lane in ("summary", "detail"):
        for first, last in gaps(epoch.lane(lane).settled, 1, epoch.lane(lane).sealed):
            for row in rows.select(epoch, lane, first, last, 1_000_000):
                if lane == "summary":
                    site.lost_summaries.add((epoch.nonce, row.number))
                for stream, runs in row.runs.items():
                    site.may_cost.append((epoch.nonce, stream, runs.first, runs.last))


def _damaged(site: Site, rng: random.Random, how: str) -> Iterator[float]:
    site.agent.hold(3.0)
    site.agent.signal(signal.SIGKILL)
    while site.agent.pid is not None:
        yield 0.02
    path = site.folder / _OUTBOX
    if not path.exists():
        return
    _note_cost(site)
    site.damaged += 1
    if how == "flip":
        for file in _files(site, _OUTBOX):
            if file.exists():
                _flip(file, rng, rng.randint(1, 20))
    elif how == "cut":
        with path.open("r+b") as opened:
            opened.truncate(rng.randrange(path.stat().st_size))
    elif how == "empty":
        for file in _files(site, _OUTBOX):
            file.unlink(missing_ok=True)
        path.touch()
    else:
        path.write_bytes(rng.randbytes(rng.randint(1, 50_000)))
    site.agent.hold(0)
    yield rng.uniform(0.5, 2.0)


def _flip(path: Path, rng: random.Random, count: int) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(count if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


@kind("agent", "ptrace", weight=1)
def outbox_bits_flipped(site: Site, rng: random.Random) -> Iterator[float]:
    return _damaged(site, rng, "flip")


@kind("agent", "ptrace", weight=1)
def outbox_cut_short(site: Site, rng: random.Random) -> Iterator[float]:
    return _damaged(site, rng, "cut")


@kind("agent", "ptrace", weight=1)
def outbox_emptied(site: Site, rng: random.Random) -> Iterator[float]:
    return _damaged(site, rng, "empty")


@kind("agent", "ptrace", weight=1)
def outbox_garbage(site: Site, rng: random.Random) -> Iterator[float]:
    return _damaged(site, rng, "garbage")


@kind("agent", weight=1)
def windows_file_garbage(site: Site, rng: random.Random) -> Iterator[float]:
    """The windows in the making are lost with it, no frame is."""
    site.agent.hold(3.0)
    site.agent.signal(signal.SIGKILL)
    while site.agent.pid is not None:
        yield 0.02
    garbage = (rng.randbytes(500), b"", json.dumps({"nonce": 1}).encode())
    (site.folder / "agent-state" / "windows").write_bytes(rng.choice(garbage))
    site.agent.hold(0)
    yield rng.uniform(0.2, 1.0)
