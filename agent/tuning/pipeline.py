"""A candidate at work: frames of a real capture process, prepared, inferred and decoded, as many at once as in `run`.

All candidates share one capture process, which goes on reading and decoding beside the model: so a thread too many
shows. A frame that is not asked for is not captured, so each candidate begins with the few that were read ahead.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from agent import sources
from agent.benching import figures
from agent.capture import Capture
from agent.capture_child import SLOTS_BESIDE
from agent.check import load_model
from agent.clock import Clock
from agent.config import Settings, StreamSettings
from agent.loop import observe
from agent.model import Looker, Model, ModelError
from agent.progress import Progress
from agent.tuned import Choice, with_choice
from agent.turns import at_once

_CAMERA_S = 15.0
_OUT_OF_THREE = 3


class Unfit(Exception):
    """Raised when a candidate cannot work here; says why."""


class Broken(Exception):
    """Raised when the source gives no frames; says why."""


class Frames:
    """One capture process for all candidates.

    Args:
        source: Of frames; must not end.
        hands: Frames that are taken at the same time at most.
    """

    def __init__(self, source: sources.Resolved, hands: int) -> None:
        self.ahead = hands + SLOTS_BESIDE
        self._problem = ""
        self._taking = threading.Lock()
        self._capture = Capture(
            "tune",
            source,
            None,
            Progress.in_memory(["tune"]),
            Clock(),
            deadline_s=_CAMERA_S,
            open_deadline_s=_CAMERA_S,
            hands=hands,
            on_event=self._hear,
        )

    def __enter__(self) -> "Frames":  # noqa: PYI034  # Self needs Python 3.11
        """Start it."""
        self._capture.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._capture.__exit__(None, None, None)

    def look(self, looker: Looker, clock: Clock) -> str:
        """Take a frame and look at it; the error, or nothing.

        Raises:
            Broken: There is none.
        """
        with self._taking:
            frame = self._capture.take() if self._capture.wait() else None
        if frame is None:
            raise Broken(f"the source gives no frame: {self._problem or 'it ended'}")
        try:
            return observe(frame, looker, clock).error
        finally:
            frame.release()

    def _hear(self, event: str, detail: str) -> None:
        if event in {"camera_lost", "camera_stalled"}:
            self._problem = detail
            self._capture.stop()


class Pipeline:
    """A candidate, loaded.

    Args:
        choice: How to run the model.
        settings: Everything else.
        stream: Its model.
        frames: Shared by all candidates.

    Raises:
        Unfit: It cannot be run so.
    """

    def __init__(self, choice: Choice, settings: Settings, stream: StreamSettings, frames: Frames) -> None:
        self.model = loaded(choice, settings, stream)
        self.hands = at_once(self.model.provider, choice.threads, settings.looks)
        self._frames = frames
        self._lookers = [self.model.looker() for _ in range(self.hands)]

    def fps(self, seconds: float) -> float:
        """Work for `seconds`, and until enough frames are done: frames a second.

        Raises:
            Unfit: The model fails on a frame.
            Broken: The source gives none.
        """
        stamps: list[float] = []
        faults: list[Exception] = []
        until = time.perf_counter() + seconds
        least = 2 * self.hands + 1

        def work(looker: Looker) -> None:
            clock = Clock()
            try:
                while not faults and (time.perf_counter() < until or len(stamps) < least):
                    if error := self._frames.look(looker, clock):
                        raise Unfit(f"it fails on a frame: {error}")  # noqa: TRY301  # handed over below
                    stamps.append(time.perf_counter())
            except Exception as fault:  # noqa: BLE001  # raised again below
                faults.append(fault)

        _together([partial(work, looker) for looker in self._lookers])
        if faults:
            raise faults[0]
        ahead = self._frames.ahead
        stamps.sort()
        return figures.rate(stamps[ahead:] if len(stamps) > _OUT_OF_THREE * ahead else stamps, self.hands)


def loaded(choice: Choice, settings: Settings, stream: StreamSettings) -> Model:
    """The model as a candidate would run it.

    Raises:
        Unfit: It cannot be run so.
    """
    try:
        return load_model(with_choice(settings, choice), stream, Path())
    except ModelError as error:
        raise Unfit(str(error)) from error


def _together(works: Sequence[Callable[[], None]]) -> None:
    """Do all of it at the same time; the last here, as `run` does."""
    threads = [threading.Thread(target=work, daemon=True) for work in works[1:]]
    for thread in threads:
        thread.start()
    works[0]()
    for thread in threads:
        thread.join()
