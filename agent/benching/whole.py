"""The whole agent as a process of its own, which works when it is told to, with a broker and a stand-in collector."""

import contextlib
import secrets
import select
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from agent.benching import figures, standin
from agent.benching.child import Facts, Order, Worked
from agent.capture_child import SLOTS_BESIDE
from agent.config import Settings
from shared.mqtt import BrokerSettings
from shared.records import TICKS_PER_MS

STAGES = ("capture", "wait", "prepare", "infer", "decode", "response")
PERCENTS = (50, 95, 99)

_SITE = "vigie-bench"
_NO_BROKER = "mqtt://127.0.0.1:9"
_FRAMES_LEAST = 12
_ANSWER_S = 120.0
_START_S = 30.0
_END_S = 30.0
_POLL_S = 0.02
_QUIET_S = 1.5
_WORDS = 600
_OUT_OF_THREE = 3

_Answer = TypeVar("_Answer", Facts, Worked)


class Broken(Exception):
    """A part of the trial did not start, or ended; says which, and its last words."""


class Whole:
    """The agent at work on one stream.

    Args:
        settings: With that stream; paths are absolute.
        folder: For everything that is written.
        broker: To be used; None for a mosquitto of its own, where there is one.
        keep: Whether to keep what comes out of the uplink, for `stages`.

    Attributes:
        has_broker: Whether there is one, and so an uplink at work.
        facts: How the model is run, since `with`.
        arrived: Frames that came out of the uplink, since `stages`.
        done: Frames that the last `fps` was measured on, and those around them.
    """

    facts: Facts

    def __init__(
        self, settings: Settings, folder: Path, broker: BrokerSettings | None = None, *, keep: bool = True
    ) -> None:
        self._keep = keep
        self._settings = settings
        self._folder = folder
        self._broker = broker
        self._kept = folder / "kept"
        self._stack = contextlib.ExitStack()
        self._worked: list[Worked] = []
        self._waited: list[range] = []
        self.has_broker = False
        self.arrived = 0
        self.done = 0

    def __enter__(self) -> "Whole":  # noqa: PYI034  # Self needs Python 3.11
        """Start everything.

        Raises:
            Broken: Something does not start.
        """
        device = f"bench-{secrets.token_hex(4)}"
        with contextlib.ExitStack() as stack:
            broker = self._broker or stack.enter_context(_own_broker(self._folder))
            self._kept.touch()
            if broker:
                self._stand_in(stack, broker, device)
            path = self._folder / "agent.yaml"
            path.write_bytes(msgspec.json.encode(_for_bench(self._settings, device, broker)))
            command = [sys.executable, "-m", "agent.benching.child", str(path)]
            self._child = stack.enter_context(_process(command, self._folder))
            self.facts = self._answer(Facts, "the agent does not start")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self._stack.close()

    @property
    def pid(self) -> int:
        """Of the agent's main process."""
        return self._child.pid

    def fps(self, seconds: float) -> float:
        """Work for `seconds`: frames a second.

        Frames that were read ahead before are passed over: they were decoded while nobody measured.

        Raises:
            Broken: It ended, or did nothing.
        """
        with contextlib.suppress(BrokenPipeError):
            _pipe(self._child.stdin).write(msgspec.json.encode(Order(seconds, _FRAMES_LEAST)).decode() + "\n")
            _pipe(self._child.stdin).flush()
        worked = self._answer(Worked, "the agent ended, or does not answer")
        ahead = self.facts.hands + SLOTS_BESIDE
        self._waited.append(range(worked.captured - ahead, worked.captured + 1))
        self.done = len(worked.stamps)
        self._worked.append(worked)
        at_work = worked.stamps[ahead:] if len(worked.stamps) > _OUT_OF_THREE * ahead else worked.stamps
        try:
            return figures.rate(at_work, self.facts.hands)
        except ValueError as error:
            raise Broken(f"{error} within {seconds:.1f} s: {self._last_words()}") from error

    def stages(self) -> dict[str, dict[str, float]]:
        """Percentiles of each stage, in ms, of what came out of the uplink; nothing without a broker."""
        deadline, size = time.monotonic() + _QUIET_S, -1
        while time.monotonic() < deadline:  # the last second's frames are still to be sealed
            if (now := self._kept.stat().st_size) != size:
                size, deadline = now, time.monotonic() + _QUIET_S
            time.sleep(_POLL_S)
        seen = [one for one in standin.read(self._kept) if not any(one.frame in waited for waited in self._waited)]
        self.arrived = len(seen)
        if not seen:
            return {}
        ticks = {name: [int(getattr(one, name)) for one in seen] for name in STAGES}
        return {
            name: {
                f"p{percent}": round(figures.percentile(ticks[name], percent) / TICKS_PER_MS, 3) for percent in PERCENTS
            }
            for name in STAGES
        }

    def memory_mb(self) -> dict[str, dict[str, float]]:
        """Of the agent's main process and its capture process, in MB; see `figures.memory_mb`."""
        processes = {"agent": self.pid}
        if captures := figures.children(self.pid):
            processes["capture"] = captures[0]
        return {name: figures.memory_mb(pid) for name, pid in processes.items()}

    def cpu_ms(self) -> dict[str, float]:
        """Processor time for one frame, in ms, of the agent's main process and its capture process: medians."""
        return {
            "agent": statistics.median(worked.agent_s / len(worked.stamps) * 1000 for worked in self._worked),
            "capture": statistics.median(worked.capture_s / len(worked.stamps) * 1000 for worked in self._worked),
        }

    def _stand_in(self, stack: contextlib.ExitStack, broker: BrokerSettings, device: str) -> None:
        settings = msgspec.json.encode(broker).decode()
        command = [
            sys.executable,
            "-m",
            "agent.benching.standin",
            settings,
            _SITE,
            device,
            str(self._kept) if self._keep else "",
        ]
        process = stack.enter_context(_process(command, self._folder))
        if _line(process, _START_S) != "ready":
            raise Broken(f"the broker {broker.url} does not let the stand-in collector in: {self._last_words()}")
        self.has_broker = True

    def _answer(self, kind: type[_Answer], problem: str) -> _Answer:
        line = _line(self._child, _ANSWER_S)
        if not line:
            raise Broken(f"{problem}: {self._last_words()}")
        return msgspec.json.decode(line, type=kind)

    def _last_words(self) -> str:
        """The end of what the processes logged."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-_WORDS:].strip()


def _for_bench(settings: Settings, device: str, broker: BrokerSettings | None) -> Settings:
    """The settings under a name of their own, so that no collector takes this for the device's real work."""
    return msgspec.structs.replace(
        settings,
        site=_SITE,
        device=device,
        broker=broker or BrokerSettings(url=_NO_BROKER),
        state_dir="state",
        drain_s=1.0,
    )


@contextlib.contextmanager
def _own_broker(folder: Path) -> Iterator[BrokerSettings | None]:
    """A mosquitto on a free port of this machine; None where there is none."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    conf = folder / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    with _process([program, "-c", str(conf)], folder, "broker.log") as process:
        deadline = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(_POLL_S)
        yield BrokerSettings(url=f"mqtt://127.0.0.1:{port}", retry_s_max=1.0)


@contextlib.contextmanager
def _process(command: list[str], folder: Path, log_name: str = "log") -> "Iterator[subprocess.Popen[str]]":
    """A process whose log goes into `folder`; it is ended by the end of its input, else by force."""
    with (folder / log_name).open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603  # our own
    try:
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).close()
        if command[0] != sys.executable:
            process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()


def _line(process: "subprocess.Popen[str]", timeout_s: float) -> str:
    """The next line that a process says; empty when it ended, or said nothing within `timeout_s`."""
    out = _pipe(process.stdout)
    ready, _, _ = select.select([out], [], [], timeout_s)
    return out.readline().strip() if ready else ""


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("every process here has pipes")
    return pipe
