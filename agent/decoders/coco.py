"""COCO's two numberings: 80 classes from 0, and the categories of its annotations, 1 to 90 with gaps."""

import numpy as np
from numpy.typing import NDArray

COCO_91 = 91
"""Scores of a model that counts in categories: those 90, and 0, which is none."""

GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Categories that COCO never used."""

CATEGORIES = np.array([category for category in range(1, COCO_91) if category not in GAPS])
"""[80] category of each class."""


def coco_80(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, 91] by category to [n, 80] by class."""
    return values[:, CATEGORIES]


def class_of(categories: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n] class of each category from 1 to 90; -1 where there is none."""
    table = np.full(COCO_91, -1, dtype=np.int64)
    table[CATEGORIES] = np.arange(len(CATEGORIES))
    inside = (categories >= 0) & (categories < COCO_91)
    return np.where(inside, table[np.where(inside, categories, 0)], -1)
