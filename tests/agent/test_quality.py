"""Frozen, black and white pictures: named when they last, and not for what only looks like them."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from agent.quality import LOOK_S, Fault, Finding, Limits, PictureCheck, PictureFaults
from agent.sources import Pixels

LIMITS = Limits(frozen_s=60.0, blank_s=10.0)
SIZE = (270, 480)


def flat(level: int, size: tuple[int, int] = SIZE) -> Pixels:
    return np.full((*size, 3), level, np.uint8)


def noisy(seed: int = 0, middle: int = 120, size: tuple[int, int] = SIZE) -> Pixels:
    """A scene with a sensor's noise, which no second frame has again."""
    noise = np.random.default_rng(seed).normal(0, 2, (*size, 3))
    return np.clip(middle + noise, 0, 255).astype(np.uint8)


class Watch:
    """A check over made-up time: what changed, and when."""

    def __init__(self, limits: Limits = LIMITS, known: Finding | None = None) -> None:
        self.check = PictureCheck(limits, known or Finding())
        self.now = 1000.0
        self.seen: list[tuple[float, Fault]] = []
        self.finding = known or Finding()

    def show(self, picture: Callable[[int], Pixels] | Pixels, seconds: float, step_s: float = LOOK_S) -> "Watch":
        """Look at pictures for so many seconds."""
        for index in range(round(seconds / step_s)):
            pixels = picture(index) if callable(picture) else picture
            if (finding := self.check.look(pixels, self.now)) is not None:
                self.finding = finding
                self.seen.append((self.now - 1000.0, finding.fault))
            self.now += step_s
        return self

    @property
    def faults(self) -> list[Fault]:
        return [fault for _, fault in self.seen]


def test_the_same_picture_for_long_enough_is_frozen_and_a_new_one_ends_it() -> None:
    watch = Watch().show(noisy(), 59)
    assert watch.seen == []
    watch.show(noisy(), 10)
    ((at, fault),) = watch.seen
    assert fault == "frozen"
    assert 59 < at < 63
    watch.show(lambda n: noisy(n + 1), 2)
    assert watch.faults == ["frozen", ""]


def test_a_still_scene_with_a_sensors_noise_is_not_frozen() -> None:
    pictures = [noisy(seed) for seed in range(5)]
    assert Watch().show(lambda n: pictures[n % 5], 200).seen == []


