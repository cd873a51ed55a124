"""
Mixup and CutMix with soft targets, and label smoothing.

Who is mixed with whom: every row of an optimiser step (all micro-batches of all processes together) gets a random
partner from the other half of the step, and the two are mixed with each other; in a step of an odd number of rows the
last one stays alone. The pairs are drawn from `(seed, epoch)` when the order of the epoch is cut into batches
(`Pairing`): the two rows of a pair become neighbours, 2i and 2i+1, which every cut into even pieces leaves together.
So gradient accumulation, the number of processes and a resume change nothing, as long as the batch per device is even
(`require_even`). One lambda, drawn from `(seed, optimiser step)`, serves the whole step.

The released codes of mixup, CutMix and MiSLAS mix a batch with a random permutation of itself, timm mixes it with its
reverse; both make the partner depend on how the step was cut up. For a shuffled order the distribution of partners is
theirs, except that no row meets itself. In an order with runs of one class (the class-aware sampler draws four images
of a class in a row) the halves keep a run from being mixed with itself, as a permutation of a small batch often does.

Sources: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019; probabilities, box and smoothing as in timm's
`Mixup` in batch mode (which MAE's fine-tuning recipe uses: mixup 0.8, cutmix 1.0, switch 0.5, smoothing 0.1).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch

from ..randomness import hash_integers

# Keep these draws apart from all other uses of the seed.
_MIXING = 0x4D69780000000000
_PAIRING = 0x5061697200000000


def require_even(batch_size: int, name: str = "the batch size per device") -> None:
    """Refuse an odd batch size, by which pairs would be torn apart."""
    if batch_size % 2:
        raise ValueError(
            f"{name} is {batch_size}, but mixup and cutmix mix pairs of rows and need an even number per device: "
            f"use {batch_size + 1}, or switch mixing off"
        )


@dataclass(frozen=True)
class Pairing:
    """
    Puts the rows that are mixed with each other side by side.

    Args:
        rows_per_step (`int`): Rows of an optimiser step over all micro-batches and processes: a pair never leaves it.
        seed (`int`): The run's seed.
    """

    rows_per_step: int
    seed: int = 0

    def order(self, num_rows: int, epoch: int) -> np.ndarray:
        """
        Positions of an epoch in the order in which they are taken, int64 `(num_rows,)`; a pure function of `(seed,
        epoch)`. Every step keeps its rows; those at 2i and 2i+1 are a pair.
        """
        generator = np.random.default_rng(hash_integers(_PAIRING, self.seed, epoch))
        whole = num_rows // self.rows_per_step * self.rows_per_step
        positions = np.arange(num_rows, dtype=np.int64)
        steps = positions[:whole].reshape(-1, self.rows_per_step)
        parts = [_paired(steps, generator).reshape(-1), _paired(positions[None, whole:], generator).reshape(-1)]
        return np.concatenate(parts)


def _paired(steps: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Each line of `(steps, rows)`: its first half, every row followed by a random one of the second half."""
    half = steps.shape[1] // 2
    seconds = generator.permuted(steps[:, half : 2 * half], axis=1)
    pairs = np.stack([steps[:, :half], seconds], axis=2).reshape(len(steps), 2 * half)
    return np.concatenate([pairs, steps[:, 2 * half :]], axis=1)


