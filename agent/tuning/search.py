"""Who is measured against whom: successive halving, in rounds whose order is drawn.

First the candidates with the usual optimisation, a short while each; the better half goes on, and so on, and what is
left tries the other levels of optimisation. The last few, and the simplest of all, are measured longest, against each
other: only those rounds decide. `exhaustive` lets everybody take part to the end.
"""

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from agent.tuned import Choice
from agent.tuning import choosing
from agent.tuning.pipeline import Unfit

FINALISTS = 4
ROUNDS_TO_HALVE = 3
LEVELS_OF = 2
ROUNDS_TO_DECIDE = 9

_LEAST_S = 0.15
_WARM_SHARE = 0.5

Contender = Callable[[float], float]
"""Works for so many seconds, and says how many frames a second that were; raises `Unfit`."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How long to search.

    Attributes:
        seconds: For everything, about.
        exhaustive: Nobody is out before the end.
        seed: Of the order.
    """

    seconds: float
    exhaustive: bool = False
    seed: int | None = None


@dataclass
class Found:
    """What the search found.

    Attributes:
        choice: The outcome.
        decided: The rounds that decided.
        unfit: Who could not take part, and why.
        out: Who was out before the end: frames a second, the median of its rounds.
    """

    choice: Choice
    decided: choosing.Rounds
    unfit: dict[Choice, str] = field(default_factory=dict)
    out: dict[Choice, float] = field(default_factory=dict)


class Search:
    """One search.

    Args:
        enter: Makes a contender of a candidate; raises `Unfit`.
        leave: Called when a candidate is out, so that its memory is given back.
        plan: How long.
        say: Gets progress, a line at a time.
    """

    def __init__(
        self, enter: Callable[[Choice], Contender], leave: Callable[[Choice], None], plan: Plan, say: Say
    ) -> None:
        self._enter = enter
        self._leave = leave
        self._plan = plan
        self._say = say
        self._dice = random.Random(plan.seed)  # noqa: S311  # an order, not a secret
        self._contenders: dict[Choice, Contender] = {}
        self._unfit: dict[Choice, str] = {}
        self._seen: dict[Choice, float] = {}

    def run(self, candidates: Sequence[Choice], variants: Callable[[Iterable[Choice]], list[Choice]]) -> Found:
        """Find the best of `candidates` and of the `variants` of the better ones.

        Raises:
            Unfit: Nobody can take part.
        """
        if self._plan.exhaustive:
            final = self._admit([*candidates, *variants(candidates)])
        else:
            final = self._finalists(candidates, variants)
        self._need(final)
        share = 1.0 if self._plan.exhaustive else 0.5
        rounds = self._measure(final, ROUNDS_TO_DECIDE, self._plan.seconds * share)
        self._need(list(rounds))
        out = {choice: fps for choice, fps in self._seen.items() if choice not in {**rounds, **self._unfit}}
        return Found(choosing.chosen(rounds), rounds, self._unfit, out)

    def _finalists(
        self, candidates: Sequence[Choice], variants: Callable[[Iterable[Choice]], list[Choice]]
    ) -> list[Choice]:
        left = self._halved(self._admit(candidates), self._plan.seconds * 0.25)
        # A provider may start with another level that does not with the usual one.
        stuck = {choice.provider: choice for choice in reversed(self._unfit)}.values()
        others = self._admit(variants([*left[:LEVELS_OF], *stuck]))
        left = self._halved([*left, *others], self._plan.seconds * 0.25)
        self._need(left)
        # It is what would be done without a tuning, so it is measured to the end, whatever came of it.
        simplest = min((one for one in self._contenders if one not in self._unfit), key=choosing.simplicity)
        final = list(dict.fromkeys([*left[:FINALISTS], simplest]))
        self._dismiss(choice for choice in left if choice not in final)
        return final

    def _halved(self, candidates: list[Choice], seconds: float) -> list[Choice]:
        """Measure and halve, until few are left; the best first."""
        while len(candidates) > FINALISTS:
            rounds = self._measure(candidates, ROUNDS_TO_HALVE, seconds / 2)
            if not rounds:
                return []
            kept = choosing.survivors(rounds, max(FINALISTS, len(rounds) // 2))
            if len(kept) >= len(candidates):
                return kept
            self._dismiss(choice for choice in rounds if choice not in kept)
            candidates = kept
        return candidates

    def _admit(self, candidates: Iterable[Choice]) -> list[Choice]:
        """Load and warm everybody who can work here."""
        admitted = []
        for choice in candidates:
            self._say(f"loading {choice}")
            try:
                contender = self._contenders[choice] = self._enter(choice)
                contender(_LEAST_S)
            except Unfit as error:
                self._drop(choice, str(error))
            else:
                admitted.append(choice)
        return admitted

    def _measure(self, candidates: Sequence[Choice], rounds: int, seconds: float) -> dict[Choice, list[float]]:
        """Frames a second of each in each round; who fails is out, with all of its rounds."""
        each_s = max(_LEAST_S, seconds / max(1, rounds * len(candidates)))
        fps: dict[Choice, list[float]] = {choice: [] for choice in candidates}
        for number in range(1, rounds + 1):
            order = list(fps)
            self._dice.shuffle(order)
            for choice in order:
                if not self._works(choice, each_s, fps[choice]):
                    del fps[choice]
            self._say(f"round {number} of {rounds}, {len(fps)} candidate(s), {each_s:.1f} s each")
        self._seen |= {choice: statistics.median(values) for choice, values in fps.items()}
        return fps

    def _works(self, choice: Choice, seconds: float, fps: list[float]) -> bool:
        try:
            fps.append(self._contenders[choice](seconds))
        except Unfit as error:
            self._drop(choice, str(error))
            return False
        return True

    def _dismiss(self, choices: Iterable[Choice]) -> None:
        simplest = min(self._contenders, key=choosing.simplicity)
        for choice in choices:
            if choice != simplest:
                self._contenders.pop(choice, None)
                self._leave(choice)

    def _drop(self, choice: Choice, why: str) -> None:
        self._unfit[choice] = why
        self._contenders.pop(choice, None)
        self._leave(choice)
        self._say(f"{choice}: {why}")

    def _need(self, candidates: Sequence[Choice]) -> None:
        if not candidates:
            raise Unfit("; ".join(dict.fromkeys(self._unfit.values())) or "there is nothing to try")
