"""`python -m sabotage WHAT …`: the agent's command line with one of its own parts made to fail, as a bug would.

WHAT is `collector` (that command line instead, where a part hangs after 3 s), `crash` (loading a model does, and safe
mode's first pause is short), `sealer` (sealing raises from the sixth time on) or `uplink` (its thread raises
after three turns).
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from agent import check, cli, seal, starts, uplink


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


def crash(*_: Any) -> Any:
    """As a library does it."""
    os.kill(os.getpid(), signal.SIGSEGV)


def hasty_collector(arguments: list[str]) -> int:
    """The collector, which the agent's own tests need not have."""
    from collector import cli as collector_cli  # noqa: PLC0415  # as above
    from collector import watchdog  # noqa: PLC0415  # as above

    watchdog.Watchdog.__init__.__defaults__ = (3.0, None)
    watchdog._END_S = 5.0
    return collector_cli.main(arguments)


def main() -> int:
    what, *arguments = sys.argv[1:]
    if what == "collector":
        return hasty_collector(arguments)
    if what == "crash":
        starts.PAUSE_S = 5.0
        check.load_model = crash  # type: ignore[assignment]  # sabotage
    elif what == "sealer":
        seal.Sealer.seal = failing_after(5, seal.Sealer.seal)  # type: ignore[method-assign]  # sabotage
    else:
        uplink.Uplink._over = failing_after(3, uplink.Uplink._over)  # type: ignore[method-assign]  # sabotage
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