def warn_of_pairs_within_classes(labels: np.ndarray) -> None:
    """
    Say so where pairs hardly ever mix two classes although the drawn rows would allow it.

    Args:
        labels (`np.ndarray` int64 `(rows,)`): Of the rows of an epoch in the order of `Pairing`.
    """
    pairs = labels[: len(labels) // 2 * 2].reshape(-1, 2)
    if not len(pairs):
        return
    mixed = float((pairs[:, 0] != pairs[:, 1]).mean())
    shares = np.bincount(labels) / len(labels)
    if mixed < 0.25 * (1.0 - float((shares**2).sum())):
        warnings.warn(
            f"Only {100 * mixed:.0f} % of the pairs that mixup and cutmix mix have two classes: the sampler draws "
            "images of one class in a row, and an optimiser step is too small to hold others. Raise the batch size "
            "or gradient_accumulation_steps.",
            stacklevel=4,
        )


def partners(batch_size: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Index of each row's partner, int64 `(B,)`: 1, 0, 3, 2, ...; a single last row is its own."""
    return (torch.arange(batch_size, device=device) ^ 1).clamp(max=batch_size - 1)


def smoothed_one_hot(labels: torch.Tensor, num_labels: int, smoothing: float = 0.0) -> torch.Tensor:
    """
    One-hot targets float32 `(B, num_labels)`; `smoothing / num_labels` off the label and the rest on it, as timm.
    """
    off = smoothing / num_labels
    targets = torch.full((len(labels), num_labels), off, dtype=torch.float32, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1.0 - smoothing + off)


@dataclass(frozen=True)
class MixingDraw:
    """
    What one optimiser step does: `weight` is the share of a row itself (its partner has the rest); `box` is (top,
    bottom, left, right) for cutmix, None for mixup.
    """

    weight: float = 1.0
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Mixing:
    """
    Mixup / CutMix / label smoothing of a batch.

    Args:
        num_labels (`int`): C.
        mixup_alpha, cutmix_alpha (`float`): Parameters of Beta(alpha, alpha); 0 switches one off.
        mix_probability (`float`): Share of optimiser steps that mix at all.
        switch_probability (`float`): Share of cutmix where both are on.
        label_smoothing (`float`): In [0, 1).
        seed (`int`): The run's seed.
    """

    num_labels: int
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_probability: float = 1.0
    switch_probability: float = 0.5
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("mixup_alpha", "cutmix_alpha"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (off) or positive, got {getattr(self, name)}")
        for name in ("mix_probability", "switch_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")

    @property
    def mixes(self) -> bool:
        """Whether rows are mixed (in some steps)."""
        return (self.mixup_alpha > 0 or self.cutmix_alpha > 0) and self.mix_probability > 0

    @property
    def active(self) -> bool:
        """Whether targets are soft."""
        return self.mixes or self.label_smoothing > 0

    def draw(self, step: int, height: int, width: int) -> MixingDraw:
        """
        The draw of an optimiser step, the same on all processes; a pure function of `(seed, step)`. For cutmix the
        weight is the share of the area that really stays (the box is clipped at the border).
        """
        generator = np.random.default_rng(hash_integers(_MIXING, self.seed, step))
        applied, switched, mixup, cutmix, row, column = (
            generator.random(),
            generator.random(),
            generator.beta(self.mixup_alpha, self.mixup_alpha) if self.mixup_alpha > 0 else 1.0,
            generator.beta(self.cutmix_alpha, self.cutmix_alpha) if self.cutmix_alpha > 0 else 1.0,
            int(generator.random() * height),
            int(generator.random() * width),
        )
        if not self.mixes or applied >= self.mix_probability:
            return MixingDraw()
        if self.cutmix_alpha == 0 or (self.mixup_alpha > 0 and switched >= self.switch_probability):
            return MixingDraw(float(mixup))
        side = math.sqrt(1.0 - cutmix)
        box_height, box_width = int(height * side), int(width * side)
        top, bottom = max(row - box_height // 2, 0), min(row + (box_height + 1) // 2, height)
        left, right = max(column - box_width // 2, 0), min(column + (box_width + 1) // 2, width)
        return MixingDraw(1.0 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right))

    def __call__(
        self, pixel_values: torch.Tensor, labels: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Mix a batch.

        Args:
            pixel_values (`torch.Tensor` float `(B, C, H, W)`)
            labels (`torch.Tensor` int64 `(B,)`)
            step (`int`): The optimiser step: the same for all its micro-batches and processes.

        Returns:
            `tuple`: pixel values, and targets float32 `(B, num_labels)`. The inputs are not changed.
        """
        targets = smoothed_one_hot(labels, self.num_labels, self.label_smoothing)
        draw = self.draw(step, *pixel_values.shape[2:])
        if draw.weight == 1.0:
            return pixel_values, targets
        partner = partners(len(labels), labels.device)
        other = pixel_values.index_select(0, partner)
        if draw.box is None:
            pixel_values = torch.lerp(other, pixel_values, draw.weight)
        else:
            top, bottom, left, right = draw.box
            pixel_values = pixel_values.clone()
            pixel_values[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        return pixel_values, torch.lerp(targets.index_select(0, partner), targets, draw.weight)
