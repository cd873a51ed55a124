"""Multi-stage systems as a list of plain, resumable runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback

from ..files import clear_temporaries, write_json, write_text
from ..methods import Stage
from ..models.modeling import LongTailPreTrainedModel
from ..models.quiet import quiet_loading
from ..reporting.finished_run import StageResult
from ..storage import naming_storage_errors
from .checkpoints import NoCheckpointToContinue, delete_checkpoints
from .data import require_readable_images
from .precision import computation
from .run_folder import claim_folder
from .stage_model import build_stage_model
from .stage_plan import REFERENCE, STAGE_FILE, Splits, StagePlan, plan_stages, root_facts
from .stopping import StopWhenAsked
from .trainer import LongTailTrainer


def run_stages(
    stages: list[Stage],
    *,
    config: Any,
    arguments: dict[str, Any],
    train_dataset: Any,
    validation_dataset: Any = None,
    test_dataset: Any = None,
    output_dir: str | Path,
    callbacks: list[TrainerCallback] | None = None,
    files: Mapping[str, str] | None = None,
    log: Callable[[str], None] = print,
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
        files (`dict[str, str]`, *optional*): Texts by name that are kept in `output_dir`, written when nothing speaks
            against the run any more.
        log (`Callable`, defaults to `print`): Called on the main process with which stage begins.

    Returns:
        `dict[str, StageResult]` by stage name.

    Raises:
        `ValueError`: before anything is trained, for a reference to a stage that does not come earlier, arguments or a
            method that contradict each other in any stage, a start with other classes, a folder of another run, or
            images of any split whose header cannot be read.
    """
    output_dir, on_main = Path(output_dir), PartialState().is_main_process
    log = log if on_main else lambda text: None
    splits = Splits(train_dataset, validation_dataset, test_dataset)
    plans = plan_stages(stages, config, arguments, splits, output_dir, log)
    if any(plan.finished is None for plan in plans):
        require_readable_images(splits._asdict(), log)
    if on_main:
        claim_folder(output_dir, root_facts(stages))
        for name, text in (files or {}).items():
            write_text(output_dir / name, text)
        for folder in (output_dir, *(plan.folder for plan in plans if plan.finished is not None)):
            clear_temporaries(folder)
    results: dict[str, StageResult] = {}
    for number, plan in enumerate(plans, start=1):
        stage, place = plan.stage, f"[{number}/{len(plans)}] {plan.stage.name}"
        if plan.finished is not None:
            log(f"{place}: finished before, taken from {plan.folder}")
            results[stage.name] = plan.finished
            continue
        start = _folder_of(stage.start, output_dir)
        log(f"{place}: {stage.method.name}{f', from {start}' if start else ''}")
        model = build_stage_model(stage, config, start, seed=plan.args.seed)
        trainer = _train(plan, model, splits, callbacks or [], log, place)
        results[stage.name] = _finish(plan, trainer, splits.test)
    return results


def _train(
    plan: StagePlan,
    model: LongTailPreTrainedModel,
    splits: Splits,
    callbacks: list[TrainerCallback],
    log: Callable[[str], None],
    place: str,
) -> LongTailTrainer:
    """Train a stage, or train on from its last whole checkpoint; what is logged begins with its `place`."""
    stop = StopWhenAsked()
    trainer = LongTailTrainer(
        model=model,
        args=plan.args,
        method=plan.stage.method,
        train_dataset=splits.train,
        eval_dataset=splits.validation if plan.stage.method.uses_labels else None,
        callbacks=[*callbacks, stop],
    )
    trainer.origin = plan.origin
    try:
        trainer.train(resume_from_checkpoint=True)
    except NoCheckpointToContinue as error:
        text = str(error).partition(" (None can")[0]
        log(f"{place}: STARTS AGAIN FROM THE BEGINNING. {text}")
        trainer.train()
    finally:
        stop.end()
    return trainer


def _finish(plan: StagePlan, trainer: LongTailTrainer, test_dataset: Any) -> StageResult:
    """Measure the trained model of a stage, save it, and say that the stage is finished."""
    stage, folder = plan.stage, plan.folder
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
    return StageResult(stage.name, str(folder), metrics, seconds, used)


def _folder_of(start: str | None, output_dir: Path) -> str | None:
    if start is not None and start.startswith(REFERENCE):
        return str(output_dir / start.removeprefix(REFERENCE))
    return start
