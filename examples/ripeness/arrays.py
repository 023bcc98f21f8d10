"""The kinds of arrays that pictures, boxes and labels are kept in."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]
Owners: TypeAlias = npt.NDArray[np.int16]
Rng: TypeAlias = np.random.Generator
