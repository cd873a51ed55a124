"""How many images each class keeps: exponential and step profiles."""

from __future__ import annotations

import math

from ..naming import unknown_name

PROFILES = ("exponential", "step")


def long_tailed_counts(
    num_classes: int, largest: int, imbalance_factor: float, imbalance_type: str = "exponential"
) -> list[int]:
    """
    Images per class of an artificial long tail, class 0 being the head (kaidic/LDAM-DRW).

    Args:
        num_classes (`int`).
        largest (`int`): Images of class 0.
        imbalance_factor (`float`): Images of the first class over images of the last; at least 1.
        imbalance_type (`str`, *optional*, defaults to `"exponential"`): `int(largest * factor ** (-j / (C - 1)))` for
            class j; or `"step"`: `largest` for the first half of the classes, `int(largest / factor)` for the others.

    Returns:
        `list[int]`

    Raises:
        `ValueError`: for a factor below 1, or one so large that a class would keep no image.
    """
    if imbalance_type not in PROFILES:
        raise unknown_name("imbalance_type", imbalance_type, PROFILES)
    if not imbalance_factor >= 1 or math.isinf(imbalance_factor):
        raise ValueError(f"imbalance_factor is head over tail and must be at least 1, got {imbalance_factor}")
    if imbalance_type == "step":
        half = num_classes // 2
        counts = [largest] * half + [int(largest / imbalance_factor)] * (num_classes - half)
    else:
        # Literally the published formula, rounding of the power included: everybody's subsets come from it.
        counts = [int(largest * imbalance_factor ** (-j / max(1, num_classes - 1))) for j in range(num_classes)]
    if min(counts) < 1:
        empty = sum(count < 1 for count in counts)
        raise ValueError(
            f"With {largest} images in the largest class, imbalance_factor={imbalance_factor:g} leaves {empty} of "
            f"{num_classes} classes without an image; the factor must stay below {largest}"
        )
    return counts
