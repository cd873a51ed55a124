"""Which corrections of the class prior a training run applies, so that none is applied twice unnoticed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Methods that weight the classes of their loss by frequency, and how.
_CLASS_WEIGHTS = {
    "class_balanced": "weights the loss by class",
    "deferred_reweighting": "weights the loss by class at the end of the training",
    "ldam_drw": "weights the loss by class at the end of the training",
    "weight_balancing": "weights the loss by class in its second stage",
}
# Wrappers whose class weights take the place of the base's.
_REPLACES_WEIGHTS = ("deferred_reweighting", "ldam_drw")
# Methods that change a finished classifier or its logits.
_AFTER_TRAINING = {
    "pc_softmax": "removes the prior from the logits at inference",
    "tau_norm": "divides the classifier's rows by their norms after training",
}
# Samplers under which every row is drawn equally often.
_FREE_SAMPLERS = (None, "instance")
# Methods inside a method, and what a phrase about them adds.
_PARTS = {"base": "", "representation": " (in the stage that learns the representation)"}


def corrections(description: Mapping[str, Any] | None, arguments: Mapping[str, Any] | None = None) -> list[str]:
    """
    What a training run did, or will do, about the class prior, as phrases with the method's name in front.

    One is the point of a long-tailed method; a second one, on top of it, corrects too much. They are: log priors in
    the loss, class weights, a sampler that is not instance-balanced, and a change of the finished classifier.

    Args:
        description (`dict`, *optional*): Of the method, as [`LongTailMethod.describe`] makes it and `config.method`
            stores it; the methods it wraps (`base`) and its `representation` are looked at too. Names that are not in
            `METHODS` are not known to correct anything.
        arguments (`dict`, *optional*): What is known beside the method: `sampler`, the training argument, which a
            method's own sampler replaces; and `logit_adjustment`, the field of the model's config, which replaces what
            the method is known to do to the logits after training.

    Returns:
        `list[str]`: For example `["balanced_softmax adds the log prior in its loss"]`; empty for plain training.

    Example:

    ```python
    >>> corrections({"name": "crt", "options": {"sampler": "class_aware"}})
    ["crt draws its batches with the sampler 'class_aware'"]
    ```
    """
    arguments = dict(arguments or {})
    found = _of_method(description, arguments) if description else []
    own_sampler = bool(description) and _own_sampler(description) is not None
    if not own_sampler and arguments.get("sampler") not in _FREE_SAMPLERS:
        found.append(f"the training argument sampler={arguments['sampler']!r} balances the batches")
    adjustment = arguments.get("logit_adjustment")
    # Adding the prior of the test images is right for every model; removing that of the training images is once.
    if adjustment is not None and adjustment.get("remove") is not None and adjustment.get("tau", 1.0) != 0:
        found.append("config.logit_adjustment removes a prior from the logits at inference")
    return found


def warn_of_double_correction(what: str, found: list[str], advice: str, stacklevel: int = 2) -> None:
    """
    Warn, naming both, if `what` comes on top of the corrections that were `found`; silent if there are none.

    Args:
        what (`str`): The further correction, as the subject of a sentence.
        found (list of `str`): From [`corrections`].
        advice (`str`): What to do instead, a sentence.
        stacklevel (`int`): As in `warnings.warn`, counted from the caller.
    """
    if found:
        warnings.warn(
            f"The class prior is corrected twice: {what}, but {' and '.join(found)}. {advice}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def warn_of_training_corrections(
    method: Any, sampler: str | None, adjustment: Mapping[str, Any] | None = None, stacklevel: int = 2
) -> None:
    """
    Warn, naming them all, if one run corrects the class prior in more than one way: a prior in the loss with
    class-balanced batches, or class weights with either.

    Args:
        method ([`LongTailMethod`]): Of the run. What the representation of an earlier stage did is past: its
            classifier or its calibration is what the later stage changes.
        sampler (`str`, *optional*): The training argument.
        adjustment (`dict`, *optional*): The field `logit_adjustment` of the model's config.
        stacklevel (`int`): As in `warnings.warn`, counted from the caller.
    """
    description = {key: value for key, value in method.describe().items() if key != "representation"}
    arguments: dict[str, Any] = {"sampler": sampler}
    if adjustment is not None:
        arguments["logit_adjustment"] = adjustment
    found = corrections(description, arguments)
    if method.adds_prior and not any("log prior" in phrase for phrase in found):
        found.insert(0, f"{method.name or type(method).__name__} adds the log prior in its loss")
    if len(found) > 1:
        warnings.warn(
            f"The class prior is corrected more than once in one run: {' and '.join(found)}. Leave one of them out "
            "(sampler='instance' samples rows as they are).",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def recorded_sampler(folder: str | Path) -> str | None:
    """The training argument `sampler` of the run that wrote a folder, if it is one of this package's and says so."""
    try:
        facts = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
        return facts["arguments"]["sampler"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _of_method(
    description: Mapping[str, Any], arguments: Mapping[str, Any], where: str = "", weights_replaced: bool = False
) -> list[str]:
    from . import METHODS

    name, found = description.get("name"), []
    method_class = METHODS.get(name)
    inside = [
        phrase
        for role, suffix in _PARTS.items()
        if isinstance(description.get(role), Mapping)
        # Deferred re-weighting reads the base's losses without the base's own weights.
        for phrase in _of_method(
            description[role], arguments, where + suffix, role == "base" and name in _REPLACES_WEIGHTS
        )
    ]
    if method_class is not None and method_class.adds_prior:
        found.append(f"{name} adds the log prior in its loss{where}")
    if name in _CLASS_WEIGHTS and not weights_replaced:
        found.append(f"{name} {_CLASS_WEIGHTS[name]}{where}")
    sampler = (description.get("options") or {}).get("sampler")
    if method_class is not None and sampler not in _FREE_SAMPLERS:
        found.append(f"{name} draws its batches with the sampler {sampler!r}{where}")
    if name in _AFTER_TRAINING and not (name == "pc_softmax" and "logit_adjustment" in arguments):
        found.append(f"{name} {_AFTER_TRAINING[name]}{where}")
    return found + inside


def _own_sampler(description: Mapping[str, Any]) -> str | None:
    """The sampler that the method, or one that it wraps, brings itself."""
    sampler = (description.get("options") or {}).get("sampler")
    if sampler is None and isinstance(description.get("base"), Mapping):
        return _own_sampler(description["base"])
    return sampler
