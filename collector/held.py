"""`vigie-collector quarantine`: look at what could not be stored, and try it again."""

import argparse
import base64
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from collector import build, config
from collector.admit import Message
from collector.ingest import Ingest
from collector.metrics import Metrics
from collector.receive import Inbox
from collector.state.quarantine import Kept, Quarantine
from collector.stores import Unavailable
from collector.timestamps import rfc3339
from shared.topics import is_slug

PAGE = 1000


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    add_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add `quarantine` to the command line."""
    parser = commands.add_parser("quarantine", help="messages that could not be stored, and why")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = inner.add_parser("list", help="one line each, the newest first")
    listing.add_argument("--json", action="store_true", help="print one JSON object a line")
    show = inner.add_parser("show", help="one of them as JSON, with its payload in base64")
    show.add_argument("number", type=int, help="as `list` says it")
    show.add_argument("--payload", type=Path, metavar="FILE", help="write the payload there, as it came, instead")
    replay = inner.add_parser("replay", help="try to store them again; those that can be are taken out")
    replay.add_argument("number", type=int, nargs="*", help="as `list` says it; all of them without one")
    drop = inner.add_parser("drop", help="let go of payloads; the ledger goes on counting the frames as quarantined")
    drop.add_argument("number", type=int, nargs="*", help="as `list` says it")
    drop.add_argument("--all", action="store_true", help="all of them, or of the device")
    for one, run in ((listing, _list), (show, _show), (replay, _replay), (drop, _drop)):
        add_config(one)
        one.set_defaults(run=partial(_said, run))
    for one in (listing, replay, drop):
        one.add_argument("--device", type=_device, metavar="SITE/DEVICE", help="only of this one")


def _said(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a command; a state or store that cannot be used is one line, and code 1."""
    try:
        return run(args)
    except Unavailable as error:
        sys.stderr.write(f"vigie-collector: {error.reason}\n")
        return 1


def _device(text: str) -> tuple[str, str]:
    site, _, device = text.partition("/")
    if not (is_slug(site) and is_slug(device)):
        raise argparse.ArgumentTypeError(f"must be SITE/DEVICE, such as greenhouse/pi-roof, got '{text}'")
    return site, device


def _list(args: argparse.Namespace) -> int:
    with build.quarantine(config.load(args.config)) as held:
        for one in _every(held, args.device):
            if args.json:
                sys.stdout.write(json.dumps(_facts(one)) + "\n")
            else:
                sys.stdout.write(
                    f"{one.id:>6}  {rfc3339(one.received_at_ns)}  {one.size:>9} B  {one.topic}  {one.reason}\n"
                )
    return 0


def _every(held: Quarantine, device: tuple[str, str] | None) -> Iterator[Kept]:
    """All of them, the newest first, page by page."""
    page = held.newest(PAGE, device)
    while page:
        yield from page
        page = held.newest(PAGE, device, before=page[-1].id)


def _show(args: argparse.Namespace) -> int:
    with build.quarantine(config.load(args.config)) as held:
        one = held.get(args.number)
    if one is None:
        return _unknown(args.number)
    if args.payload is not None:
        return _export(one, args.payload)
    payload = base64.b64encode(one.payload or b"").decode()
    sys.stdout.write(json.dumps(_facts(one) | {"payload": payload}, indent=2) + "\n")
    return 0


def _export(one: Kept, path: Path) -> int:
    try:
        path.write_bytes(one.payload or b"")
    except OSError as error:
        sys.stderr.write(f"vigie-collector: {path} cannot be written: {error.strerror}\n")
        return 1
    return 0


def _replay(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    store = build.store(settings)
    try:
        with build.quarantine(settings) as held:
            numbers = args.number or [one.id for one in _every(held, args.device)]
            store.open()
            metrics = Metrics()
            ingest = Ingest(
                Inbox(1, 1, metrics), store, held, build.pictures(settings), metrics, lambda _topic, _payload: True
            )
            failed = sum(_try(ingest, held, number) for number in sorted(numbers))
    finally:
        store.close()
    return 1 if failed else 0


def _try(ingest: Ingest, held: Quarantine, number: int) -> int:
    """Try one again; 1 when it stays."""
    one = held.get(number)
    if one is None:
        return _unknown(number)
    retained = one.topic.endswith("/status")  # of old it is no sign of life
    if one.payload == b"" and one.batch is not None:
        problem: str | None = "its payload was dropped"
    else:
        problem = ingest.replay(Message(one.topic, one.payload or b"", retained, one.received_at_ns))
    if problem is None:
        held.remove(number)
    sys.stdout.write(f"{number}: {problem or 'stored'}\n")
    return 0 if problem is None else 1


def _drop(args: argparse.Namespace) -> int:
    if bool(args.number) == args.all or (args.number and args.device):
        sys.stderr.write("vigie-collector: say which to drop: numbers, or --all, or --all --device SITE/DEVICE\n")
        return 2
    with build.quarantine(config.load(args.config)) as held:
        numbers = args.number or [one.id for one in _every(held, args.device)]
        unknown = [number for number in numbers if held.get(number) is None]
        for number in sorted(set(numbers) - set(unknown)):
            held.drop(number)
            sys.stdout.write(f"{number}: dropped\n")
    return max((_unknown(number) for number in unknown), default=0)


def _unknown(number: int) -> int:
    sys.stderr.write(f"vigie-collector: there is no {number} in quarantine\n")
    return 1


def _facts(one: Kept) -> dict[str, object]:
    shown: Iterable[tuple[str, object]] = asdict(one).items()
    return {name: value for name, value in shown if name not in {"payload", "received_at_ns"} and value is not None} | {
        "received_at": rfc3339(one.received_at_ns)
    }
