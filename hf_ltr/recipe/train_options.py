"""Options of a training run, beside those of data, network and training arguments."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The word for subtracting the log prior from trained logits, among the methods that a run is compared with.
POST_HOC = "logit_adjustment"


@dataclass
class TrainOptions:
    """What is trained, from which weights, and what is reported beside it."""

    method: str = field(metadata={"help": "A name that `hf-ltr list` shows.", "positional": True})
    method_options: dict | None = field(
        default=None,
        metadata={"help": 'Its options, JSON: {"max_margin": 0.3}; {"preset": "name"} is a named set of them.'},
    )
    representation_method: str | None = field(
        default=None, metadata={"help": "Method of the first stage, of a method that has a representation."}
    )
    representation_options: dict | None = field(default=None, metadata={"help": "Its options, JSON."})
    pretraining_model: dict | None = field(
        default=None, metadata={"help": 'Fields of the model that differ in pretraining, JSON: {"image_size": 128}.'}
    )
    initial_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of weights to start from, in the place of pretraining.",
            "old_names": ("start",),
        },
    )
    new_classifier: bool = field(
        default=False, metadata={"help": "Begin with a new head: for weights that were trained for other classes."}
    )
    compare: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Run beside it on the same network: methods with a classifier of their own, logit_adjustment "
            "(post-hoc); or none."
        },
    )
    classifier_options: dict | None = field(
        default=None, metadata={"help": "Options of the compared method whose stage is `classifier`, JSON."}
    )
    tau: float | None = field(
        default=None, metadata={"help": "Also report post-hoc logit adjustment with this strength (1 if compared)."}
    )
    titles: dict | None = field(
        default=None, metadata={"help": "Rows of the report in other words, JSON: by name of the stage."}
    )

    def __post_init__(self) -> None:
        if self.new_classifier and self.initial_checkpoint is None:
            raise ValueError("new_classifier is for weights to start from: name them with initial_checkpoint")

    @property
    def post_hoc_tau(self) -> float | None:
        """Strength of the post-hoc logit adjustment that is reported, if any."""
        return 1.0 if self.tau is None and POST_HOC in self.compare else self.tau

    @property
    def compared_methods(self) -> list[str]:
        """What is trained beside the method."""
        return list(dict.fromkeys(name for name in self.compare if name not in (POST_HOC, "none")))

    def with_scalars_only(self) -> TrainOptions:
        """Without the options of methods that may depend on the number of classes."""
        return dataclasses.replace(
            self,
            method_options=_scalars(self.method_options),
            representation_options=_scalars(self.representation_options),
            classifier_options=_scalars(self.classifier_options),
        )


def pretraining_options() -> type:
    """A dataclass with an option for every method that can stand before another one: options as JSON, unset if not."""
    from ..methods import METHODS

    help_text = "Pretrain on the training images with {}, its options as JSON ({{}}: its defaults)."
    return dataclasses.make_dataclass(
        "PretrainingOptions",
        [
            (name, dict | None, field(default=None, metadata={"help": help_text.format(name)}))
            for name, kind in METHODS.items()
            if not kind.uses_labels
        ],
    )


def may_be_pretraining(option: str) -> bool:
    """
    Whether an option may be one of [`pretraining_options`], told without importing the methods, which takes seconds:
    a method has a file of its name, or was registered by a program that has imported them already.
    """
    methods = sys.modules.get(f"{__package__.rpartition('.')[0]}.methods")
    if methods is not None:
        return option in methods.METHODS
    return (Path(__file__).parents[1] / "methods" / f"{option}.py").is_file()


def _scalars(options: dict[str, Any] | None) -> dict[str, Any]:
    kept = {}
    for name, value in (options or {}).items():
        if isinstance(value, dict) and "name" in value:  # a method inside of the method
            own = value.get("options")
            kept[name] = _scalars(value) | ({"options": _scalars(own)} if isinstance(own, dict) else {})
        elif not isinstance(value, list | dict):
            kept[name] = value
    return kept
