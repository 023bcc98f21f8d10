"""Cells of the grids that anchor-free families predict from, level by level and row by row."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def grid(width: int, height: int, levels: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[cells, 2] column and row of each cell, and [cells] its stride, for a tensor of `width` by `height`."""
    places, strides = [], []
    for stride in levels:
        rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)]
        places.append(np.stack((columns.ravel(), rows.ravel()), axis=1))
        strides.append(np.full(columns.size, stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)
