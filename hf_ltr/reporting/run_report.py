"""The end of a run: one table, metrics.json, figures, a card and a folder that `from_pretrained` loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..data import ClassCounts, class_counts, long_tail_info
from ..hub.pushing import PushTarget
from ..markup import metrics_table
from ..methods import LongTailMethod
from ..models import LongTailConfig, LongTailForImageClassification, LongTailImageProcessor
from ..models.quiet import quiet_loading
from ..redaction import name_of_place
from ..storage import naming_storage_errors
from .finished_run import FinishedRun, StageResult


class RunReport:
    """
    Collects the results of the stages of one run and writes them out.

    Args:
        output_dir (`str` or `Path`): Where model, card, `metrics.json` and `figures/` go.
        data (`DatasetDict`): With `train` and `test`.
        dataset (`str`): What the data were loaded from.
        arguments (`dict`): The training arguments that were set.
        sections (`dict`, *optional*): Those of single stages.
        command (`str`, *optional*): The command line, for the card.
        counts ([`ClassCounts`], *optional*): Of the training split, with the groups that the metrics are for; many,
            medium and few by the usual thresholds if not given.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        data: Mapping[str, Any],
        dataset: str,
        arguments: Mapping[str, Any],
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        command: str | None = None,
        counts: ClassCounts | None = None,
    ):
        self.output_dir = Path(output_dir)
        self.data, self.dataset = data, name_of_place(dataset)
        self.arguments = dict(arguments)
        self.sections = {name: dict(values) for name, values in (sections or {}).items() if values}
        self.command = command
        self.rows: dict[str, dict[str, Any]] = {}
        self.per_class: dict[str, list[float | None]] = {}
        self.class_counts = class_counts(data["train"]) if counts is None else counts
        self.info = long_tail_info(data["train"]) or {}

    def add(self, name: str, result: StageResult) -> None:
        """A row of the table: a finished stage."""
        metrics = dict(result.metrics)
        per_class = metrics.pop("per_class_accuracy", None)
        if per_class is not None:
            self.per_class[name] = per_class
        self.rows[name] = metrics

    def finish(
        self,
        result: StageResult,
        *,
        method: LongTailMethod,
        stages: Sequence[StageResult],
        push_to: PushTarget | None = None,
    ) -> str:
        """
        Save everything for `result`, the model of the last row, and return the table.

        Args:
            result ([`StageResult`]): The stage whose weights are the run's model.
            method ([`LongTailMethod`]): For the card.
            stages: All stages, for the time spent.
            push_to ([`PushTarget`], *optional*): Where on the Hub model, card, metrics and figures go.

        Returns:
            `str`: Markdown, in percent on the test set, after the last epoch.
        """
        table = metrics_table(self.rows)
        if not PartialState().is_main_process:
            return table
        with naming_storage_errors(self.output_dir):
            with quiet_loading():
                model = LongTailForImageClassification.from_pretrained(result.folder)
                model.save_pretrained(self.output_dir)
            LongTailImageProcessor.from_config(model.config).save_pretrained(self.output_dir)
            self._finished(result, model.config, method, stages, push_to).write()
        print(
            f"\n{table}\n\nTop-1 accuracy in percent on the test set; many, medium, few: mean over the group's "
            f"classes."
        )
        print(f"Model, processor, metrics.json, README.md (the card) and figures are in {self.output_dir}")
        if push_to is not None:
            push_to.upload(self.output_dir)
        return table

    def _finished(
        self,
        result: StageResult,
        config: LongTailConfig,
        method: LongTailMethod,
        stages: Sequence[StageResult],
        push_to: PushTarget | None,
    ) -> FinishedRun:
        kept = self._best_of(result)
        in_words = f"{kept or 'the weights after the last epoch'}; the test set was read after training only"
        sections = {f"{name}.{key}": value for name, values in self.sections.items() for key, value in values.items()}
        return FinishedRun(
            self.output_dir,
            config,
            method=method.describe(),
            dataset=self.dataset,
            imbalance_factor=None if "changed" in self.info else self.info.get("imbalance_factor"),
            counts=self.class_counts,
            row_hash=self.info.get("row_hash"),
            rows=self.rows,
            per_class=self.per_class,
            seconds={stage.name: stage.seconds for stage in stages},
            selection=kept or FinishedRun.selection,
            computation={stage.name: stage.computation for stage in stages if stage.computation},
            card={
                "test_split": "test",
                "selection": in_words,
                "arguments": {
                    key: _without_point_zero(value) for key, value in {**self.arguments, **sections}.items()
                },
                "command": self.command,
                "seed": self.arguments.get("seed", 42),
                "epochs": self.arguments.get("num_train_epochs"),
                **({} if push_to is None else {"model_id": push_to.repo_id}),
            },
        )

    def _best_of(self, result: StageResult) -> str | None:
        """Which weights of a stage were kept, if not the last ones."""
        arguments = {**self.arguments, **self.sections.get(result.name, {})}
        if not arguments.get("load_best_model_at_end"):
            return None
        metric = arguments.get("metric_for_best_model") or "loss"
        return f"the checkpoint with the best {metric} on the validation images"


def _without_point_zero(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
