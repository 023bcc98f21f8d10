"""Graphs as decoders see them, without a file."""

from collections.abc import Mapping, Sequence

from agent.decoders import Array, Graph, Placement, Port

PLAIN = Placement(width=64, height=64, scale_x=1, scale_y=1, left=0, top=0)
"""A picture of 64x64 as it is in the tensor."""

NAMES = "{0: 'red', 1: 'green', 2: 'blue'}"


def graph(
    output: Sequence[int] | Array,
    *,
    size: tuple[int, int] = (64, 64),
    shape: Sequence[int] | None = None,
    dtype: str = "float32",
    metadata: Mapping[str, str] | None = None,
) -> Graph:
    """A graph with one input and one output.

    Args:
        output: Its shape, or what the graph gives for zeros.
        size: Width and height of the colour picture that it takes.
        shape: Of the input, where it is none of that.
        dtype: Of the input.
        metadata: Of the file.
    """
    sample = () if isinstance(output, Sequence) else (output,)
    out = tuple(output) if isinstance(output, Sequence) else output.shape
    taken = tuple(shape) if shape else (1, 3, size[1], size[0])
    return Graph((Port("images", dtype, taken),), (Port("output", "float32", out),), metadata or {}, sample)
