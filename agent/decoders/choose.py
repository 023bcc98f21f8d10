"""Which family a graph is of: named by the configuration, else claimed by exactly one of them."""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass

from agent.decoders import DECODERS, Decoder, Graph

TASKS = ("detect", "segment", "pose", "classify")
"""What the metadata of a file may say that it does: of masks and poses the boxes count, the rest comes beside them."""


class Unclear(ValueError):
    """Raised when no family, or more than one, fits; says what was seen and what to do."""


def choose(graph: Graph, name: str | None = None) -> tuple[Decoder, str]:
    """The decoder for `graph`, and why this one.

    Args:
        graph: What the file says of itself.
        name: The family, when the configuration names it.

    Raises:
        Unclear: With a reason that fits after the file's name.
    """
    task = graph.metadata.get("task", "detect")
    if task not in TASKS:
        raise Unclear(f"it is a model for the task {task!r}, which Vigie does not decode yet; it does {_list(TASKS)}")
    if name is not None:
        return _named(graph, name), "the configuration says so"
    claims = {family: why for family in DECODERS if (why := _class(family).claim(graph))}
    if not claims and task not in ("detect", "classify"):
        raise Unclear(f"it is a model for the task {task!r}, but not as Vigie knows them ({describe(graph)})")
    if not claims:
        raise Unclear(
            f"its family is not known from what the file says ({describe(graph)}); if it is one of {_list(DECODERS)}, "
            "name it as `decoder`"
        )
    if len(claims) > 1:
        reasons = "; ".join(f"{family}: {why}" for family, why in claims.items())
        raise Unclear(f"its family is not clear from what the file says; name it as `decoder` ({reasons})")
    family, why = claims.popitem()
    return _class(family)(graph), why


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family, weighed.

    Attributes:
        family: Its name.
        claim: Why it claims the graph; None where it does not.
        refusal: Why it cannot be the graph's even when the configuration names it; None where it can.
    """

    family: str
    claim: str | None
    refusal: str | None


def weigh(graph: Graph) -> list[Candidate]:
    """What each family makes of `graph`."""
    return [Candidate(family, _class(family).claim(graph), _refusal(graph, family)) for family in DECODERS]


def _refusal(graph: Graph, family: str) -> str | None:
    try:
        _class(family)(graph)
    except ValueError as error:
        return str(error)
    return None


def describe(graph: Graph) -> str:
    """Inputs and outputs with their shapes, in a few words."""
    ports = [f"input {port.name} {list(port.shape)}" for port in graph.inputs]
    ports += [f"output {port.name} {list(port.shape)}" for port in graph.outputs]
    return ", ".join(ports[:6]) + (", …" if len(ports) > 6 else "")  # noqa: PLR2004  # as many as fit in a sentence


def _named(graph: Graph, name: str) -> Decoder:
    if name not in DECODERS:
        raise Unclear(f"there is no decoder {name!r}; there are {_list(DECODERS)}")
    try:
        return _class(name)(graph)
    except ValueError as error:
        raise Unclear(f"it is not of the family {name!r}: {error} ({describe(graph)})") from error


def _class(family: str) -> type[Decoder]:
    module, _, attribute = DECODERS[family].partition(":")
    found: type[Decoder] = getattr(importlib.import_module(module), attribute)
    return found


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
