"""What a run of stages will do: everything about each stage that can be known, and checked, before one is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from transformers.trainer_utils import IntervalStrategy

from ..data.class_counts import ClassCounts
from ..data.map_style import number_of_rows
from ..methods import Stage
from ..models.checkpoints.checkpoint_conversion import check_same_encoder
from ..naming import some
from ..reading import json_form
from ..reporting.finished_run import StageResult
from .agreement import agreed_config, check_method_counts, training_counts
from .arguments import LongTailTrainingArguments, merge_arguments
from .checks import check_arguments, check_data, check_evaluation_data
from .degenerate import check_classes, check_length, check_rows
from .evaluation_loop import check_metric_for_best_model
from .optimization import check_warmup
from .run_facts import method_default_paths, run_facts
from .run_folder import RUN_FILE, check_folder, fact_differences, precision_hint, read_facts
from .stage_model import check_initial_classes, stage_config

STAGE_FILE = "stage.json"
REFERENCE = "stage:"

_MIXING = ("mixup_alpha", "cutmix_alpha", "label_smoothing")


class Splits(NamedTuple):
    """The data of a run of stages; validation is for evaluation during training, the test set for the end."""

    train: Any
    validation: Any = None
    test: Any = None


@dataclass
class StagePlan:
    """
    A stage, the config of its model, and what makes its run this run: `facts` (as they were written, if they were), of
    which `origin`, the weights it starts from, is the part that a trainer cannot know.
    """

    stage: Stage
    config: Any
    folder: Path
    args: LongTailTrainingArguments
    facts: dict[str, Any]
    origin: dict[str, Any]
    finished: StageResult | None

    @property
    def identity(self) -> str:
        """By which later stages say what they started from: another one is another run, whatever its own options."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()


def plan_stages(
    stages: list[Stage],
    config: Any,
    arguments: dict[str, Any],
    splits: Splits,
    output_dir: Path,
    log: Callable[[str], None],
) -> list[StagePlan]:
    """
    The stages of a run with all that is checked of them; arguments as of [`run_stages`].

    Raises:
        `ValueError`: naming the first contradiction.
    """
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise ValueError(f"Stage names must differ, got {names}")
    check_data(splits.train, splits.validation)
    counts = _checked_counts(stages, config, splits)
    plans: dict[str, StagePlan] = {}
    for stage in stages:
        own_config, folder = stage_config(stage, config), output_dir / stage.name
        _check_start(stage, own_config, config, plans)
        args = LongTailTrainingArguments(**stage_arguments(stage, stages, arguments, folder, log))
        _check_stage(stage, own_config, args, counts, splits)
        earlier = plans.get((stage.start or "").removeprefix(REFERENCE))
        origin: dict[str, Any] = {"start": stage.start if earlier is None else earlier.identity}
        if stage.new_classifier:
            origin["new_classifier"] = True
        facts = run_facts(own_config, stage.method, args, splits.train) | origin
        finished, recorded = _read_finished(folder, stage.name, facts)
        if finished is None and (folder / RUN_FILE).is_file():
            check_folder(folder, facts)
        # What a later version adds to the facts that were written does not make it another stage.
        plans[stage.name] = StagePlan(stage, own_config, folder, args, recorded or facts, origin, finished)
    return list(plans.values())


def _checked_counts(stages: list[Stage], config: Any, splits: Splits) -> ClassCounts | None:
    """The class counts of the training set, which those of the config must be; evaluation sets have its classes."""
    if not any(stage.method.uses_labels for stage in stages):
        return None
    counts, _ = training_counts(splits.train, config)
    if counts is not None:
        check_classes(counts, "a classifier")
        agreed_config(config, counts, trained=False)
    described = SimpleNamespace(config=config)
    for what, dataset in (("The validation set", splits.validation), ("The test set", splits.test)):
        if dataset is not None:
            check_evaluation_data(described, dataset, what)
    return counts


