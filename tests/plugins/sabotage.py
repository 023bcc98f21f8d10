"""`python -m sabotage WHAT …`: the agent's command line with one of its own parts made to fail, as a bug would.

WHAT is `sealer` (sealing raises from the sixth time on) or `uplink` (its thread raises after three turns).
"""

import sys
from collections.abc import Callable
from typing import Any

from agent import cli, seal, uplink


def failing_after(calls: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """The real thing for so many calls, and an error from then on."""
    left = calls

    def call(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("sabotage")
        return real(*args, **options)

    return call


def main() -> int:
    what, *arguments = sys.argv[1:]
    if what == "sealer":
        seal.Sealer.seal = failing_after(5, seal.Sealer.seal)  # type: ignore[method-assign]  # sabotage
    else:
        uplink.Uplink._over = failing_after(3, uplink.Uplink._over)  # type: ignore[method-assign]  # sabotage
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
