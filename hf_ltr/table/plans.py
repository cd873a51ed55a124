"""
What one run of a table is: its stages, its settings, and the key by which two rows share a first stage. And the data
of the rows, from which plans are made.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data import ClassCounts, long_tail_info
from ..methods import PRETRAINING, LongTailMethod, Stage, get_method
from ..methods.pretraining import with_pretraining
from ..naming import unknown_name
from ..reading import json_form
from ..recipe import DataOptions, ModelOptions
from ..redaction import public
from ..trainer.arguments import LongTailTrainingArguments, merge_arguments
from ..trainer.precision import wanted_precision
from ..trainer.run_facts import compared_arguments
from .protocol import NOT_PROTOCOL, Protocol, protocol_fields, without_places
from .rows import MethodSpecification

if TYPE_CHECKING:
    from datasets import DatasetDict

# A table is mostly made in the background, where a progress bar per step only fills a log.
_QUIET = {"disable_tqdm": True, "report_to": "none"}
# Compared apart from the others (see `results.py`), and written into a result as it is in the protocol.
PRECISION_MODE = "mixed_precision_mode"


@dataclass
class Plan:
    """
    A row and seed under a protocol.

    Args:
        protocol ([`Protocol`]).
        row ([`MethodSpecification`]): Without what is done after training.
        seed (`int`).
        counts ([`ClassCounts`]): Of the row's training split.
        method ([`LongTailMethod`]).
        stages (`list[Stage]`): With the protocol's arguments for each.
        arguments (`dict`): Common to the stages. Batch sizes are those of one step over all processes.
    """

    protocol: Protocol
    row: MethodSpecification
    seed: int
    counts: ClassCounts
    method: LongTailMethod
    stages: list[Stage]
    arguments: dict[str, Any]

    @classmethod
    def make(cls, protocol: Protocol, row: MethodSpecification, seed: int, counts: Any) -> Plan:
        """
        Raises:
            `ValueError`: for options the method refuses, a stage it does not have, or a method that starts from
                something else than scratch.
        """
        row, counts = row.trained, ClassCounts.of(counts)
        method = row.build(counts, protocol.method_options(row.name))
        stages = method.stages()
        if protocol.pretraining is not None:
            pretraining = get_method(PRETRAINING, class_counts=counts, **protocol.pretraining)
            stages = with_pretraining(stages, pretraining)
        if not stages[0].method.uses_labels:
            stages[0].config |= ModelOptions(**protocol.model_options(row.name)).pretraining_config()
        names = [stage.name for stage in stages]
        protocol.check_stages(row.name, names)
        own = row_arguments(row, names)
        if stages[0].start is not None:
            raise ValueError(f"{row.label} starts from {stages[0].start!r}; a row of a table starts from scratch")
        for stage in stages:
            stage.arguments = _stage_arguments(protocol, row.name, stage)
            limit = protocol.step_limit(stage.name)
            if limit is not None:
                whole = merge_arguments(protocol.arguments, stage.arguments)
                stage.arguments |= shortened(whole, limit, counts.total, kept=protocol.overrides)
            stage.arguments = merge_arguments(stage.arguments, own.get(stage.name, {}))
        return cls(protocol, row, seed, counts, method, stages, {**_QUIET, **protocol.arguments, "seed": seed})

    def model_config(self) -> Any:
        """The [`LongTailConfig`] every stage begins with."""
        return ModelOptions(**self.protocol.model_options(self.row.name)).config(self.counts)

    def settings(self, row: MethodSpecification | None = None, split: str = "test") -> dict[str, Any]:
        """
        What decides the numbers of this run, beside the method's own description and the rows of the data.

        Args:
            row ([`MethodSpecification`], *optional*): With what is done after training; nothing is if unset.
            split (`str`, defaults to `"test"`): What it is measured on.
        """
        row = row or self.row
        settings = {
            "protocol": self.protocol.name,
            # Published with the result: a data set in a folder by its name; which rows it has says their hash.
            "data": without_places(self.protocol.data_options(self.row.name)),
            "model": self.protocol.model_options(self.row.name),
            "stages": {stage.name: self.compared(stage) for stage in self.stages},
            "post_hoc": {row.post_hoc: {"tau": tau_of(row, self.protocol)}} if row.post_hoc else None,
        }
        if split != "test":
            settings["split"] = split
        if self.protocol.pretraining is not None:
            settings["pretraining"] = self.protocol.pretraining
        return public(json_form(settings, str))

    def arguments_of(self, stage: Stage) -> dict[str, Any]:
        """The common training arguments, and those of a stage."""
        return merge_arguments(self.arguments, stage.arguments)

    def compared(self, stage: Stage) -> dict[str, Any]:
        """A stage's arguments that decide its result; how a step is cut into processes and micro-batches does not."""
        arguments = self.arguments_of(stage)
        compared = {name: arguments[name] for name in (*compared_arguments(), PRECISION_MODE) if name in arguments}
        return compared | {"global_batch_size": _rows_of_step(arguments)}

    def _precision(self, stage: Stage) -> str:
        """What a stage's `mixed_precision_mode` comes to on this machine: stages of two precisions are not shared."""
        arguments = self.arguments_of(stage)
        return wanted_precision(arguments.get(PRECISION_MODE, "auto"), bool(arguments.get("use_cpu", False)))

    def shared_stages(self, row_hash: str | None) -> list[str]:
        """
        Folder names of the stages that rows share: everything up to the first stage with labels. Equal for rows whose
        stages are equal up to there, whatever they call them.

        Args:
            row_hash (`str`, *optional*): Of the training rows.
        """
        names: list[str] = []
        for stage in self.stages:
            facts = {
                "method": stage.method.describe(),
                "config": stage.config,
                "model_class": getattr(stage.model_class, "__name__", None),
                "arguments": self.compared(stage) | {PRECISION_MODE: self._precision(stage)},
                "data": without_places(self.protocol.data_options(self.row.name)),
                "row_hash": row_hash,
                "counts": list(self.counts.counts),
                "model": self.protocol.model_options(self.row.name),
            }
            if names:
                facts["start"] = names[-1]
            text = json.dumps(json_form(facts, str), sort_keys=True)
            names.append(f"{stage.method.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}")
            if stage.method.uses_labels:
                break
        return names


