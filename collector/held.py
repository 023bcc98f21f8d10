"""`vigie-collector quarantine`: look at what could not be stored, and try it again."""

import argparse
import base64
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict

from collector import build, config
from collector.admit import Message
from collector.ingest import Ingest
from collector.metrics import Metrics
from collector.receive import Inbox
from collector.state.quarantine import Kept, Quarantine
from collector.stores import Unavailable
from collector.timestamps import rfc3339

LISTED = 1000


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    add_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add `quarantine` to the command line."""
    parser = commands.add_parser("quarantine", help="messages that could not be stored, and why")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = inner.add_parser("list", help="one line each, the newest first")
    listing.add_argument("--json", action="store_true", help="print one JSON object a line")
    listing.set_defaults(run=_list)
    show = inner.add_parser("show", help="one of them, with its payload in base64")
    show.add_argument("number", type=int, help="as `list` says it")
    show.set_defaults(run=_show)
    replay = inner.add_parser("replay", help="try to store them again; those that can be are taken out")
    replay.add_argument("number", type=int, nargs="*", help="as `list` says it; all of them without one")
    replay.set_defaults(run=_replay)
    for one in (listing, show, replay):
        add_config(one)


def _list(args: argparse.Namespace) -> int:
    with build.quarantine(config.load(args.config)) as held:
        for one in held.newest(LISTED):
            if args.json:
                sys.stdout.write(json.dumps(_facts(one)) + "\n")
            else:
                sys.stdout.write(
                    f"{one.id:>6}  {rfc3339(one.received_at_ns)}  {one.size:>9} B  {one.topic}  {one.reason}\n"
                )
    return 0


def _show(args: argparse.Namespace) -> int:
    with build.quarantine(config.load(args.config)) as held:
        one = held.get(args.number)
    if one is None:
        return _unknown(args.number)
    payload = base64.b64encode(one.payload or b"").decode()
    sys.stdout.write(json.dumps(_facts(one) | {"payload": payload}, indent=2) + "\n")
    return 0


def _replay(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    store = build.store(settings)
    with build.quarantine(settings) as held:
        numbers = args.number or [one.id for one in held.newest(LISTED)]
        try:
            store.open()
            metrics = Metrics()
            ingest = Ingest(
                Inbox(1, 1, metrics), store, held, build.pictures(settings), metrics, lambda _topic, _payload: True
            )
            failed = sum(_try(ingest, held, number) for number in sorted(numbers))
        except Unavailable as error:
            sys.stderr.write(f"vigie-collector: {error.reason}\n")
            return 1
        finally:
            store.close()
    return 1 if failed else 0


def _try(ingest: Ingest, held: Quarantine, number: int) -> int:
    """Try one again; 1 when it stays."""
    one = held.get(number)
    if one is None:
        return _unknown(number)
    retained = one.topic.endswith("/status")  # of old it is no sign of life
    problem = ingest.replay(Message(one.topic, one.payload or b"", retained, one.received_at_ns))
    if problem is None:
        held.remove(number)
    sys.stdout.write(f"{number}: {problem or 'stored'}\n")
    return 0 if problem is None else 1


def _unknown(number: int) -> int:
    sys.stderr.write(f"vigie-collector: there is no {number} in quarantine\n")
    return 1


def _facts(one: Kept) -> dict[str, object]:
    shown: Iterable[tuple[str, object]] = asdict(one).items()
    return {name: value for name, value in shown if name not in {"payload", "received_at_ns"} and value is not None} | {
        "received_at": rfc3339(one.received_at_ns)
    }
