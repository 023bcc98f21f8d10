"""Record once, cut many times."""

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.powercuts import collector_judge, outbox_judge
from tests.faults.powercuts.disk import Disk
from tests.faults.powercuts.recording import Mark, Op, record

ROOT = Path(__file__).resolve().parents[3]
_MEMORY = Path("/dev/shm")  # noqa: S108  # folders with names that nobody can guess are made in it


class Subject(NamedTuple):
    """Whose files they are.

    Attributes:
        life: Module that is recorded.
        known: From the marks of the recording, and how many of them came before the cut, what was promised.
        problems: Opens what a cut left, and says what is wrong.
        share: Of all cuts, in percent.
    """

    life: str
    known: Callable[[Sequence[Sequence[object]], int], Any]
    problems: Callable[[Path, Any], Iterator[str]]
    share: int


SUBJECTS = {
    "device": Subject("outbox_life", outbox_judge.known, outbox_judge.problems, 80),
    "collector": Subject("collector_life", collector_judge.known, collector_judge.problems, 20),
}


class Recorded(NamedTuple):
    """A recording: of whom, in which folder, what happened."""

    name: str
    folder: str
    ops: list[Op]


class Outcome(NamedTuple):
    """Cuts that were made, those that met something unsynced, and what was wrong after them."""

    cuts: int
    unsure: int
    problems: Counter[str]


def recorded(name: str, seed: int, *arguments: str) -> Recorded:
    """Let a subject live, and record it."""
    with tempfile.TemporaryDirectory(dir=_fast()) as folder:
        home = Path(folder).resolve() / "home"
        home.mkdir()
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests/plugins")])
        life = f"tests.faults.powercuts.{SUBJECTS[name].life}"
        ops = record([sys.executable, "-m", life, str(home), str(seed), *arguments], home)
        return Recorded(name, str(home), ops)


def cut(recording: Recorded, cuts: int, seed: int) -> Outcome:
    """Cut the power at random moments, and look at what each leaves."""
    chance = random.Random(seed)
    subject = SUBJECTS[recording.name]
    said = [op.said for op in recording.ops if isinstance(op, Mark)]
    moments = Counter(chance.randrange(len(recording.ops)) for _ in range(cuts))
    problems: Counter[str] = Counter()
    disk, marks, unsure = Disk(), 0, 0
    for index, op in enumerate(recording.ops):
        disk.do(op)
        marks += isinstance(op, Mark)
        if moments[index]:
            past = subject.known(said, marks)
            unsure += moments[index] * bool(disk.unsure)
        for _ in range(moments[index]):
            problems.update(set(_one(recording, disk, past, chance)))
    return Outcome(cuts, unsure, problems)


def _one(recording: Recorded, disk: Disk, past: object, chance: random.Random) -> Iterator[str]:
    found = Path(tempfile.mkdtemp(dir=_fast()))
    try:
        disk.cut(chance, recording.folder, found)
        try:
            yield from SUBJECTS[recording.name].problems(found, past)
        except Exception as error:  # noqa: BLE001  # whatever it is, it did not start
            yield f"does not start: {type(error).__name__}: {error}"
    finally:
        shutil.rmtree(found)


def _fast() -> Path | None:
    """Memory, where the machine has such a folder: every cut is synced many times."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None
