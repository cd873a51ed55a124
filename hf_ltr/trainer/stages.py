"""Multi-stage systems as a list of plain, resumable runs."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import set_seed
from transformers.utils import logging as hf_logging

from ..methods import Stage
from .arguments import LongTailTrainingArguments
from .checkpoints import differences
from .checks import RUN_ARGUMENTS
from .method_state import write_json
from .trainer import LongTailTrainer

STAGE_FILE = "stage.json"
_REFERENCE = "stage:"


@dataclass
class StageResult:
    """
    A finished stage.

    Args:
        name (`str`): Of the stage.
        folder (`str`): Holds model, processor and `stage.json`; `from_pretrained` loads it.
        metrics (`dict[str, float]`): Of the last epoch's weights on the test set; empty for stages without classes.
        seconds (`float`): Training time, all sessions of an interrupted stage together.
    """

    name: str
    folder: str
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


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
        `ValueError`: for a reference to a stage that does not come earlier, a start with other classes, or a folder
        that
            holds another run.
    """
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise ValueError(f"Stage names must differ, got {names}")
    results: dict[str, StageResult] = {}
    for number, stage in enumerate(stages, start=1):
        folder = Path(output_dir) / stage.name
        start = _resolve(stage.start, results, stage.name)
        options = stage_arguments(stage, arguments, folder)
        facts = _stage_facts(stage, options, train_dataset)
        finished = _read_finished(folder, stage.name, facts)
        if finished is not None:
            _tell(announce, f"[{number}/{len(stages)}] {stage.name}: finished before, taken from {folder}")
            results[stage.name] = finished
            continue
        args = LongTailTrainingArguments(**options)
        source = f", from {start}" if start else ""
        _tell(announce, f"[{number}/{len(stages)}] {stage.name}: {stage.method.name}{source}")
        model = build_stage_model(stage, config, start, seed=args.seed)
        trainer = LongTailTrainer(
            model=model,
            args=args,
            method=stage.method,
            train_dataset=train_dataset,
            eval_dataset=validation_dataset if stage.method.uses_labels else None,
            callbacks=callbacks,
        )
        began = time.perf_counter()
        trainer.train(resume_from_checkpoint=True)
        seconds = time.perf_counter() - began
        metrics = {}
        if test_dataset is not None and stage.method.uses_labels:
            metrics = trainer.evaluate_once(test_dataset)
        with quiet_loading():
            trainer.save_model(str(folder))
        trainer.accelerator.wait_for_everyone()
        result = StageResult(stage.name, str(folder), metrics, seconds)
        if trainer.is_world_process_zero():
            # Written last: a stage without this file is continued, not believed.
            write_json(
                folder / STAGE_FILE,
                {"facts": facts, "metrics": metrics, "seconds": seconds},
            )
        trainer.accelerator.wait_for_everyone()
        results[stage.name] = result
    return results


def build_stage_model(stage: Stage, config: Any, start: str | None, *, seed: int) -> torch.nn.Module:
    """
    The model a stage begins with: from scratch, or the weights of `start` with what is new initialised.

    Raises:
        `ValueError`: if `start` is a classifier of other classes than `config` describes.
    """
    from ..models import LongTailForImageClassification

    model_class = stage.model_class or LongTailForImageClassification
    config = copy.deepcopy(config)
    for key, value in stage.config.items():
        if not hasattr(config, key):
            from ..naming import unknown_name

            raise unknown_name(f"config field of stage {stage.name!r}", key, config.to_dict())
        setattr(config, key, value)
    stage.method.configure(config)
    config.method = stage.method.describe()
    set_seed(seed)
    if start is None:
        return model_class(config)
    check_start_classes(start, config)
    # What a stage adds is meant to be missing from the checkpoint before it; a report of it reads like a mistake.
    with quiet_loading():
        return model_class.from_pretrained(start, config=config, dtype=torch.float32)


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars and load reports of transformers inside."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def _tell(announce: Callable[[str], None], text: str) -> None:
    if PartialState().is_main_process:
        announce(text)


def check_start_classes(start: str, config: Any) -> None:
    """Refuse a starting checkpoint whose classes, or their order, are not those of `config`."""
    from ..models import LongTailConfig

    theirs = LongTailConfig.from_pretrained(start)
    if "MaskedAutoencoder" in (theirs.architectures or []):
        return  # its weights know no classes
    if theirs.num_labels != config.num_labels or theirs.id2label != config.id2label:
        label = next(
            (i for i in range(min(theirs.num_labels, config.num_labels)) if theirs.id2label[i] != config.id2label[i]),
            None,
        )
        detail = (
            f"{theirs.num_labels} classes there, {config.num_labels} here"
            if label is None
            else f"class {label} is {theirs.id2label[label]!r} there and {config.id2label[label]!r} here"
        )
        raise ValueError(
            f"{start} is a checkpoint of other classes ({detail}). Start from a checkpoint of the same classes in the "
            f"same "
            "order, or from a masked autoencoder, which has none."
        )


def _resolve(start: str | None, results: dict[str, StageResult], name: str) -> str | None:
    if start is None or not start.startswith(_REFERENCE):
        return start
    earlier = start.removeprefix(_REFERENCE)
    if earlier not in results:
        raise ValueError(
            f"Stage {name!r} starts from {start!r}, but the stages before it are {list(results) or 'none'}"
        )
    return results[earlier].folder


def stage_arguments(stage: Stage, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Training arguments of a stage: the common ones, its own, and hard targets where its method needs them."""
    options = {"eval_strategy": "no", **arguments, **stage.arguments, "output_dir": str(folder)}
    if not stage.method.uses_labels:
        options["eval_strategy"] = "no"
    if not stage.method.accepts_soft_targets:
        options.update(mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0)
    return options


def _stage_facts(stage: Stage, options: dict[str, Any], train_dataset: Any) -> dict[str, Any]:
    from ..data import long_tail_info

    info = (long_tail_info(train_dataset) if hasattr(train_dataset, "info") else None) or {}
    return {
        "method": stage.method.describe(),
        "class_counts": list(stage.method.class_counts.counts),
        "row_hash": info.get("row_hash"),
        "arguments": {name: options[name] for name in (*RUN_ARGUMENTS, *_BATCH) if name in options},
        "config": stage.config,
    }


_BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


def _read_finished(folder: Path, name: str, facts: dict[str, Any]) -> StageResult | None:
    path = folder / STAGE_FILE
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    found = differences(record["facts"], json.loads(json.dumps(facts)))
    if found:
        raise ValueError(
            f"{folder} holds a finished stage of another run ({'; '.join(found[:5])}). Use another output_dir, or "
            f"delete "
            "that folder to train the stage again."
        )
    return StageResult(name, str(folder), record["metrics"], record["seconds"])
