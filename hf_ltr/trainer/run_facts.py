"""
What makes a run this run: the facts that are compared when a folder is used again, which arguments are none of them,
and which facts are defaults (such an option is no difference between a run that knows it and one that does not).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..data import hash_rows
from ..data.labels import class_names_of
from ..methods import LongTailMethod, get_method
from ..models.modules import MODULES
from ..reading import json_form
from .arguments import LongTailTrainingArguments

# Fields of a config that do not make it another model; the classes are compared as part of the data.
_PROVENANCE = frozenset(
    "method transformers_version architectures dtype torch_dtype _name_or_path use_cache id2label label2id "
    "class_counts previous_class_counts initial_weights".split()
)

# Training arguments that may change when a run is continued, each with its reason. Whatever is not listed is compared:
# so is an option of a later version (where it is not at its default) until somebody has thought about it.
_REASON_OF: dict[str, str] = {
    "output_dir run_name project": "says where the run writes and what it is called, not what it computes",
    (
        "push_to_hub hub_model_id hub_token hub_private_repo hub_strategy hub_always_push hub_revision "
        "trackio_space_id trackio_bucket_id trackio_static_space_id"
    ): "is about publishing, after the weights are made",
    (
        "logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level log_level_replica "
        "log_on_each_node disable_tqdm report_to include_num_input_tokens_seen skip_memory_metrics debug"
    ): "changes what is told about the run, not the run",
    (
        "per_device_eval_batch_size prediction_loss_only eval_on_start eval_do_concat_batches eval_use_gather_object "
        "eval_accumulation_steps include_for_metrics batch_eval_metrics"
    ): "evaluation reads the model and does not change it",
    (
        "save_only_model save_on_each_node save_total_limit enable_jit_checkpoint resume_from_checkpoint "
        "restore_callback_states_from_checkpoint"
    ): "says when and how checkpoints are written; what they hold is the state of the same run",
    (
        "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
        "dataloader_multiprocessing_context image_loading"
    ): "changes how fast rows arrive, not which: augmentation is a function of (seed, epoch, row)",
    (
        "use_cpu cpu_threads channels_last torch_compile torch_compile_backend torch_compile_mode "
        "torch_empty_cache_steps full_determinism fsdp fsdp_config deepspeed parallelism_config"
    ): "computes the same sums elsewhere or in another order, equal up to rounding",
    (
        "local_rank ddp_backend ddp_timeout ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph "
        "ddp_broadcast_buffers"
    ): "says how processes exchange the same gradients",
    (
        "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs"
    ): "computes the same values again in the place of keeping them",
    "do_train do_eval do_predict": "is for scripts; training does not read it",
    "mixed_precision_mode": "bf16 and fp16, which are compared, say what it came to on this machine",
    (
        "per_device_train_batch_size gradient_accumulation_steps"
    ): "may be cut otherwise: the rows of an optimizer step are compared as global_batch_size",
    "accelerator_config": "is read by accelerate's loaders; batches are made by the batch loader",
}

EXEMPT: dict[str, str] = {name: reason for names, reason in _REASON_OF.items() for name in names.split()}

# Exempt, unless a measurement during training decides which weights are the result, or how the rate goes on.
SELECTING: dict[str, str] = dict.fromkeys(
    ("eval_strategy", "eval_steps", "eval_delay", "save_strategy", "save_steps"),
    "says when the model is measured and kept, which changes nothing while the last weights are the result",
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


def measurements_decide(args: object) -> bool:
    """Whether evaluation during training has a part in the result."""
    schedule = getattr(args, "lr_scheduler_type", "")
    plateau = getattr(schedule, "value", schedule) == "reduce_lr_on_plateau"
    return bool(getattr(args, "load_best_model_at_end", False)) or plateau


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
    """The fields of a config of the same backbone and classes that nobody set, and of its auxiliary networks."""
    try:
        defaults = type(config)(backbone=config.backbone, num_labels=config.num_labels).to_dict()
    except (ValueError, TypeError):
        return {}
    modules = {name: dict(MODULES[name].defaults) for name in config.modules or {} if name in MODULES}
    return defaults | {"modules": modules or None}


def method_default_paths(method: LongTailMethod) -> list[str]:
    """[`default_paths`] of a method's description."""
    return default_paths(method.describe(), method_defaults(method))
