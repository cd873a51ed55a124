"""
The largest networks a config may describe. A config is a few hundred bytes from somebody else; what it asks for is
compared with these before memory is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# The largest label set in use has 21,841 classes (ImageNet-21k); face recognition reaches a few hundred thousand.
MOST_CLASSES = 1_000_000
# Pixels per side, and channels (hyperspectral sensors have some hundreds).
LARGEST_IMAGE = 4_096
MOST_CHANNELS = 1_024
# The side before a crop, which takes at least this part of it.
SMALLEST_CROP = 0.1
LARGEST_RESIZED = 10 * LARGEST_IMAGE
# Mean and inverse standard deviation of pixels on a scale of 0..1.
LARGEST_PIXEL = 1e5
# Patches of an image, or positions of a network's last map: 256 x 256.
MOST_TOKENS = 65_536
# Blocks of a network, and any of its widths.
MOST_BLOCKS = 256
WIDEST = 65_536
MOST_EXPERTS = 1_024
# Parameters of a network: of one that timm knows (the largest has seven billion), and of one described by numbers.
MOST_PARAMETERS = 10_000_000_000
MOST_OWN_PARAMETERS = 2_000_000_000
# Where a network cannot be tried out on the meta device, which costs no memory.
LARGEST_IMAGE_TRIED = 2_048
MOST_PARAMETERS_TRIED = 1_000_000_000


class TooLarge(ValueError):
    """What is described is larger than any network, and was not built."""


def check_parameters(what: str, number: float, most: int = MOST_OWN_PARAMETERS) -> None:
    """Refuse more than `most` parameters of a network, which the message calls `what`."""
    if number > most:
        raise TooLarge(
            f"{what} would have {number:.1e} parameters or more, and at most {most:.0e} are built here: "
            "check num_labels, image_size, num_channels and the sizes in backbone_kwargs, modules and "
            "masked_autoencoder"
        )


class _Counting(TorchDispatchMode):
    """Adds up what `torch.empty` and its like are asked for, before they are called."""

    def __init__(self, what: str, most: int):
        super().__init__()
        self.what, self.most, self.elements = what, most, 0

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func in _CREATION and args:
            size = args[0]
            self.elements += math.prod(size) if isinstance(size, (list, tuple)) else int(size)
            check_parameters(self.what, self.elements, self.most)
        return func(*args, **(kwargs or {}))


_CREATION = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.zeros.default,
    torch.ops.aten.ones.default,
    torch.ops.aten.full.default,
    torch.ops.aten.rand.default,
    torch.ops.aten.randn.default,
}


@contextmanager
def limited_size(what: str, most: int) -> Iterator[None]:
    """Refuse, inside, to create tensors of more than `most` elements in all, before the first that is too much."""
    with _Counting(what, most):
        yield
