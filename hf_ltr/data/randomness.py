"""
Random numbers that belong to the data and not to the process.

Every random draw about an image (crop offsets, flips, masks, gates) is a pure function of `(seed, epoch, row,
occurrence)`. The last three are packed into one int64, the *key* of a drawn row, which travels through the data loader
in place of the bare row number. The draws come from a counter-based generator: no state, hence nothing to save on
resume, nothing to synchronise between processes, and the same numbers whether a batch is made by the training process,
by a worker, or on a GPU.

The generator is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
OOPSLA 2014) evaluated at explicit counters, in wrapping int64 arithmetic: `+`, `*`, `^` and masked shifts are exact
and identical on CPU and CUDA, so the numbers are bit-equal on all devices.

Layout of a key (bit 63, the sign, is 0 for rows and 1 for padding rows, see `batches.py`):

    62 ........ 48 | 47 ........ 32 | 31 ........ 0
       epoch       |   occurrence   |     row
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

ROW_BITS = 32
OCCURRENCE_BITS = 16
EPOCH_BITS = 15
MAX_ROWS = 1 << ROW_BITS
MAX_OCCURRENCES = 1 << OCCURRENCE_BITS
MAX_EPOCHS = 1 << EPOCH_BITS
KEY_MASK = (1 << 63) - 1
PADDING_FLAG = -(1 << 63)

# One stream per purpose; a view adds its index (0..255), so that views differ and purposes never share draws.
STREAM_AUGMENTATION = 1 << 8
STREAM_POLICY = 2 << 8
STREAM_GATE = 4 << 8

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = 0x94D049BB133111EB
_MASK64 = (1 << 64) - 1

Keys = TypeVar("Keys", int, np.ndarray, torch.Tensor)


def pack_keys(epoch: int, occurrence: Keys, row: Keys) -> Keys:
    """
    Pack `(epoch, occurrence, row)` into keys: `epoch << 48 | occurrence << 32 | row`.

    Args:
        epoch (`int`): 0 .. 32,767.
        occurrence: How often the row has already been drawn in this epoch; kept modulo 65,536 (only a sampler that
            draws one image more often than that would see a draw repeated, which harms nothing).
        row: Row of the dataset, below 2**32. `int`, int64 numpy array or int64 tensor, as `occurrence`.

    Returns:
        Keys of the type and shape of `row`.

    Raises:
        ValueError: for an epoch or (numpy and int only: a tensor may live on a GPU and is not read) a row out of
            range.
    """
    if not 0 <= int(epoch) < MAX_EPOCHS:
        raise ValueError(
            f"epoch {epoch} cannot be part of a key: epochs must lie in 0..{MAX_EPOCHS - 1}. "
            "Make an epoch longer (a sampler's `num_samples`) to train for more steps."
        )
    if not isinstance(row, torch.Tensor) and np.size(row) and not 0 <= np.min(row) <= np.max(row) < MAX_ROWS:
        raise ValueError(f"rows must lie in 0..{MAX_ROWS - 1}, got {np.min(row)}..{np.max(row)}")
    return (int(epoch) << 48) | ((occurrence & (MAX_OCCURRENCES - 1)) << 32) | row


def rows_of(keys: Keys) -> Keys:
    """The dataset rows of keys."""
    return keys & (MAX_ROWS - 1)


def is_padding(keys: Keys) -> Keys:
    """True where a key stands for a padding row (weight 0), see `GlobalBatchSampler`."""
    return keys < 0


def stable_argsort(values: np.ndarray) -> np.ndarray:
    """
    Stable argsort of non-negative integers by radix passes over 16-bit digits: numpy sorts uint16 in linear time,
    which makes this several times faster than `np.argsort(values, kind="stable")` on int64, with the same result.
    """
    order = np.argsort(values.astype(np.uint16), kind="stable")  # the cast keeps the lowest 16 bits
    largest = int(values.max()) if len(values) else 0
    for shift in range(16, largest.bit_length(), 16):
        digit = (values >> shift).astype(np.uint16)
        order = order[np.argsort(digit[order], kind="stable")]
    return order


def occurrences(rows: np.ndarray) -> np.ndarray:
    """
    For each position, how often the same value appeared at earlier positions.

    Args:
        rows (`np.ndarray` int64 `(N,)`): non-negative.

    Returns:
        `np.ndarray` int64 `(N,)`; `[3, 5, 3, 3]` gives `[0, 0, 1, 2]`.
    """
    result = np.zeros(len(rows), dtype=np.int64)
    if len(rows) == 0 or int(np.bincount(rows).max()) == 1:
        return result
    order = stable_argsort(rows)
    ordered = rows[order]
    steps = np.arange(len(rows))
    run_starts = np.zeros(len(rows), dtype=np.int64)
    np.copyto(run_starts[1:], steps[1:], where=ordered[1:] != ordered[:-1])
    steps -= np.maximum.accumulate(run_starts, out=run_starts)
    result[order] = steps
    return result


def _signed(value: int) -> int:
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


def _finalise_int(value: int) -> int:
    value &= _MASK64
    value = ((value ^ (value >> 30)) * _MULTIPLIER_1) & _MASK64
    value = ((value ^ (value >> 27)) * _MULTIPLIER_2) & _MASK64
    return value ^ (value >> 31)


def _finalise(value: torch.Tensor) -> torch.Tensor:
    # `>>` on int64 is arithmetic: the mask removes the copies of the sign bit, which makes it a logical shift.
    value = (value ^ ((value >> 30) & ((1 << 34) - 1))) * _signed(_MULTIPLIER_1)
    value = (value ^ ((value >> 27) & ((1 << 37) - 1))) * _signed(_MULTIPLIER_2)
    return value ^ ((value >> 31) & ((1 << 33) - 1))


def hash_integers(*values: int) -> int:
    """Mix Python integers of any size and sign into one unsigned 64-bit integer (order matters)."""
    state = 0
    for value in values:
        value = int(value)
        while True:
            state = _finalise_int((state ^ (value & _MASK64)) + _GOLDEN)
            value >>= 64
            if value in (0, -1):
                break
    return state


def bits(keys: torch.Tensor, seed: int, stream: int, counters: int | torch.Tensor) -> torch.Tensor:
    """
    64 random bits per key and counter.

    Args:
        keys (`torch.Tensor` int64 `(B,)`): On any device.
        seed (`int`): The run's seed.
        stream (`int`): What the draw is for: one of the `STREAM_*` constants plus a view index.
        counters: `int` n for the counters 0..n-1, or an int64 tensor `(n,)` of counters on the device of `keys`.

    Returns:
        `torch.Tensor` int64 `(B, n)`. Draw `(key, counter)` depends on nothing else: not on B, n or the device.
    """
    if not isinstance(counters, torch.Tensor):
        counters = torch.arange(counters, dtype=torch.int64, device=keys.device)
    golden = _signed(_GOLDEN)
    salt = _signed(hash_integers(seed, stream))
    state = _finalise(((keys & KEY_MASK) + 1) * golden ^ salt)
    return _finalise(state[:, None] + (counters + 1) * golden)


def uniform(keys: torch.Tensor, seed: int, stream: int, count: int | torch.Tensor) -> torch.Tensor:
    """
    Uniform numbers in [0, 1), multiples of 2**-24, float32 `(B, count)`. Arguments as in `bits`.
    """
    return ((bits(keys, seed, stream, count) >> 40) & ((1 << 24) - 1)).to(torch.float32) * 2.0**-24
