"""`vigie-collector`, and `python -m collector`."""

import sys

from shared import commands


def main() -> int:
    """Start the command line; exit code."""
    return commands.start("vigie-collector", "collector.cli", extra="collector", python=(3, 11))


if __name__ == "__main__":
    sys.exit(main())
