"""Whether images use the range of values that their container has: 12 bits in a 16-bit file train as black."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import torch

from .decoding import decode_image, open_image, wide_values
from .pixel_arrays import scale_of

# An eighth of 8 bits or a quarter of 16 bits, and less, is far below: photographs of the night have a lamp in them.
_FAR_BELOW = {255: 8, 4095: 4, 65535: 4}


def used_range(item: Any) -> tuple[int, int, bool]:
    """
    `(highest value, white, whether the container says what white is)` of an image, which is decoded for it; see
    `decoding.py`.
    """
    if isinstance(item, np.ndarray | torch.Tensor):
        highest, bits = int(item.max()), item.dtype.itemsize * 8
        fixed = {8: 255, 16: 65535}.get(bits) if "uint" in str(item.dtype) else None
        return highest, fixed or scale_of(highest), fixed is not None
    image = open_image(item)
    wide = wide_values(image) if isinstance(image, PIL.Image.Image) else None
    if wide is None:
        return int(decode_image(image, 3).max()), 255, True
    values, white = wide
    highest = int(values.max())
    return highest, white or scale_of(highest), white is not None


class RangeTally:
    """Collects `used_range` of some or all images of a dataset, and says what is odd about them."""

    def __init__(self) -> None:
        # By (white, whether the container says so): number of images, highest value, the row that has it.
        self._seen: dict[tuple[int, bool], tuple[int, int, int]] = {}

    def add(self, row: int, highest: int, white: int, known: bool) -> None:
        """The range of one row."""
        number, before, first = self._seen.get((white, known), (0, -1, row))
        self._seen[white, known] = (number + 1, *max((before, first), (highest, row), key=lambda pair: pair[0]))

    def remarks(self, name: Callable[[int], str]) -> list[str]:
        """Sentences, none where all is as usual; `name` calls a row, for example `row 3 (photo.png)`."""
        found = []
        for (white, _), (number, highest, row) in sorted(self._seen.items()):
            if 0 < highest * _FAR_BELOW[white] <= white + _FAR_BELOW[white]:
                bits = white.bit_length()
                found.append(
                    f"The highest value of {number} images of {bits} bits that were looked at is {highest}, in "
                    f"{name(row)}, where white is {white}: they are nearly black to the model. Multiply the values by "
                    f"{white // highest} if {highest} is meant to be white."
                )
        narrow, broad = (self._seen.get((white, False)) for white in (255, 65535))
        if narrow and broad:
            found.append(
                f"Images of 32 bits have no white of their own: {name(broad[2])} has values up to {broad[1]} and is "
                f"read on the scale 0..65535, {name(narrow[2])} has values up to {narrow[1]} and is read on the scale "
                "0..255, which may be too bright beside the others. Convert them to 8 or 16 bits."
            )
        return found
