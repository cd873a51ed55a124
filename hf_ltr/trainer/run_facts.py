"""
What makes a run this run: the facts that are compared when a folder is used again, and which of them are defaults
(such an option is no difference between a run that knows it and one that does not).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..data import hash_rows
from ..data.labels import class_names_of
from ..methods import LongTailMethod, get_method
from ..reading import json_form
from .arguments import LongTailTrainingArguments
from .exempt_arguments import EXEMPT, SELECTING, measurements_decide

# Fields of a config that do not make it another model; the classes are compared as part of the data.
_PROVENANCE = frozenset(
    "method transformers_version architectures dtype torch_dtype _name_or_path use_cache id2label label2id "
    "class_counts previous_class_counts initial_weights".split()
)


def run_facts(config: Any, method: LongTailMethod, args: Any, train_dataset: Any) -> dict[str, Any]:
    """
    What makes a run this run.

    Args:
        config ([`LongTailConfig`]): Of the model that is trained.
        method ([`LongTailMethod`]).
        args ([`LongTailTrainingArguments`]).
        train_dataset (`datasets.Dataset` or other): Its rows are hashed as they are now.

    Returns:
        `dict`: `method`, `model`, `data`, `arguments`, and `at_default`, the paths of what has its default value: an
        option that only one side of a comparison knows is no difference there.
    """
    facts = {
        "method": method.describe(),
        "model": {key: value for key, value in config.to_dict().items() if key not in _PROVENANCE},
        "data": {
            "rows": len(train_dataset),
            **hash_rows(train_dataset)._asdict(),
            "class_names": class_names_of(train_dataset),
            "class_counts": list(method.class_counts.counts),
        },
        "arguments": {name: getattr(args, name) for name in compared_arguments(args)}
        | {"global_batch_size": global_batch_size(args)},
    }
    facts = json_facts(facts)
    defaults = {
        "method": method_defaults(method),
        "model": config_defaults(config),
        "arguments": argument_defaults(args),
    }
    return facts | {"at_default": default_paths(facts, json_facts(defaults))}


def json_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """As the facts come back from a file."""
    return json_form(facts, default=_spelled)


def compared_arguments(args: Any = None) -> list[str]:
    """
    Names of the training arguments that decide the result of a run.

    Args:
        args ([`LongTailTrainingArguments`], *optional*): Whether evaluation has a part in the result.
    """
    exempt = EXEMPT if args is not None and measurements_decide(args) else EXEMPT | SELECTING
    names = [field.name for field in dataclasses.fields(LongTailTrainingArguments) if field.init]
    return sorted(name for name in names if name not in exempt)


def argument_defaults(args: Any) -> dict[str, Any]:
    """The default of every training argument, as it stands in `args` where the machine decides it."""
    defaults = {}
    for field in dataclasses.fields(args):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    if args.mixed_precision_mode == defaults["mixed_precision_mode"]:
        defaults |= {"bf16": args.bf16, "fp16": args.fp16}
    return defaults


def _spelled(value: Any) -> Any:
    return getattr(value, "value", None) or str(value)


def global_batch_size(args: Any) -> int:
    """Rows of one optimizer step: how it is cut into processes and micro-batches may change, the product may not."""
    return args.per_device_train_batch_size * max(1, args.world_size) * args.gradient_accumulation_steps


def default_paths(values: Any, defaults: Any, prefix: str = "") -> list[str]:
    """
    The dotted paths at which two nested dicts agree.

    Args:
        values (`dict`): What is.
        defaults (`dict`): What would be if nobody had said anything; may lack keys.
    """
    paths = []
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in defaults:
            continue
        if value == defaults[key] or (not value and not defaults[key] and _nothing(value, defaults[key])):
            paths.append(path)
        if isinstance(value, dict) and isinstance(defaults[key], dict):
            paths += default_paths(value, defaults[key], f"{path}.")
    return sorted(paths)


def _nothing(*values: Any) -> bool:
    """`None` and an empty container say the same."""
    return all(value is None or value in ({}, [], "") for value in values)


def method_defaults(method: LongTailMethod) -> dict[str, Any]:
    """[`~LongTailMethod.describe`] of the same method, and the same methods in it, without options."""
    parts = method.parts()
    description = {"name": method.name, **{role: part.describe() for role, part in parts.items()}}
    try:
        defaults = get_method(description, class_counts=method.class_counts).describe()
    except (ValueError, TypeError):
        return {}  # of somebody else, or with options that have no default
    return defaults | {role: method_defaults(part) for role, part in parts.items()}


def config_defaults(config: Any) -> dict[str, Any]:
    """The fields of a config of the same backbone and classes that nobody set."""
    try:
        return type(config)(backbone=config.backbone, num_labels=config.num_labels).to_dict()
    except (ValueError, TypeError):
        return {}


def method_default_paths(method: LongTailMethod) -> list[str]:
    """[`default_paths`] of a method's description."""
    return default_paths(method.describe(), method_defaults(method))
