"""The command line, `vigie-collector`. Answers go to standard output, logs and errors to standard error.

Exit codes: 0 done; 1 something stops the collector from working; 2 the command line or the configuration is wrong.
"""

import argparse
import json
import signal
import sys
import threading

from collector import audit, check, config, demo, held
from shared import commands, configfile


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` names; exit code."""
    return commands.main(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser, adding = commands.parser(
        "vigie-collector", "Keeps what the agents saw, answers questions about it, and shows it."
    )
    run = adding.add_parser("run", help="collect and serve, until asked to stop")
    commands.add_config(run)
    run.set_defaults(run=_run)
    commands.add_check(adding, "say whether this machine can collect, and what to do where it cannot", check.look)
    audit.add_parser(adding, commands.add_config)
    held.add_parser(adding, commands.add_config)
    show = adding.add_parser("config", help="print the default configuration, with what each key means")
    show.add_argument("--schema", action="store_true", help="print its JSON Schema instead, for editors")
    show.add_argument("--wire-schema", action="store_true", help=argparse.SUPPRESS)
    show.set_defaults(run=_show_config)
    demo.add_parser(adding)
    return parser


def _run(args: argparse.Namespace) -> int:
    # `config` and `--version` need neither MQTT nor SQLite.
    from collector import build  # noqa: PLC0415
    from collector.broker import CannotListen  # noqa: PLC0415  # as above

    settings = config.load(args.config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        return build.run(settings, stop)
    except CannotListen as error:
        sys.stderr.write(f"vigie-collector: {error}\n")
        return 1


def _show_config(args: argparse.Namespace) -> int:
    if args.wire_schema:
        from collector import wireschema  # noqa: PLC0415  # for those who publish the docs

        sys.stdout.write(wireschema.text())
    elif args.schema:
        sys.stdout.write(f"{json.dumps(configfile.schema(config.Settings), indent=2)}\n")
    else:
        sys.stdout.write(config.defaults())
    return 0


if __name__ == "__main__":
    sys.exit(main())