def test_an_encoded_still_scene_that_repeats_between_key_frames_is_not_frozen() -> None:
    """40 s between key frames: as long as surveillance cameras with a dynamic interval make it."""
    pictures = [noisy(seed) for seed in range(6)]
    assert Watch().show(lambda n: pictures[n // 200 % 6], 240).seen == []


def test_a_clock_in_a_corner_that_the_sample_misses_shows_that_the_camera_lives() -> None:
    still = noisy()

    def with_clock(index: int) -> Pixels:
        picture = still.copy()
        picture[0, 0] = index * LOOK_S % 60
        return picture

    watch = Watch().show(with_clock, 200)
    assert watch.seen == []
    watch.show(still, 130)
    assert watch.faults == ["frozen"]
    watch.show(with_clock, 5)
    assert watch.faults == ["frozen", ""], "the whole picture is looked at once a second"


def test_one_new_picture_does_not_end_it() -> None:
    """So it is when a camera is opened again and hangs again."""
    watch = Watch().show(noisy(), 70).show(noisy(1), LOOK_S).show(noisy(), 30)
    assert watch.faults == ["frozen"]


def test_a_frozen_picture_is_known_again_by_the_next_process() -> None:
    first = Watch().show(noisy(), 70)
    assert Watch(known=first.finding).show(noisy(), 30).seen == []
    assert Watch(known=first.finding).show(lambda n: noisy(n + 1), 2).faults == [""]


def test_a_picture_in_ten_minutes_must_be_the_same_five_times() -> None:
    watch = Watch().show(noisy(), 4 * 600, step_s=600)
    assert watch.seen == []
    watch.show(noisy(), 3 * 600, step_s=600)
    assert watch.faults == ["frozen"]


def test_processes_that_see_one_picture_each_know_it_together() -> None:
    """A camera that is closed between two pictures: each process leaves its trace to the next."""
    trace, known, told = None, Finding(), []
    moving = [noisy(seed) for seed in range(50, 56)]
    shown = [*moving, *[noisy()] * 7, moving[0], noisy(), *moving, *[flat(0)] * 4, *moving]
    for index, picture in enumerate(shown):
        check = PictureCheck(LIMITS, known, trace)
        if (finding := check.look(picture, index * 600.0)) is not None:
            told.append((index, finding.fault))
        known, trace = check.found, check.trace(picture)
    assert told == [(10, "frozen"), (16, ""), (22, "black"), (26, "")]


@pytest.mark.parametrize(("level", "fault"), [(0, "black"), (18, "black"), (255, "white"), (240, "white")])
def test_a_blank_picture_is_named_and_never_called_frozen(level: int, fault: Fault) -> None:
    watch = Watch().show(flat(level), 9)
    assert watch.seen == []
    watch.show(flat(level), 300)
    assert watch.faults == [fault]
    watch.show(noisy, 9)
    assert watch.faults == [fault], "it must last to end"
    watch.show(noisy, 3)
    assert watch.faults == [fault, ""]


def test_a_lamp_in_the_night_is_no_black_picture_and_one_switched_on_for_a_moment_changes_nothing() -> None:
    lit = flat(3)
    lit[100:140, 200:240] = 200  # 1.2 % of the picture
    assert Watch().show(lit, 40).seen == []
    watch = Watch().show(flat(3), 20)
    for _ in range(5):
        watch.show(noisy, 3).show(flat(3), 15)
    assert watch.faults == ["black"]


def test_what_flickers_around_the_limit_is_told_once() -> None:
    def speckled(share: float) -> Pixels:
        picture = flat(3)
        picture.reshape(-1, 3)[:: round(1 / share)] = 90
        return picture

    pictures = [speckled(0.004), speckled(0.03)]
    watch = Watch().show(pictures[0], 20).show(lambda n: pictures[n // 60 % 2], 120)
    assert watch.faults == ["black"]


def test_from_black_to_white_without_being_well_between() -> None:
    assert Watch().show(flat(0), 20).show(flat(255), 20).faults == ["black", "white"]


def test_a_frozen_picture_that_turns_black_is_black() -> None:
    watch = Watch().show(noisy(), 70).show(flat(0), 20).show(noisy, 20)
    assert watch.faults == ["frozen", "black", ""]


@pytest.mark.parametrize("pictures", [[flat(0)], [flat(255)], [noisy()]])
def test_what_nobody_wants_to_know_is_not_looked_for(pictures: Iterable[Pixels]) -> None:
    for picture in pictures:
        assert Watch(Limits()).show(picture, 400).seen == []


def test_a_picture_of_another_size_is_a_new_one() -> None:
    sizes = [SIZE, (90, 160), (1, 1), (1, 5000), (2160, 3840)]
    pictures = [noisy(0, size=size) for size in sizes]
    assert Watch().show(lambda n: pictures[n % len(pictures)], 90).seen == []


# What the agent remembers


def test_each_fault_is_told_once_and_its_end_with_its_length() -> None:
    faults = PictureFaults(60.0)
    assert [name for name, _ in faults.note(Finding("black"), 10.0)] == ["picture_black"]
    assert [name for name, _ in faults.note(Finding("white"), 20.0)] == ["picture_white"]
    assert faults.note(Finding(), 50.0) == [("picture_well", "it was white for 30 s")]
    assert faults.note(Finding(), 60.0) == []


def test_only_a_frozen_camera_is_opened_again_and_less_often_each_time() -> None:
    faults = PictureFaults(300.0)
    assert not faults.reopen_due(0.0)
    faults.note(Finding("black"), 0.0)
    assert not faults.reopen_due(1e6)
    faults.note(Finding("frozen", 7), 0.0)
    moments = [second for second in range(0, 20_000, 10) if faults.reopen_due(float(second))]
    assert moments == [0, 600, 1800, 4200, 7800, 11_400, 15_000, 18_600]
    faults.note(Finding(), 20_000.0)
    assert not faults.reopen_due(1e6)
    faults.note(Finding("frozen", 7), 20_000.0)
    assert faults.reopen_due(20_000.0)


def test_a_fault_that_lasts_is_told_again_before_a_collector_forgets_it() -> None:
    faults = PictureFaults(300.0)
    faults.note(Finding("white"), 0.0)
    told = [(hour, event) for hour in range(25) for event in faults.remind(hour * 3600.0)]
    assert [hour for hour, _ in told] == [6, 12, 18, 24]
    assert told[0][1] == ("picture_white", "still, for 6 h")
    faults.note(Finding(), 90_000.0)
    assert faults.remind(1e6) == []
