"""Values of the command line and of YAML as the type of their field."""

from __future__ import annotations

import enum
import json
import math
import types
import typing
from typing import Any

from ..redaction import is_secret
from ..validation import shown

# The value of an option that stands alone on the command line.
NO_VALUE = object()


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the type itself."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def convert(raw: Any, kind: Any, key: str, none_is_a_word: bool = False) -> Any:
    """
    `raw` (a string of the command line, or a YAML value) as the type of its field.

    Raises:
        `ValueError`: naming the option, the value and what was expected.
    """
    choices = alternatives(kind)
    absent = ("null",) if none_is_a_word else ("none", "null")
    if type(None) in choices and (raw is None or (isinstance(raw, str) and raw.lower() in absent)):
        return None
    detail = ""
    # Where text and a list are both allowed, text is a list only if it is written as one.
    order = [bool, int, float, dict, *((list, str) if str(raw).startswith("[") else (str, list))]
    candidates = [choice for choice in choices if choice is not type(None)]
    for candidate in sorted(candidates, key=lambda kind: _place(kind, order)):
        try:
            return _convert_one(raw, candidate)
        except _NoJSON as error:
            if str(raw).lstrip().startswith(("{", "[")):
                # Meant as JSON, so it is not taken for a string either.
                detail = f" ({error})"
                break
        except _NumberForText as error:
            detail = f" ({error})"
        except (TypeError, ValueError, OverflowError):
            continue
    expected = " or ".join(_kind_name(candidate) for candidate in candidates)
    given = "no value" if raw is NO_VALUE else "a hidden value" if is_secret(key, raw) else shown(raw)
    raise ValueError(f"{key} must be {expected}, got {given}{detail}")


_KIND_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string", dict: "a JSON object"}


def _kind_name(kind: Any) -> str:
    if typing.get_origin(kind) is list:
        item = _kind_name(*typing.get_args(kind)[:1])
        return f"a list of {item.removeprefix('a ').removeprefix('an ')}s"
    return _KIND_NAMES.get(kind, getattr(kind, "__name__", str(kind)))


def _place(kind: Any, order: list[type]) -> int:
    """Others, which are enums, come first."""
    origin = typing.get_origin(kind) or kind
    return order.index(origin) if origin in order else -1


def _convert_one(raw: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind) or kind
    if raw is NO_VALUE:
        if origin is bool:
            return True
        raise TypeError
    if origin is bool:
        if isinstance(raw, bool):
            return raw
        lowered = str(raw).lower()
        if lowered in ("true", "yes", "1", "on"):
            return True
        if lowered in ("false", "no", "0", "off"):
            return False
        raise ValueError
    if isinstance(raw, bool):
        raise TypeError
    if origin is int:
        number = float(raw)
        if number != int(number):
            raise ValueError
        return int(raw) if isinstance(raw, str) and raw.lstrip("+-").isdigit() else int(number)
    if origin is float:
        number = float(raw)
        if not math.isfinite(number):
            raise ValueError
        return number
    if origin is dict:
        value = _json(raw) if isinstance(raw, str) else raw
        if not isinstance(value, dict):
            raise TypeError
        return value
    if origin in (list, tuple):
        inner = typing.get_args(kind)[0] if typing.get_args(kind) else str
        if isinstance(raw, str):
            raw = _json(raw) if raw.startswith("[") else [part for part in raw.replace(",", " ").split()]
        if not isinstance(raw, list | tuple):
            raw = [raw]
        values = [_convert_one(item, inner) for item in raw]
        return tuple(values) if origin is tuple else values
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(raw).value
    if origin is str or kind is Any:
        if raw is None or isinstance(raw, dict | list):
            raise TypeError
        if isinstance(raw, float) and kind is str:
            raise _NumberForText("put it in quotes, since a number is not kept as it is written")
        return raw if kind is Any else str(raw)
    raise TypeError


class _NumberForText(ValueError):
    """A number of YAML in the place of text: `3.10` would become `3.1`."""


class _NoJSON(ValueError):
    """Text that was meant as JSON and is none."""


def _json(raw: str) -> Any:
    try:
        return json.loads(raw, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise _NoJSON(f"no JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise _NoJSON(f"no JSON that can be read: {error}") from None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")
