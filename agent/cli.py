"""The command line, `vigie-agent`. Answers go to standard output, logs and errors to standard error.

Exit codes: 0 done; 1 something would stop the agent from working, or an input could not be read; 2 the command
line or the configuration is wrong.
"""

import argparse
import json
import logging
import signal
import sys
from pathlib import Path

from agent import check, config, predict
from shared import __version__, configfile
from shared.configfile import ConfigError

WRONG = 2


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` names; exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        code: int = args.run(args)
    except ConfigError as error:
        print(f"vigie-agent: {error}", file=sys.stderr)  # noqa: T201  # a command's answer
        return WRONG
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vigie-agent", description="Runs ONNX models on camera frames and tells the collector what they saw."
    )
    parser.add_argument("--version", action="version", version=f"vigie-agent {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="watch the cameras of a configuration, until asked to stop")
    _add_config(run)
    run.set_defaults(run=_run)
    predict.add_parser(commands)
    check.add_parser(commands, _add_config)
    show = commands.add_parser("config", help="print the default configuration, with what each key means")
    show.add_argument("--schema", action="store_true", help="print its JSON Schema instead, for editors")
    show.set_defaults(run=_show_config)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's YAML file")


def _run(args: argparse.Namespace) -> int:
    # A device's `predict` and `config` need neither MQTT nor SQLite.
    from agent import build  # noqa: PLC0415

    settings = config.load(args.config)
    return build.run(settings, args.config)


def _show_config(args: argparse.Namespace) -> int:
    text = f"{json.dumps(configfile.schema(config.Settings), indent=2)}\n" if args.schema else config.defaults()
    sys.stdout.write(text)
    return 0
