"""The classes of a model brought into another order, and what its weights were trained on before."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .heads import CosineHead
from .modules import modules_in_order


def names_in_config(config: Any) -> list[str] | None:
    """A model's class names in order; `None` if it only has the library's placeholders `LABEL_0`, `LABEL_1`, ..."""
    names = [str(config.id2label[index]) for index in range(config.num_labels)]
    return None if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names


def order_of(names: Sequence[str] | None, own: Sequence[str] | None) -> list[int] | None:
    """
    Place in `own` of every class in `names`; `None` where there is nothing to reorder: no names, the same order, or
    not the same classes.
    """
    if names is None or own is None or list(names) == list(own) or sorted(names) != sorted(own):
        return None
    place = {name: index for index, name in enumerate(own)}
    return [place[name] for name in names] if len(place) == len(own) else None


@torch.no_grad()
def reorder_head(head: nn.Module, order: Sequence[int]) -> None:
    """Class `i` of the head becomes what was class `order[i]`, in place."""
    for tensor, dimension in _class_tensors(head):
        tensor.copy_(tensor.index_select(dimension, torch.as_tensor(list(order), device=tensor.device)))


def _class_tensors(head: nn.Module) -> list[tuple[Tensor, int]]:
    """The tensors of a head that have one part per class, with the dimension of the classes."""
    if isinstance(head, CosineHead):
        return [(head.weight, 1)]
    tensors = [getattr(head, name, None) for name in ("weight", "bias", "scale")]
    return [(tensor, 0) for tensor in tensors if isinstance(tensor, Tensor)]


def reorder_fields(fields: dict[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """Those of some fields of a config that speak of single classes, after class `i` is what was `order[i]`."""
    changed: dict[str, Any] = {}
    if fields.get("class_counts") is not None:
        changed["class_counts"] = _picked(fields["class_counts"], order)
    if fields.get("previous_class_counts"):
        changed["previous_class_counts"] = [
            entry if entry.get("class_names") else {**entry, "class_counts": _picked(entry["class_counts"], order)}
            for entry in fields["previous_class_counts"]
        ]
    if fields.get("logit_adjustment") is not None:
        changed["logit_adjustment"] = {
            key: _picked(value, order) if isinstance(value, list | tuple) else value
            for key, value in fields["logit_adjustment"].items()
        }
    if fields.get("modules"):
        changed["modules"] = modules_in_order(fields["modules"], order)
    return changed


def _picked(values: Sequence[Any], order: Sequence[int]) -> list[Any]:
    """In another order; what has another length is left to the checks of the config."""
    return [values[index] for index in order] if len(values) == len(order) else list(values)


def counts_history(
    previous: Sequence[dict[str, Any]] | None,
    counts_before: Sequence[int] | None,
    names_before: Sequence[str] | None,
    counts: Sequence[int] | None,
    names: Sequence[str] | None,
) -> list[dict[str, Any]] | None:
    """
    `previous_class_counts` of a model that begins with weights trained on other counts.

    Args:
        previous (sequence of `dict`, *optional*): What those weights were trained on before.
        counts_before, names_before (sequence, *optional*): What they were trained on last.
        counts, names (sequence, *optional*): What is trained now; names `None` for placeholders.

    Returns:
        `list[dict]` or `None`: the past, with the last counts behind it if they are others than `counts`.
    """
    history = [dict(entry) for entry in previous or []]
    if counts_before is not None:
        before = list(counts_before)
        order = order_of(names, names_before)
        if order is not None:
            before = _picked(before, order)
        if order is None and names is not None and names_before is not None and list(names) != list(names_before):
            history.append({"class_counts": before, "class_names": list(names_before)})
        elif counts is None or before != list(counts):
            history.append({"class_counts": before})
    return history or None


def match_head(head: nn.Module, config: Any, stored: Any, source: str) -> None:
    """
    Bring a head that was loaded from the checkpoint `source`, whose config is `stored`, into the order of the classes
    of `config`, with a warning that says what was done, or that the head is that of other classes.
    """
    names, own = names_in_config(config), names_in_config(stored)
    if names is None or names == own or stored.num_labels != config.num_labels:
        return
    if own is None:
        message = (
            f"The classes of {source} have no names (LABEL_0, LABEL_1, ...): that they are in the order of this "
            f"config (class 0 is {names[0]!r}, ...) could not be checked."
        )
    else:
        order = order_of(names, own)
        first = next(index for index, (a, b) in enumerate(zip(names, own, strict=True)) if a != b)
        differ = f"class {first} is {own[first]!r} there and {names[first]!r} here"
        if order is None:
            message = (
                f"The classifier of {source} was trained for other classes: {differ}. Train it on these, or begin "
                "anew with model.reset_classifier()."
            )
        else:
            reorder_head(head, order)
            message = (
                f"{source} has the same classes in another order ({differ}): the rows of its classifier were brought "
                "into this one by name."
            )
    warnings.warn(message, UserWarning, stacklevel=3)