def _check_start(stage: Stage, own_config: Any, config: Any, plans: Mapping[str, StagePlan]) -> None:
    """Refuse an initial checkpoint that is none, or does not fit."""
    if stage.teachers:
        raise ValueError(f"Stage {stage.name!r} has teachers, which no method of this version reads")
    if stage.new_classifier and stage.start is None:
        raise ValueError(
            f"Stage {stage.name!r} has new_classifier, but no start: a model from scratch has a new one anyway"
        )
    if stage.start is not None and stage.start.startswith(REFERENCE):
        earlier = plans.get(stage.start.removeprefix(REFERENCE))
        if earlier is None:
            raise ValueError(
                f"Stage {stage.name!r} starts from {stage.start!r}, but the stages before it are "
                f"{', '.join(plans) or 'none'}"
            )
        check_same_encoder(earlier.config, own_config, stage.start)
    elif stage.start is not None:
        check_initial_classes(stage.start, config, stage.new_classifier)


def _check_stage(
    stage: Stage, config: Any, args: LongTailTrainingArguments, counts: ClassCounts | None, splits: Splits
) -> None:
    """Refuse a method, arguments and data that contradict each other."""
    method = stage.method
    check_arguments(method, args, config.logit_adjustment)
    check_length(method, args)
    check_rows(args, number_of_rows(splits.train))
    if method.uses_labels and counts is not None:
        check_method_counts(method, counts)
    check_warmup(args, stage.name)
    if args.eval_strategy != "no" and splits.validation is None:
        raise ValueError(
            f"Stage {stage.name!r} has eval_strategy={IntervalStrategy(args.eval_strategy).value!r}, but there is no "
            "validation split to evaluate on during training (the test set is for the end): set validation_per_class, "
            "or eval_strategy='no'."
        )
    if method.uses_labels:
        check_metric_for_best_model(args, config, splits.validation)
    if method.needs_validation and splits.validation is None:
        raise ValueError(
            f"Stage {stage.name!r}: {method.name} measures something on a validation split, and there is "
            f"none: set validation_per_class, or see the options of {method.name} that do without. The test "
            "set is for the end."
        )


def stage_arguments(
    stage: Stage,
    stages: list[Stage],
    arguments: dict[str, Any],
    folder: Path,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """
    Training arguments of a stage: the common ones and its own.

    Common mixing is left out of a stage whose method needs hard labels if another stage of the run can use it, and
    this is said; where no stage can, it stays and the trainer refuses it.
    """
    # Stages are local; what is pushed to the Hub is the run's final model.
    common, own = _local(arguments), _local(stage.arguments)
    asked = sorted(set(stage.arguments) - set(own))
    if asked:
        log(f"{stage.name}: without {', '.join(asked)}; the final model of the run alone is pushed")
    if not stage.method.accepts_soft_targets and any(other.method.accepts_soft_targets for other in stages):
        dropped = [name for name in _MIXING if common.pop(name, 0)]
        if dropped:
            log(f"{stage.name}: {stage.method.name} needs hard labels, so it runs without {', '.join(dropped)}")
    options = {"eval_strategy": "no", **merge_arguments(common, own), "output_dir": str(folder)}
    if not stage.method.uses_labels:
        options["eval_strategy"] = "no"
    return options


def _local(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key != "push_to_hub" and not key.startswith("hub_")}


def root_facts(stages: list[Stage]) -> dict[str, Any]:
    """What the root folder of a run says: its stages by name and method."""
    return {
        "stages": [[stage.name, stage.method.describe()] for stage in stages],
        "at_default": [
            f"stages.{number}.1.{path}"
            for number, stage in enumerate(stages)
            for path in method_default_paths(stage.method)
        ],
    }


def _read_finished(folder: Path, name: str, facts: dict[str, Any]) -> tuple[StageResult | None, dict[str, Any] | None]:
    """The result of a finished stage and the facts it was finished with."""
    path = folder / STAGE_FILE
    if not path.is_file():
        return None, None
    record = read_facts(path)
    missing = [key for key in ("facts", "metrics", "seconds") if key not in record]
    if missing:
        raise ValueError(f"{path} has no {missing[0]!r}; delete that file to finish the stage again")
    found = fact_differences(record["facts"], json_form(facts))
    if found:
        raise ValueError(
            f"{folder} holds a finished stage of another run ({some(found, 5, '; ')}). "
            f"{precision_hint(record['facts'], facts)}Use another output_dir, or delete that folder to train the "
            "stage again."
        )
    result = StageResult(name, str(folder), record["metrics"], record["seconds"], record.get("computation"))
    return result, record["facts"]
