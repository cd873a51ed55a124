"""
The methods. One file each; this dict is the whole registry.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..data.class_counts import ClassCounts
from ..naming import unknown_name
from ..validation import check_arguments, choice, mapping, plain, shown
from .balanced_bce import BalancedBCE
from .balanced_softmax import BalancedSoftmax
from .base import LongTailMethod, MethodWrapper, Stage
from .cdb import ClassDifficultyBalance
from .class_balanced import ClassBalanced
from .cross_entropy import CrossEntropy
from .crt import ClassifierRetraining
from .deferred_reweighting import DeferredReweighting
from .equalization import Equalization
from .focal import Focal
from .label_aware_smoothing import LabelAwareSmoothing
from .lade import LADE
from .las_stage2 import LabelAwareSmoothingStage2
from .ldam import LDAM
from .ldam_drw import LDAMWithDeferredReweighting
from .logit_adjustment import LogitAdjustment
from .lws import LearnableWeightScaling
from .masked_autoencoding import MaskedAutoencoding
from .mem import MutualExclusiveModulation
from .mislas import MiSLAS
from .ncm import NearestClassMean
from .pc_softmax import PCSoftmax
from .tau_norm import TauNormalization
from .weight_balancing import WeightBalancing

# Constructor arguments that are methods themselves.
_ROLES = ("base", "representation")

METHODS: dict[str, type[LongTailMethod]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "class_balanced": ClassBalanced,
    "cdb": ClassDifficultyBalance,
    "equalization": Equalization,
    "balanced_softmax": BalancedSoftmax,
    "logit_adjustment": LogitAdjustment,
    "pc_softmax": PCSoftmax,
    "balanced_bce": BalancedBCE,
    "lade": LADE,
    "label_aware_smoothing": LabelAwareSmoothing,
    "ldam": LDAM,
    "ldam_drw": LDAMWithDeferredReweighting,
    "deferred_reweighting": DeferredReweighting,
    "crt": ClassifierRetraining,
    "lws": LearnableWeightScaling,
    "las_stage2": LabelAwareSmoothingStage2,
    "tau_norm": TauNormalization,
    "ncm": NearestClassMean,
    "mislas": MiSLAS,
    "weight_balancing": WeightBalancing,
    "mem": MutualExclusiveModulation,
    "masked_autoencoding": MaskedAutoencoding,
}


def get_method(
    name: str | Mapping[str, Any], class_counts: ClassCounts | list[int] | None = None, **options: Any
) -> LongTailMethod:
    """
    Build a method by name.

    Args:
        name (`str` or `dict`): A name in `METHODS`, or a description made by [`LongTailMethod.describe`].
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class, in label order.
        options: Options of the method; `base=` and `representation=` take a method, a name or a description.

    Returns:
        [`LongTailMethod`]

    Raises:
        `ValueError`: for an unknown name or option, with the nearest valid ones.

    Example:

    ```python
    >>> from hf_ltr import get_method
    >>> get_method("ldam_drw", class_counts=[500, 50, 5], max_margin=0.3)
    ```
    """
    if isinstance(name, Mapping):
        name, options = _described(name, options)
    choice("method", name, METHODS, "See `hf-ltr list`.")
    if class_counts is None:
        raise ValueError(
            f"get_method({name!r}) needs class_counts=, the training images per class: pass "
            f"class_counts(train_dataset)"
        )
    counts = ClassCounts.of(class_counts)
    _check_nesting(options)
    options = plain(options)  # JSON, to which they are written, has no numbers of numpy
    check_options(name, options)
    for role in _ROLES:
        if isinstance(options.get(role), str | Mapping):
            options[role] = get_method(options[role], class_counts=counts)
    return METHODS[name](counts, **options)


def check_options(name: str | Mapping[str, Any], options: Mapping[str, Any] | None = None) -> None:
    """
    Look at names and types alone, which needs neither class counts nor data. Ranges are checked by the method itself.

    Args:
        name (`str` or `dict`): A name in `METHODS`, or a description.
        options (`dict`, *optional*): As given to [`get_method`].

    Raises:
        `ValueError`: for a method or option that does not exist, here or in a method inside, with the nearest names,
            or a value that is not of its option's type.
    """
    options = dict(options or {})
    if isinstance(name, Mapping):
        name, options = _described(name, options)
    choice("method", name, METHODS, "See `hf-ltr list`.")
    method_class = METHODS[name]
    accepted = {*method_class.option_names(), *(role for role in _ROLES if _takes(method_class, role))}
    for option, value in options.items():
        if option not in accepted:
            raise unknown_name(f"option of {name}", option, accepted)
        if option in _ROLES and isinstance(value, str | Mapping):
            check_options(value)
        elif option in _ROLES and not isinstance(value, LongTailMethod | None):
            raise ValueError(f"{option} of {name} must be a method, a name or a description, got {shown(value)}")
    check_arguments(method_class.__init__, options, f"option of {name}")


def _check_nesting(options: Mapping[str, Any], most: int = 10) -> None:
    """Refuse a description of methods inside of methods that has no end, or none in sight."""
    inside: list[Any] = [options]
    for _ in range(most):
        inside = [one[key] for one in inside if isinstance(one, Mapping) for key in (*_ROLES, "options") if key in one]
    if inside:
        raise ValueError(f"a method is described inside of others more than {most} levels deep")


def _described(description: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Name and options of a description, with other options in the place of its own."""
    for key in mapping("a description of a method", description):
        choice("key in a description of a method", key, ("name", "options", *_ROLES))
    roles = {role: description[role] for role in _ROLES if role in description}
    own = mapping("options of a method", description.get("options", {}))
    return description.get("name"), {**roles, **own, **options}


def _takes(method_class: type[LongTailMethod], role: str) -> bool:
    return role in inspect.signature(method_class.__init__).parameters


__all__ = [
    "METHODS",
    "LongTailMethod",
    "MethodWrapper",
    "Stage",
    "check_options",
    "get_method",
    "DeferredReweighting",
]
