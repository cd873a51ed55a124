"""What a config says about its head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...validation import choice, mapping, number
from ..heads import CENTROID_METRICS, CENTROID_TRANSFORMS

# Options of each kind of head (`config.head_options`) with their defaults.
HEAD_OPTIONS: dict[str, dict[str, Any]] = {
    "linear": {"bias": True, "tau": None},
    "cosine": {},
    "scaled": {"bias": True},
    "centroid": {"transform": "cl2n", "metric": "l2"},
}


def complete_head_options(head: str | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """All options of a head (`None`: linear): those given, and defaults for the rest."""
    known, given = HEAD_OPTIONS[head or "linear"], mapping("head_options", options or {})
    for name in given:
        choice(f"option of a {head or 'linear'} head", name, known)
    return {**known, **given}


def check_head(head: Any, scale: Any, init_std: Any, options: Mapping[str, Any] | None) -> None:
    """
    Args:
        head, scale, init_std, options: The fields `head`, `head_scale`, `head_init_std` and `head_options`.

    Raises:
        `ValueError`: saying which field is wrong.
    """
    if head is not None:
        choice("head", head, HEAD_OPTIONS)
    if scale is not None:
        if head not in (None, "cosine"):
            raise ValueError(f"head_scale={scale} belongs to a cosine head, but head is {head!r}; unset one")
        number("head_scale (a positive factor)", scale, above=0)
    if init_std is not None:
        number("head_init_std", init_std, minimum=0)
        if head in ("cosine", "centroid"):
            raise ValueError(f"head_init_std belongs to a linear head, but head is {head!r}; unset one of them")
    complete = complete_head_options(head, options)
    if not isinstance(complete.get("bias", True), bool):
        raise ValueError(f"head_options['bias'] must be true or false, not {complete['bias']!r}")
    if complete.get("tau") is not None:
        number("head_options['tau']", complete["tau"])
    for name, known in (("transform", CENTROID_TRANSFORMS), ("metric", CENTROID_METRICS)):
        if name in complete:
            choice(f"head_options[{name!r}]", complete[name], known)