class TableData:
    """
    The data of a table's rows, loaded once, and the plans that they decide.

    Args:
        protocol ([`Protocol`]).
        split (`str`, defaults to `"test"`): What the rows are measured on.
    """

    def __init__(self, protocol: Protocol, split: str = "test"):
        self.protocol, self.split = protocol, split
        self._loaded: dict[str, tuple[DatasetDict, ClassCounts]] = {}

    def splits(self, method: str | None = None) -> DatasetDict:
        """What the rows of a method are trained and tested on; without a method, what the protocol says for all."""
        return self._load(method)[0]

    def counts(self, method: str | None = None) -> ClassCounts:
        """Of the training split."""
        return self._load(method)[1]

    def row_hash(self, method: str) -> str | None:
        """Of the training rows, where they are known by one."""
        return (long_tail_info(self.splits(method)["train"]) or {}).get("row_hash")

    def plan(self, row: MethodSpecification, seed: int) -> Plan:
        """A row and seed with the class counts of its data."""
        return Plan.make(self.protocol, row, seed, self.counts(row.name))

    def identity(self, row: MethodSpecification, seed: int) -> dict[str, Any]:
        """What makes a run this run, as it is written into its result and compared with it."""
        plan = self.plan(row, seed)
        return json_form(
            {
                "settings": plan.settings(row, self.split),
                "description": plan.method.describe(),
                "data": {
                    "row_hash": self.row_hash(row.name),
                    "class_counts": list(plan.counts.counts),
                    "group_scheme": plan.counts.grouping,
                },
            },
            str,
        )

    def _load(self, method: str | None) -> tuple[DatasetDict, ClassCounts]:
        options = self.protocol.data if method is None else self.protocol.data_options(method)
        key = json.dumps(options, sort_keys=True)
        if key not in self._loaded:
            made = DataOptions(**options)
            splits = made.load()
            if self.split not in splits:
                raise ValueError(_nothing_to_measure(self.split))
            self._loaded[key] = (splits, made.counts(splits))
        return self._loaded[key]


