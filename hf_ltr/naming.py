"""One way to say that a name is unknown: what was asked for, the nearest valid names, and all of them if few."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

# A message shows this much of a value.
_LONGEST = 120


def shown(value: Any) -> str:
    """`repr(value)` for a message, cut where it is long; also of what cannot be printed."""
    try:
        text = repr(value[:20] if isinstance(value, (list, tuple, str, bytes)) and len(value) > 200 else value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def nearest_names(name: str, valid: Iterable[str], count: int = 3) -> list[str]:
    """The valid names closest in spelling to `name`, best first; empty when nothing is close."""
    # Longer ones are no slips of the pen, and comparing them takes the square of their length.
    name, valid = str(name)[:100], sorted(valid)
    matches = difflib.get_close_matches(str(name), valid, n=count, cutoff=0.5)
    if not matches:
        lowered = str(name).lower()
        matches = [option for option in valid if lowered and (lowered in option.lower() or option.lower() in lowered)]
    return matches[:count]


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
