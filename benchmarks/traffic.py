"""What an agent sends, and what it writes, counted by the kernel.

    python benchmarks/traffic.py [--seconds 180]

Real agents (the shipped model on its clip, 10 frames a second, 3 boxes a frame), mosquitto and a collector at work,
after a start that is not counted. Needs mosquitto, `unshare` and `nsenter` (util-linux) and `ip` (iproute2); no root
where the kernel lets users have namespaces.

On the wire: each agent has a network namespace of its own, and a virtual cable to the broker's. The kernel counts what
goes through the cable: IP and TCP headers, MQTT, acks of every kind, both ways. Ethernet's own 14 bytes of each packet
are taken off again; with TLS there would be about 29 more for each message.

On the disk: `write_bytes` of /proc/PID/io of the agent and its capture process: pages that they made the kernel write.
What the file system adds (its journal, metadata) and what an SD card makes of it (whole erase blocks) it does not see.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/ripeness"
FPS, BOXES = 10, 3
WIRE_BYTES_MAX = 130
DISK_GB_MAX = 1.5
_ETHERNET = 14
_DAY_S = 86_400
_SETTLE_S = 15
_PATIENCE_S = 60
_HOST = "10.66.{}.1"
_PORT = 18_830
_NEEDED = {"mosquitto": "mosquitto", "unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}
_SYSTEM = "/usr/sbin:/sbin:/usr/local/sbin"


class NotPossible(Exception):
    """Not here; says why."""


class Kind(NamedTuple):
    """One agent's settings: seconds in a batch, and seconds between the dashboard's pictures (0 for none)."""

    seal_s: float
    snapshot_s: float
    judged: bool = False


KINDS = Kind(1, 0, judged=True), Kind(5, 0), Kind(1, 60)


class Reading(NamedTuple):
    """Counters of one agent.

    Attributes:
        s: When, in seconds.
        up: Bytes from the agent, Ethernet's header taken off.
        down: Bytes to it.
        packets_up: Packets from the agent.
        packets_down: Packets to it.
        written: Bytes that it made the kernel write.
        frames: Frames that it captured.
    """

    s: float
    up: int
    down: int
    packets_up: int
    packets_down: int
    written: int
    frames: int

    def since(self, before: "Reading") -> "Reading":
        """What came on top of `before`."""
        s, *counts = (after - earlier for after, earlier in zip(self, before, strict=True))
        return Reading(s, *(int(count) for count in counts))


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180, help="to count; whole minutes have whole windows")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        measure(args.seconds)
    else:
        print_traffic(args.seconds)


def print_traffic(seconds: float) -> None:
    """Measure in a namespace of its own."""
    missing = {package for program, package in _NEEDED.items() if not program_path(program)}
    if missing:
        print(f"bytes on the wire and on the disk: not measured: apt install {' '.join(sorted(missing))}")
        return
    command = [sys.executable, __file__, "--inside", "--seconds", str(seconds)]
    done = subprocess.run([program_path("unshare"), "-rn", *command], check=False)  # noqa: S603  # our own
    if done.returncode:
        print("bytes on the wire and on the disk: not measured, see above")


def measure(seconds: float) -> None:
    """Print a line or two for each agent; they work at the same time, for one broker and one collector."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            agents = [_agent(stack, folder, index, kind) for index, kind in enumerate(KINDS)]
            _broker(stack, folder)
            _collector(stack, folder)
            for agent in agents:
                agent.begin()
            for agent in agents:
                agent.wait_for_frames()
            time.sleep(_SETTLE_S)
            before = [agent.read() for agent in agents]
            time.sleep(seconds)
            after = [agent.read() for agent in agents]
        except NotPossible as error:
            print(f"bytes on the wire and on the disk: not measured: {error}")
            return
        boxes = _boxes(folder)
    print(f"{FPS} frames a second, {boxes:.2f} boxes a frame, {seconds:.0f} s, from the kernel's counters:")
    for kind, one, other in zip(KINDS, before, after, strict=True):
        _print(kind, one, other)


def _print(kind: Kind, before: Reading, after: Reading) -> None:
    spent = after.since(before)
    a_frame = (spent.up + spent.down) / spent.frames
    gb_a_day = spent.written / spent.s * _DAY_S / 1e9
    judged = verdict(a_frame, WIRE_BYTES_MAX) if kind.judged else "told only"
    pictures = f"a picture each {kind.snapshot_s:g} s" if kind.snapshot_s else "no pictures"
    print(f"  batches of {kind.seal_s:g} s, {pictures}, {spent.frames / spent.s:.2f} frames a second:")
    print(f"    wire: {a_frame:.1f} bytes a frame ({judged}); up {spent.up / spent.s:.0f} bytes a second", end=" ")
    print(f"in {spent.packets_up / spent.s:.2f} packets, down {spent.down / spent.s:.0f}", end=" ")
    print(f"in {spent.packets_down / spent.s:.2f}; {(spent.up + spent.down) / spent.s * _DAY_S / 1e6:.0f} MB a day")
    judged = verdict(gb_a_day, DISK_GB_MAX) if kind.judged else "told only"
    print(f"    disk: {gb_a_day:.2f} GB a day ({judged}); {spent.written / spent.frames:.0f} bytes a frame")


def verdict(value: float, most: float) -> str:
    """Whether a target is met."""
    return f"target: at most {most:g}, {'met' if value <= most else 'MISSED'}"