def tau_of(row: MethodSpecification, protocol: Protocol) -> float:
    """Strength of a row's post-hoc adjustment: its own, else the protocol's."""
    return protocol.tau if row.tau is None else row.tau


def row_arguments(row: MethodSpecification, stages: Sequence[str]) -> dict[str, dict[str, Any]]:
    """
    Training arguments that a row gives itself, by stage, as the types of their fields.

    Args:
        row ([`MethodSpecification`]).
        stages (sequence of `str`): Names of those it has.

    Raises:
        `ValueError`: for a stage or an argument that is none, with the nearest names, or a value of another type.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in row.arguments.items():
        stage, _, name = key.partition(".")
        if stage not in stages:
            raise unknown_name(f"stage of {row.label}", stage, stages)
        fields = protocol_fields("arguments")
        if name not in fields:
            hint = "The table sets it for each run." if name in NOT_PROTOCOL else ""
            raise unknown_name(f"training argument of {row.label}", name, fields, hint)
        found.setdefault(stage, {})[name] = fields[name].convert(value, key)
    return found


def _nothing_to_measure(split: str) -> str:
    if split == "validation":
        return (
            "There is no validation split to measure on; hold some images of every class out of training with "
            "`--set validation_per_class=10`, or give the dataset a split of that name"
        )
    return "The data have no test split and none could be held out: there is nothing to report"


def share_of_process(arguments: dict[str, Any], processes: int) -> dict[str, Any]:
    """
    Arguments for one of several processes, from those of a whole step.

    Raises:
        `ValueError`: if the batch cannot be cut so.
    """
    size = arguments.get("per_device_train_batch_size")
    if size is None or processes == 1:
        return dict(arguments)
    if size % processes:
        raise ValueError(
            f"A batch of {size} rows cannot be shared by {processes} processes; the batch size of a protocol counts "
            "the rows of one step over all of them"
        )
    return {**arguments, "per_device_train_batch_size": size // processes}


def shortened(arguments: dict[str, Any], limit: int, rows: int, kept: Container[str] = ()) -> dict[str, Any]:
    """
    What changes in a stage's arguments when its steps are limited: the schedule keeps its shape, so warm-up and
    milestones come as much earlier as the run is shorter.

    Args:
        arguments (`dict`): All of the stage. A stage whose classifier is computed stays without steps.
        limit (`int`): Steps.
        rows (`int`): Training images.
        kept (container of `str`): Arguments that somebody gave together with the limit; they stay as they are.

    Returns:
        `dict`: to be written over `arguments`.
    """
    planned = arguments.get("max_steps") or -1
    if planned <= 0:
        epochs = arguments.get("num_train_epochs", LongTailTrainingArguments.num_train_epochs)
        planned = math.ceil(epochs * math.ceil(rows / max(1, _rows_of_step(arguments))))
    if planned <= 0:
        return {}
    changed: dict[str, Any] = {"max_steps": limit}
    share = min(1.0, limit / planned)
    if arguments.get("warmup_epochs") and "warmup_epochs" not in kept:
        changed["warmup_epochs"] = arguments["warmup_epochs"] * share
    if (arguments.get("warmup_steps") or 0) >= 1 and "warmup_steps" not in kept:
        changed["warmup_steps"] = int(arguments["warmup_steps"] * share)
    if arguments.get("lr_milestones") and "lr_milestones" not in kept:
        changed["lr_milestones"] = [epoch * share for epoch in arguments["lr_milestones"]]
    return changed


def _rows_of_step(arguments: dict[str, Any]) -> int:
    """Training images of one step, over all processes."""
    size = arguments.get("per_device_train_batch_size", LongTailTrainingArguments.per_device_train_batch_size)
    return size * arguments.get("gradient_accumulation_steps", 1)


def _stage_arguments(protocol: Protocol, method: str, stage: Stage) -> dict[str, Any]:
    """Training arguments of a stage that differ from those common to all stages; see [`Protocol`]."""
    special = protocol.methods.get(method, {})
    return merge_arguments(
        protocol.stages.get(stage.name, {}),
        stage.arguments,
        special.get("arguments", {}),
        special.get("stages", {}).get(stage.name, {}),
    )
