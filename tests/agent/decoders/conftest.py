"""Graphs of several outputs, or inputs, without a file."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.decoders import Graph, Port


def _outputs_of(
    *,
    size: tuple[int, int] = (64, 64),
    beside: Sequence[str] = (),
    metadata: dict[str, str] | None = None,
    dtype: str = "float32",
    shape: tuple[int, ...] | None = None,
    **outputs: NDArray[np.generic],
) -> Graph:
    """A graph that gives `outputs` for zeros of `size`, and takes a pair for each of `beside`."""
    inputs = (
        Port("images", dtype, shape or (1, 3, size[1], size[0])),
        *(Port(name, "int64", (1, 2)) for name in beside),
    )
    ports = tuple(Port(name, str(values.dtype), values.shape) for name, values in outputs.items())
    return Graph(inputs, ports, metadata or {}, tuple(outputs.values()))


@pytest.fixture
def outputs_of() -> Callable[..., Graph]:
    return _outputs_of
