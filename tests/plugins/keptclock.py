"""The collector on a machine whose kernel says what a test wants: `python -m keptclock yes run --config …`.

`yes` is that a time service keeps the clock, `no` that none does; everything else is the collector's own.
"""

import sys

from shared import kernelclock

if __name__ == "__main__":
    kept = sys.argv.pop(1) == "yes"
    kernelclock.synchronised = lambda: kept  # before anything else takes it from there
    from collector.__main__ import main

    sys.exit(main())
