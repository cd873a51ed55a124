"""What a command can refuse before it imports anything heavy, and a recipe before it opens its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..naming import check_initial_checkpoint, is_hub_id
from .options import ParsedOptions

# A made-up training set on which methods and models are built before the real one is opened: every group has classes.
_PLACEHOLDER = [1000 // (1 + index) + 1 for index in range(200)]


def check_paths(argv: Sequence[str], default_dataset: str = "digits") -> None:
    """
    Refuse, from the words of a recipe's command line and its configs, a dataset or a start that is not there. What is
    wrong with the words themselves is left to the parser.

    Raises:
        `FileNotFoundError`, `ValueError`: as [`load_long_tailed`] would raise them.
    """
    from ..data.sources.source_names import check_source

    given = _words(argv)
    check_source(given.get("dataset", default_dataset), given.get("data_dir"))
    if "start" in given:
        check_initial_checkpoint(str(Path(given["start"]).expanduser()))


def require_folder_or_hub_id(place: str) -> None:
    """Refuse what is neither a folder nor could be a Hub id."""
    if not is_hub_id(place) and not Path(place).exists():
        raise FileNotFoundError(f"There is no folder {place!r}; a Hub id has the form owner/name")


def _words(argv: Sequence[str]) -> dict[str, str]:
    """`--name value` and the flat text values of YAML files; the command line wins."""
    pairs: list[tuple[str, str]] = []
    for position, word in enumerate(argv):
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        following = argv[position + 1] if position + 1 < len(argv) else "--"
        if equals or not following.startswith("--"):
            pairs.append((name.replace("-", "_"), value if equals else following))
    found: dict[str, str] = {}
    for name, value in pairs:
        if name == "config":
            try:
                content = yaml.safe_load(Path(value).expanduser().read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                continue
            if isinstance(content, dict):
                found |= {str(key).replace("-", "_"): text for key, text in content.items() if isinstance(text, str)}
    return found | {name: value for name, value in pairs if name != "config"}


def check_options(options: ParsedOptions, build: Callable[[Any, Callable], Any]) -> None:
    """
    Refuse options that cannot work with any data: training arguments, also of each stage, methods and the network.

    Args:
        options ([`ParsedOptions`]): Of a recipe.
        build (`Callable`): Makes the recipe's method; called as `build(class counts, known)`, where `known` takes out
            of a method's options what depends on the number of classes.

    Raises:
        `ValueError`: for the first of them.
    """
    from ..data.class_counts import ClassCounts
    from ..trainer import LongTailTrainingArguments
    from ..trainer.arguments import merge_arguments
    from ..trainer.degenerate import check_length, check_precision
    from ..trainer.stage_plan import stage_arguments
    from .recipe import DataOptions, ModelOptions

    counts = ClassCounts(_PLACEHOLDER, grouping=options.build(DataOptions).group_scheme)
    # In the order of what they import: methods torch, arguments accelerate, models timm.
    method = build(counts, _scalars)
    common = options.of(LongTailTrainingArguments)
    for section in ({}, *options.sections.values()):
        LongTailTrainingArguments(**{"output_dir": "unused", **_local(merge_arguments(common, section))})
    method.configure(options.build(ModelOptions).config(counts))
    stages = method.stages()
    for stage in stages:
        stage.arguments.update(options.sections.get(stage.name, {}))
        args = LongTailTrainingArguments(
            **{
                **_local(stage_arguments(stage, stages, common, Path("unused"), lambda _: None)),
                "output_dir": "unused",
            }
        )
        check_precision(args)
        check_length(stage.method, args)


def _local(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without what would write or reach out while the arguments are only looked at."""
    return {name: value for name, value in arguments.items() if name not in ("push_to_hub", "output_dir")}


def _scalars(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (options or {}).items() if not isinstance(value, list | dict)}


def replaced(recipe: Any, known: Callable, *names: str) -> Any:
    """A recipe's own options with `known` applied to those of `names`, which are options of methods."""
    return dataclasses.replace(recipe, **{name: known(getattr(recipe, name)) for name in names})
