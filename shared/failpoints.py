"""Places where a test can kill a process: `VIGIE_FAILPOINT=after_write:kill` does so at the first passage.

`after_write:kill:3` waits for the third one. Without the variable a passage costs one comparison.
"""

import os
import signal

VARIABLE = "VIGIE_FAILPOINT"
_name, _, _rest = os.environ.get(VARIABLE, "").partition(":kill")
_left = int(_rest[1:] or 1) if _name else 0


def reached(name: str) -> None:
    """Pass the place called `name`, or die there as by a power cut."""
    global _left  # noqa: PLW0603  # one counter for the process, as the variable is one for it
    if _name and _name == name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
