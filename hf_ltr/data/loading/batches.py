"""
From a sampler's order to the batches of one process.

The order of an epoch is cut into *global micro-batches* of `batch_size_per_process * world_size` rows, and each
process takes its contiguous part. So one process with batch 16 and two processes with batch 8 see the same rows per
global batch, in the same order, and gradient accumulation only cuts the same order into more pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..randomness import MAX_ROWS, PADDING_FLAG, occurrences, pack_keys
from ..transforms.mixing import Pairing


def _check_world(world_size: int, rank: int, batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, got {batch_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in 0..world_size-1, got rank {rank} of {world_size}")


class RowSampler(Protocol):
    """What yields the rows of an epoch, and has a length."""

    def __iter__(self) -> Iterator[int]: ...

    def __len__(self) -> int: ...


class GlobalBatchSampler(Sampler[list[int]]):
    """
    Yields, for one process, lists of keys (see `randomness.py`), one list per micro-batch.

    The last global batch of an epoch may be smaller. It is split as evenly as possible, in whole pairs of neighbours
    when `batch_size_per_process` is even (only the very last row may be alone), so that rows (2i, 2i+1) stay together
    for mixup and cutmix; `pairing` decides which rows these are. A process for which nothing is left gets one repeated
    row flagged as padding (`is_padding`, weight 0): every process takes part in every step.

    It is made to be used without `accelerator.prepare`, which would shard a second time. It survives
    `accelerate.skip_first_batches` (mid-epoch resume): that wraps it in a `SkipBatchSampler`, and
    `transformers.Trainer` calls `dataloader.batch_sampler.batch_sampler.set_epoch` afterwards, which lands here.

    Args:
        sampler: Anything that yields rows and has a length. The samplers of `samplers.py` are read through
            `indices(epoch)`; of others the iterator is used, after `set_epoch` if they have it (they must then give
            the same order on every process).
        batch_size_per_process (`int`): Rows per micro-batch and process.
        world_size (`int`), rank (`int`): Processes, and which of them this is.
        drop_last (`bool`): Leave out the smaller last global batch.
        pairing ([`~hf_ltr.data.transforms.mixing.Pairing`], *optional*): Changes the order inside every
            optimiser step, for batches that are mixed. `BatchLoader.loader` sets it where it is needed.
    """

    def __init__(
        self,
        sampler: RowSampler,
        batch_size_per_process: int,
        world_size: int = 1,
        rank: int = 0,
        drop_last: bool = False,
        pairing: Pairing | None = None,
    ):
        _check_world(world_size, rank, batch_size_per_process)
        self.sampler = sampler
        self.batch_size = int(batch_size_per_process)
        self.world_size = int(world_size)
        self.rank = int(rank)
        self.drop_last = drop_last
        self.pairing = pairing
        self._epoch = 0
        if len(self) == 0:
            raise ValueError(
                f"no batch left: {len(sampler)} rows are fewer than one global batch of "
                f"{self.batch_size} x {self.world_size} and drop_last is set"
            )

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration. The sampler's own, if it has one: there is a single truth."""
        return int(getattr(self.sampler, "epoch", self._epoch))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; forwarded to the sampler."""
        self._epoch = int(epoch)
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def keys(self, epoch: int | None = None) -> np.ndarray:
        """The keys of a whole epoch over all processes, int64 `(N,)`, without padding."""
        epoch = self.epoch if epoch is None else epoch
        if hasattr(self.sampler, "indices"):
            rows = np.asarray(self.sampler.indices(epoch), dtype=np.int64)
        else:
            rows = np.fromiter(iter(self.sampler), dtype=np.int64)
        keys = pack_keys(epoch, occurrences(rows), rows)
        return keys if self.pairing is None else keys[self.pairing.order(len(keys), epoch)]

    def __iter__(self) -> Iterator[list[int]]:
        keys = self.keys()
        whole = self.batch_size * self.world_size
        for batch in range(len(self)):
            first = batch * whole
            count = min(whole, len(keys) - first)
            start, stop = self._part(count)
            if start < stop:
                yield keys[first + start : first + stop].tolist()
            else:
                yield [int(keys[first]) + PADDING_FLAG]

    def _part(self, count: int) -> tuple[int, int]:
        """Which of the `count` rows of a global batch are this process's."""
        if count == self.batch_size * self.world_size:
            return self.rank * self.batch_size, (self.rank + 1) * self.batch_size
        unit = 2 if self.batch_size % 2 == 0 else 1
        units = -(-count // unit)
        start, stop = (r * units // self.world_size * unit for r in (self.rank, self.rank + 1))
        return min(start, count), min(stop, count)

    def __len__(self) -> int:
        whole = self.batch_size * self.world_size
        return len(self.sampler) // whole if self.drop_last else -(-len(self.sampler) // whole)


class SequentialShards(Sampler[list[int]]):
    """
    For evaluation: every row once, in order. Each process gets a contiguous shard in batches of fixed size (the last
    one smaller); nothing is repeated, so processes may have different numbers of batches, and results may simply be
    concatenated in the order of ranks. A collective operation per batch would hang: reduce once, at the end.

    Args:
        num_rows (`int`): Length of the dataset.
        batch_size (`int`): Rows per batch and process.
        world_size (`int`), rank (`int`): Processes, and which of them this is.
    """

    def __init__(self, num_rows: int, batch_size: int, world_size: int = 1, rank: int = 0):
        _check_world(world_size, rank, batch_size)
        if not 0 <= num_rows < MAX_ROWS:
            raise ValueError(f"num_rows must lie in 0..{MAX_ROWS - 1}, got {num_rows}")
        self.num_rows = int(num_rows)
        self.batch_size = int(batch_size)
        self.start, self.stop = (r * self.num_rows // world_size for r in (rank, rank + 1))

    def __iter__(self) -> Iterator[list[int]]:
        # In epoch 0 and at the first occurrence, the key of a row is the row.
        for first in range(self.start, self.stop, self.batch_size):
            yield list(range(first, min(first + self.batch_size, self.stop)))

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // self.batch_size)


def _identity(batch: Any) -> Any:
    return batch


class KeyedDataLoader(DataLoader):
    """
    A `DataLoader` over a dataset whose `__getitems__(keys)` returns a ready batch.

    It differs from its base in two ways. `set_epoch` reaches the batch sampler. And it owns its generator: opening an
    iterator of a stock loader draws a base seed from the global generator, so that one evaluation more or less would
    change a training run; here no global random state is read or changed.

    Args:
        dataset: With `__len__` and `__getitems__(list of keys) -> batch`.
        batch_sampler: `GlobalBatchSampler` or `SequentialShards`.
        **options: Passed on (`num_workers`, `pin_memory`, `prefetch_factor`, `persistent_workers`, ...).
    """

    # The `BatchLoader` that made this loader, which prepares its raw batches.
    batch_loader: Any = None

    def __init__(self, dataset: Dataset, batch_sampler: Sampler[list[int]], **options: Any):
        options.setdefault("collate_fn", _identity)
        options.setdefault("generator", torch.Generator().manual_seed(0))
        super().__init__(dataset, batch_sampler=batch_sampler, **options)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        set_epoch = getattr(self.batch_sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
