"""Stages behind one that needs no labels."""

from __future__ import annotations

from .base import LongTailMethod, Stage


def with_pretraining(stages: list[Stage], method: LongTailMethod) -> list[Stage]:
    """
    Stages of a method behind pretraining on the same images.

    Args:
        stages (`list[Stage]`): The first one starts from scratch; it, and others that do (the student behind a
            teacher), start from what was pretrained. A system that begins with pretraining itself does so with
            `method` instead.
        method ([`LongTailMethod`]): Of one stage, without labels.

    Raises:
        `ValueError`: if the first stage starts from other weights.
    """
    (pretraining,) = method.stages()
    if not stages[0].method.uses_labels:
        return [pretraining, *stages[1:]]
    if stages[0].start is not None:
        raise ValueError(
            f"Stage {stages[0].name!r} starts from {stages[0].start!r}, so there is nothing for pretraining to begin"
        )
    for stage in stages:
        stage.start = stage.start or f"stage:{pretraining.name}"
    return [pretraining, *stages]
