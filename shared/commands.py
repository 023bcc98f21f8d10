"""What the two command lines have in common: how they start, how they answer mistakes, and how `check` reports.

Answers go to standard output, logs and errors to standard error.
"""

import argparse
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from shared import __version__
from shared.configfile import ConfigError

WRONG = 2
"""Exit code of a command line or configuration that is wrong."""

Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it


@dataclass(frozen=True)
class Finding:
    """One thing that `check` looked at.

    Attributes:
        name: What.
        ok: False when it would stop the program from working.
        detail: What was found, and what to do about it.
    """

    name: str
    ok: bool
    detail: str


def parser(program: str, description: str) -> "tuple[argparse.ArgumentParser, Commands[argparse.ArgumentParser]]":
    """The parser of a program, and where its commands are added."""
    made = argparse.ArgumentParser(prog=program, description=description)
    made.add_argument("--version", action="version", version=f"{program} {__version__}")
    made.add_argument("-v", "--verbose", action="store_true", help="log more")
    return made, made.add_subparsers(required=True, metavar="COMMAND")


def main(made: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Run the command that `argv` names, its `run(args)`; exit code."""
    args = made.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except ConfigError as error:
        sys.stderr.write(f"{made.prog}: {error}\n")
        return WRONG
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def start(program: str, module: str, *, extra: str, python: tuple[int, int]) -> int:
    """Run `main` of `module`, or say that this side of Vigie is not installed here; exit code."""
    if sys.version_info < python:
        sys.stderr.write(
            f"{program}: needs Python {python[0]}.{python[1]} or newer, this is {sys.version.split()[0]}\n"
        )
        return 1
    try:
        code: int = importlib.import_module(module).main()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"agent", "collector", "shared"}:
            raise
        how = f"pip install 'vigie[{extra}]', in a checkout '.[{extra}]'"
        sys.stderr.write(f"{program}: is not installed here ({error.name} is missing): {how}\n")
        return 1
    return code


def add_config(command: argparse.ArgumentParser) -> None:
    """Add `--config FILE`."""
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the YAML file")


def add_check(
    commands: "Commands[argparse.ArgumentParser]", meaning: str, look: Callable[[Path], Iterator[Finding]]
) -> None:
    """Add `check`, which tells what `look` finds; exit code 1 when something is wrong."""
    command = commands.add_parser("check", help=meaning)
    add_config(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=lambda args: _report(look(args.config), as_json=args.json))


def _report(findings: Iterator[Finding], *, as_json: bool) -> int:
    # What is found is said here, in full.
    logging.disable(logging.ERROR)
    try:
        found = []
        for finding in findings:
            found.append(finding)
            if not as_json:
                sys.stdout.write(f"{'ok   ' if finding.ok else 'WRONG'}  {finding.name:<16}  {finding.detail}\n")
                sys.stdout.flush()
    finally:
        logging.disable(logging.NOTSET)
    ok = all(finding.ok for finding in found)
    if as_json:
        sys.stdout.write(json.dumps({"ok": ok, "checks": [asdict(finding) for finding in found]}, indent=2) + "\n")
    return 0 if ok else 1
