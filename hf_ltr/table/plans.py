"""What one run of a table is: its stages, its settings, and the key by which two rows share a first stage."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ..data import ClassCounts
from ..methods import LongTailMethod, Stage
from .protocol import Protocol, json_form
from .protocol_files import PLACES
from .specification import MethodSpecification

# A table is mostly made in the background, where a progress bar per step only fills a log.
_QUIET = {"disable_tqdm": True, "report_to": "none"}
# Rows of a step where neither the protocol nor the stage says so (the default of the training arguments).
_BATCH = 128


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
        protocol.check_stages(row.name, [stage.name for stage in stages])
        if stages[0].start is not None:
            raise ValueError(f"{row.label} starts from {stages[0].start!r}; a row of a table starts from scratch")
        for stage in stages:
            stage.arguments = protocol.stage_arguments(row.name, stage.name, stage.arguments)
        return cls(protocol, row, seed, counts, method, stages, {**_QUIET, **protocol.arguments, "seed": seed})

    def model_config(self) -> Any:
        """The [`LongTailConfig`] every stage begins with."""
        from ..cli.recipe import ModelOptions

        return ModelOptions(**self.protocol.model_options(self.row.name)).config(self.counts)

    def settings(self, post_hoc: str | None = None) -> dict[str, Any]:
        """What decides the numbers of this run, beside the method's own description and the rows of the data."""
        return json_form(
            {
                "protocol": self.protocol.name,
                "data": _without_places(self.protocol.data_options(self.row.name)),
                "model": self.protocol.model_options(self.row.name),
                "stages": {stage.name: self.compared(stage) for stage in self.stages},
                "post_hoc": {post_hoc: {"tau": self.protocol.tau}} if post_hoc else None,
            }
        )

    def compared(self, stage: Stage) -> dict[str, Any]:
        """A stage's arguments that decide its result; how a step is cut into processes and micro-batches does not."""
        from ..trainer.checks import compared_arguments

        arguments = {**self.arguments, **stage.arguments}
        rows = arguments.get("per_device_train_batch_size", _BATCH) * arguments.get("gradient_accumulation_steps", 1)
        return {name: arguments[name] for name in compared_arguments() if name in arguments} | {
            "global_batch_size": rows
        }

    def first_stage(self, row_hash: str | None) -> str:
        """
        Folder name of the first stage: equal for rows that share it, whatever they call it.

        Args:
            row_hash (`str`, *optional*): Of the training rows.
        """
        first = self.stages[0]
        facts = {
            "method": first.method.describe(),
            "config": first.config,
            "model_class": getattr(first.model_class, "__name__", None),
            "arguments": self.compared(first),
            "data": _without_places(self.protocol.data_options(self.row.name)),
            "row_hash": row_hash,
            "counts": list(self.counts.counts),
            "model": self.protocol.model_options(self.row.name),
        }
        text = json.dumps(json_form(facts), sort_keys=True)
        return f"{first.method.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


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


def _without_places(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in PLACES}
