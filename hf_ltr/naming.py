"""Names as people give them: the valid ones nearest to an unknown one, and which may be of something on the Hub."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

# A message shows this much of a value.
_LONGEST = 120
_MOST_NEAREST = 3
# As the Hub has it: letters, digits, `-`, `_` and `.`, with none of the last three at an end but `_`.
_HUB_NAME = r"\w(?:[\w.-]{0,94}\w)?"
_HUB_ID = re.compile(rf"(?P<owner>{_HUB_NAME}/)?{_HUB_NAME}", re.ASCII)


def shown(value: Any) -> str:
    """`repr(value)` for a message, cut where it is long; also of what cannot be printed."""
    try:
        text = repr(value[:20] if isinstance(value, (list, tuple, str, bytes)) and len(value) > 200 else value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def some(items: Iterable[object], most: int = 10, separator: str = ", ") -> str:
    """The first items for a message, and how many more there are."""
    texts = [str(item) for item in items]
    more = f"{' ' if separator == ', ' else separator}and {len(texts) - most} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more


def nearest_names(name: str, valid: Iterable[str]) -> list[str]:
    """At most three valid names, closest in spelling to `name`, best first; empty when nothing is close."""
    # Longer ones are no slips of the pen, and comparing them takes the square of their length.
    name, valid = str(name)[:100], sorted(valid)
    matches = difflib.get_close_matches(name, valid, n=_MOST_NEAREST, cutoff=0.5)
    if not matches:
        lowered = name.lower()
        matches = [option for option in valid if lowered and (lowered in option.lower() or option.lower() in lowered)]
    return matches[:_MOST_NEAREST]


def unknown_name(kind: str, name: object, valid: Iterable[str], hint: str = "") -> ValueError:
    """
    Build (not raise) the error for an unknown name.

    Args:
        kind (`str`): What the name stands for, in words: `"method"`, `"dataset"`, `"option of ldam"`.
        name: What was given.
        valid: The names that exist.
        hint (`str`, *optional*): A closing sentence that says what to do.

    Returns:
        `ValueError`: with the nearest valid names first.
    """
    valid = sorted(str(option) for option in valid)
    nearest = nearest_names(str(name), valid)
    message = f"Unknown {kind}: {shown(name)}."
    if nearest:
        message += f" Did you mean {' or '.join(repr(option) for option in nearest)}?"
    if len(valid) <= 40:
        message += f" Valid names: {', '.join(valid) if valid else '(none)'}."
    return ValueError(message + (f" {hint}" if hint else ""))


def is_hub_id(name: str | None, *, bare: bool = False) -> TypeGuard[str]:
    """
    Whether `name` can only be that of something on the Hub: it has the form `owner/name` (without a revision or a
    configuration), and nothing on this machine lies there, since a folder goes before the Hub everywhere.

    Args:
        name (`str`, *optional*): What was given; None is no Hub id.
        bare (`bool`, defaults to `False`): Whether the first models' names, which have no owner, count too.
    """
    if not name or "--" in name or ".." in name or name.endswith(".git"):
        return False
    form = _HUB_ID.fullmatch(name)
    return form is not None and bool(bare or form["owner"]) and not Path(name).exists()


def require_folder_or_hub_id(place: str | None) -> None:
    """Raise `FileNotFoundError` for what is given and neither a folder nor could be a Hub id."""
    if place is not None and not is_hub_id(place) and not Path(place).exists():
        raise FileNotFoundError(f"There is no folder {place!r}; a Hub id has the form owner/name")


def check_initial_checkpoint(place: str) -> None:
    """Raise `FileNotFoundError` for what lies nowhere on this machine and is no Hub id, before anything is loaded."""
    if not is_hub_id(place, bare=True) and not Path(place).exists():
        raise FileNotFoundError(f"There is no checkpoint folder {place!r} to start from")
