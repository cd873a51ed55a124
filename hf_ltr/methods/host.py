"""The contract's other side: what a method may ask of the trainer that runs it, and on which images it may choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from ..data.record import read_record
from .batch import Batch

if TYPE_CHECKING:
    from transformers import TrainerState, TrainingArguments


class MethodHost(Protocol):
    """
    The trainer, as the hooks of a method see it. [`LongTailTrainer`] is one; a method asks for nothing that is not
    listed here, so methods stay below the trainer and are tested without it.

    Attributes:
        model ([`LongTailForImageClassification`] or [`MaskedAutoencoder`]): Unwrapped; hooks may freeze parts of it
            and, before the optimizer exists or after it is done with, replace its classifier.
        args ([`TrainingArguments`]): Of the run; read only.
        state ([`TrainerState`]): Where the run stands; read only.
        train_dataset, eval_dataset: As given to the trainer; `eval_dataset` may be a dict of datasets, or None.
    """

    @property
    def model(self) -> Any: ...

    @property
    def args(self) -> TrainingArguments: ...

    @property
    def state(self) -> TrainerState: ...

    @property
    def train_dataset(self) -> Any: ...

    @property
    def eval_dataset(self) -> Any: ...

    def is_world_process_zero(self) -> bool:
        """Whether this process is the one that writes and logs."""
        ...

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """The loader of evaluation for a dataset; `batch_loader.labels` are all its labels, or None."""
        ...

    def eval_pass(self, dataset: Any, function: Callable[[Any, Batch], Any]) -> list[Any]:
        """
        `function(outputs, batch)` of every batch of a dataset, read once as evaluation reads it: evaluation mode and
        transform, no gradient, the precision of the run. The rows are those of this process, contiguous and in order;
        sums over processes are made with [`~hf_ltr.distributed.all_reduce_sum`].
        """
        ...

    def attach_frozen(self, module: nn.Module) -> nn.Module:
        """
        Attach a network that the method reads and that never changes: a teacher.

        Args:
            module (`nn.Module`): Put on the device of the run, in evaluation mode and without gradients. The method
                may keep it as an attribute: it is part of no state, neither the method's nor the model's, and of no
                optimizer. [`~LongTailMethod.setup`] is the place to attach it, in a resumed run too. (A copy that
                follows the model is not attached: it changes, so it is state of the method, to be kept as a module
                without gradients.)

        Returns:
            `nn.Module`: the same.
        """
        ...


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
