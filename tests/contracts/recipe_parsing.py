"""Parse a recipe config exactly as its script would, without running it."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path

from hf_ltr import LongTailTrainingArguments, get_method
from hf_ltr.methods.base import LongTailMethod
from hf_ltr.recipe.options import parse_options
from hf_ltr.recipe.recipe import DataOptions, ModelOptions

OWN_OPTIONS = {"mem_vit": "MemOptions", "classifier": "ClassifierOptions", "decoupled": "DecoupledOptions"}


@functools.cache
def parse_config(repository: Path, path: Path) -> frozenset[str]:
    """Names of the methods the config trains. Cached: every method looks through all configs."""
    recipe = path.parent.name
    specification = importlib.util.spec_from_file_location(f"recipe_{recipe}", repository / "recipes" / f"{recipe}.py")
    script = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = script  # dataclasses look their module up there
    specification.loader.exec_module(script)
    own = getattr(script, OWN_OPTIONS[recipe])
    parsed = parse_options(
        ["--config", str(path)],
        [own, DataOptions, ModelOptions, LongTailTrainingArguments],
        sections=dict.fromkeys(getattr(script, "STAGES", ()), LongTailTrainingArguments),
    )
    counts = [200, 50, 5]
    options = parsed.build(own)
    name = getattr(options, "method", "mem")
    extra = {}
    if hasattr(options, "representation_method"):
        extra["representation"] = options.representation_method
    method = get_method(name, class_counts=counts, **(options.method_options or {}), **extra)
    for section in ({}, *parsed.sections.values()):
        # Values are checked too, not only names.
        LongTailTrainingArguments(
            **{**parsed.of(LongTailTrainingArguments), **section, "output_dir": "unused", "eval_strategy": "no"}
        )
    parts: list[LongTailMethod] = [stage.method for stage in method.stages()]
    return frozenset((name, *(part.name for part in parts)))
