"""The demo: a broker, the collector and three cameras on this machine, as the processes that a real site runs."""

import argparse
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 60
STOP_S = 20
PORT = 8080
PORT_MAX = 65_535
_PR_SET_PDEATHSIG = 1


class DemoError(Exception):
    """Raised when the demo cannot run; the message says what to do."""


@dataclass(frozen=True)
class Camera:
    """A camera of the demo: a device with one stream that plays a clip."""

    device: str
    clip: str


@dataclass(frozen=True)
class Running:
    """A process of the demo, and where it logs."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]


CAMERAS = (Camera("north-row", "north.mp4"), Camera("south-row", "south.mp4"), Camera("roof", "roof.mp4"))


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `demo` to the command line."""
    parser = commands.add_parser(
        "demo", help="three cameras, a broker, the collector and its dashboard, on this machine"
    )
    parser.add_argument("--port", type=int, help=f"of the dashboard; else VIGIE_PORT, else {PORT}")
    parser.add_argument("--examples", type=Path, default=Path("examples/ripeness"), help="folder of model and clips")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), help="where the demo keeps its data and logs")
    parser.add_argument("--seconds", type=float, help="end after so long; else at Ctrl-C")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C; exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a script's background jobs inherit Ctrl-C as ignored
        signal.signal(number, _interrupt)
    try:
        _play(args)
    except DemoError as error:
        print(f"vigie-collector demo: {error}", file=sys.stderr)  # noqa: T201  # a command's answer
        return 1
    return 0


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _play(args: argparse.Namespace) -> None:
    examples, data = args.examples.resolve(), args.data.resolve()
    port = _port(args)
    agent, collector = _program("vigie-agent"), _program("vigie-collector")
    for name in ("ripeness.onnx", *(camera.clip for camera in CAMERAS)):
        if not (examples / name).is_file():
            raise DemoError(f"{examples / name} is missing: start the demo in the checkout, or name --examples")
    (data / "logs").mkdir(parents=True, exist_ok=True)
    with ExitStack() as processes:
        processes.enter_context(_alone(data, port))
        try:
            _run_all(args, processes, (agent, collector), examples, data, port)
        except KeyboardInterrupt:
            pass
        finally:
            # A second Ctrl-C must not leave half of it running.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            _say("stopping")
    _say("stopped; nothing is left running")


def _run_all(
    args: argparse.Namespace, processes: ExitStack, programs: tuple[str, str], examples: Path, data: Path, port: int
) -> None:
    agent, collector = programs
    broker_port = _free_port()
    _say(f"starting the collector (logs in {_short(data / 'logs')})")
    config = _write(data / "collector.yaml", _collector_yaml(port, broker_port))
    running = [processes.enter_context(_process("collector", [collector, "run", "--config", str(config)], data))]
    address = f"http://127.0.0.1:{port}"
    _wait(lambda: _answers(f"{address}/readyz"), running, "the collector to be ready")
    for camera in CAMERAS:
        _say(f"starting camera {camera.device}")
        config = _write(data / f"{camera.device}.yaml", _agent_yaml(camera, examples, broker_port))
        running.append(processes.enter_context(_process(camera.device, [agent, "run", "--config", str(config)], data)))
    _say(f"the dashboard is at {address} (Ctrl-C ends the demo)")
    _watch(running, args.seconds)


def _port(args: argparse.Namespace) -> int:
    text = os.environ.get("VIGIE_PORT", "")
    if args.port is None and text and not text.isdecimal():
        raise DemoError(f"VIGIE_PORT must be a port number, got {text!r}")
    port: int = args.port or int(text or PORT)
    if not 1 <= port <= PORT_MAX:
        raise DemoError(f"the port must be 1 to {PORT_MAX}, got {port}")
    with socket.socket() as probe:
        # As a server binds: a port that an ended demo used a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(
                f"port {port} cannot be used ({error.strerror}): try VIGIE_PORT={port + 1} make demo"
            ) from error
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program(name: str) -> str:
    """A console script, first beside this one."""
    beside = Path(sys.argv[0]).resolve().parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise DemoError(f"{name} is not installed: pip install '.[agent,collector]'")
    return found


def _collector_yaml(port: int, broker_port: int) -> str:
    return f"""\
embedded_broker: {{host: 127.0.0.1, port: {broker_port}}}
broker: {{url: "mqtt://127.0.0.1:{broker_port}"}}
store: {{kind: sqlite, path: demo.db}}
state_dir: state
web: {{host: 127.0.0.1, port: {port}}}
"""


def _agent_yaml(camera: Camera, examples: Path, broker_port: int) -> str:
    return f"""\
site: greenhouse
device: {camera.device}
broker: {{url: "mqtt://127.0.0.1:{broker_port}"}}
state_dir: {camera.device}
window_s: 10
vitals_s: 10
streams:
  - name: cam0
    source: {{files: "{examples / camera.clip}", loop: true, realtime: true}}
    model: "{examples / "ripeness.onnx"}"
    fps: 10
    score: 0.4
    iou: 0.6
    snapshot_s: 5
"""


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def _alone(data: Path, port: int) -> Iterator[None]:
    """Hold the folder, so that a second demo cannot write into a running one's files."""
    with (data / "running").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            where = lock.read().strip() or "another address"
            raise DemoError(
                f"a demo runs from {_short(data)} already: {where}; end it, or name another --data"
            ) from None
        lock.truncate(0)
        lock.write(f"http://127.0.0.1:{port}")
        lock.flush()
        yield


@contextmanager
def _process(name: str, command: list[str], data: Path) -> Iterator[Running]:
    """A process in its own group, so that Ctrl-C reaches only the demo, which ends them in order."""
    path = data / "logs" / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own commands
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # the demo has one thread
        )
    try:
        yield Running(name, path, process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """Linux: a demo that is killed takes its processes with it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(condition: Callable[[], bool], running: list[Running], what: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        _check(running)
        if time.monotonic() > deadline:
            raise DemoError(f"waited {START_S} s for {what}: see the logs")
        time.sleep(0.1)


def _watch(running: list[Running], seconds: float | None) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    while deadline is None or time.monotonic() < deadline:
        _check(running)
        time.sleep(0.3)


def _check(running: list[Running]) -> None:
    for one in running:
        code = one.process.poll()
        if code is not None:
            tail = one.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            lines = [f"{one.name} ended with code {code}; its last words ({_short(one.log)}):", *tail]
            raise DemoError("\n  ".join(lines))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  # our own address
            return bool(response.status == 200)  # noqa: PLR2004  # OK
    except (urllib.error.URLError, OSError):
        return False


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _say(text: str) -> None:
    print(f"vigie: {text}", flush=True)  # noqa: T201  # a command's answer
