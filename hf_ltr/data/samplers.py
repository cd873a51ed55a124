"""
Samplers for long-tailed training, for any `DataLoader`.

All of them draw one epoch as an int64 array from a generator of their own, seeded by `(seed, epoch)`: global random
states are neither read nor changed, an epoch can be drawn again after a restart (exact resume), and every process of a
distributed run draws the same order. Everything is vectorised: 437,513 rows take tens of milliseconds per epoch.

Use them directly (`DataLoader(dataset, sampler=sampler)`, with `sampler.set_epoch(epoch)` before each epoch), or
through `GlobalBatchSampler`, which shards over processes and keeps track of repeated rows.

Trap: `torch.utils.data.WeightedRandomSampler` draws from the global generator and is not restored by a mid-epoch
resume of `transformers.Trainer`; the samplers here are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from .class_counts import ClassCounts
from .labels import class_indices
from .randomness import hash_integers, occurrences, stable_argsort

Labels = Sequence[int] | np.ndarray | torch.Tensor


class LongTailSampler(Sampler[int], ABC):
    """
    Base of the samplers: holds the rows grouped by class, and the epoch.

    Args:
        labels: Class index of each row: list, numpy array or tensor.
        seed (`int`): Together with the epoch decides the order.
        num_samples (`int`, *optional*): Rows drawn per epoch; default one per row of the dataset.

    Attributes:
        counts (`np.ndarray` int64 `(C,)`): images per class, C = largest label + 1. Classes without images are never
            drawn.
        epoch (`int`): set by `set_epoch`.
    """

    def __init__(self, labels: Labels, seed: int = 0, num_samples: int | None = None):
        indices = class_indices(labels)
        if not indices.size:
            raise ValueError("labels must be one non-empty sequence of class indices")
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        self.num_rows = len(indices)
        self.num_samples = self.num_rows if num_samples is None else int(num_samples)
        self.seed = int(seed)
        self.epoch = 0
        self.counts = np.bincount(indices)
        self._by_class = stable_argsort(indices)
        self._starts = np.cumsum(self.counts) - self.counts

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = int(epoch)

    @abstractmethod
    def indices(self, epoch: int) -> np.ndarray:
        """The rows of an epoch in order, int64 `(num_samples,)`; a pure function of the epoch."""

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices(self.epoch).tolist())

    def __len__(self) -> int:
        return self.num_samples

    def _generator(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng(hash_integers(self.seed, epoch))


class InstanceSampler(LongTailSampler):
    """
    Every row equally often: a random permutation per epoch (further permutations if `num_samples` asks for more).

    Args:
        labels: As for the others, or the number of rows as an `int` (datasets without labels).
        seed, num_samples: See `LongTailSampler`.
    """

    def __init__(self, labels: Labels | int, seed: int = 0, num_samples: int | None = None):
        if isinstance(labels, int):
            labels = np.zeros(labels, dtype=np.int64)
        super().__init__(labels, seed, num_samples)

    def indices(self, epoch: int) -> np.ndarray:
        generator = self._generator(epoch)
        rounds = -(-self.num_samples // self.num_rows)
        order = [generator.permutation(self.num_rows) for _ in range(rounds)]
        return (order[0] if rounds == 1 else np.concatenate(order))[: self.num_samples]


class ClassProbabilitySampler(LongTailSampler):
    """
    Draws with replacement: first a class by `class_probabilities(epoch)`, then one of its rows uniformly.
    """

    @abstractmethod
    def class_probabilities(self, epoch: int) -> np.ndarray:
        """Probability of each class, float64 `(C,)`, summing to 1; 0 for classes without images."""

    def indices(self, epoch: int) -> np.ndarray:
        generator = self._generator(epoch)
        # Independent draws of classes = their multinomial counts in random order: C draws and one shuffle, not N
        # searches.
        drawn = generator.multinomial(self.num_samples, self.class_probabilities(epoch))
        within = generator.random(self.num_samples) * np.repeat(self.counts, drawn)
        rows = self._by_class[np.repeat(self._starts, drawn) + within.astype(np.int64)]
        generator.shuffle(rows)
        return rows

    def _power(self, exponent: float) -> np.ndarray:
        """Class probabilities proportional to `count ** exponent` over the classes with images."""
        present = self.counts > 0
        weights = np.where(present, np.maximum(self.counts, 1).astype(np.float64) ** exponent, 0.0)
        return weights / weights.sum()


class ClassBalancedSampler(ClassProbabilitySampler):
    """
    Every class equally often, with replacement: a row of class y has probability 1 / (C n_y).

    Source: Kang et al., Decoupling representation and classifier, ICLR 2020, section 3 with q = 0.
    """

    def class_probabilities(self, epoch: int) -> np.ndarray:
        return self._power(0.0)


class SquareRootSampler(ClassProbabilitySampler):
    """
    Class probability proportional to the square root of its number of images, with replacement.

    Source: Kang et al., ICLR 2020, section 3 with q = 1/2 (after Mahajan et al., ECCV 2018).
    """

    def class_probabilities(self, epoch: int) -> np.ndarray:
        return self._power(0.5)


class GroupBalancedSampler(ClassProbabilitySampler):
    """
    Every group of classes equally often, inside a group every image equally often, with replacement.

    Between instance and class balance: a network that judges the group of an image sees as many images of each, while
    the classes of a group keep their sizes (reference: one of the readings of MEM, whose paper names no sampler).

    Args:
        labels, seed, num_samples: See `LongTailSampler`.
        group_of_class (sequence of `int`, *optional*): One index per class; unset: many, medium and few of the counts
            of `labels` (thirds by cardinality where one of them is empty). Groups without images are left out.
    """

    def __init__(
        self,
        labels: Labels,
        seed: int = 0,
        num_samples: int | None = None,
        group_of_class: Sequence[int] | None = None,
    ):
        super().__init__(labels, seed, num_samples)
        default = ClassCounts(self.counts.tolist(), grouping="auto").group_of_class
        groups = default if group_of_class is None else np.asarray(group_of_class)
        if len(groups) < len(self.counts):
            raise ValueError(f"group_of_class names {len(groups)} classes, but the labels have {len(self.counts)}")
        self.group_of_class = groups[: len(self.counts)]

    def class_probabilities(self, epoch: int) -> np.ndarray:
        images = np.bincount(self.group_of_class, weights=self.counts)
        return self.counts / images[self.group_of_class].clip(min=1) / np.count_nonzero(images)


class ReverseSampler(ClassProbabilitySampler):
    """
    Class probability proportional to 1 / n_y, with replacement: rare classes most often.

    Source: Zhou et al., BBN, CVPR 2020, section 4.2 (`P_i = w_i / sum_j w_j`, `w_i = N_max / N_i`).
    """

    def class_probabilities(self, epoch: int) -> np.ndarray:
        return self._power(-1.0)


class ProgressivelyBalancedSampler(ClassProbabilitySampler):
    """
    From instance-balanced in the first epoch to class-balanced in the last, with replacement:
    `p(t) = lam(t) balanced + (1 - lam(t)) instance`.

    Source: Kang et al., ICLR 2020, equation 2. The paper has `lam = t / T`, so the last epoch T - 1 is not quite
    balanced; the released code, followed here, has `lam = np.linspace(0, 1, T)[t]`.

    Args:
        num_epochs (`int`): T. Later epochs stay balanced.
        labels, seed, num_samples: See `LongTailSampler`.
    """

    def __init__(self, labels: Labels, num_epochs: int, seed: int = 0, num_samples: int | None = None):
        super().__init__(labels, seed, num_samples)
        if num_epochs < 1:
            raise ValueError(f"num_epochs must be at least 1, got {num_epochs}")
        self.num_epochs = int(num_epochs)

    def class_probabilities(self, epoch: int) -> np.ndarray:
        progress = np.linspace(0.0, 1.0, self.num_epochs)[min(epoch, self.num_epochs - 1)]
        return progress * self._power(0.0) + (1.0 - progress) * self._power(1.0)


class ClassAwareSampler(LongTailSampler):
    """
    Goes through random permutations of the classes, `samples_per_class` images of a class in a row; the images of a
    class come in random order without repeats until all of them were used, then in a new random order.

    Source: Shen et al., Relay backpropagation, ECCV 2016; as in the code of Kang et al. (`ClassAwareSampler`,
    4 images per class). Their iterators live on from epoch to epoch; here each epoch starts afresh from `(seed,
    epoch)`, which is what makes a resume exact.

    An epoch is as many images as the dataset has rows, as in the released loops: their sampler claims (largest class x
    C) images, but `run_networks.py` of Kang et al. leaves an epoch after N / batch steps, and so does MiSLAS (one
    batch later). A whole pass of the claimed length would train 11 times as long on ImageNet-LT.

    Args:
        samples_per_class (`int`): Images of a class drawn in a row.
        labels, seed, num_samples: See `LongTailSampler`.
    """

    def __init__(self, labels: Labels, samples_per_class: int = 4, seed: int = 0, num_samples: int | None = None):
        super().__init__(labels, seed, num_samples)
        if samples_per_class < 1:
            raise ValueError(f"samples_per_class must be at least 1, got {samples_per_class}")
        self.samples_per_class = int(samples_per_class)

    def indices(self, epoch: int) -> np.ndarray:
        generator = self._generator(epoch)
        per_class = self.samples_per_class
        slots = -(-self.num_samples // per_class)
        present = np.flatnonzero(self.counts)
        rounds = -(-slots // len(present))
        slot_class = generator.permuted(np.tile(present, (rounds, 1)), axis=1).reshape(-1)[:slots]

        sequence, sequence_start = self._cycled_rows(np.bincount(slot_class, minlength=len(self.counts)), generator)
        first_draw = sequence_start[slot_class] + occurrences(slot_class) * per_class
        draws = (first_draw[:, None] + np.arange(per_class)).reshape(-1)[: self.num_samples]
        return sequence[draws]

    def _cycled_rows(
        self, slots_per_class: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Per class, enough shuffled copies of its rows one after the other; and where each class starts."""
        copies = -(-slots_per_class * self.samples_per_class // np.maximum(self.counts, 1))
        copies[self.counts == 0] = 0
        sizes = copies * self.counts
        starts = np.cumsum(sizes) - sizes
        total = int(sizes.sum())
        # Position of every entry inside its class, modulo the class's size: which of its rows it is.
        small = np.dtype(np.int32 if total < 2**31 else np.int64)  # half the memory traffic
        position = np.arange(total, dtype=small) - np.repeat(starts.astype(small), sizes)
        size = np.repeat(self.counts.astype(small), sizes)
        copy = position // size
        rows = self._by_class[np.repeat(self._starts.astype(small), sizes) + position - copy * size]
        # Shuffle everything, then sort stably by copy: random order inside every copy, without a Python loop.
        copy = copy + np.repeat((np.cumsum(copies) - copies).astype(small), sizes)
        shuffled = generator.permutation(total)
        return rows[shuffled[stable_argsort(copy[shuffled])]], starts


SAMPLERS: dict[str, type[LongTailSampler]] = {
    "instance": InstanceSampler,
    "class_balanced": ClassBalancedSampler,
    "square_root": SquareRootSampler,
    "group_balanced": GroupBalancedSampler,
    "progressively_balanced": ProgressivelyBalancedSampler,
    "class_aware": ClassAwareSampler,
    "reverse": ReverseSampler,
}


def make_sampler(
    name: str, labels: Labels, *, seed: int, num_epochs: int, group_of_class: Sequence[int] | None = None
) -> LongTailSampler:
    """A sampler of `SAMPLERS` by name, with the number of epochs, or the groups, for the one that needs them."""
    options: dict[str, Any] = {}
    if name == "progressively_balanced":
        options["num_epochs"] = num_epochs
    elif name == "group_balanced":
        options["group_of_class"] = group_of_class
    return SAMPLERS[name](labels, seed=seed, **options)
