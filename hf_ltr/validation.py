"""
Checks of single values by type and range: the one place that says "a finite number of at least 0, got nan".

Every check takes what the value is called in a message, and gives the value back as a plain Python object. What is no
number is never taken for one: `True` is no 1, `"5"` is no 5, NaN and infinity are no numbers.
"""

from __future__ import annotations

import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from .naming import shown, unknown_name


def plain(value: Any) -> Any:
    """
    Scalars and arrays of numpy, torch, pandas and Arrow as numbers and lists of Python, also inside of dicts, lists
    and tuples; other values as they are.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    return value.as_py() if hasattr(value, "as_py") else value


def number(
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """
    A finite number in a range.

    Args:
        name (`str`): What the message calls it.
        value: An integer or a floating-point number, of Python, numpy or torch; no `bool` and no text.
        minimum, maximum (`float`, *optional*): Smallest and largest value allowed.
        above, below (`float`, *optional*): Bounds that are not allowed themselves.

    Returns:
        `float` or `int`: the same number.

    Raises:
        `ValueError`: for anything else, with the range.
    """
    value = plain(value)
    if _is_number(value):
        fits = (
            (minimum is None or value >= minimum)
            and (maximum is None or value <= maximum)
            and (above is None or value > above)
            and (below is None or value < below)
        )
        if fits:
            return int(value) if isinstance(value, numbers.Integral) else float(value)
        if minimum == 0 and maximum is None and value < 0:
            raise ValueError(f"{name} must not be negative, but a finite number of at least 0: got {shown(value)}")
    raise ValueError(f"{name} must be a finite number{_range(minimum, maximum, above, below)}, got {shown(value)}")


def whole_number(name: str, value: Any, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """An integer in a range; no `bool`, no text and no floating-point number."""
    value = plain(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        whole = int(value)
        if (minimum is None or whole >= minimum) and (maximum is None or whole <= maximum):
            return whole
    if minimum == 1 and maximum is None:
        raise ValueError(f"{name} must be a positive integer, not {shown(value)}")
    raise ValueError(f"{name} must be a whole number{_range(minimum, maximum)}, got {shown(value)}")


def flag(name: str, value: Any) -> bool:
    """`True` or `False`; no number and no text that means one of them."""
    value = plain(value)
    if isinstance(value, bool):
        return value
    raise ValueError(f"{name} must be true or false, got {shown(value)}")


def text(name: str, value: Any) -> str:
    """Text."""
    if isinstance(value, str):
        return value
    raise ValueError(f"{name} must be text, got {shown(value)}")


def texts(name: str, value: Any) -> list[str]:
    """A list of texts; a text is not one, although it has letters."""
    # A set has no order that could be relied on.
    if isinstance(value, str | bytes | Mapping | Set) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list of text, got {shown(value)}")
    return [text(f"{name}[{place}]", item) for place, item in enumerate(value)]


def sequence(name: str, value: Any) -> list[Any]:
    """The items of a list, tuple, array or tensor as a list; of no text, and of nothing whose order is another's."""
    if hasattr(value, "sort_index") and not value.index.is_monotonic_increasing:
        raise ValueError(
            f"{name} has the index {shown(value.index[:5].tolist())}, which is not in order (value_counts sorts by "
            "size): give .sort_index() of it"
        )
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str | bytes | Mapping | Set) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list, got {shown(value)}")
    return [plain(item) for item in value]


def mapping(name: str, value: Any) -> dict[str, Any]:
    """A dict with text for its keys."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must hold `key: value` pairs, got {shown(value)}")
    for key in value:
        text(f"a key of {name}", key)
    return dict(value)


def choice(kind: str, value: Any, valid: Iterable[str], hint: str = "") -> str:
    """One of some names; the error of another one is [`~hf_ltr.naming.unknown_name`]."""
    valid = list(valid)
    if not isinstance(value, str) or value not in valid:
        raise unknown_name(kind, value, valid, hint)
    return value


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
    """
    Compare arguments with the annotations of a function: numbers, text, `bool`, lists of them and `None`. What is
    annotated otherwise is not looked at.

    Args:
        function (`Callable`): With annotations.
        arguments (`dict`): Some of its keyword arguments.
        where (`str`): What they are, for the message: `"option of mem"`.

    Raises:
        `ValueError`: naming the argument and what was expected.
    """
    hints = typing.get_type_hints(function)
    for name, value in arguments.items():
        if name in hints:
            try:
                check_type(name, value, hints[name])
            except ValueError as error:
                raise ValueError(f"{error} ({where})") from None


def check_type(name: str, value: Any, kind: Any) -> None:
    """Refuse a value that is not of the annotated type `kind`."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    kinds = typing.get_args(kind) if union else (kind,)
    if value is None and type(None) in kinds:
        return
    problems = []
    for one in kinds:
        if one is type(None):
            continue
        check = _check_of(one)
        if check is None:
            return
        try:
            check(name, value)
            return
        except ValueError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    expected = " or ".join(_in_words(one) for one in kinds)
    raise ValueError(f"{name} must be {expected}, got {shown(value)}")


def _check_of(kind: Any) -> Callable[[str, Any], Any] | None:
    simple: dict[Any, Callable[[str, Any], Any]] = {int: whole_number, float: number, bool: flag, str: text}
    if kind in simple:
        return simple[kind]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    check_item = _check_of(inner[0]) if origin in (list, tuple, Sequence) and inner else None
    if check_item is None:
        return None

    def check(name: str, value: Any) -> None:
        for place, item in enumerate(sequence(name, value)):
            check_item(f"{name}[{place}]", item)

    return check


def _in_words(kind: Any) -> str:
    simple = {
        int: "a whole number",
        float: "a finite number",
        bool: "true or false",
        str: "text",
        type(None): "none",
    }
    return simple.get(kind, "a list")


def _is_number(value: Any) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no floating-point number can hold
        return False


def _range(
    minimum: float | None, maximum: float | None = None, above: float | None = None, below: float | None = None
) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum:,} to {maximum:,}"
    lower = f"at least {minimum:,}" if minimum is not None else f"above {above:,}" if above is not None else ""
    upper = f"at most {maximum:,}" if maximum is not None else f"below {below:,}" if below is not None else ""
    both = " and ".join(part for part in (lower, upper) if part)
    return f" {'of ' if both.startswith('at') else ''}{both}" if both else ""
