"""Which corrections of the class prior a training run applies, so that none is applied twice unnoticed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from .base import LongTailMethod
from .registry import METHODS, described_parts
from .wrapper import MethodWrapper

# Samplers under which every row is drawn equally often.
_FREE_SAMPLERS = (None, "instance")


def prior_corrections(description: Mapping[str, Any] | None, arguments: Mapping[str, Any] | None = None) -> list[str]:
    """
    What a training run did, or will do, about the class prior, as phrases with the method's name in front.

    One is the point of a long-tailed method; a second one, on top of it, corrects too much. They are: log priors in
    the loss, class weights, a sampler that is not instance-balanced, and a change of the finished classifier.

    Args:
        description (`dict`, *optional*): Of the method, as [`LongTailMethod.describe`] makes it and `config.method`
            stores it; the methods inside it are looked at too. Names that are not in `METHODS` are not known to
            correct anything.
        arguments (`dict`, *optional*): What is known beside the method: `sampler`, the training argument, which a
            method's own sampler replaces; and `logit_adjustment`, the field of the model's config, which replaces what
            the method is known to do to the logits after training.

    Returns:
        `list[str]`: For example `["balanced_softmax adds the log prior in its loss"]`; empty for plain training.

    Example:

    ```python
    >>> prior_corrections({"name": "crt", "options": {"sampler": "class_aware"}})
    ["crt draws its batches with the sampler 'class_aware'"]
    ```
    """
    arguments = dict(arguments or {})
    found = _of_method(description, arguments) if description else []
    if (not description or _own_sampler(description) is None) and arguments.get("sampler") not in _FREE_SAMPLERS:
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
        found (list of `str`): From [`prior_corrections`].
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
    method: LongTailMethod, sampler: str | None, adjustment: Mapping[str, Any] | None = None, stacklevel: int = 2
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
    description = method.describe()
    if not isinstance(method, MethodWrapper):
        description = {"name": description["name"], "options": description["options"]}
    arguments: dict[str, Any] = {"sampler": sampler}
    if adjustment is not None:
        arguments["logit_adjustment"] = adjustment
    found = prior_corrections(description, arguments)
    if method.adds_prior and not any("log prior" in phrase for phrase in found):
        found.insert(0, f"{method.name or type(method).__name__} adds the log prior in its loss")
    does = type(method).prior_correction
    if does is not None and does.kind == "logits":
        # The loss reads the corrected logits, so that the run fits to them whatever else it does; what an earlier
        # stage taught the classifier is corrected on top of it, unless the object says that it trains that one too.
        found = [phrase for phrase in found if not phrase.endswith(does.phrase)]
        if method.prior_correction is not None:
            warn_of_double_correction(
                f"{method.name} {does.phrase}",
                [phrase for part in method.parts().values() for phrase in prior_corrections(part.describe())],
                f"Leave {does.option} unset, or take a representation that leaves the prior in its classifier.",
                stacklevel=stacklevel + 1,
            )
    if len(found) > 1:
        warnings.warn(
            f"The class prior is corrected more than once in one run: {' and '.join(found)}. Leave one of them out "
            "(sampler='instance' samples rows as they are).",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def _of_method(
    description: Mapping[str, Any], arguments: Mapping[str, Any], where: str = "", weights_replaced: bool = False
) -> list[str]:
    method_class = _class_of(description)
    name, found, does = description.get("name"), [], None
    if method_class is not None:
        does = method_class.prior_correction
        if does is not None and not does.is_on(description.get("options") or {}):
            does = None
        replaced = {"weights": weights_replaced, "config": "logit_adjustment" in arguments}
        sampler = _sampler(description)
        if method_class.adds_prior:
            found.append(f"{name} adds the log prior in its loss{where}")
        if sampler not in _FREE_SAMPLERS:
            found.append(f"{name} draws its batches with the sampler {sampler!r}{where}")
        if does is not None and not replaced.get(does.kind, False):
            found.append(f"{name} {does.phrase}{where}")
    wraps = _wraps(description)
    for part, inside in described_parts(description).items():
        stage = "" if wraps or where else f" (in the stage that learns the {part})"
        # Whoever weights the rows of its base by class reads their losses without the weights of the base.
        found += _of_method(inside, arguments, where + stage, wraps and does is not None and does.kind == "weights")
    return found


def _class_of(description: Mapping[str, Any]) -> type[LongTailMethod] | None:
    name = description.get("name")
    return METHODS.get(name) if isinstance(name, str) else None


def _wraps(description: Mapping[str, Any]) -> bool:
    """Whether what is inside is trained in the same run; of a class that is not known, nothing else is said."""
    method_class = _class_of(description)
    return method_class is None or issubclass(method_class, MethodWrapper)


def _sampler(description: Mapping[str, Any]) -> str | None:
    return (description.get("options") or {}).get("sampler")


def _own_sampler(description: Mapping[str, Any]) -> str | None:
    """The sampler that the method, or one that it wraps, brings itself."""
    inside = described_parts(description).values() if _wraps(description) else ()
    found = (_sampler(description), *(_own_sampler(part) for part in inside))
    return next((sampler for sampler in found if sampler is not None), None)
