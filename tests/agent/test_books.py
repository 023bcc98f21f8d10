"""Every frame gets exactly one outcome, in batches without gaps, and windows add up to the same."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.books import DETECTIONS_IN_A_BATCH_MAX, FRAMES_IN_A_BATCH_MAX, PENDING_MAX, Book, Cut, Look, window_end
from agent.decoders import Found
from shared.records import Guess, Maker, Outcome, Run

if TYPE_CHECKING:
    from agent.dues import State

MAKER = Maker("ripeness", "1.0.0", "a" * 64, "b" * 12, 0.25, 0.45)
SECOND = 1_000_000_000
LOOKED_AT = ("ok", "failed")


def found(*detections: tuple[int, float]) -> Found:
    boxes = np.array([[64, 48, 320, 240]] * len(detections), np.float32).reshape(-1, 4)
    return Found(
        np.array([id_ for id_, _ in detections], np.int64), np.array([s for _, s in detections], np.float32), boxes
    )


def a_look(frame: int, *detections: tuple[int, float], error: str = "", width: int = 640) -> Look:
    return Look(
        frame, frame * 1_000_000, width, 480, 300, 10, 90, 5200, 20, None if error else found(*detections), error
    )


def a_book(task: str = "detect", window_s: int = 10) -> Book:
    return Book("cam0", MAKER, task, window_s, start_boot_ns=0)  # type: ignore[arg-type]  # a Task


def a_planned_book(period_s: float | None) -> Book:
    return Book("cam0", MAKER, "detect", 10, 0, period_s=period_s)


def settle(book: Book, frame: int, outcome: Outcome) -> None:
    if outcome in LOOKED_AT:
        book.look(a_look(frame, (1, 0.5), error="boom" if outcome == "failed" else ""))
    else:
        book.settle(frame, frame, outcome)


def cut(book: Book) -> Cut:
    taken = book.cut(10 * SECOND)
    assert taken is not None
    return taken


outcomes = st.sampled_from(["ok", "skipped", "gated", "unreadable", "failed"])


@given(st.lists(outcomes, min_size=1, max_size=40), st.randoms(), st.integers(1, 10))
def test_every_frame_is_handed_out_once_whatever_the_order(
    frames: list[Outcome],
    random,  # hypothesis' Random
    every: int,
) -> None:
    """Outcomes may arrive in any order, and cuts may come at any time between them."""
    book, cuts = a_book(), []
    arriving = list(enumerate(frames, start=1))
    random.shuffle(arriving)
    for count, (frame, outcome) in enumerate(arriving):
        settle(book, frame, outcome)
        if count % every == 0 and (taken := book.cut(10 * SECOND)):
            cuts.append(taken)
    if taken := book.cut(10 * SECOND):
        cuts.append(taken)

    told: list[str] = []
    for taken in cuts:
        assert taken.runs.first == len(told) + 1, "batches follow on without a gap"
        for run in taken.runs.outcomes:
            told += [run.outcome] * (run.last - run.first + 1)
    assert told == frames
    observed = [o.frame for taken in cuts for block in taken.blocks for o in block.observations]
    assert observed == [n for n, outcome in enumerate(frames, start=1) if outcome in LOOKED_AT]


@given(st.lists(outcomes, max_size=60), st.lists(st.integers(0, 30), max_size=5))
def test_windows_add_up_to_the_outcomes(frames: list[Outcome], rolls: list[int]) -> None:
    book, windows = a_book(), []
    for frame, outcome in enumerate(frames, start=1):
        settle(book, frame, outcome)
        if frame in rolls:
            windows += book.roll(frame * 10 * SECOND, None)
    windows += book.roll(10_000 * SECOND, None, end=True)
    for seconds in (10, 3600):
        total: Counter[str] = Counter()
        for _, window in windows:
            if window.seconds == seconds:
                total.update(window.outcomes)
        assert total == Counter(frames)


def test_a_frame_still_being_looked_at_holds_back_those_after_it() -> None:
    book = a_book()
    book.settle(2, 5, "skipped")
    assert book.cut(SECOND) is None
    book.look(a_look(1))
    assert cut(book).runs.outcomes == (Run("ok", 1, 1), Run("skipped", 2, 5))


def test_another_image_size_begins_another_block() -> None:
    book = a_book()
    for frame, width in ((1, 640), (2, 640), (3, 320), (4, 640)):
        book.look(a_look(frame, (0, 0.9), width=width))
    assert [(block.width, len(block.observations)) for block in cut(book).blocks] == [(640, 2), (320, 1), (640, 1)]


def test_an_observation_carries_shares_of_the_image_and_its_age() -> None:
    book = a_book()
    book.look(a_look(1, (2, 0.87654)))
    observation = cut(book).blocks[0].observations[0]
    assert observation.age == (10 * SECOND - 1_000_000) // 10_000
    detection = observation.detections[0]
    assert (detection.class_id, detection.score) == (2, 8765)
    assert (detection.x1, detection.y1, detection.x2, detection.y2) == (1000, 1000, 5000, 5000)


def test_a_classifier_tells_classes_and_counts_those_that_reach_the_threshold() -> None:
    book = a_book("classify")
    book.look(a_look(1, (3, 0.9), (1, 0.05)))
    book.look(a_look(2, (1, 0.2), (3, 0.1)))
    assert cut(book).blocks[0].observations[0].classes == (Guess(3, 9000), Guess(1, 500))
    window = book.roll(10 * SECOND, None)[0][1]
    assert window.none == 1
    assert [(c.class_id, c.frames, c.top) for c in window.classes] == [(1, 0, 1), (3, 1, 1)]


def test_a_classifiers_class_may_have_a_threshold_of_its_own() -> None:
    book = Book("cam0", MAKER, "classify", 10, start_boot_ns=0, scores={1: 0.6, 2: 0.1})
    for frame, top in enumerate([(1, 0.5), (1, 0.7), (2, 0.2), (3, 0.2), (3, 0.3)], start=1):
        book.look(a_look(frame, top))
    _, window = book.roll(10 * SECOND, None)[0]
    assert window.none == 2
    assert {count.class_id: count.frames for count in window.classes} == {1: 1, 2: 1, 3: 1}


def test_a_window_counts_classes_detections_and_frames_without_any() -> None:
    book = a_book()
    book.look(a_look(1, (2, 0.9), (2, 0.8), (0, 0.3)))
    book.look(a_look(2))
    book.look(a_look(3, error="boom"))
    ((start, window),) = book.roll(10 * SECOND, None)
    assert start == 0
    assert (window.first, window.last, window.none, window.duration) == (1, 3, 1, 1_000_000)
    assert window.outcomes == {"ok": 2, "failed": 1}
    assert [(c.class_id, c.frames, c.detections, c.top) for c in window.classes] == [(0, 1, 1, 0), (2, 1, 2, 1)]
    assert (window.histograms["score"].n, window.histograms["score"].sum) == (3, 9000 + 8000 + 3000)
    assert (window.histograms["detections"].n, window.histograms["detections"].sum) == (2, 3)
    assert window.histograms["response"].n == 3


def test_windows_end_on_whole_minutes_of_wall_time_once_it_is_known() -> None:
    assert window_end(5 * SECOND, 60, None) == 65 * SECOND
    assert window_end(5 * SECOND, 60, 1000 * SECOND) == 20 * SECOND, "1005 s ends at 1020 s"
    assert window_end(20 * SECOND, 60, 1000 * SECOND) == 80 * SECOND


def test_a_device_that_slept_gets_one_long_window_not_many_empty_ones() -> None:
    book = a_book()
    windows = [window for _, window in book.roll(3000 * SECOND, None) if window.seconds == 10]
    assert [window.duration for window in windows] == [3000 * SECOND // 10_000]


def test_too_much_that_is_not_sealed_makes_the_loop_wait() -> None:
    book = a_book()
    for frame in range(1, PENDING_MAX + 1):
        book.look(a_look(frame))
    assert not book.wait_for_room(0.01)
    cut(book)
    assert book.wait_for_room(0.01)


def test_a_batch_has_a_limit_of_frames_looked_at() -> None:
    book = a_book()
    for frame in range(1, FRAMES_IN_A_BATCH_MAX + 11):
        book.look(a_look(frame))
    assert cut(book).runs.last == FRAMES_IN_A_BATCH_MAX
    assert book.full
    assert cut(book).runs.last == FRAMES_IN_A_BATCH_MAX + 10
    assert not book.full


def test_a_batch_has_a_limit_of_detections() -> None:
    book = a_book()
    for frame in range(1, 101):
        book.look(a_look(frame, *[(0, 0.5)] * 300))
    assert cut(book).runs.last == DETECTIONS_IN_A_BATCH_MAX // 300
    assert book.full


def test_a_batch_has_a_limit_of_runs() -> None:
    book = Book("cam0", MAKER, "detect", 10, 0, runs_max=4)
    for frame in range(1, 11):
        settle(book, frame, "ok" if frame % 2 else "skipped")
    assert cut(book).runs.last == 4
    assert cut(book).runs.outcomes[0] == Run("ok", 5, 5)


def test_windows_in_the_making_are_told_as_they_stand() -> None:
    book = a_book()
    assert book.open_windows(0) == [], "nothing to keep yet"
    book.look(a_look(1, (2, 0.9)))
    minute, hour = book.open_windows(0)
    assert (minute[0], minute[1].seconds, hour[1].seconds) == (0, 10, 3600)
    assert minute[1].outcomes == {"ok": 1}
    book.look(a_look(2))
    assert minute[1].outcomes == {"ok": 1}, "what was told does not change"


def test_a_window_says_what_was_planned_and_how_long_it_slept() -> None:
    """Frames are due from waking on, one each period; the sums of the windows are those of the hour."""
    book = a_planned_book(2.0)
    changes: dict[int, State] = {0: "awake", 5: "asleep", 25: "awake", 28: "ended"}
    windows = []
    for second in range(41):
        if second in changes:
            book.switch(changes[second], second * SECOND)
        windows += [window for _, window in book.roll(second * SECOND, None)]
    assert [(window.planned, window.asleep) for window in windows] == [
        (3, 500_000),
        (0, 1_000_000),
        (2, 500_000),
        (0, 0),
    ]
    _, (_, hour) = book.roll(40 * SECOND, None, end=True)
    assert (hour.planned, hour.asleep) == (5, 2_000_000)


def test_without_a_rate_nothing_can_be_said_of_what_was_planned() -> None:
    book = a_planned_book(None)
    book.switch("awake", 0)
    assert book.roll(10 * SECOND, None)[0][1].planned is None


def test_a_camera_that_never_came_has_a_window_worth_keeping() -> None:
    book = a_planned_book(1.0)
    book.switch("awake", 0)
    assert [window.planned for _, window in book.open_windows(5 * SECOND)] == [5, 5]
