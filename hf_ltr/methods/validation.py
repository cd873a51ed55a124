"""The images on which a method may measure or choose something."""

from __future__ import annotations

from typing import Any

from ..data.record import read_record
from .host import MethodHost


def validation_split(trainer: MethodHost, who: str, otherwise: str) -> Any:
    """
    The trainer's validation images: its `eval_dataset`, or the part of it that is named `validation`.

    Args:
        trainer ([`MethodHost`]).
        who (`str`): What they are for, the beginning of a sentence, such as `"tau_norm chooses tau"`.
        otherwise (`str`): What to do without them, the end of a sentence.

    Raises:
        `ValueError`: if there are none, or if they are recorded to be the test set (see
            [`~hf_ltr.data.long_tail_info`]), which is for the end.
    """
    dataset = trainer.eval_dataset
    problem = "there are none"
    if isinstance(dataset, dict):
        problem = f"eval_dataset has the parts {', '.join(map(repr, dataset))}, none of them named 'validation'"
        dataset = dataset.get("validation")
    if dataset is None:
        raise ValueError(
            f"{who} on validation images, and {problem}. Hold some out (validation_per_class in a recipe, "
            f"eval_dataset of the trainer), or {otherwise}. The test set is for the end."
        )
    if (read_record(dataset) or {}).get("split") == "test":
        raise ValueError(
            f"{who} on validation images, but eval_dataset is recorded to be the test set, which is for the end. Give "
            f"the validation split, or {otherwise}."
        )
    return dataset
