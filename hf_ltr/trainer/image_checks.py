"""Images of a run are found readable before its first step, those of its evaluation and test sets too."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from ..data.loading.image_check import check_images, has_files
from ..data.loading.image_sources import MAX_REPORTED, unreadable_images

logger = logging.getLogger(__name__)

# Fingerprints of the datasets that this process has checked: the stages of a run share them.
_checked: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def require_readable_images(splits: Mapping[str, Any], announce: Callable[[str], None] = logger.info) -> None:
    """
    Read the headers of all images that no earlier check found in order; processes share the work.

    Args:
        splits (`dict`): Datasets by name; None, and datasets that decode by themselves, are left out.
        announce (`Callable`): Told on the main process what was read.

    Raises:
        `ValueError`: on all processes, naming split, class, row and file of the first images that cannot be read.
    """
    pending = {
        name: dataset
        for name, dataset in splits.items()
        if dataset is not None and has_files(dataset) and _checked.get(dataset) != dataset._fingerprint
    }
    if not pending:
        return
    state = PartialState()
    check = check_images(
        pending, reuse=True, part=(state.process_index, state.num_processes), progress=state.is_main_process
    )
    damaged = gather_object(check.damaged)
    whole = sum(gather_object([check.whole]))
    check.remember(complete=not damaged)
    if damaged:
        raise unreadable_images([str(damage) for damage in damaged[:MAX_REPORTED]], number=len(damaged))
    _checked.update({dataset: dataset._fingerprint for dataset in pending.values()})
    if state.is_main_process:
        parts = ", ".join(f"{name} {number:,}" for name, number in check.images.items())
        if whole < check.total:
            also = f", {whole:,} of them read whole before" if whole else ""
            announce(
                f"Images checked: headers only, {check.total:,} images ({parts}){also}; "
                "`hf-ltr check <dataset> --full` reads them whole"
            )
        else:
            announce(f"Images checked: {check.total:,} images ({parts}) were read whole by `hf-ltr check --full`")
