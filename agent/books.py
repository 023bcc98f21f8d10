"""Every frame's outcome, each exactly once, and the windows that sum the outcomes up.

Outcomes arrive out of order (a frame is skipped while the one before it is still being looked at); batches
cover frames without a gap. So a book hands out only what follows on from what it handed out before.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.decoders import Found, Task
from agent.dues import Due, Dues, State
from shared.histogram import BINS, Histogram
from shared.records import (
    SCALE,
    TICK_NS,
    Block,
    ClassCount,
    Detection,
    Guess,
    Maker,
    Observation,
    Outcome,
    Run,
    StreamRuns,
    Window,
)

FRAMES_IN_A_BATCH_MAX = 2000
DETECTIONS_IN_A_BATCH_MAX = 20_000
"""About 0.5 MB compressed, far below what one message may have (`wire.PAYLOAD_BYTES_MAX`)."""

RUNS_IN_A_BATCH_MAX = 3000
"""Of all streams together: about 90 kB of header, far below `wire.HEADER_BYTES_MAX`."""

PENDING_MAX = 5000
HOUR_S = 3600
_COUNTED = ("capture", "wait", "prepare", "infer", "decode", "response")


@dataclass(frozen=True, slots=True)
class Look:
    """One frame that was looked at: times in ticks (1/100 ms) but for `captured_boot_ns`."""

    frame: int
    captured_boot_ns: int
    width: int
    height: int
    capture: int
    wait: int
    prepare: int
    infer: int
    decode: int
    found: Found | None
    error: str = ""

    @property
    def response(self) -> int:
        """Ticks from capture to decoded result."""
        return self.wait + self.prepare + self.infer + self.decode


@dataclass(frozen=True, slots=True)
class Cut:
    """What a batch says of one stream."""

    runs: StreamRuns
    blocks: tuple[Block, ...]


@dataclass(slots=True)
class Tally:
    """One window in the making; all its values are sums."""

    seconds: int
    start_boot_ns: int
    first: int = 0
    last: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    none: int = 0
    histograms: dict[str, Histogram] = field(default_factory=lambda: {name: Histogram(BINS[name]) for name in BINS})
    frames_with: Counter[int] = field(default_factory=Counter)
    detections_of: Counter[int] = field(default_factory=Counter)
    top_of: Counter[int] = field(default_factory=Counter)
    begun: Due = field(default_factory=lambda: Due(None, 0))
    requests: Counter[int] = field(default_factory=Counter)

    def settle(self, first: int, last: int, outcome: Outcome) -> None:
        """Count frames that had an outcome."""
        self.first = min(self.first or first, first)
        self.last = max(self.last, last)
        self.outcomes[outcome] += last - first + 1

    def look(self, look: Look, scores: list[int], class_ids: list[int], threshold: int | None) -> None:
        """Count what was seen; `threshold` makes it a classifier's, where only a top class that reaches it counts."""
        for name in _COUNTED:
            self.histograms[name].add(getattr(look, name))
        if look.error:
            return
        if threshold is not None:
            self._look_classes(scores, class_ids, threshold)
            return
        self.histograms["detections"].add(len(scores))
        for score in scores:
            self.histograms["score"].add(score)
        self.detections_of.update(class_ids)
        self.frames_with.update(set(class_ids))
        if class_ids:
            self.top_of[class_ids[0]] += 1
        else:
            self.none += 1

    def _look_classes(self, scores: list[int], class_ids: list[int], threshold: int) -> None:
        if scores:
            self.histograms["score"].add(scores[0])
            self.top_of[class_ids[0]] += 1
        if scores and scores[0] >= threshold:
            self.frames_with[class_ids[0]] += 1
            self.detections_of[class_ids[0]] += 1
        else:
            self.none += 1

    def window(self, stream: str, maker: Maker, end_boot_ns: int, due: Due) -> Window:
        """The finished window, with what was due by its end; its age is set at sealing."""
        frames = None if due.frames is None or self.begun.frames is None else due.frames - self.begun.frames
        return Window(
            stream=stream,
            maker=maker,
            seconds=self.seconds,
            age=0,
            duration=max(0, end_boot_ns - self.start_boot_ns) // TICK_NS,
            first=self.first,
            last=self.last,
            outcomes=dict(self.outcomes),
            none=self.none,
            histograms={name: histogram.data() for name, histogram in self.histograms.items() if histogram.n},
            classes=tuple(
                ClassCount(id_, self.frames_with[id_], self.detections_of[id_], self.top_of[id_])
                for id_ in sorted(self.frames_with.keys() | self.top_of.keys())
            ),
            planned=frames,
            asleep=(due.asleep_ns - self.begun.asleep_ns) // TICK_NS,
            requests={str(status): count for status, count in sorted(self.requests.items())},
        )


