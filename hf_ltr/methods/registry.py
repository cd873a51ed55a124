"""The names of the methods: this dict is the whole registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.class_counts import ClassCounts
from ..naming import unknown_name
from ..validation import check_arguments, choice, mapping, plain, shown
from .balanced_bce import BalancedBCE
from .balanced_softmax import BalancedSoftmax
from .base import Counts, LongTailMethod
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


# What is trained where no method is named, and what the others are compared with.
BASELINE = "cross_entropy"
# Stands among the options for a set of them.
PRESET = "preset"
# What begins a run that is to begin with pretraining on its own images.
PRETRAINING = "masked_autoencoding"


def get_method(name: str | Mapping[str, Any], class_counts: Counts | None = None, **options: Any) -> LongTailMethod:
    """
    Build a method by name.

    Args:
        name (`str` or `dict`): A name in `METHODS`, or a description made by [`LongTailMethod.describe`].
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class, in label order.
        options: Options of the method; those that are methods themselves (`base=`, `representation=`) may also be a
            name or a description. `preset=` is the name of a set of them, see [`with_preset`].

    Returns:
        [`LongTailMethod`]

    Raises:
        `ValueError`: for an unknown name, option or preset, with the nearest valid ones.

    Example:

    ```python
    >>> from hf_ltr import get_method
    >>> get_method("ldam_drw", class_counts=[500, 50, 5], max_margin=0.3)
    ```
    """
    name, options = _named(name, options)
    if class_counts is None:
        raise ValueError(
            f"get_method({name!r}) needs class_counts=, the training images per class: pass "
            f"class_counts(train_dataset)"
        )
    counts = ClassCounts.of(class_counts)
    _check_nesting(options)
    options = plain(options)  # JSON, to which they are written, has no numbers of numpy
    check_options(name, options)
    method_class = METHODS[name]
    for part in method_class.part_names:
        if isinstance(options.get(part), str | Mapping):
            options[part] = get_method(options[part], class_counts=counts)
    return method_class(counts, **options)


def check_options(name: str | Mapping[str, Any], options: Mapping[str, Any] | None = None) -> None:
    """
    Look at names and types alone, which needs neither class counts nor data. Ranges are checked by the method itself.

    Args:
        name (`str` or `dict`): A name in `METHODS`, or a description.
        options (`dict`, *optional*): As given to [`get_method`].

    Raises:
        `ValueError`: for a method, option or preset that does not exist, here or in a method inside, with the nearest
            names, or a value that is not of its option's type.
    """
    name, options = _named(name, dict(options or {}))
    method_class = METHODS[name]
    accepted = [*method_class.option_names(), *method_class.part_names, *([PRESET] if method_class.presets else [])]
    for option, value in options.items():
        if option not in accepted:
            raise unknown_name(f"option of {name}", option, accepted)
        if option not in method_class.part_names:
            continue
        if isinstance(value, str | Mapping):
            check_options(value)
        elif not isinstance(value, LongTailMethod | None):
            raise ValueError(f"{option} of {name} must be a method, a name or a description, got {shown(value)}")
    check_arguments(method_class.__init__, options, f"option of {name}")


def with_preset(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """
    Options with those of the preset that they name written out. What is given beside the name wins over the preset;
    the method itself holds, and describes, the options alone.

    Args:
        name (`str`): A name in `METHODS`.
        options (`dict`): As given to [`get_method`]; `preset`, if it is among them, is a key of the class's `presets`.

    Returns:
        `dict`: new, without `preset`.

    Raises:
        `ValueError`: for a preset that the method does not have.

    Example:

    ```python
    >>> with_preset("mem", {"preset": "literal", "margin_positive": 20.0})["activation"]
    'none'
    ```
    """
    given = {option: value for option, value in options.items() if option != PRESET}
    preset = options.get(PRESET)
    if preset is None:
        return given
    presets = METHODS[choice("method", name, METHODS, "See `hf-ltr list`.")].presets
    if not presets:
        raise ValueError(f"{name} has no presets: leave {PRESET}={shown(preset)} out and give its options")
    return {**presets[choice(f"preset of {name}", preset, presets)], **given}


def described_parts(description: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The descriptions of the methods inside a described one, by the argument that they are."""
    return {
        key: value
        for key, value in description.items()
        if key not in ("name", "options") and isinstance(value, Mapping)
    }


def all_options(description: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a described method, and under the names of its parts the methods inside it with theirs."""
    options = dict(description.get("options", {}))
    for part, inside in described_parts(description).items():
        options[part] = inside.get("name")
        options |= {f"{part}.{name}": value for name, value in all_options(inside).items()}
    return options


def all_papers(description: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sources of a described method and of those inside it, as far as they are in `METHODS`; each once."""
    method_class = METHODS.get(description.get("name", ""))
    papers = [method_class.paper] if method_class is not None and method_class.paper else []
    for inside in described_parts(description).values():
        papers += [paper for paper in all_papers(inside) if paper not in papers]
    return papers


def _named(name: str | Mapping[str, Any], options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options, presets written out; of a description, with other options in the place of its own."""
    if not isinstance(name, Mapping):
        name = choice("method", name, METHODS, "See `hf-ltr list`.")
        return name, with_preset(name, options)
    description = mapping("a description of a method", name)
    found = choice("method", description.get("name"), METHODS, "See `hf-ltr list`.")
    parts = METHODS[found].part_names
    for key in description:
        choice("key in a description of a method", key, ("name", "options", *parts))
    own = mapping("options of a method", description.get("options", {}))
    own |= {key: description[key] for key in parts if key in description and key not in own}
    return found, {**with_preset(found, own), **with_preset(found, options)}


def _check_nesting(options: Mapping[str, Any], most: int = 10) -> None:
    """Refuse a description of methods inside of methods that has no end, or none in sight."""
    inside = {id(options): options}
    for _ in range(most):
        values = [value for one in inside.values() for value in one.values()]
        inside = {id(value): value for value in values if isinstance(value, Mapping)}
    if inside:
        raise ValueError(f"a method is described inside of others more than {most} levels deep")
