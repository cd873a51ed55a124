"""What makes a run this run: the facts that are compared when a folder is used again."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ..data.labels import class_names_of
from ..methods import LongTailMethod
from .arguments import LongTailTrainingArguments
from .defaults import config_defaults, default_paths, method_defaults
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
    from ..data import hash_rows

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
    return json.loads(json.dumps(facts, default=_json_form))


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


def _json_form(value: Any) -> Any:
    return getattr(value, "value", None) or str(value)


def global_batch_size(args: Any) -> int:
    """Rows of one optimizer step: how it is cut into processes and micro-batches may change, the product may not."""
    return args.per_device_train_batch_size * max(1, args.world_size) * args.gradient_accumulation_steps
