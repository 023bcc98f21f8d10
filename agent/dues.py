"""How many frames the plan wanted, counted as time goes by: what coverage is measured against.

Frames are due from the moment that a stream is awake, one each period, whether its camera gives them or not.
"""

from typing import Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["awake", "asleep", "ended"]
"""Of a stream, by its plan."""


class Due(NamedTuple):
    """What the plan wanted since the stream began.

    Attributes:
        frames: Frames that were due; None for a plan without a rate, of which nothing can be said.
        asleep_ns: Time that it was to be asleep.
    """

    frames: int | None
    asleep_ns: int


class Dues:
    """The account of one stream, in boot time (ns).

    Args:
        period_ns: Between two frames; None for as many as come.
    """

    def __init__(self, period_ns: int | None) -> None:
        self._period_ns = period_ns
        self._state: State = "ended"
        self._since_ns = 0
        self._before = Due(None if period_ns is None else 0, 0)

    def switch(self, state: State, boot_ns: int) -> None:
        """The stream is in this state from now on."""
        self._before = self.until(boot_ns)
        self._state, self._since_ns = state, boot_ns

    def until(self, boot_ns: int) -> Due:
        """What was due before a moment; of one before the last change, what was due at that change."""
        passed_ns = max(0, boot_ns - self._since_ns)
        frames, asleep_ns = self._before
        if self._state == "awake" and frames is not None and self._period_ns:
            frames += -(-passed_ns // self._period_ns)
        if self._state == "asleep":
            asleep_ns += passed_ns
        return Due(frames, asleep_ns)
