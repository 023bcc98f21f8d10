"""`vigie-agent`, and `python -m agent`."""

import sys

from shared import commands


def main() -> int:
    """Start the command line; exit code."""
    return commands.start("vigie-agent", "agent.cli", extra="agent", python=(3, 10))


if __name__ == "__main__":
    sys.exit(main())
