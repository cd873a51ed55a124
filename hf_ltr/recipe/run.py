"""The run itself: all stages of a plan, then the report on them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..data.class_counts import ClassCounts
from ..hub.pushing import PushTarget
from ..methods import LongTailMethod
from ..models import LongTailConfig
from ..reporting import RunReport
from ..reporting.finished_run import StageResult
from ..trainer import LongTailTrainingArguments, run_stages
from .data_options import DataOptions
from .model_options import ModelOptions
from .options import ParsedOptions
from .post_hoc import add_logit_adjustment
from .stages import TrainingPlan
from .train_options import TrainOptions

CONFIG_FILE = "config.yaml"
_POST_HOC_TITLE = "+ logit adjustment, post-hoc"


def run_plan(
    plan: TrainingPlan,
    *,
    options: ParsedOptions,
    recipe: TrainOptions,
    data: Any,
    counts: ClassCounts,
    command: str,
    text: str,
) -> None:
    """
    Train what is not finished, print the table, and write model, card, figures, metrics and options.

    Args:
        plan ([`TrainingPlan`]).
        options ([`ParsedOptions`]): Of the command line, `output_dir` among them.
        recipe ([`TrainOptions`]): Those of the run.
        data (`DatasetDict`): With `train`, `test` and maybe `validation`.
        counts ([`ClassCounts`]): Of the training split.
        command (`str`): For the card.
        text (`str`): The options as YAML, for the output folder.

    Raises:
        `ValueError`: before anything is trained, for a push that cannot work, too.
    """
    if "test" not in data:
        raise ValueError("The data have no test split and none could be held out, so there would be nothing to report")
    training = options.of(LongTailTrainingArguments)
    output_dir = Path(training.pop("output_dir"))
    push_to = _push_target(plan, training, output_dir)
    model = options.build(ModelOptions)
    if recipe.initial_checkpoint is not None:
        model = model.normalised_as(recipe.initial_checkpoint, options.values)
    plan.complete(recipe, model, options.sections, log_once)
    if push_to is not None and _is_main_process():
        push_to = push_to.prepare()
    results = run_stages(
        plan.stages,
        config=model.config(counts),
        arguments=training,
        train_dataset=data["train"],
        validation_dataset=data.get("validation"),
        test_dataset=data["test"],
        output_dir=output_dir,
        files={CONFIG_FILE: text},
    )
    last = results[plan.last.name]
    if not plan.last.method.uses_labels:
        log_once(f"The weights are in {last.folder}; --initial_checkpoint takes them")
        return
    report = RunReport(
        output_dir,
        data=data,
        dataset=options.build(DataOptions).dataset,
        arguments=training,
        sections=options.sections,
        command=command,
        counts=counts,
    )
    _add_rows(report, plan, recipe, results)
    report.finish(last, method=plan.method, stages=list(results.values()), push_to=push_to)
    _log_what_was_chosen(plan.method, last.folder)


def _push_target(plan: TrainingPlan, training: dict[str, Any], output_dir: Path) -> PushTarget | None:
    """Where the run's model is to be pushed; what says so is taken out of the training arguments."""
    target = PushTarget.take(training, output_dir)
    if target is not None and not plan.last.method.uses_labels:
        raise ValueError(f"{plan.method.name} trains no classifier, and a run's final model alone is pushed")
    return target


def _add_rows(report: RunReport, plan: TrainingPlan, recipe: TrainOptions, results: dict[str, StageResult]) -> None:
    for name, title in plan.titles(recipe.titles or {}).items():
        report.add(title, results[name])
        if name == plan.network and recipe.post_hoc_tau is not None:
            add_logit_adjustment(report, _POST_HOC_TITLE, results[name], tau=recipe.post_hoc_tau)


def _log_what_was_chosen(method: LongTailMethod, folder: str) -> None:
    """Options of a method that its classifier keeps, and whether the data decided them."""
    head = LongTailConfig.from_pretrained(folder).head_options or {}
    for name in set(head) & set(method.option_names()):
        chosen = ", chosen on the validation split" if getattr(method, name) is None else ""
        log_once(f"{name} = {head[name]}{chosen}")


def log_once(text: str) -> None:
    """Print, of several processes in one of them."""
    if _is_main_process():
        print(text)


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
