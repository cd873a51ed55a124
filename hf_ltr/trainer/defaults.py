"""What has its default value: such an option is no difference between a run that knows it and one that does not."""

from __future__ import annotations

from typing import Any

from ..methods import LongTailMethod, get_method


def default_paths(values: Any, defaults: Any, prefix: str = "") -> list[str]:
    """
    The dotted paths at which two nested dicts agree.

    Args:
        values (`dict`): What is.
        defaults (`dict`): What would be if nobody had said anything; may lack keys.
    """
    paths = []
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in defaults:
            continue
        if value == defaults[key] or (not value and not defaults[key] and _nothing(value, defaults[key])):
            paths.append(path)
        if isinstance(value, dict) and isinstance(defaults[key], dict):
            paths += default_paths(value, defaults[key], f"{path}.")
    return sorted(paths)


def _nothing(*values: Any) -> bool:
    """`None` and an empty container say the same."""
    return all(value is None or value in ({}, [], "") for value in values)


def method_defaults(method: LongTailMethod) -> dict[str, Any]:
    """[`~LongTailMethod.describe`] of the same method, and the same methods in it, without options."""
    parts = method.parts()
    description = {"name": method.name, **{role: part.describe() for role, part in parts.items()}}
    try:
        defaults = get_method(description, class_counts=method.class_counts).describe()
    except (ValueError, TypeError):
        return {}  # of somebody else, or with options that have no default
    return defaults | {role: method_defaults(part) for role, part in parts.items()}


def config_defaults(config: Any) -> dict[str, Any]:
    """The fields of a config of the same backbone and classes that nobody set."""
    try:
        return type(config)(backbone=config.backbone, num_labels=config.num_labels).to_dict()
    except (ValueError, TypeError):
        return {}


def method_default_paths(method: LongTailMethod) -> list[str]:
    """[`default_paths`] of a method's description."""
    return default_paths(method.describe(), method_defaults(method))
