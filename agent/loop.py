"""The agent's loop: look, infer, measure, keep.

The loop never touches the network. An observation is safe once its batch is in the outbox; `agent.uplink`
carries it to the broker at the network's own pace.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Protocol

from agent.books import Book, Look
from agent.capture import Capture, Frame
from agent.clock import Clock
from agent.gate import Gate
from agent.model import Looker
from agent.seal import Journal
from agent.turns import Turns
from shared.records import TICK_NS

log = logging.getLogger(__name__)

_ROOM_S = 0.5

Glance = Callable[[Frame], None]
"""Called with each frame after it was looked at, or need not be: the snapshots' chance."""
Tell = Callable[[Look], bytes]
"""What to answer who sent a picture and waits."""


@dataclass(frozen=True)
class Work:
    """One stream's loop, and everything that it touches.

    Attributes:
        capture: Where its frames come from.
        book: Gets every outcome.
        journal: Gets events.
        clock: The agent's.
        glance: The snapshots' chance.
        turns: Of the model, which other streams may share.
        gate: Says which frames need no look; None to look at each.
        tell: What to answer who sent a picture and waits, where a source has such.
    """

    capture: Capture
    book: Book
    journal: Journal
    clock: Clock
    glance: Glance
    turns: Turns
    gate: Gate | None = None
    tell: Tell = lambda _look: b"{}"


class SignOfLife(Protocol):
    """Where a hand says that it works, or waits: a `shared.stamps.Stamp`."""

    def beat(self) -> None:
        """It works."""

    def rest(self) -> None:
        """It waits for something that need not come."""

    def done(self) -> None:
        """It ends."""


class _Unwatched:
    """Nobody looks."""

    def beat(self) -> None:
        """It works."""

    def rest(self) -> None:
        """It waits."""

    def done(self) -> None:
        """It ends."""


@dataclass(eq=False)
class Hand:
    """Who looks at one frame at a time.

    Attributes:
        looker: Its way through the model.
        stamp: Its sign of life.
        frame: What it has in hand, until somebody books it.
        lost: Whether it was given up: whatever it does from now on, nobody wants it.
    """

    looker: Looker
    stamp: SignOfLife
    frame: Frame | None = None
    turn: ExitStack = field(default_factory=ExitStack)
    lost: bool = False


