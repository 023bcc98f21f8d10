"""Successive halving, on candidates whose speed is known."""

import random
from collections.abc import Callable, Iterable

import pytest

from agent.tuned import Choice
from agent.tuning.pipeline import Unfit
from agent.tuning.search import Found, Plan, Search

SPEEDS = {
    Choice(threads=threads, spinning=spinning): 10.0 * threads + (3 if spinning else 0)
    for threads in (1, 2, 3, 4)
    for spinning in (False, True)
    if threads > 1 or not spinning
}
BEST = Choice(threads=4, spinning=True)


class Stable:
    """Candidates at work, and who was let go."""

    def __init__(self, speeds: dict[Choice, float], broken: Iterable[Choice] = ()) -> None:
        self.speeds = speeds
        self.broken = set(broken)
        self.loaded: list[Choice] = []
        self.gone: list[Choice] = []
        self.worked: dict[Choice, float] = {}
        self.said: list[str] = []
        self._dice = random.Random(5)  # noqa: S311  # a machine's noise, not a secret

    def enter(self, choice: Choice) -> Callable[[float], float]:
        if choice in self.broken:
            raise Unfit("it does not start")
        self.loaded.append(choice)

        def fps(seconds: float) -> float:
            self.worked[choice] = self.worked.get(choice, 0) + seconds
            return self.speeds.get(choice, 1.0) * self._dice.uniform(0.95, 1.05)

        return fps

    def search(self, variants: Callable[[Iterable[Choice]], list[Choice]] = lambda _: [], **plan: object) -> Found:
        plan_ = Plan(**{"seconds": 60.0, "seed": 1, **plan})  # type: ignore[arg-type]  # a test's own plan
        return Search(self.enter, self.gone.append, plan_, self.said.append).run(list(self.speeds), variants)


def test_the_best_is_found_and_the_slow_ones_get_less_time() -> None:
    stable = Stable(SPEEDS)
    found = stable.search()
    assert found.choice == BEST
    assert Choice() in found.decided, "what would be done without a tuning is measured to the end"
    assert stable.worked[Choice(threads=2)] < stable.worked[BEST]
    assert sum(stable.worked.values()) < 60 * 1.1
    assert set(found.out) | set(found.decided) == set(SPEEDS), "each that was tried is told"
    assert set(stable.gone) == set(found.out), "and its memory given back"


def test_an_exhaustive_search_lets_everybody_take_part_to_the_end() -> None:
    basic = Choice(optimisation="basic")
    stable = Stable(SPEEDS)
    found = stable.search(lambda _: [basic], exhaustive=True)
    assert found.choice == BEST
    assert set(found.decided) == {*SPEEDS, basic}
    assert len(set(map(len, found.decided.values()))) == 1


def test_another_level_of_optimisation_can_win() -> None:
    basic = Choice(threads=4, spinning=True, optimisation="basic")
    stable = Stable({**SPEEDS})
    stable.speeds[basic] = 99.0
    candidates = [choice for choice in stable.speeds if choice != basic]
    plan = Plan(60.0, seed=1)
    asked: list[Choice] = []

    def variants(choices: Iterable[Choice]) -> list[Choice]:
        asked.extend(choices)
        return [basic]

    found = Search(stable.enter, stable.gone.append, plan, stable.said.append).run(candidates, variants)
    assert BEST in asked
    assert found.choice == basic


def test_who_does_not_start_or_fails_later_is_told_with_the_reason() -> None:
    stable = Stable(SPEEDS, broken=[BEST])
    found = stable.search()
    assert found.choice == Choice(threads=4)
    assert found.unfit == {BEST: "it does not start"}
    assert any(line.endswith("spinning: it does not start") for line in stable.said)


def test_when_nobody_starts_the_reason_is_said() -> None:
    with pytest.raises(Unfit, match=r"^it does not start$"):
        Stable(SPEEDS, broken=SPEEDS).search()


def test_a_provider_that_needs_another_level_gets_it() -> None:
    stuck = Choice("OpenVINOExecutionProvider")
    works = Choice("OpenVINOExecutionProvider", optimisation="none")
    stable = Stable({**SPEEDS, stuck: 0.0}, broken=[stuck])
    plan = Plan(60.0, seed=1)

    def variants(choices: Iterable[Choice]) -> list[Choice]:
        stable.speeds[works] = 99.0
        return [works] if stuck in choices else []

    found = Search(stable.enter, stable.gone.append, plan, stable.said.append).run([*SPEEDS, stuck], variants)
    assert found.choice == works
