"""Places where a test can end a process, or a thread: `VIGIE_FAILPOINT=after_write:kill` does so at the first passage.

`after_write:kill:3` waits for the third one; `after_write:hang` lets the thread that passes hang for ever, with
whatever it holds. Without the variable a passage costs one comparison.
"""

import os
import signal
import time

VARIABLE = "VIGIE_FAILPOINT"
_HOURS_S = 3600.0
_name, _how, _count = (*os.environ.get(VARIABLE, "").split(":"), "", "")[:3]
_left = int(_count or 1) if _how else 0


def reached(name: str) -> None:
    """Pass the place called `name`, or die there as by a power cut, or hang."""
    global _left  # noqa: PLW0603  # one counter for the process, as the variable is one for it
    if _name and _name == name:
        _left -= 1
        if _left == 0:
            if _how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            while _how == "hang":
                time.sleep(_HOURS_S)