class Loop:
    """One stream's hands: each takes the next frame, looks at it and books it; frames may be done out of order.

    A turn is taken before the frame, so that a live camera's newest frame is looked at, however long the wait was.

    Args:
        work: What to do it with.
        lookers: One for each hand: so many frames are looked at at the same time.
        stop: Set when nothing may wait for room in the book any more.

    Attributes:
        hands: One for each looker; whoever watches them may give them other stamps before `run`.
        fault: What ended the loop, if anything did.
    """

    def __init__(self, work: Work, lookers: Sequence[Looker], stop: Event) -> None:
        self._work = work
        self._stop = stop
        self._taking = Lock()
        self._keeping = Lock()
        self._holding = Lock()  # over what a hand has in hand
        self._failure = ""
        self._failed_at = 0
        self.fault: Exception | None = None
        self.hands = [Hand(looker, _Unwatched()) for looker in lookers]

    def run(self) -> None:
        """Turn every frame into exactly one outcome, until the frames end."""
        name = self._work.book.stream
        helpers = {
            hand: Thread(target=self._work_on, args=(hand,), name=f"loop-{name}-{number}", daemon=True)
            for number, hand in enumerate(self.hands[1:], 2)
        }
        for helper in helpers.values():
            helper.start()
        self._work_on(self.hands[0])
        for hand, helper in helpers.items():
            while helper.is_alive() and not hand.lost:
                helper.join(_ROOM_S)
        if self.fault is not None:
            raise self.fault

    def give_up(self, hand: Hand, why: str) -> bool:
        """Book the frame that a hand got stuck with as failed, and do without this hand; whether it had one.

        Any thread may call this. The hand's turn is given back: who hangs must not keep the others waiting.
        """
        with self._holding:
            frame, hand.frame = hand.frame, None
            if frame is None or hand.lost:
                return False
            hand.lost = True
        height, width = frame.pixels.shape[:2]
        look = Look(
            frame=frame.number,
            captured_boot_ns=frame.captured_boot_ns,
            width=width,
            height=height,
            capture=frame.capture_ticks,
            wait=0,
            prepare=0,
            infer=max(0, self._work.clock.boot_ns() - frame.captured_boot_ns) // TICK_NS,
            decode=0,
            found=None,
            error=why[:1024],
        )
        self._work.book.look(look)
        hand.turn.close()
        _tell(why, self._work.book.stream, self._work.journal)
        return True

    def give_up_all(self, why: str) -> bool:
        """Give up every hand that has a frame; whether there was one."""
        had_one = [self.give_up(hand, why) for hand in self.hands]
        return any(had_one)

    @property
    def lost(self) -> bool:
        """Whether no hand is left."""
        return all(hand.lost for hand in self.hands)

    def _work_on(self, hand: Hand) -> None:
        """Look at one frame after the other, until there are no more; a fault ends every hand."""
        try:
            while self._look(hand):
                pass
        except Exception as fault:  # noqa: BLE001  # raised again where the hands are waited for
            self.fault = self.fault or fault
            self._work.capture.stop()
        finally:
            hand.stamp.done()

    def _look(self, hand: Hand) -> bool:
        """Look at the next frame; False when there will be none, or nobody wants this hand any more."""
        hand.stamp.rest()
        with ExitStack() as turn:
            with self._taking:
                if not self._room() or not self._work.capture.wait():
                    return False
                turn.enter_context(self._work.turns.taken_by(self._work.book.stream))
                frame = self._work.capture.take()
                still = frame is not None and self._still(frame)
            hand.turn = turn.pop_all()
        if frame is None:
            hand.turn.close()
            return True
        hand.stamp.beat()
        hand.frame = frame
        try:
            look = None if still else observe(frame, hand.looker, self._work.clock)
            if not self._let_go(hand):
                return False
            if look is None:
                self._pass(frame)
            else:
                self._keep(frame, look)
        finally:
            frame.release()
            self._let_go(hand)
            if not hand.lost:
                hand.turn.close()
        return True

    def _let_go(self, hand: Hand) -> bool:
        """Take the frame out of a hand, to book it; False when somebody did so already."""
        with self._holding:
            held, hand.frame = hand.frame is not None, None
            return held

    def _room(self) -> bool:
        """Wait until the book has room; False when there is none and none to be waited for."""
        while not self._work.book.wait_for_room(_ROOM_S):
            if self._stop.is_set():
                return False
        return True

    def _still(self, frame: Frame) -> bool:
        """Whether the frame need not be looked at; asked in the order of frames, whoever looks at them."""
        if frame.answer is not None or self._work.gate is None:
            return False  # who sent a picture and waits gets an answer
        return self._work.gate.still(frame.pixels, frame.captured_boot_ns)

    def _pass(self, frame: Frame) -> None:
        """Book a frame that is not looked at; the snapshots may have it all the same."""
        self._work.book.settle(frame.number, frame.number, "gated")
        with self._keeping:
            self._work.glance(frame)

    def _keep(self, frame: Frame, look: Look) -> None:
        """Book a look, tell what changed, and let the snapshots have the frame."""
        self._work.book.look(look)
        if look.error and self._work.gate is not None:
            self._work.gate.forget()
        if frame.answer is not None:  # only what is booked is told
            frame.answer(self._work.tell(look), not look.error)
        with self._keeping:
            if look.error != self._failure and look.frame > self._failed_at:
                self._failure, self._failed_at = look.error, look.frame
                _tell(look.error, self._work.book.stream, self._work.journal)
            self._work.glance(frame)


def run(work: Work, lookers: Sequence[Looker], stop: Event) -> None:
    """Run a loop that nobody watches; see `Loop`."""
    Loop(work, lookers, stop).run()


def observe(frame: Frame, looker: Looker, clock: Clock) -> Look:
    """Say what the model saw in `frame`, and what seeing it cost; a failing model makes a look with an error."""
    watch = Stopwatch(clock)
    wait = max(0, watch.started_ns - frame.captured_boot_ns) // TICK_NS
    found, error = None, ""
    try:
        tensor, placement = looker.prepare(frame.pixels)
        watch.lap("prepare")
        outputs = looker.infer(tensor)
        watch.lap("infer")
        found = looker.decode(outputs, placement)
        watch.lap("decode")
    except Exception as failure:  # noqa: BLE001  # whatever a model does to a frame, the frame stays accounted for
        error = f"{type(failure).__name__}: {failure}"[:1024]
    height, width = frame.pixels.shape[:2]
    return Look(
        frame=frame.number,
        captured_boot_ns=frame.captured_boot_ns,
        width=width,
        height=height,
        capture=frame.capture_ticks,
        wait=wait,
        prepare=watch.ticks("prepare"),
        infer=watch.ticks("infer"),
        decode=watch.ticks("decode"),
        found=found,
        error=error,
    )


class Stopwatch:
    """Lap times on the boot clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.started_ns = self._last = clock.boot_ns()
        self._laps: dict[str, int] = {}

    def lap(self, name: str) -> None:
        """End the lap `name`; the next begins."""
        now = self._clock.boot_ns()
        self._laps[name] = now - self._last
        self._last = now

    def ticks(self, name: str) -> int:
        """A lap in hundredths of a millisecond; 0 for one that was not reached."""
        return round(self._laps.get(name, 0) / TICK_NS)


def _tell(failure: str, stream: str, journal: Journal) -> None:
    """Log the transition, not every frame."""
    if failure:
        log.error("stream %s: inference fails: %s", stream, failure)
        journal.event("inference_failed", failure, stream)
    else:
        log.info("stream %s: inference works again", stream)
