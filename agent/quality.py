"""What is wrong with a live picture, by rule: frozen, black or white. Pure: pixels and moments in, findings out.

`PictureCheck` looks at frames in the capture process, a few times a second and at a grid of a few thousand pixels.
`PictureFaults` is what the agent remembers of it while capture processes come and go. Why these rules, and why these
times: docs/decisions/0007-frame-checks.md.
"""

import math
import zlib
from typing import Literal, TypeAlias

import numpy as np
from msgspec import Struct

from agent.sources import Pixels

Fault: TypeAlias = Literal["", "frozen", "black", "white"]

LOOK_S = 0.2
"""Frames in between are not looked at: what lasts for seconds shows in five pictures a second."""

_SAMPLED = 4096
_DARK_MAX = 20
_BRIGHT_MIN = 235
_SHARE_TO_BEGIN = 0.99
_SHARE_TO_GO_ON = 0.95
"""Nearly all of the sample makes a picture black; it takes clearly less than that to make it well again."""

_LOOKS_MIN = 5
"""As many pictures are the same before one is frozen: a camera that is read once in 10 minutes gives few."""
_WHOLE_SHARE = 0.0618
_WHOLE_S = 1.1
_CHANGES = 2
"""So many pictures in a row must be new ones to end it: opening a camera again may give one and the old one again."""

_REOPEN_S_MAX = 3600.0
_REMIND_S = 6 * 3600.0


class Finding(Struct, frozen=True):
    """How the picture is.

    Attributes:
        fault: What is wrong with it; nothing when it is well.
        digest: Of the whole frozen picture, by which another capture process knows it again; else 0.
    """

    fault: Fault = ""
    digest: int = 0


class Trace(Struct, frozen=True):
    """What a capture process that ends after each picture leaves to the next one: see `PictureCheck`."""

    tone: Fault = ""
    tone_since: float | None = None
    whole: int = 0
    since: float = 0.0
    looks: int = 0
    changes: int = 0


class Limits(Struct, frozen=True):
    """How long something must last, in seconds, before it is called by its name; 0 for never.

    Attributes:
        frozen_s: The same picture.
        blank_s: Nothing but black, or nothing but white; and as long something else, to end it.
    """

    frozen_s: float = 0.0
    blank_s: float = 0.0


class PictureCheck:
    """Looks at the frames of a live source.

    Args:
        limits: What is looked for.
        known: What a capture process before this one found.
        trace: What it left, if it ended as planned.

    Attributes:
        found: How the picture is.
    """

    def __init__(self, limits: Limits, known: Finding, trace: Trace | None = None) -> None:
        self._limits = limits
        self.found = known
        self._due = -math.inf
        self._tone: Fault = known.fault if known.fault in {"black", "white"} else ""
        self._tone_since: float | None = None
        self._still = _Still(limits.frozen_s, known.digest if known.fault == "frozen" else None)
        if trace is not None:
            self._tone, self._tone_since = trace.tone, trace.tone_since
            self._still.go_on(trace)

    def look(self, pixels: Pixels, now: float) -> Finding | None:
        """Look at a frame, if it is time to: what has changed with it, or None.

        Args:
            pixels: uint8 [height, width, 3].
            now: On the monotonic clock.
        """
        if now < self._due:
            return None
        self._due = now + LOOK_S
        sample = _sample(pixels)
        found = self._judge(pixels, sample, now)
        if found == self.found:
            return None
        self.found = found
        return found

    def trace(self, pixels: Pixels) -> Trace:
        """What to leave to the next process after looking at `pixels`, the last frame of this one."""
        return Trace(self._tone, self._tone_since, *self._still.trace(pixels))

    def _judge(self, pixels: Pixels, sample: Pixels, now: float) -> Finding:
        tone = _tone(sample, self.found.fault) if self._limits.blank_s else ""
        if tone != self._tone or self._tone_since is None:
            self._tone, self._tone_since = tone, now
        held = now - self._tone_since >= self._limits.blank_s
        if tone:
            # A dark room without noise is as black as a lens cap, and not frozen: nothing says that the camera hangs.
            self._still.forget(now)
            return Finding(tone) if held else self.found
        if self.found.fault in {"black", "white"} and not held:
            return self.found
        digest = self._still.look(pixels, sample, now) if self._limits.frozen_s else None
        return Finding() if digest is None else Finding("frozen", digest)


