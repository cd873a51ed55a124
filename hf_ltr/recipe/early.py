"""What a command can refuse before it imports anything heavy, and a run before it opens its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..naming import check_initial_checkpoint
from .data_options import DataOptions
from .options import ParsedOptions, glance
from .train_options import TrainOptions, pretraining_options

if TYPE_CHECKING:
    from ..data import ClassCounts

# A made-up training set on which methods and models are built before the real one is opened: every group has classes.
_PLACEHOLDER = [1000 // (1 + index) + 1 for index in range(200)]


def check_paths(argv: Sequence[str]) -> None:
    """
    Refuse, from the words of a command line and its configs, a dataset or an initial checkpoint that is not there.
    What is wrong with the words themselves is left to the parser.

    Raises:
        `FileNotFoundError`, `ValueError`: as [`load_long_tailed`] would raise them.
    """
    from ..data.sources.source_names import check_source

    given = glance(argv, [DataOptions, TrainOptions])
    check_source(given.get("dataset", DataOptions.dataset), given.get("data_dir"))
    if given.get("initial_checkpoint") is not None:
        check_initial_checkpoint(str(Path(given["initial_checkpoint"]).expanduser()))


def require_file(option: str, place: str | None) -> None:
    """Refuse the value of an option that is given and no file."""
    if place is not None and not Path(place).expanduser().is_file():
        raise FileNotFoundError(f"There is no file {place}, given as --{option}")


def data_source(options: ParsedOptions, also: Sequence[str] = ()) -> DataOptions | None:
    """
    The options of the data, of which those that are there already are checked; `None` without a dataset, and then
    there may be none.

    Args:
        options ([`ParsedOptions`]).
        also (sequence of `str`): Other options that make no sense without a dataset.
    """
    from ..data.sources.source_names import check_source

    given = options.of(DataOptions)
    if given.get("dataset") is not None:
        check_source(given["dataset"], given.get("data_dir"))
        return DataOptions(**given)
    unused = [name for name, value in given.items() if name not in ("dataset", "group_scheme") and value is not None]
    unused += [name for name in also if options.values.get(name)]
    if unused:
        raise ValueError(f"--{unused[0]} needs --dataset")
    return None


def placeholder_counts(group_scheme: str) -> ClassCounts:
    """Class counts to build methods and networks for, as long as the data are not open."""
    from ..data.class_counts import ClassCounts

    return ClassCounts(_PLACEHOLDER, grouping=group_scheme)


def check_options(options: ParsedOptions, recipe: TrainOptions, pretraining: Mapping[str, Any]) -> None:
    """
    Refuse options that cannot work with any data: training arguments, also of each stage, methods and the network.
    Sections of a stage that the run leaves out are emptied.

    Args:
        options ([`ParsedOptions`]): Of the command line.
        recipe ([`TrainOptions`]): Those of the run.
        pretraining (`dict[str, dict]`): Options of the method that goes first, by its name.

    Raises:
        `ValueError`: for the first of them.
    """
    from .stages import TrainingPlan  # first: methods import torch alone, arguments accelerate, models timm

    counts = placeholder_counts(options.build(DataOptions).group_scheme)
    sections = {name: dict(values) for name, values in options.sections.items()}
    plan = TrainingPlan.make(recipe.with_scalars_only(), pretraining, sections, counts)
    if not plan.pretraining:
        _require_no_pretraining(options, recipe, counts)
    _require_stages(options, [stage.name for stage in plan.stages])
    from ..trainer import LongTailTrainingArguments
    from ..trainer.arguments import merge_arguments
    from ..trainer.degenerate import check_length, check_precision
    from ..trainer.stage_plan import stage_arguments
    from .model_options import ModelOptions

    common = options.of(LongTailTrainingArguments)
    for section in ({}, *filter(None, sections.values())):
        LongTailTrainingArguments(**{"output_dir": "unused", **_local(merge_arguments(common, section))})
    model = options.build(ModelOptions)
    plan.method.configure(model.config(counts))
    plan.complete(recipe, model, sections, lambda _: None)
    for stage in plan.stages:
        own = _local(stage_arguments(stage, plan.stages, common, Path("unused"), lambda _: None))
        args = LongTailTrainingArguments(**{**own, "output_dir": "unused"})
        check_precision(args)
        check_length(stage.method, args)


def _require_no_pretraining(options: ParsedOptions, recipe: TrainOptions, counts: ClassCounts) -> None:
    """
    Refuse options of pretraining where a run has none. A config may describe the pretraining that a method is run
    without; whoever asks for it on the command line is mistaken.
    """
    from ..methods import METHODS, get_method
    from .model_options import ModelOptions

    names = [item.name for item in dataclasses.fields(pretraining_options())]
    absent = {METHODS[name].stage_name for name in names}
    asked = [name for name in absent if options.sections.get(name)]
    if all(stage.method.uses_labels for stage in get_method(recipe.method, class_counts=counts).stages()):
        if recipe.pretraining_model or asked:
            raise ValueError(
                f"there are options of pretraining, but {' or '.join(names)} is not set ({{}}: its defaults)"
            )
        return
    of_pretraining = {"pretraining_model", *ModelOptions().pretraining_config()}
    for name in sorted(options.on_command_line):
        if name in of_pretraining or name.partition(".")[0] in absent:
            raise ValueError(f"--{name} is for pretraining, and this run has none")
    for name in asked:
        options.sections[name] = {}


def _require_stages(options: ParsedOptions, names: Sequence[str]) -> None:
    """Refuse options of the command line for a stage that a run has not; a config may serve several runs."""
    for name in sorted(options.on_command_line):
        section, dot, _ = name.partition(".")
        if dot and section not in names:
            raise ValueError(f"--{name} is for a stage that this run does not have; it has {', '.join(names)}")


def _local(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without what would write or reach out while the arguments are only looked at."""
    return {name: value for name, value in arguments.items() if name not in ("push_to_hub", "output_dir")}