class _Agent:
    """An agent in a network namespace of its own, which waits there for `begin`."""

    def __init__(self, process: "subprocess.Popen[bytes]", cable: str, folder: Path) -> None:
        self._process = process
        self._cable = cable
        self._folder = folder

    def begin(self) -> None:
        """Let it start."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def wait_for_frames(self) -> None:
        """Wait until it captures.

        Raises:
            NotPossible: It does not.
        """
        _until(lambda: self._frames() > 0, self._process, self._folder / "log")

    def read(self) -> Reading:
        """Its counters now."""
        # The cable's end here receives what the agent sends.
        counters = re.search(rf"^ *{self._cable}:(.*)$", Path("/proc/net/dev").read_text(), re.MULTILINE)
        if counters is None:
            raise NotPossible(f"/proc/net/dev does not know {self._cable}")
        up, packets_up, *_, down, packets_down = map(int, counters.group(1).split()[:10])
        return Reading(
            time.monotonic(),
            up - _ETHERNET * packets_up,
            down - _ETHERNET * packets_down,
            packets_up,
            packets_down,
            sum(_written(pid) for pid in _family(self._process.pid)),
            self._frames(),
        )

    def _frames(self) -> int:
        path = self._folder / "state/progress"
        return int.from_bytes(path.read_bytes()[16_384:16_392], sys.byteorder) if path.exists() else 0


def _agent(stack: contextlib.ExitStack, folder: Path, index: int, kind: Kind) -> _Agent:
    mine = folder / f"agent{index}"
    mine.mkdir()
    stream = {
        "name": "south",
        "source": {"files": str(EXAMPLE / "south.mp4"), "loop": True},
        "model": str(EXAMPLE / "ripeness.onnx"),
        "fps": FPS,
        "most": BOXES,
        "snapshot_s": kind.snapshot_s,
    }
    settings = {
        "site": "greenhouse",
        "device": f"pi-roof-{index}",
        "broker": {"url": f"mqtt://{_HOST.format(index)}:{_PORT}"},
        "seal_s": kind.seal_s,
        "streams": [stream],
        "state_dir": str(mine / "state"),
    }
    path = mine / "agent.yaml"
    path.write_text(json.dumps(settings))
    run = f"read go; exec {sys.executable} -m agent run --config {path}"
    process = stack.enter_context(_process([program_path("unshare"), "-n", "sh", "-c", run], mine / "log"))
    _until(lambda: _namespace(process.pid) != _namespace(os.getpid()), process, mine / "log")
    cable = f"agent{index}"
    _lay_cable(cable, index, process.pid)
    return _Agent(process, cable, mine)


def _lay_cable(name: str, index: int, pid: int) -> None:
    inside = [program_path("nsenter"), "-n", "-t", str(pid)]
    ip = program_path("ip")
    for command in (
        [ip, "link", "set", "lo", "up"],
        # Nothing but IPv4, and packets as a real cable has them: none that the cable's other end would cut.
        [*inside, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"],
        ["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"],
        [ip, "link", "add", name, "gso_max_segs", "1", "type", "veth", "peer", "name", "net", "netns", str(pid)],
        [ip, "addr", "add", f"{_HOST.format(index)}/24", "dev", name],
        [ip, "link", "set", name, "up"],
        [*inside, ip, "addr", "add", f"{_HOST.format(index)[:-1]}2/24", "dev", "net"],
        [*inside, ip, "link", "set", "net", "gso_max_segs", "1", "up"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own
        if done.returncode:
            raise NotPossible(f"{' '.join(command)}: {done.stderr.strip()}")


def _broker(stack: contextlib.ExitStack, folder: Path) -> None:
    conf = folder / "mosquitto.conf"
    conf.write_text(f"listener {_PORT}\nallow_anonymous true\nuser root\n")
    stack.enter_context(_process([program_path("mosquitto"), "-c", str(conf)], folder / "broker.log"))


def _collector(stack: contextlib.ExitStack, folder: Path) -> None:
    path = folder / "collector.yaml"
    settings = {
        "broker": {"url": f"mqtt://127.0.0.1:{_PORT}", "retry_s_max": 1},
        "store": {"path": str(folder / "vigie.db")},
        "state_dir": str(folder / "state"),
    }
    path.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "collector", "run", "--config", str(path)]
    process = stack.enter_context(_process(command, folder / "collector.log"))
    log = folder / "collector.log"
    _until(lambda: "connected to" in log.read_text(), process, log)


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("ab") as to:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=to, stderr=to, cwd=ROOT)  # noqa: S603  # our own
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _until(done: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not done():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotPossible(log.read_text(errors="replace").strip()[-500:] or "a process does not start")
        time.sleep(0.1)


def _namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    return [pid, *(one for child in children for one in _family(child))]


def _written(pid: int) -> int:
    found = re.search(r"^write_bytes: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    return int(found.group(1)) if found else 0


def _boxes(folder: Path) -> float:
    """Boxes a frame, as the collector has them."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'vigie.db'}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT sum(sum) * 1.0 / sum(n) FROM histograms WHERE property = 'detections'").fetchone()
    return float(found[0] or 0)


def program_path(name: str) -> str:
    """Where a program is; empty where it is not."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM) or ""


if __name__ == "__main__":
    main()