class Book:
    """The outcomes, observations and windows of one stream in one epoch. Its methods may be called from any thread."""

    def __init__(  # all but the last are the stream's own
        self,
        stream: str,
        maker: Maker,
        task: Task,
        window_s: int,
        start_boot_ns: int,
        runs_max: int = RUNS_IN_A_BATCH_MAX,
        scores: Mapping[int, float] | None = None,
        *,
        period_s: float | None = None,
    ) -> None:
        self.stream = stream
        self.maker = maker
        self._threshold = round(maker.score * SCALE) if task == "classify" else None
        self._of_class = {id_: round(score * SCALE) for id_, score in (scores or {}).items()}
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._settled: dict[int, tuple[int, Outcome]] = {}
        self._next = 1
        self._runs_max = runs_max
        self._left_over = False
        self._looks: dict[int, Look] = {}
        self._dues = Dues(None if period_s is None else max(1, round(period_s * 1e9)))
        self._tallies = [self._tally(seconds, start_boot_ns) for seconds in sorted({window_s, HOUR_S})]

    def _tally(self, seconds: int, start_boot_ns: int) -> Tally:
        return Tally(seconds, start_boot_ns, begun=self._dues.until(start_boot_ns))

    def switch(self, state: State, boot_ns: int) -> None:
        """The stream is in this state since `boot_ns`: what is planned follows from it."""
        with self._lock:
            self._dues.switch(state, boot_ns)

    def settle(self, first: int, last: int, outcome: Outcome) -> None:
        """Book frames that were not looked at."""
        with self._lock:
            self._settle(first, last, outcome)

    def look(self, look: Look) -> None:
        """Book a frame that was looked at."""
        scores, class_ids = _integers(look.found)
        threshold = self._threshold
        if threshold is not None and class_ids:
            threshold = self._of_class.get(class_ids[0], threshold)
        with self._lock:
            self._settle(look.frame, look.frame, "failed" if look.error else "ok")
            self._looks[look.frame] = look
            for tally in self._tallies:
                tally.look(look, scores, class_ids, threshold)

    def requests(self, counts: Mapping[int, int]) -> None:
        """Count requests that a source answered, per HTTP status."""
        with self._lock:
            for tally in self._tallies:
                tally.requests.update(counts)

    def _settle(self, first: int, last: int, outcome: Outcome) -> None:
        self._settled[first] = (last, outcome)
        for tally in self._tallies:
            tally.settle(first, last, outcome)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait while too much is unsealed (a slow or full disk): live cameras then skip frames, which is booked."""
        with self._room:
            return self._room.wait_for(lambda: len(self._looks) < PENDING_MAX, timeout_s)

    @property
    def full(self) -> bool:
        """Whether more waited than the last batch took."""
        return self._left_over

    def cut(self, sealed_boot_ns: int) -> Cut | None:
        """Hand out what follows on without a gap, for one batch; None when there is nothing."""
        with self._room:
            first, runs = self._next, self._take_runs()
            if not runs:
                return None
            looks = [self._looks.pop(n) for n in range(first, self._next) if n in self._looks]
            self._room.notify_all()
        blocks = _blocks(self.stream, self.maker, looks, sealed_boot_ns, classify=self._threshold is not None)
        return Cut(StreamRuns(first, runs[-1].last, tuple(runs)), blocks)

    def _take_runs(self) -> list[Run]:
        runs: list[Run] = []
        looks = detections = 0
        while self._next in self._settled:
            look = self._looks.get(self._next)
            looks += look is not None
            detections += 0 if look is None or look.found is None else len(look.found.scores)
            if runs and (
                looks > FRAMES_IN_A_BATCH_MAX or detections > DETECTIONS_IN_A_BATCH_MAX or len(runs) >= self._runs_max
            ):
                break
            last, outcome = self._settled.pop(self._next)
            if runs and runs[-1].outcome == outcome:
                runs[-1] = Run(outcome, runs[-1].first, last)
            else:
                runs.append(Run(outcome, self._next, last))
            self._next = last + 1
        self._left_over = self._next in self._settled
        return runs

    def roll(self, now_boot_ns: int, offset_ns: int | None, *, end: bool = False) -> list[tuple[int, Window]]:
        """Close the windows that are over, or all of them at the end: (start, window) pairs.

        A window ends on a multiple of its length in wall time once that is known, so that hours and days add up.
        """
        closed = []
        with self._lock:
            for index, tally in enumerate(self._tallies):
                due = window_end(tally.start_boot_ns, tally.seconds, offset_ns)
                if now_boot_ns < due and not end:
                    continue
                # Late by many windows (a suspended device): one window ends now, not many empty ones.
                until = due if now_boot_ns < due + tally.seconds * 1_000_000_000 and not end else now_boot_ns
                closed.append((tally.start_boot_ns, self._window(tally, until, until)))
                self._tallies[index] = self._tally(tally.seconds, until)
        return closed

    def open_windows(self, now_boot_ns: int) -> list[tuple[int, Window]]:
        """The windows in the making, as they stand: (start, window) pairs, of those in which anything was."""
        with self._lock:
            windows = [(t.start_boot_ns, self._window(t, t.start_boot_ns, now_boot_ns)) for t in self._tallies]
        return [(start, w) for start, w in windows if w.last or w.planned or w.asleep or w.requests]

    def _window(self, tally: Tally, end_boot_ns: int, due_boot_ns: int) -> Window:
        return tally.window(self.stream, self.maker, end_boot_ns, self._dues.until(due_boot_ns))


def window_end(start_boot_ns: int, seconds: int, offset_ns: int | None) -> int:
    """When a window that began at `start_boot_ns` is over, in boot time (ns)."""
    length = seconds * 1_000_000_000
    if offset_ns is None:
        return start_boot_ns + length
    return start_boot_ns + length - (start_boot_ns + offset_ns) % length


def _integers(found: Found | None) -> tuple[list[int], list[int]]:
    """Scores as 1/10000, and class ids, best first."""
    if found is None:
        return [], []
    return [round(float(score) * SCALE) for score in found.scores], [int(id_) for id_ in found.class_ids]


def _blocks(stream: str, maker: Maker, looks: list[Look], sealed_boot_ns: int, *, classify: bool) -> tuple[Block, ...]:
    blocks: list[Block] = []
    start = 0
    for index in range(1, len(looks) + 1):
        here = looks[start]
        if index < len(looks) and (looks[index].width, looks[index].height) == (here.width, here.height):
            continue
        observations = tuple(observation(look, sealed_boot_ns, classify=classify) for look in looks[start:index])
        blocks.append(Block(stream, maker, here.width, here.height, observations))
        start = index
    return tuple(blocks)


def observation(look: Look, sealed_boot_ns: int, *, classify: bool) -> Observation:
    """A look as it is sent: scores and coordinates as integers of 1/10000."""
    scores, class_ids = _integers(look.found)
    detections: tuple[Detection, ...] = ()
    guesses: tuple[Guess, ...] = ()
    if classify:
        guesses = tuple(Guess(id_, score) for id_, score in zip(class_ids, scores, strict=True))
    elif look.found is not None:
        detections = tuple(
            Detection(
                id_,
                score,
                _share(box[0], look.width),
                _share(box[1], look.height),
                _share(box[2], look.width),
                _share(box[3], look.height),
            )
            for id_, score, box in zip(class_ids, scores, look.found.boxes.tolist(), strict=True)
        )
    return Observation(
        frame=look.frame,
        age=max(0, sealed_boot_ns - look.captured_boot_ns) // TICK_NS,
        capture=look.capture,
        wait=look.wait,
        prepare=look.prepare,
        infer=look.infer,
        decode=look.decode,
        detections=detections,
        classes=guesses,
        error=look.error,
    )


def _share(pixels: float, side: int) -> int:
    return min(SCALE, max(0, round(pixels / side * SCALE)))
