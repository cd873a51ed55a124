"""`hf-ltr train`, and what every script in recipes/ calls: from a command line to the last file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .commands import command_line
from .data_options import DataOptions
from .early import check_options, check_paths, placeholder_counts
from .model_options import ModelOptions
from .options import ParsedOptions, check_names, glance, parse_options
from .train_options import TrainOptions, may_be_pretraining, pretraining_options

if TYPE_CHECKING:
    from ..data import ClassCounts


def train(
    argv: Sequence[str],
    *,
    description: str = "",
    defaults: Mapping[str, Any] | None = None,
    default_config: str | Path | None = None,
    own_images_config: str | Path | None = None,
    stages: Sequence[str] | None = None,
    otherwise: str = "",
    output_dir: str = "outputs/{method}",
    program: Sequence[str] | None = None,
) -> None:
    """
    Train a method, all of its stages, and report on it.

    What is to be trained stands on the command line or in YAML, see [`~hf_ltr.recipe.options`]; the options that were
    used are kept in `config.yaml` of the output folder.

    Args:
        argv: Arguments without the program name.
        description (`str`): For `--help`.
        defaults (`dict`, *optional*): Options, where nobody says otherwise; a script's choice of method, for example.
        default_config (`str` or `Path`, *optional*): YAML where the command line names none.
        own_images_config (`str` or `Path`, *optional*): In its place where the command line names a dataset.
        stages (sequence of `str`, *optional*): A script is for methods with these stages that need labels.
        otherwise (`str`): What is said of another method, with `{method}` for its name.
        output_dir (`str`): Where the options name none, with `{method}` for its name.
        program (sequence of `str`, *optional*): What stands before `argv` in the command that a card shows; the
            script if not given.

    Raises:
        `ValueError`: for whatever can be found before training, with what to do.
    """
    command = command_line(argv, program)
    argv = _with_default_config(list(argv), default_config, own_images_config)
    check_paths(argv)
    options = parse_training(
        argv,
        defaults=defaults,
        stages=stages,
        otherwise=otherwise,
        output_dir=output_dir,
        description=description,
        program=" ".join(program or ()),
    )
    text = options.text  # before what has no effect is taken out of it
    recipe = options.build(TrainOptions)
    pretraining = given_pretraining(options)
    check_options(options, recipe, pretraining)
    from .run import run_plan
    from .stages import TrainingPlan

    data_options = options.build(DataOptions)
    data = data_options.load()
    counts = data_options.counts(data)
    plan = TrainingPlan.make(recipe, pretraining, options.sections, counts)
    run_plan(plan, options=options, recipe=recipe, data=data, counts=counts, command=command, text=text)


def _with_default_config(argv: list[str], config: str | Path | None, own_images: str | Path | None) -> list[str]:
    said = {word.partition("=")[0] for word in argv if word.startswith("-")}
    if config is None or said & {"--config", "-h", "--help"}:
        return argv
    return ["--config", str(own_images if own_images is not None and "--dataset" in said else config), *argv]


def parse_training(
    argv: Sequence[str],
    *,
    defaults: Mapping[str, Any] | None = None,
    stages: Sequence[str] | None = None,
    otherwise: str = "",
    output_dir: str | None = None,
    description: str = "",
    program: str = "",
) -> ParsedOptions:
    """The options of a training run, with a section for every stage that its method may have; see [`train`]."""
    from ..trainer import LongTailTrainingArguments

    light = [TrainOptions, DataOptions, ModelOptions, LongTailTrainingArguments]
    check_names(argv, light, may_be_pretraining)
    first = pretraining_options()

    def sections(values: Mapping[str, Any]) -> dict[str, type]:
        from .stages import stage_names

        if values.get("method") is None:
            return {}
        counts = placeholder_counts(DataOptions.group_scheme)
        if stages is not None and _labelled_stages(values["method"], counts) != tuple(stages):
            raise ValueError(otherwise.format(method=values["method"]))
        recipe = ParsedOptions(dict(values)).build(TrainOptions).with_scalars_only()
        names = stage_names(recipe, [item.name for item in dataclasses.fields(first)], counts)
        return dict.fromkeys(names, LongTailTrainingArguments)

    kinds = [TrainOptions, first, DataOptions, ModelOptions, LongTailTrainingArguments]
    defaults = dict(defaults or {})
    if output_dir is not None:
        method = glance(argv, kinds).get("method", defaults.get("method", "<method>"))
        defaults.setdefault("output_dir", output_dir.format(method=method))
    return parse_options(argv, kinds, sections=sections, defaults=defaults, description=description, program=program)


def given_pretraining(options: ParsedOptions) -> dict[str, Any]:
    """Options of the method that goes first, by its name; empty if none does."""
    return {name: own for name, own in options.of(pretraining_options()).items() if own is not None}


def _labelled_stages(method: str, counts: ClassCounts) -> tuple[str, ...]:
    from ..methods import get_method

    return tuple(stage.name for stage in get_method(method, class_counts=counts).stages() if stage.method.uses_labels)
