"""Places where a test can kill the collector: `VIGIE_FAILPOINT=after_write:kill` does so at the first pass.

Without the variable a passage costs one comparison.
"""

import os
import signal

VARIABLE = "VIGIE_FAILPOINT"
_chosen = os.environ.get(VARIABLE, "")


def reached(name: str) -> None:
    """Pass the place called `name`, or die there as by a power cut."""
    if _chosen and _chosen == f"{name}:kill":
        os.kill(os.getpid(), signal.SIGKILL)
