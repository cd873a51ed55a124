"""Digits-LT: scikit-learn's real 8x8 digits, embedded in that library, so that everything runs without a network."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PillowImage

TEST_PER_CLASS = 40
VALIDATION_PER_CLASS = 10
LARGEST = 124
# The three parts are always the same, whatever is asked of the training part.
_SPLIT_SEED = 0


def load_digits_splits() -> dict[str, Any]:
    """
    The balanced pool: per class 40 test, 10 validation and up to 124 training images (the smallest class has 174 in
    all).

    Returns:
        `dict[str, datasets.Dataset]`: `train` (1,240 rows), `validation` (100), `test` (400); grayscale 8x8 images,
        the 17 levels of the source spread over 0..255; classes in numeric order.
    """
    from sklearn.datasets import load_digits  # a second, which only these images are worth

    source = load_digits()
    pixels = np.round(source.images * (255 / 16)).astype(np.uint8)
    generator = np.random.default_rng(_SPLIT_SEED)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for label in range(10):
        rows = generator.permutation(np.flatnonzero(source.target == label)).tolist()
        parts["test"] += rows[:TEST_PER_CLASS]
        parts["validation"] += rows[TEST_PER_CLASS : TEST_PER_CLASS + VALIDATION_PER_CLASS]
        parts["train"] += rows[TEST_PER_CLASS + VALIDATION_PER_CLASS :][:LARGEST]
    names = [str(label) for label in range(10)]
    features = Features({"image": Image(), "label": ClassLabel(names=names), "source_row": Value("int32")})
    return {
        name: Dataset.from_dict(
            {
                "image": [PillowImage.fromarray(pixels[row]) for row in rows],
                "label": source.target[rows].tolist(),
                "source_row": rows,
            },
            features=features,
        )
        for name, rows in parts.items()
    }
