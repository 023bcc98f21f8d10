"""From boot time to wall time, once and for ever.

A batch keeps the boot time of its sealing. Its offset to wall time is fixed on disk before its first sending: in its
own row when the time was known at sealing, else once for all such batches of its epoch.
"""

from agent.clock import Clock
from agent.outbox.rows import Epoch, Row, Rows
from shared.records import TICK_NS, TimeQuality

_AFTER_NS = 1_000_000


def fix(rows: Rows, epoch: Epoch, offset_ns: int, quality: TimeQuality) -> None:
    """Give an epoch the offset of its batches that have none."""
    rows.change(epoch)
    epoch.offset_ns, epoch.quality = offset_ns, quality


def to_wall_ns(epoch: Epoch, row: Row) -> int | None:
    """What to add to boot time for the wall time of a batch and of all that is in it; None while that is not fixed.

    Times are whole ticks, so that four decimal digits are free below them: there every batch has digits of its own.
    Without them, a clock that was set back would give two windows that both begin on a full minute, or two frames, the
    same instant to the nanosecond, and a store that tells records apart by their time alone would keep only one.
    """
    offset_ns = _offset_ns(epoch, row)
    return None if offset_ns is None else offset_ns + (int(epoch.nonce, 16) + row.number) % TICK_NS


def _offset_ns(epoch: Epoch, row: Row) -> int | None:
    return epoch.offset_ns if row.offset_ns is None else row.offset_ns


def fix_now(rows: Rows, clock: Clock, epoch: Epoch, current: Epoch) -> bool:
    """Fix the time of `epoch`, if that is possible now; part of the caller's transaction."""
    known = clock.offset()
    if known is None:
        return False
    if _is_this_boot(epoch, current):
        fix(rows, epoch, *known)
    else:
        _place_earlier_boots(rows, known[0], current)
    return True


def _place_earlier_boots(rows: Rows, this_boot_began_ns: int, current: Epoch) -> None:
    """Give each boot that never knew the time the latest place that it can have: right before the next boot.

    So it lies after the boot before it too, whose true end it cannot have overlapped.
    """
    next_began_ns = this_boot_began_ns
    for epochs in reversed(_earlier_boots(rows, current)):
        knowing = next((epoch for epoch in reversed(epochs) if epoch.offset_ns is not None), None)
        if knowing is not None and knowing.offset_ns is not None and knowing.quality is not None:
            offset_ns, quality = knowing.offset_ns, knowing.quality
        else:
            lasted_ns = max(rows.last_boot_ns(epoch) for epoch in epochs)
            offset_ns, quality = (next_began_ns - lasted_ns - _AFTER_NS) // TICK_NS * TICK_NS, "estimated"
        for epoch in epochs:
            if epoch.offset_ns is None:
                fix(rows, epoch, offset_ns, quality)
        next_began_ns = offset_ns


def _earlier_boots(rows: Rows, current: Epoch) -> list[list[Epoch]]:
    """The epochs of each boot before this one, oldest first."""
    boots: list[list[Epoch]] = []
    for epoch in rows.in_order():
        if _is_this_boot(epoch, current):
            break
        if boots and epoch.boot_id and boots[-1][0].boot_id == epoch.boot_id:
            boots[-1].append(epoch)
        else:
            boots.append([epoch])
    return boots


def _is_this_boot(epoch: Epoch, current: Epoch) -> bool:
    return epoch is current or (epoch.boot_id == current.boot_id != "")


def age_ns(clock: Clock, epoch: Epoch, row: Row, current: Epoch) -> int | None:
    """Time since a batch's sealing; None while it cannot be known."""
    if _is_this_boot(epoch, current):
        return clock.boot_ns() - row.boot_ns
    known, offset_ns = clock.offset(), _offset_ns(epoch, row)
    if known is None or offset_ns is None:
        return None
    return clock.boot_ns() + known[0] - row.boot_ns - offset_ns
