"""The end of a run: one table, metrics.json, figures, a card and a folder that `from_pretrained` loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import long_tail_info
from ..data.class_counts import ClassCounts, class_counts
from ..hub.finished_run import FinishedRun, draw_figures
from ..hub.pushing import PushTarget
from ..hub.tables import format_table
from ..redaction import name_of_place
from ..storage import naming_storage_errors

if TYPE_CHECKING:
    from ..methods import LongTailMethod
    from ..trainer import StageResult

_TEST_IS_LAST = "the test set was read after training only"


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
        self._add(name, result.metrics)

    def add_logit_adjustment(self, name: str, result: StageResult, *, tau: float = 1.0) -> None:
        """
        A row for the same weights with `tau * log prior` of the training set subtracted from the logits (Menon et al.
        2021, section 4.1). tau is fixed beforehand, never chosen on the test set.
        """
        from ..methods.corrections import corrections, recorded_sampler, warn_of_double_correction
        from ..models import LongTailForImageClassification
        from ..models.quiet import quiet_loading
        from ..trainer.evaluation import evaluate_model

        self.class_counts.require_images("post-hoc logit adjustment")
        with quiet_loading():
            model = LongTailForImageClassification.from_pretrained(result.folder)
        # A logit adjustment that the model has is replaced, not added to.
        done = {"sampler": recorded_sampler(result.folder), "logit_adjustment": None}
        warn_of_double_correction(
            f"{name!r} subtracts it from the logits",
            corrections(model.config.method, done),
            "Report it for models trained without one.",
        )
        model.set_logit_adjustment({"tau": tau, "remove": list(self.class_counts.counts)})
        self._add(name, evaluate_model(model, self.data["test"], self._evaluation_arguments()))

    def _evaluation_arguments(self) -> dict[str, Any]:
        from ..trainer.evaluation import EVALUATION_ARGUMENTS

        return {name: self.arguments[name] for name in EVALUATION_ARGUMENTS if name in self.arguments}

    def _add(self, name: str, metrics: Mapping[str, Any]) -> None:
        metrics = dict(metrics)
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
        push_to: PushTarget | str | None = None,
    ) -> str:
        """
        Save everything for `result`, the model of the last row, and return the table.

        Args:
            result ([`StageResult`]): The stage whose weights are the run's model.
            method ([`LongTailMethod`]): For the card.
            stages: All stages, for the time spent.
            push_to ([`PushTarget`] or `str`, *optional*): Where on the Hub model, card, metrics and figures go.

        Returns:
            `str`: Markdown, in percent on the test set, after the last epoch.
        """
        from accelerate import PartialState

        from ..models import LongTailForImageClassification, LongTailImageProcessor
        from ..models.quiet import quiet_loading

        table = format_table(self.rows)
        if not PartialState().is_main_process:
            return table
        with naming_storage_errors(self.output_dir):
            with quiet_loading():
                model = LongTailForImageClassification.from_pretrained(result.folder)
                model.save_pretrained(self.output_dir)
            LongTailImageProcessor.from_config(model.config).save_pretrained(self.output_dir)
            finished = self._finished(model.config, method, stages, getattr(push_to, "repo_id", push_to))
            if kept := self._best_of(result):
                finished = dataclasses.replace(finished, selection=kept, selection_in_words=f"{kept}; {_TEST_IS_LAST}")
            finished.write()
        print(
            f"\n{table}\n\nTop-1 accuracy in percent on the test set; many, medium, few: mean over the group's "
            f"classes."
        )
        print(f"Model, processor, metrics.json, README.md (the card) and figures are in {self.output_dir}")
        if push_to is not None:
            push_folder(self.output_dir, push_to)
        return table

    def _best_of(self, result: StageResult) -> str | None:
        """Which weights of a stage were kept, if not the last ones."""
        arguments = {**self.arguments, **self.sections.get(result.name, {})}
        if not arguments.get("load_best_model_at_end"):
            return None
        metric = arguments.get("metric_for_best_model") or "loss"
        return f"the checkpoint with the best {metric} on the validation images"

    def _figures(self) -> dict[str, str]:
        return draw_figures(self.output_dir, self.rows, self.per_class, self.class_counts)

    def _finished(
        self, config: Any, method: LongTailMethod, stages: Sequence[StageResult], model_id: str | None
    ) -> FinishedRun:
        sections = {f"{name}.{key}": value for name, values in self.sections.items() for key, value in values.items()}
        return FinishedRun(
            self.output_dir,
            config,
            method=method.describe(),
            papers=[method.paper] if method.paper else [],
            dataset=self.dataset,
            imbalance_factor=None if "changed" in self.info else self.info.get("imbalance_factor"),
            split="test",
            counts=self.class_counts,
            row_hash=self.info.get("row_hash"),
            rows=self.rows,
            per_class=self.per_class,
            seconds={stage.name: stage.seconds for stage in stages},
            selection_in_words=f"the weights after the last epoch; {_TEST_IS_LAST}",
            arguments={key: _without_point_zero(value) for key, value in {**self.arguments, **sections}.items()},
            command=self.command,
            model_id=model_id,
            seed=self.arguments.get("seed", 42),
            epochs=self.arguments.get("num_train_epochs"),
            computation={stage.name: stage.computation for stage in stages if stage.computation},
        )


def _without_point_zero(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def push_folder(folder: str | Path, target: PushTarget | str) -> str:
    """
    Upload a finished run to the Hub: what stands in the folder itself and its figures, not the stages in sub-folders.

    Args:
        folder (`str` or `Path`): Written by [`RunReport.finish`].
        target ([`PushTarget`] or `str`): Where to; of a `str` the repository is made if it is not there.

    Returns:
        `str`: URL of the commit.
    """
    if isinstance(target, str):
        target = PushTarget(target).prepare()
    patterns = ["*.json", "*.safetensors", "README.md", "figures/*", ".eval_results/*"]
    return target.upload(
        folder, allow_patterns=patterns, ignore_patterns=["*/*.json", "*/*.safetensors", "run.json", ".*.tmp"]
    )
