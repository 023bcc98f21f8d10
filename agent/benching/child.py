"""The whole agent as a process that works when it is told to: `python -m agent.benching.child CONFIG`.

It is the agent that `vigie-agent run` starts, with its capture processes, outbox and uplink; only its model's turns
are given out when the other side says so. Orders come as JSON lines on standard input, and each gets an answer on
standard output:

- `{"work": 1.5, "frames": 20}`: work for so many seconds, and until so many frames are done; answered by `Worked`.
- `{"work": 0, "frames": 0}`, or the end of standard input: end as on SIGTERM, without an answer.

The first line that it says is `Facts`.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from agent import build, config
from agent.benching import figures
from agent.progress import Progress
from agent.turns import Turns

_IDLE_S = 120.0
_PATIENCE_S = 60.0
"""For the frames that are asked for: the first ones need a capture process, and a camera."""

_TURN_S = 0.01


class Facts(msgspec.Struct):
    """How the model is run.

    Attributes:
        threads: Of one inference; 0 for as many as there are cores.
        looks: At the same time.
        hands: Of the stream.
    """

    threads: int
    looks: int
    hands: int


class Order(msgspec.Struct):
    """To work for so many seconds, 0 to end; and until so many frames are done."""

    work: float
    frames: int


class Worked(msgspec.Struct):
    """What was done.

    Attributes:
        stamps: When each frame was done, in seconds.
        captured: Frames that were captured before, the last of which waited for this order.
        agent_s: Processor time of the main process meanwhile, in seconds.
        capture_s: Processor time of the capture processes.
    """

    stamps: list[float]
    captured: int
    agent_s: float
    capture_s: float


class Gate(Turns):
    """Turns that are given out only while it is open, and that note when each ended."""

    def __init__(self, at_once: int) -> None:
        super().__init__(at_once)
        self._changed = threading.Condition()
        self._is_open = False
        self._inside = 0
        self.stamps: list[float] = []

    @contextmanager
    def taken_by(self, who: str) -> Iterator[None]:
        """A turn for `who`, waiting for it and for the gate."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_open)
            self._inside += 1
        try:
            with super().taken_by(who):
                yield
                self.stamps.append(time.perf_counter())
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def open(self) -> None:
        """Let turns be taken."""
        with self._changed:
            self._is_open = True
            self.stamps = []
            self._changed.notify_all()

    def close(self) -> list[float]:
        """Let no more turns be taken, and wait for those that are: when each ended since `open`."""
        with self._changed:
            self._is_open = False
            self._changed.wait_for(lambda: not self._inside, _IDLE_S)
            return self.stamps


def serve(gate: Gate, progress: Path) -> None:
    """Follow the orders on standard input; then end the agent."""
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        if not order.work:
            break
        captured, agent_s, capture_s = _captured(progress), time.process_time(), _capture_s()
        gate.open()
        until = time.perf_counter() + _PATIENCE_S
        time.sleep(order.work)
        while len(gate.stamps) < order.frames and time.perf_counter() < until:
            time.sleep(_TURN_S)
        stamps = gate.close()
        _say(Worked(stamps, captured, time.process_time() - agent_s, _capture_s() - capture_s))
    gate.open()
    os.kill(os.getpid(), signal.SIGTERM)


def _say(answer: Facts | Worked) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


def _captured(progress: Path) -> int:
    """Frames captured so far."""
    captured = Progress.read(progress)
    return max(captured.streams.values()) if captured else 0


def _capture_s() -> float:
    """Processor time of the capture processes, in seconds."""
    return sum(figures.cpu_s(child) for child in figures.children(os.getpid()))


def main() -> None:
    """Run the agent."""
    path = Path(sys.argv[1])
    settings = config.load(path)
    streams = build.streams(settings, path)
    gate = Gate(streams[0].turns.at_once)
    progress = path.parent / settings.state_dir / "progress"
    _say(Facts(streams[0].model.threads, gate.at_once, streams[0].hands))
    threading.Thread(target=serve, args=(gate, progress), daemon=True).start()
    sys.exit(build.work(settings, path, lambda _starts: [replace(stream, turns=gate) for stream in streams]))


if __name__ == "__main__":
    main()