class _Still:
    """Whether the picture is the same again and again.

    The sample tells most changes at little cost. What it cannot see, a clock in a corner, the whole picture's digest
    does: it is taken some eight times before a picture is frozen, and once a second from then on.
    """

    def __init__(self, frozen_s: float, known: int | None) -> None:
        self._frozen_s = frozen_s
        self._frozen = known is not None
        self._whole = known
        self._sample: Pixels | None = None
        self._since = 0.0
        self._looks = 0
        self._whole_due = -math.inf
        self._changes = 0

    def forget(self, now: float) -> None:
        """Begin anew."""
        self._frozen, self._whole, self._sample = False, None, None
        self._since, self._looks, self._changes = now, 0, 0

    def go_on(self, trace: Trace) -> None:
        """Go on from where another process was."""
        self._whole = self._whole or trace.whole or None
        self._since, self._looks, self._changes = trace.since, trace.looks, trace.changes

    def trace(self, pixels: Pixels) -> tuple[int, float, int, int]:
        """Digest, since when it is the same, in how many looks; and how many were other ones."""
        return self._whole or _digest(pixels), self._since, self._looks, self._changes

    def look(self, pixels: Pixels, sample: Pixels, now: float) -> int | None:
        """The digest of the frozen picture, or None when it is not frozen."""
        same = self._is_same(pixels, sample, now)
        self._sample = sample
        if self._frozen:
            self._changes = 0 if same else self._changes + 1
            if self._changes >= _CHANGES:
                self.forget(now)
                self._sample = sample
        elif not same:
            self._since, self._looks, self._whole = now, 1, None
        else:
            self._looks += 1
            self._ripen(pixels, now)
        return self._whole if self._frozen else None

    def _is_same(self, pixels: Pixels, sample: Pixels, now: float) -> bool:
        if self._frozen and (self._sample is None or self._changes or now >= self._whole_due):
            self._whole_due = now + _WHOLE_S
            return _digest(pixels) == self._whole
        if self._sample is None and self._whole is not None:
            return _digest(pixels) == self._whole
        return self._sample is not None and np.array_equal(sample, self._sample)

    def _ripen(self, pixels: Pixels, now: float) -> None:
        """Look at whole pictures in the second half of the time, at odd moments: something may blink."""
        lasted_s = now - self._since
        if lasted_s < self._frozen_s / 2 or now < self._whole_due:
            return
        self._whole_due = now + self._frozen_s * _WHOLE_SHARE
        digest = _digest(pixels)
        if self._whole not in {None, digest}:
            self._since, self._looks, self._whole = now, 1, None
            return
        self._whole = digest
        self._frozen = lasted_s >= self._frozen_s and self._looks >= _LOOKS_MIN


def _sample(pixels: Pixels) -> Pixels:
    """Pixels of an even grid: uint8 [rows, columns, 3], a copy."""
    height, width = pixels.shape[:2]
    step = max(1, math.isqrt(height * width // _SAMPLED))
    return np.ascontiguousarray(pixels[step // 2 :: step, step // 2 :: step])


def _tone(sample: Pixels, fault: Fault) -> Fault:
    """Whether a sample is `black` or `white`; easier to go on being than to become."""
    if np.count_nonzero(sample <= _DARK_MAX) >= _share(fault, "black") * sample.size:
        return "black"
    if np.count_nonzero(sample >= _BRIGHT_MIN) >= _share(fault, "white") * sample.size:
        return "white"
    return ""


def _share(fault: Fault, tone: Fault) -> float:
    return _SHARE_TO_GO_ON if fault == tone else _SHARE_TO_BEGIN


def _digest(pixels: Pixels) -> int:
    """Of a whole picture and its size; never 0."""
    return zlib.crc32(np.ascontiguousarray(pixels).data, pixels.shape[1]) or 1


class PictureFaults:
    """What is wrong with a stream's picture, and when its camera is to be opened again for it.

    Only for a frozen one: opening a camera again takes no cap off a lens and makes no light. It is opened at once,
    and while nothing changes after twice `frozen_s`, 4 times, … and once an hour.

    Args:
        frozen_s: As in `Limits`.
    """

    def __init__(self, frozen_s: float) -> None:
        self.finding = Finding()
        self._frozen_s = frozen_s
        self._since = 0.0
        self._remind_at = math.inf
        self._reopen_at = math.inf
        self._reopened = 0

    def note(self, finding: Finding, now: float) -> list[tuple[str, str]]:
        """Take note of a change: the events to tell, as name and detail."""
        before, self.finding = self.finding, finding
        events = []
        if before.fault and not finding.fault:
            events.append(("picture_well", f"it was {before.fault} for {now - self._since:.0f} s"))
        if finding.fault and finding.fault != before.fault:
            self._since = now
            self._remind_at = now + _REMIND_S
            events.append((f"picture_{finding.fault}", _DETAILS[finding.fault]))
        if (finding.fault == "frozen") != (before.fault == "frozen"):
            self._reopened = 0
            self._reopen_at = now if finding.fault == "frozen" else math.inf
        return events

    def remind(self, now: float) -> list[tuple[str, str]]:
        """The event of a fault that lasts, once more: collectors look a day back to say how a stream is."""
        if not self.finding.fault or now < self._remind_at:
            return []
        self._remind_at = now + _REMIND_S
        return [(f"picture_{self.finding.fault}", f"still, for {(now - self._since) / 3600:.0f} h")]

    def reopen_due(self, now: float) -> bool:
        """Whether to open the camera again now; says so once, and then not for longer each time."""
        if now < self._reopen_at:
            return False
        self._reopened += 1
        wait_s = min(self._frozen_s * 2.0 ** min(self._reopened, 32), max(_REOPEN_S_MAX, self._frozen_s))
        self._reopen_at = now + wait_s
        return True


_DETAILS = {
    "frozen": "the camera gives the same picture again and again; it is opened again",
    "black": "nothing but black: is it dark, or the lens covered?",
    "white": "nothing but white: does the sun, or a lamp, shine into the lens?",
}
