"""One class under two numbers: the classes of data and of a model, matched by their names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ..naming import some
from .class_order import names_in_config

_MOST_NAMED = 5


def match_classes(
    names: Sequence[str] | None,
    config: Any,
    what: str,
    *,
    trust: bool | None = None,
    subset: bool | None = None,
    spelling: str = "{}=True",
    warn: bool = True,
) -> list[int] | None:
    """
    The model's class for each class of the data.

    Args:
        names (sequence of `str`, *optional*): The data's class names in label order. `None`: labels without names are
            the model's by number.
        config (`PretrainedConfig`): Of the model, with `id2label`.
        what (`str`): What has the names, for messages.
        trust (`bool`, *optional*): Take classes of other names by number, if no name contradicts that. `None`: nobody
            was asked, and the caller has no such option.
        subset (`bool`, *optional*): Take data that have only some of the model's classes. `None` as for `trust`.
        spelling (`str`): How an option is set where it is given, such as `"--{}"`.
        warn (`bool`): `False` for a check before the data are used.

    Returns:
        `list[int]`, or `None` where both number the classes alike.

    Raises:
        `ValueError`: naming the classes that only one of the two has, or the names that contradict `trust`.

    Warns:
        `UserWarning`: where classes were matched by name, or by number under other names.
    """
    if names is None:
        return None
    names, own = [str(name) for name in names], names_in_config(config)
    if own is None:
        _check_unnamed(names, config, what, trust, spelling, warn)
        return None
    if names == own:
        return None
    _require_distinct(names, what)
    _require_distinct(own, "the model")
    place = {name: index for index, name in enumerate(own)}
    unknown = [name for name in names if name not in place]
    absent = [name for name in own if name not in set(names)]
    if not unknown and not (absent and not subset):
        first = next((index for index, name in enumerate(names) if place[name] != index), None)
        if first is not None and warn:
            _warn(
                f"{what} numbers the model's classes differently (class {first} is {names[first]!r} there and "
                f"{own[first]!r} in the model): they are matched by name."
            )
        return [place[name] for name in names]
    if trust and len(names) == len(own):
        _check_trusted(names, own, what, spelling, warn)
        return None
    raise ValueError(other_classes(names, own, what, trust, subset, spelling))


def _check_unnamed(names: list[str], config: Any, what: str, trust: bool | None, spelling: str, warn: bool) -> None:
    number = config.num_labels
    if len(names) != number:
        raise ValueError(
            f"{what} has {len(names)} classes ({_shown(names)}), but the model has {number}, without names (LABEL_0, "
            "LABEL_1, ...)"
        )
    pairs = ", ".join(f"class {i} is {name!r}" for i, name in enumerate(names[:_MOST_NAMED]))
    pairs += ", ..." if len(names) > _MOST_NAMED else ""
    if trust is False:
        raise ValueError(
            f"The model's classes have no names (LABEL_0, LABEL_1, ...), so nothing shows that they are in the order "
            f"of {_inside(what)}: {pairs}. Numbers sorted as strings (0, 1, 10, 11, 2) are a common reason why not. "
            f"If that is the model's order, say {spelling.format('trust_class_order')}; better, write the names into "
            "id2label of its config.json."
        )
    if warn:
        _warn(
            f"The model's classes have no names (LABEL_0, LABEL_1, ...): that they are in the order of "
            f"{_inside(what)} ({pairs}) could not be checked."
        )


def _check_trusted(names: list[str], own: list[str], what: str, spelling: str, warn: bool) -> None:
    both = set(names) & set(own)
    wrong = [index for index, name in enumerate(names) if name in both and own[index] != name]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{what} is not in the model's order, whatever {spelling.format('trust_class_order')} says: class {first} "
            f"is {names[first]!r} there, which is class {own.index(names[first])} of the model. Give the classes "
            "the same names in both; they are then matched by name."
        )
    if not warn:
        return
    pairs = [f"{a!r} as {b!r}" for a, b in zip(names, own, strict=True) if a != b]
    _warn(f"{what} has other class names than the model, taken by number as you said: {some(pairs)}.")


def other_classes(
    names: Sequence[str],
    own: Sequence[str],
    what: str,
    trust: bool | None = None,
    subset: bool | None = None,
    spelling: str = "{}=True",
) -> str:
    """The message that `what` has classes (`names`) which a model (`own`) does not have, or lacks some of them."""
    unknown = [name for name in names if name not in set(own)]
    absent = [name for name in own if name not in set(names)]
    found = [f"it has {len(unknown)} that the model does not have, such as {_shown(unknown)}"] if unknown else []
    found += [f"it lacks {len(absent)} of the model's, such as {_shown(absent)}"] if absent else []
    text = f"{what} has other classes than the model ({len(names)} classes there, {len(own)} in the model): "
    text += f"{', and '.join(found)}."
    if not unknown:
        if subset is False:
            text += f" If these are simply not in the data, say {spelling.format('subset_of_classes')}."
        elif subset is None:
            text += (
                " If these are simply not in the data, number its labels as the model does: "
                "dataset.align_labels_with_mapping(model.config.label2id, 'label')."
            )
    elif trust is False and len(names) == len(own) and not _contradicts(names, own):
        first = next(index for index, (a, b) in enumerate(zip(names, own, strict=True)) if a != b)
        text += (
            f" Class {first} is {names[first]!r} there and {own[first]!r} in the model. If all are the same classes "
            f"in the same order under other names, say {spelling.format('trust_class_order')}."
        )
    return text


def _contradicts(names: Sequence[str], own: Sequence[str]) -> bool:
    place = {name: index for index, name in enumerate(own)}
    return any(place.get(name, index) != index for index, name in enumerate(names))


def _require_distinct(names: list[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(
            f"{what} has a class name twice ({_shown(twice)}), so its classes cannot be matched by name; give each "
            "class a name of its own"
        )


def _inside(what: str) -> str:
    """`what`, which begins a sentence elsewhere, in the middle of one."""
    return what[:1].lower() + what[1:] if what.startswith("The ") else what


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_MOST_NAMED])) + (", ..." if len(names) > _MOST_NAMED else "")


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=5)
