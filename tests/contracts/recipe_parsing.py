"""Parse a recipe config exactly as its script would, without running it."""

from __future__ import annotations

import functools
from pathlib import Path

from docs.recipe_configs import script_defaults
from hf_ltr import LongTailTrainingArguments
from hf_ltr.recipe import ModelOptions, ParsedOptions, TrainOptions
from hf_ltr.recipe.stages import TrainingPlan
from hf_ltr.recipe.training import given_pretraining, parse_training


def plan_config(path: Path, counts: list[int]) -> tuple[ParsedOptions, TrainingPlan]:
    """The options of a config, and the stages that its script runs with it."""
    options = parse_training(["--config", str(path)], defaults=script_defaults(path.parent.name))
    recipe = options.build(TrainOptions)
    plan = TrainingPlan.make(recipe, given_pretraining(options), options.sections, counts)
    plan.complete(recipe, options.build(ModelOptions), options.sections, print)
    return options, plan


@functools.cache
def parse_config(path: Path) -> frozenset[str]:
    """Names of the methods the config trains. Cached: every method looks through all configs."""
    options, plan = plan_config(path, [200, 50, 5])
    for section in ({}, *options.sections.values()):
        # Values are checked too, not only names.
        LongTailTrainingArguments(
            **{**options.of(LongTailTrainingArguments), **section, "output_dir": "unused", "eval_strategy": "no"}
        )
    own = [stage.method.name for stage in plan.stages if stage.name not in plan.compared]
    return frozenset((plan.method.name, *own))
