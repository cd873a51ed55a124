"""Multi-stage systems as a list of plain, resumable runs."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import PartialState
from transformers import set_seed

from ..data.class_counts import ClassCounts
from ..data.map_style import number_of_rows
from ..files import clear_temporaries, write_json
from ..methods import Stage
from ..models.quiet import quiet_loading
from ..naming import check_initial_checkpoint, unknown_name
from ..reporting.finished_run import StageResult
from ..storage import naming_storage_errors
from .agreement import agreed_config, check_method_counts, training_counts
from .arguments import LongTailTrainingArguments, merge_arguments
from .best_model import check_metric_for_best_model
from .checkpoints import NoCheckpointToContinue, delete_checkpoints
from .checks import check_arguments, check_data, check_evaluation_data, check_same_classes
from .degenerate import check_classes, check_length, check_rows
from .image_checks import require_readable_images
from .optimization import check_warmup
from .precision import computation
from .run_facts import method_default_paths, run_facts
from .run_folder import RUN_FILE, check_folder, claim_folder, fact_differences, precision_hint, read_facts
from .stopping import StopWhenAsked
from .trainer import LongTailTrainer

logger = logging.getLogger(__name__)

STAGE_FILE = "stage.json"
_REFERENCE = "stage:"


def run_stages(
    stages: list[Stage],
    *,
    config: Any,
    arguments: dict[str, Any],
    train_dataset: Any,
    validation_dataset: Any = None,
    test_dataset: Any = None,
    output_dir: str | Path,
    callbacks: list | None = None,
    announce: Callable[[str], None] = print,
) -> dict[str, StageResult]:
    """
    Run the stages that are not finished, each in its own sub-folder of `output_dir`.

    An interrupted call is repaired by repeating it: finished stages are loaded, the interrupted one continues from its
    last complete checkpoint, and the final weights are those of an uninterrupted run.

    Args:
        stages (`list[Stage]`): In order; a start or teacher `"stage:<name>"` refers to an earlier one.
        config ([`LongTailConfig`]): Of the classifier; each stage works on a copy.
        arguments (`dict`): Fields of [`LongTailTrainingArguments`] common to all stages, without `output_dir`.
        train_dataset, validation_dataset, test_dataset: `datasets.Dataset`s. Validation is for evaluation during
            training, the test set is looked at once, after the last epoch.
        output_dir (`str`): Root folder.
        callbacks (`list`, *optional*): Given to every trainer.
        announce (`Callable`, defaults to `print`): Told on the main process which stage begins.

    Returns:
        `dict[str, StageResult]` by stage name.

    Raises:
        `ValueError`: before anything is trained, for a reference to a stage that does not come earlier, arguments or a
            method that contradict each other in any stage, a start with other classes, a folder of another run, or
            images of any split whose header cannot be read.
    """
    output_dir = Path(output_dir)
    plans = _plan(stages, config, arguments, train_dataset, validation_dataset, test_dataset, output_dir, announce)
    if any(plan.finished is None for plan in plans):
        splits = {"train": train_dataset, "validation": validation_dataset, "test": test_dataset}
        require_readable_images(splits, announce)
    if PartialState().is_main_process:
        claim_folder(output_dir, _root_facts(stages))
        for folder in (output_dir, *(plan.folder for plan in plans if plan.finished is not None)):
            clear_temporaries(folder)
    results: dict[str, StageResult] = {}
    for number, plan in enumerate(plans, start=1):
        stage, folder, place = plan.stage, plan.folder, f"[{number}/{len(plans)}] {plan.stage.name}"
        if plan.finished is not None:
            _tell(announce, f"{place}: finished before, taken from {folder}")
            results[stage.name] = plan.finished
            continue
        start = _folder_of(stage.start, output_dir)
        _tell(announce, f"{place}: {stage.method.name}{f', from {start}' if start else ''}")
        trainer = LongTailTrainer(
            model=build_stage_model(stage, config, start, seed=plan.args.seed),
            args=plan.args,
            method=stage.method,
            train_dataset=train_dataset,
            eval_dataset=validation_dataset if stage.method.uses_labels else None,
            callbacks=[*(callbacks or []), stop := StopWhenAsked()],
        )
        trainer.origin = plan.origin
        try:
            trainer.train(resume_from_checkpoint=True)
        except NoCheckpointToContinue as error:
            _tell(announce, f"{place}: STARTS AGAIN FROM THE BEGINNING. {str(error).partition(' (None can')[0]}")
            trainer.train()
        finally:
            stop.end()
        seconds, used = trainer.training_seconds, computation(plan.args)
        evaluated = test_dataset is not None and stage.method.uses_labels
        metrics = trainer.evaluate_once(test_dataset) if evaluated else {}
        with naming_storage_errors(folder), quiet_loading():
            # No card: what a stage is stands in its record, and the run's final model has one.
            trainer.save_model(str(folder), _internal_call=True)
        trainer.accelerator.wait_for_everyone()
        if trainer.is_world_process_zero():
            # Written last: a stage without this file is continued, not believed.
            record = {"facts": plan.facts, "metrics": metrics, "seconds": seconds, "computation": used}
            write_json(folder / STAGE_FILE, record)
            delete_checkpoints(folder)
        trainer.accelerator.wait_for_everyone()
        results[stage.name] = StageResult(stage.name, str(folder), metrics, seconds, used)
    return results


@dataclass
class _Plan:
    """A stage with everything that can be known, and therefore checked, before the first one is trained."""

    stage: Stage
    folder: Path
    args: LongTailTrainingArguments
    facts: dict[str, Any]
    origin: dict[str, Any]
    finished: StageResult | None


def _plan(
    stages: list[Stage],
    config: Any,
    arguments: dict[str, Any],
    train_dataset: Any,
    validation_dataset: Any,
    test_dataset: Any,
    output_dir: Path,
    announce: Callable[[str], None],
) -> list[_Plan]:
    from ..models.mae.checkpoint_conversion import check_same_encoder

    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise ValueError(f"Stage names must differ, got {names}")
    check_data(train_dataset, validation_dataset)
    counts = _checked_counts(stages, config, train_dataset, validation_dataset, test_dataset)
    plans: list[_Plan] = []
    identity: dict[str, Any] = {}
    configs: dict[str, Any] = {}
    for stage in stages:
        configs[stage.name] = stage_config(stage, config)
        if stage.teachers:
            raise ValueError(f"Stage {stage.name!r} has teachers, which no method of this version reads")
        if stage.new_classifier and stage.start is None:
            raise ValueError(
                f"Stage {stage.name!r} has new_classifier, but no start: a model from scratch has a new one anyway"
            )
        if stage.start is not None and stage.start.startswith(_REFERENCE):
            earlier = stage.start.removeprefix(_REFERENCE)
            if earlier not in identity:
                raise ValueError(
                    f"Stage {stage.name!r} starts from {stage.start!r}, but the stages before it are "
                    f"{', '.join(identity) or 'none'}"
                )
            check_same_encoder(configs[earlier], configs[stage.name], stage.start)
        elif stage.start is not None:
            check_start_classes(stage.start, config, stage.new_classifier)
        folder = output_dir / stage.name
        args = LongTailTrainingArguments(**stage_arguments(stage, stages, arguments, folder, announce))
        check_arguments(stage.method, args, configs[stage.name].logit_adjustment)
        check_length(stage.method, args)
        check_rows(args, number_of_rows(train_dataset))
        if stage.method.uses_labels and counts is not None:
            check_method_counts(stage.method, counts)
        check_warmup(args, stage.name)
        if args.eval_strategy != "no" and validation_dataset is None:
            raise ValueError(
                f"Stage {stage.name!r} has eval_strategy={args.eval_strategy.value!r}, but there is no validation "
                "split to evaluate on during training (the test set is for the end): set validation_per_class, or "
                "eval_strategy='no'."
            )
        if stage.method.uses_labels:
            check_metric_for_best_model(args, configs[stage.name], validation_dataset)
        if stage.method.needs_validation and validation_dataset is None:
            raise ValueError(
                f"Stage {stage.name!r}: {stage.method.name} measures something on a validation split, and there is "
                f"none: set validation_per_class, or see the options of {stage.method.name} that do without. The test "
                "set is for the end."
            )
        # A stage that started from other weights is another run, whatever its own options.
        origin = {"start": identity.get((stage.start or "").removeprefix(_REFERENCE), stage.start)}
        if stage.new_classifier:
            origin["new_classifier"] = True
        facts = run_facts(configs[stage.name], stage.method, args, train_dataset) | origin
        own = facts
        finished, recorded = _read_finished(folder, stage.name, facts)
        # Of the facts as they were written: what a later version adds to them does not make it another stage.
        facts = recorded or facts
        identity[stage.name] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        if finished is None and (folder / RUN_FILE).is_file():
            check_folder(folder, own)
        plans.append(_Plan(stage, folder, args, facts, origin, finished))
    return plans


def _checked_counts(stages: list[Stage], config: Any, train: Any, validation: Any, test: Any) -> ClassCounts | None:
    """The class counts of the training set, which those of the config must be; evaluation sets have its classes."""
    if not any(stage.method.uses_labels for stage in stages):
        return None
    counts, _ = training_counts(train, config)
    if counts is not None:
        check_classes(counts, "a classifier")
        agreed_config(config, counts, trained=False)
    described = SimpleNamespace(config=config)
    for what, dataset in (("The validation set", validation), ("The test set", test)):
        if dataset is not None:
            check_evaluation_data(described, dataset, what)
    return counts


def stage_config(stage: Stage, config: Any) -> Any:
    """The config of the model a stage trains: a copy of `config` with the stage's fields and the method's demands."""
    config = copy.deepcopy(config)
    for key, value in stage.config.items():
        if not hasattr(config, key):
            raise unknown_name(f"config field of stage {stage.name!r}", key, config.to_dict())
        setattr(config, key, value)
    stage.method.configure(config)
    config.validate()
    config.method = stage.method.describe()
    return config


def build_stage_model(stage: Stage, config: Any, start: str | None, *, seed: int) -> torch.nn.Module:
    """
    The model a stage begins with: from scratch, or the weights of `start` with what is new initialised.

    Raises:
        `ValueError`: if `start` is a classifier of other classes than `config` describes.
    """
    from ..models import LongTailForImageClassification

    model_class = stage.model_class or LongTailForImageClassification
    config = stage_config(stage, config)
    set_seed(seed)
    if start is None:
        return model_class(config)
    check_start_classes(start, config, stage.new_classifier)
    # What a stage adds is meant to be missing from the checkpoint before it; a report of it reads like a mistake.
    with quiet_loading():
        if stage.new_classifier:
            return _with_new_classifier(model_class, start, config)
        return model_class.from_pretrained(start, config=config, dtype=torch.float32)


def _with_new_classifier(model_class: type, start: str, config: Any) -> torch.nn.Module:
    """The weights of `start` with a new head for the classes of `config`; all else has to fit."""
    with warnings.catch_warnings():
        # They would be about the head that is taken away.
        warnings.simplefilter("ignore", UserWarning)
        model, found = model_class.from_pretrained(
            start, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
        )
    others = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"])
    others = [key for key in others if not key.startswith("classifier.")]
    if others:
        raise ValueError(
            f"The weights of {start} do not fit: {others[0]} has another shape there ({len(others)} such tensors). "
            "Build the config as the checkpoint's, or start from another one."
        )
    model.reset_classifier()
    return model


def _tell(announce: Callable[[str], None], text: str) -> None:
    if PartialState().is_main_process:
        announce(text)


def check_start_classes(start: str, config: Any, new_classifier: bool = False) -> None:
    """
    Refuse a starting checkpoint whose classes, in any order, or whose encoder are not those of `config`.

    Args:
        start (`str`): Folder or Hub id of a checkpoint of this package, or of transformers' ViTMAE or ViT.
        config ([`LongTailConfig`]): Of the run.
        new_classifier (`bool`, defaults to `False`): Whether the head is left behind, so that classes do not matter.

    Raises:
        `FileNotFoundError`: if there is no such folder.
        `ValueError`: naming the classes or sizes that differ.
    """
    from ..models import LongTailConfig
    from ..models.mae.checkpoint_conversion import check_same_encoder
    from ..models.mae.vit_checkpoints import knows_no_classes

    check_initial_checkpoint(start)
    theirs = LongTailConfig.from_pretrained(start)
    check_same_encoder(theirs, config, start)
    same_channels = theirs.num_channels == config.num_channels
    if same_channels and (theirs.image_mean, theirs.image_std) != (config.image_mean, config.image_std):
        logger.warning(
            "%s was trained on images normalised with mean %s and standard deviation %s, this run uses %s and %s",
            *(start, theirs.image_mean, theirs.image_std, config.image_mean, config.image_std),
        )
    if new_classifier or knows_no_classes(theirs):
        return
    check_same_classes(theirs, config, start, any_order=True)


def stage_arguments(
    stage: Stage,
    stages: list[Stage],
    arguments: dict[str, Any],
    folder: Path,
    announce: Callable[[str], None] = print,
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
        _tell(announce, f"{stage.name}: without {', '.join(asked)}; the final model of the run alone is pushed")
    if not stage.method.accepts_soft_targets and any(other.method.accepts_soft_targets for other in stages):
        dropped = [name for name in _MIXING if common.pop(name, 0)]
        if dropped:
            _tell(
                announce,
                f"{stage.name}: {stage.method.name} needs hard labels, so it runs without {', '.join(dropped)}",
            )
    options = {"eval_strategy": "no", **merge_arguments(common, own), "output_dir": str(folder)}
    if not stage.method.uses_labels:
        options["eval_strategy"] = "no"
    return options


def _local(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key != "push_to_hub" and not key.startswith("hub_")}


_MIXING = ("mixup_alpha", "cutmix_alpha", "label_smoothing")


def _folder_of(start: str | None, output_dir: Path) -> str | None:
    if start is not None and start.startswith(_REFERENCE):
        return str(output_dir / start.removeprefix(_REFERENCE))
    return start


def _root_facts(stages: list[Stage]) -> dict[str, Any]:
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
    found = fact_differences(record["facts"], json.loads(json.dumps(facts)))
    if found:
        raise ValueError(
            f"{folder} holds a finished stage of another run ({'; '.join(found[:5])}). "
            f"{precision_hint(record['facts'], facts)}Use another output_dir, or delete that folder to train the "
            "stage again."
        )
    result = StageResult(name, str(folder), record["metrics"], record["seconds"], record.get("computation"))
    return result, record["facts"]
