"""The command line, `vigie-agent`. Answers go to standard output, logs and errors to standard error.

Exit codes: 0 done; 1 something would stop the agent from working, or an input could not be read; 2 the command
line or the configuration is wrong; 75 `run` is to be started anew.
"""

import argparse
import json
import sys

from agent import check, config, inspecting, maintenance, predict, preview
from agent.benching import command as bench
from agent.tuning import command as tune
from shared import commands, configfile


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` names; exit code."""
    return commands.main(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser, adding = commands.parser(
        "vigie-agent", "Runs ONNX models on camera frames and tells the collector what they saw."
    )
    run = adding.add_parser("run", help="watch the cameras of a configuration, until asked to stop")
    commands.add_config(run)
    run.set_defaults(run=_run)
    predict.add_parser(adding)
    inspecting.add_parser(adding)
    bench.add_parser(adding)
    tune.add_parser(adding)
    preview.add_parser(adding)
    maintenance.add_parser(adding)
    commands.add_check(adding, "say whether this device can work, and what to do where it cannot", check.look)
    show = adding.add_parser("config", help="print the default configuration, with what each key means")
    show.add_argument("--schema", action="store_true", help="print its JSON Schema instead, for editors")
    show.set_defaults(run=_show_config)
    return parser


def _run(args: argparse.Namespace) -> int:
    # A device's `predict` and `config` need neither MQTT nor SQLite.
    from agent import build  # noqa: PLC0415

    settings = config.load(args.config)
    return build.run(settings, args.config)


def _show_config(args: argparse.Namespace) -> int:
    text = f"{json.dumps(configfile.schema(config.Settings), indent=2)}\n" if args.schema else config.defaults()
    sys.stdout.write(text)
    return 0
