"""The one place that takes a class prior out of logits, for models and for whoever folds the change into a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..naming import some
from ..validation import choice, mapping, number, sequence

# Logits with a stronger adjustment overflow.
_STRONGEST_TAU = 1e6


def prior_offset(
    remove: Sequence[float] | None = None, add: Sequence[float] | None = None, tau: float = 1.0
) -> Tensor:
    """
    What inference adds to the logits of a classifier that learned one class prior and is used under another:
    `-tau * log p_remove + log p_add`.

    With `remove` alone this is post-hoc logit adjustment (Menon et al., "Long-Tail Learning via Logit Adjustment",
    ICLR 2021, section 4.1); with `tau=1` and both it is PC softmax (Hong et al., "Disentangling Label Distribution for
    Long-Tailed Visual Recognition", CVPR 2021). Losses that add a prior during training need none of it.

    Args:
        remove (sequence of numbers of length `C`, *optional*): The prior the model was trained under: training counts
            or shares.
        add (sequence of numbers of length `C`, *optional*): The prior it is used under; uniform if not given, for
            which nothing has to be added.
        tau (`float`, *optional*, defaults to 1.0): Strength of the removal.

    Returns:
        `Tensor`: float64 on the CPU, of shape `(C,)`; of shape `()` and zero if neither prior is given.

    Raises:
        `ValueError`: naming the classes whose share is not a positive number.
    """
    offset = torch.zeros((), dtype=torch.float64, device="cpu")
    if remove is not None:
        offset = offset - tau * _log_prior(remove, "remove")
    if add is not None:
        offset = offset + _log_prior(add, "add")
    return offset


def same_prior(first: Sequence[float] | None, second: Sequence[float] | None) -> bool:
    """Whether two priors are one, counts and shares being equal ways to write it."""
    if first is None or second is None:
        return first is second
    if len(first) != len(second) or not sum(first) or not sum(second):
        return False
    return bool(np.allclose(np.asarray(first) / sum(first), np.asarray(second) / sum(second), rtol=1e-6, atol=0))


def _log_prior(values: Sequence[float], name: str) -> Tensor:
    # On the CPU also where a model is being built on the meta device.
    shares = torch.as_tensor(list(values), dtype=torch.float64, device="cpu")
    bad = (~(shares > 0) | torch.isinf(shares)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"The prior to {name} must be positive for every class, but is not for class {some(bad)}: its logarithm "
            "does not exist. Leave such classes out of the label set, or give them a small positive prior."
        )
    return (shares / shares.sum()).log()


def check_logit_adjustment(
    adjustment: Mapping[str, Any], num_labels: int, class_names: Callable[[Sequence[int]], str]
) -> None:
    """Refuse a `config.logit_adjustment` that [`prior_offset`] does not take, naming entry and classes."""
    fields = ("tau", "remove", "add")
    for name in mapping("logit_adjustment", adjustment):
        choice("field of logit_adjustment", name, fields)
    number("logit_adjustment['tau']", adjustment.get("tau", 1.0), minimum=-_STRONGEST_TAU, maximum=_STRONGEST_TAU)
    for name in ("remove", "add"):
        if adjustment.get(name) is None:
            continue
        values = sequence(f"logit_adjustment[{name!r}]", adjustment[name])
        if len(values) != num_labels:
            raise ValueError(f"logit_adjustment[{name!r}] has {len(values)} values for {num_labels} labels")
        bad = [index for index, value in enumerate(values) if not _is_positive(value)]
        if bad:
            raise ValueError(
                f"logit_adjustment[{name!r}] must be positive for every class, but is not for class "
                f"{class_names(bad)}: the logarithm of its prior does not exist. Leave such classes out of the label "
                "set, or give them a small positive prior."
            )


def _is_positive(value: Any) -> bool:
    try:
        return number("", value, above=0) > 0
    except ValueError:
        return False
