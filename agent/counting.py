"""What counts: thresholds of single classes, by name or id, beside the one for all."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from agent.decoders import Found, Thresholds
from agent.decoders.boxes import reached

NEAR = 3
"""Names told when one is not known."""

ALL = 1_000_000
"""More detections than any model gives."""


def by_class_id(scores: Mapping[str, float], names: Sequence[str], count: int | None) -> dict[int, float]:
    """Thresholds by class id.

    Args:
        scores: By class name, else by id.
        names: Class names by class id.
        count: How many classes there are, if that is known.

    Raises:
        ValueError: A class is unknown, or named twice.
    """
    found: dict[int, float] = {}
    for key, score in scores.items():
        for class_id in _ids(key, names, count):
            if class_id in found:
                raise ValueError(f"'scores' names the class {class_id} twice, as {key!r} and otherwise")
            found[class_id] = score
    return found


def _ids(key: str, names: Sequence[str], count: int | None) -> list[int]:
    """The classes called `key`; else the one with that id."""
    if called := [class_id for class_id, name in enumerate(names) if name == key]:
        return called
    most = max(count or 0, len(names))
    if key.isdecimal() and (count is None or int(key) < most):
        return [int(key)]
    near = difflib.get_close_matches(key, names, n=NEAR, cutoff=0.5) or list(names[:NEAR])
    known = f"it has {most} classes" if most else "it names none"
    hint = f", such as {', '.join(map(repr, near))}" if near else ""
    raise ValueError(f"'scores' names the class {key!r}, which it does not have; {known}{hint}")


def with_classes(thresholds: Thresholds, by_id: Mapping[int, float]) -> Thresholds:
    """`thresholds` with the scores of single classes; what a decoder is to let through is the lowest of all."""
    table = np.full(max(by_id) + 2, thresholds.score, dtype=np.float32)
    table[list(by_id)] = list(by_id.values())
    # A detection that counts must not be displaced by better ones that do not: the limit is kept afterwards.
    return Thresholds(min(thresholds.score, *by_id.values()), thresholds.iou, ALL, table)


def counted(found: Found, thresholds: Thresholds, most: int) -> Found:
    """What reaches the threshold of its class, best first, at most `most`."""
    if thresholds.of_class is None:
        return found
    good = reached(found.scores, found.class_ids, thresholds.of_class)[:most]
    return found.take(good)
