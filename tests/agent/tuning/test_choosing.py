"""A difference is worth something only where it is more than noise."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.tuned import Choice
from agent.tuning import choosing

ONE, TWO, FOUR = (Choice(threads=threads) for threads in (1, 2, 4))
SPINNING = Choice(threads=2, spinning=True)


def measured(speeds: dict[Choice, float], noise: float, seed: int, rounds: int = 9) -> dict[Choice, list[float]]:
    """Frames a second: each round has a speed of its own, and each candidate noise of its own in it."""
    dice = random.Random(seed)  # noqa: S311  # a machine's noise, not a secret
    fps: dict[Choice, list[float]] = {choice: [] for choice in speeds}
    for _ in range(rounds):
        machine = dice.uniform(0.3, 1.0)
        for choice, speed in speeds.items():
            fps[choice].append(speed * machine * dice.uniform(1 - noise, 1 + noise))
    return fps


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_who_is_clearly_the_fastest_is_chosen_on_a_machine_that_slows_down_by_two_thirds(seed: int) -> None:
    assert choosing.chosen(measured({ONE: 50, TWO: 70, SPINNING: 90, FOUR: 40}, 0.05, seed)) == SPINNING


@given(st.integers(0, 10_000), st.floats(0.2, 0.4))
@settings(max_examples=60, deadline=None)
def test_what_is_chosen_is_not_significantly_slower_than_the_fastest(seed: int, noise: float) -> None:
    rounds = measured({ONE: 60, TWO: 63, SPINNING: 65, FOUR: 66}, noise, seed)
    told = {one.choice: one for one in choosing.compared(rounds)}
    chosen = choosing.chosen(rounds)
    assert told[chosen].interval[1] >= 1
    simpler = [one for one in told if choosing.simplicity(one) < choosing.simplicity(chosen)]
    assert all(told[one].interval[1] < 1 for one in simpler), "each simpler one is significantly slower"


def test_of_equals_the_one_with_the_fewest_threads_wins() -> None:
    rounds = {FOUR: [50.0, 51, 50, 52, 50], SPINNING: [50.5, 50, 51, 50, 52], ONE: [50.0, 51, 50, 51, 51]}
    assert choosing.chosen(rounds) == ONE


def test_of_equals_with_as_many_threads_the_usual_one_wins() -> None:
    equals = [SPINNING, Choice(threads=2, optimisation="basic"), Choice("CUDAExecutionProvider", 2), TWO]
    assert choosing.chosen({choice: [50.0, 51, 50] for choice in equals}) == TWO


def test_the_fastest_is_told_first_with_a_ratio_of_one() -> None:
    told = choosing.compared({ONE: [40.0, 42, 41], TWO: [80.0, 84, 82]})
    assert [(one.choice, one.ratio, one.interval, one.rounds) for one in told] == [
        (TWO, 1.0, (1.0, 1.0), 3),
        (ONE, 0.5, (0.5, 0.5), 3),
    ]


def test_the_better_half_goes_on_and_whoever_ties_with_its_last() -> None:
    rounds = {ONE: [50.0, 60], TWO: [51.0, 59], SPINNING: [90.0, 99], FOUR: [20.0, 25]}
    assert choosing.survivors(rounds, 2) == [SPINNING, TWO, ONE]
    assert choosing.survivors(rounds, 4) == [SPINNING, TWO, ONE, FOUR]


def test_nobody_is_faster_than_the_fastest_where_there_is_such_a_one() -> None:
    rounds = {ONE: [50.0, 20, 80, 50, 51], TWO: [55.0, 10, 81, 52, 53]}
    assert choosing.fastest(rounds) == TWO
    assert all(one.ratio <= 1 for one in choosing.compared(rounds))


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_machine_that_rests_is_not_called_busy(seed: int) -> None:
    speeds = {ONE: 50.0, TWO: 50.0}
    assert not choosing.is_noisy(choosing.compared(measured(speeds, 0.05, seed)))


def test_a_busy_machine_is_called_so() -> None:
    assert choosing.is_noisy(choosing.compared({ONE: [50.0, 20, 80, 90, 30], TWO: [55.0, 90, 31, 52, 93]}))
