"""The augmentation of each view of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...validation import choice
from .augmentation import MAX_VIEWS, Augmentation


def make_views(
    views: Sequence[str],
    augmentation: Sequence[str] | str | None,
    view_augmentations: Mapping[str, Sequence[str]],
    options: Mapping[str, Mapping[str, Any]],
    *,
    train: bool,
    small: bool,
    **common: Any,
) -> list[Augmentation]:
    """
    The augmentation of each view; views, operations and options that do not exist are refused.

    Args:
        views (sequence of `str`): `"train"` is augmented by `augmentation`, `"eval"` not at all, others by
            `view_augmentations`.
        augmentation: Names, also as one comma-separated string; `"auto"`, `"none"` or `None`.
        view_augmentations (`dict`): Names by view.
        options (`dict`): By operation.
        train (`bool`): If not, nothing is augmented.
        small (`bool`): Whether images are small and of one size, which decides what `"auto"` is.
        **common: For all: `image_size`, `image_mean`, `interpolation` of [`Augmentation`].
    """
    if not 1 <= len(views) <= MAX_VIEWS:
        raise ValueError(f"views must name between 1 and {MAX_VIEWS} views, got {list(views)}")
    known = {"train": _names(augmentation, small) if train else [], "eval": []}
    known |= {name: list(own) for name, own in view_augmentations.items()}
    for view in views:
        choice("view", view, known, "Define it with view_augmentations={name: [...]}.")
    lists = [known[view] if train else [] for view in views]
    used = {name for names in lists for name in names}
    return [
        # Options that belong to no view are kept, for `Augmentation` to refuse.
        Augmentation(names, {key: own for key, own in options.items() if key in names or key not in used}, **common)
        for names in lists
    ]


def _names(augmentation: Sequence[str] | str | None, small: bool) -> list[str]:
    if augmentation is None or augmentation == "none":
        return []
    if augmentation == "auto":
        return ["random_crop" if small else "random_resized_crop", "horizontal_flip"]
    if isinstance(augmentation, str):
        return [name.strip() for name in augmentation.split(",") if name.strip()]
    return list(augmentation)
