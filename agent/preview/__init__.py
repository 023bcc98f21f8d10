"""`vigie-agent preview`: the live picture on a phone, for the person who turns the lens.

It opens the camera itself, through the same capture as `run`, masks included; it records nothing and sends nothing.
After `--minutes` it ends by itself, and whoever has not the token of its address sees nothing.
"""

import argparse
import contextlib
import ipaddress
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from agent import check, config, sources
from agent.capture import Capture, Progress
from agent.clock import Clock
from agent.config import Settings, StreamSettings
from agent.model import Model, ModelError
from agent.outbox import file as outbox_file
from agent.preview.watching import Watching
from agent.sources.push import require_server
from shared import commands
from shared.configfile import ConfigError

OK, FAILED = 0, 1

ANYWHERE = ("0.0.0.0", 8090)  # noqa: S104  # for the phone on the same network; a token guards it
FPS = 10.0
"""Frames a second at most: what a phone shows, whatever the stream's plan is."""


def add_parser(adding: Any) -> None:  # noqa: ANN401  # argparse has no public name for what add_subparsers gives
    """Add the command to `adding`."""
    parser = adding.add_parser("preview", help="show a camera's live picture on a web page, to turn its lens by")
    parser.add_argument("stream", nargs="?", metavar="STREAM", help="name of the stream; the first by default")
    commands.add_config(parser)
    listen = {"type": _address, "default": ANYWHERE, "metavar": "ADDRESS:PORT"}
    parser.add_argument("--listen", help=f"where to serve the page ({ANYWHERE[0]}:{ANYWHERE[1]})", **listen)
    parser.add_argument("--minutes", type=_minutes, default=10.0, metavar="N", help="ends by itself (%(default)g)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what the command line says; exit code.

    Raises:
        ConfigError: The configuration is wrong, or names no such stream.
    """
    settings = config.load(args.config)
    stream = _stream(settings, args.stream, args.config)
    if why := _hindrance(settings, args.config, stream):
        return _complain(why)
    try:
        model = check.load_model(settings, stream, args.config)
    except ModelError as error:
        return _complain(str(error))
    return _serve(stream, model, args)


def _serve(stream: StreamSettings, model: Model, args: argparse.Namespace) -> int:
    """Show the stream until its time is over, or Ctrl-C; exit code."""
    from agent.preview.server import PageServer  # noqa: PLC0415  # Flask is in memory only where it serves

    clock, stop = Clock(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    source = sources.resolve(stream.source, args.config.parent)
    watching = Watching(stream.name, sources.describe(source), model, stream.region, clock, args.minutes * 60)
    token = secrets.token_urlsafe(12)
    host, port = args.listen
    try:
        server = PageServer(host, port, watching, token)
    except OSError as error:
        return _complain(f"cannot listen on {host}:{port}: {error.strerror}; say another with --listen {host}:PORT")
    capture = Capture(
        stream.name,
        source,
        FPS,
        Progress.in_memory([stream.name]),
        clock,
        deadline_s=stream.deadline_s,
        masks=stream.masks,
        on_event=watching.event,
    )
    for url in _urls(host, port, token):
        _say(url)
    _say(f"stream {stream.name}, for {args.minutes:g} minutes; Ctrl-C ends it. Nothing is recorded or sent.")
    with capture:
        worker = threading.Thread(target=watching.run, args=(capture,), daemon=True)
        worker.start()
        stop.wait(args.minutes * 60)
        watching.end()
        capture.stop()
        worker.join()
        # The page asks once a second; it is to learn why there are no more pictures.
        if not stop.is_set():
            stop.wait(2.0)
    server.close()
    _say("ended")
    return OK


def _stream(settings: Settings, name: str | None, path: Path) -> StreamSettings:
    """The stream of that name, or the first."""
    if name is None:
        return settings.streams[0]
    for stream in settings.streams:
        if stream.name == name:
            return stream
    known = ", ".join(stream.name for stream in settings.streams)
    raise ConfigError(f"{path}: 'streams' has no stream '{name}'; known: {known}")


def _hindrance(settings: Settings, path: Path, stream: StreamSettings) -> str:
    """Why there can be no preview, and what to do; nothing when there can."""
    try:
        require_server("preview")
    except ValueError as error:
        return str(error)
    if "push" in stream.source:
        return f"stream {stream.name} has no camera: pictures are pushed to it (docs/push.md)"
    if "folder" in stream.source:
        return f"stream {stream.name} has no camera, and the pictures in its folder are for the agent"
    outbox = path.parent / Path(settings.state_dir).expanduser() / "outbox.db"
    if outbox_file.in_use(outbox):
        way_out = "end it first (sudo systemctl stop vigie-agent), and start it again afterwards"
        return f"an agent is running with this configuration and holds the camera: {way_out}"
    return ""


def _urls(host: str, port: int, token: str) -> list[str]:
    """What to type into a phone: one address for each network that this machine is in."""
    hosts = [host]
    if ipaddress.ip_address(host).is_unspecified:
        family = socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6  # noqa: PLR2004  # IPv4
        found = [one.address for some in psutil.net_if_addrs().values() for one in some if one.family == family]
        hosts = [one for one in found if "%" not in one and not ipaddress.ip_address(one).is_loopback] or ["127.0.0.1"]
    return [f"http://{f'[{one}]' if ':' in one else one}:{port}/?t={token}" for one in hosts]


def _address(text: str) -> tuple[str, int]:
    """An argument `ADDRESS:PORT`."""
    host, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be an address of this machine and a port, such as 0.0.0.0:8090, got {text!r}"
        ) from None


def _minutes(text: str) -> float:
    """An argument of minutes."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= 24 * 60:
        raise argparse.ArgumentTypeError(f"must be minutes above 0, at most 1440, got {text!r}")
    return minutes


def _complain(what: str) -> int:
    print(f"vigie-agent preview: {what}", file=sys.stderr)  # noqa: T201  # a command's answer
    return FAILED


def _say(what: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # who started it may have read enough
        print(what, flush=True)  # noqa: T201  # a command's answer
