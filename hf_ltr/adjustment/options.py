"""What can be done to a checkpoint, and its options. Imports nothing heavy: the command line reads this."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..naming import unknown_name

ADJUSTMENTS: dict[str, str] = {
    "logit_adjustment": "subtracts tau * log prior of the training set from the logits (Menon et al. 2021)",
    "pc_softmax": "replaces the training prior by a target prior in the logits (Hong et al. 2021)",
    "tau_norm": "divides each class vector by its norm to the power tau, no bias (Kang et al. 2020)",
    "ncm": "classifies by the nearest mean feature of the training images (Kang et al. 2020, un-normalised)",
    "crt": "trains a new linear classifier on class-balanced batches of features (Kang et al. 2020)",
    "lws": "trains one factor per class on class-balanced batches of features (Kang et al. 2020)",
}
# Those with a strength, and the values that are tried on the validation split.
TAUS: dict[str, tuple[float, ...]] = {
    "logit_adjustment": tuple(round(0.1 * step, 1) for step in range(21)),
    "tau_norm": tuple(round(0.1 * step, 1) for step in range(21)),
}
DEFAULT_TAU = 1.0
# Those that look at the training images, not only at how many there are.
READS_TRAINING_IMAGES = ("ncm", "crt", "lws")
_EPOCHS = {"crt": 10, "lws": 5}


@dataclass
class RetrainingOptions:
    """
    How `crt` and `lws` train on cached features.

    Defaults are those of Kang et al. 2020 for ImageNet-LT (facebookresearch/classifier-balancing): SGD, learning rate
    0.2, momentum 0.9, weight decay 5e-4, batches of 512, cosine to zero over 10 epochs (`crt`) or 5 (`lws`),
    class-aware sampling. Two things differ. Features are those of the evaluation transform, computed once, in place of
    augmented ones. And the schedule is scaled to the data: there are at least `min_steps` steps (the published 10
    epochs of ImageNet-LT are 2,260; those of a set with a thousand images would be 20), and where features are longer
    than those of the published networks, mean squared norm above 512, the learning rate of `crt` shrinks in inverse
    proportion, without which plain SGD oscillates.

    Args:
        epochs (`float`, *optional*): Passes over as many rows as the training set has.
        learning_rate (`float`, defaults to 0.2): Of the first step.
        batch_size (`int`, defaults to 512): Rows per step.
        momentum (`float`, defaults to 0.9)
        weight_decay (`float`, defaults to 5e-4): Of everything that is trained.
        sampler (`str`, defaults to `"class_aware"`): A name in `SAMPLERS`.
        min_steps (`int`, defaults to 1000): At least as many steps.
        seed (`int`, defaults to 0): Of initial weights and sampling.
    """

    epochs: float | None = None
    learning_rate: float = 0.2
    batch_size: int = 512
    momentum: float = 0.9
    weight_decay: float = 5e-4
    sampler: str = "class_aware"
    min_steps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        from ..data.samplers import SAMPLERS

        if self.sampler not in SAMPLERS:
            raise unknown_name("sampler", self.sampler, SAMPLERS)
        for name in ("learning_rate", "batch_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.epochs is not None and not self.epochs > 0:
            raise ValueError(f"epochs must be positive, not {self.epochs}")

    def steps(self, method: str, rows: int) -> int:
        """Optimizer steps for a training set of this many rows."""
        epochs = _EPOCHS[method] if self.epochs is None else self.epochs
        return max(self.min_steps, math.ceil(epochs * rows / self.batch_size))


def retraining_options(method: str, given: Mapping[str, Any], spelling: str = "{}") -> RetrainingOptions:
    """
    Those that were given, for a method that has them.

    Raises:
        `ValueError`: for another method, with the option as `spelling` writes it.
    """
    if given and method not in _EPOCHS:
        raise ValueError(f"{spelling.format(next(iter(given)))} belongs to {' and '.join(_EPOCHS)}, not to {method}")
    return RetrainingOptions(**given)


@dataclass
class AdjustmentOptions:
    """
    What to do to a checkpoint.

    Args:
        method (`str`): A name in `ADJUSTMENTS`.
        tau (`float`, *optional*): Strength of `logit_adjustment` or `tau_norm`. If not given, the best of `taus` on
            the validation split, or 1.0 where there is none.
        taus (sequence of `float`, *optional*): Values tried; 0, 0.1, ..., 2 if not given.
        retraining ([`RetrainingOptions`]): Of `crt` and `lws`.

    Raises:
        `ValueError`: for an unknown method, or an option that the method does not have.
    """

    method: str
    tau: float | None = None
    taus: Sequence[float] | None = None
    retraining: RetrainingOptions = field(default_factory=RetrainingOptions)

    def __post_init__(self) -> None:
        if self.method not in ADJUSTMENTS:
            raise unknown_name("adjustment", self.method, ADJUSTMENTS)
        if self.method not in TAUS and (self.tau is not None or self.taus is not None):
            raise ValueError(f"{self.method} has no tau; it belongs to {' and '.join(TAUS)}")
        if self.tau is not None and self.taus is not None:
            raise ValueError("Give tau, which is used as it is, or taus, which are tried on validation data, not both")
        for value in (*(self.taus or ()), *(() if self.tau is None else (self.tau,))):
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"tau must be a number that is not negative, got {value}")

    @property
    def candidates(self) -> tuple[float, ...]:
        """The values of tau to try; one if it is given."""
        return (self.tau,) if self.tau is not None else tuple(sorted(self.taus or TAUS[self.method]))
